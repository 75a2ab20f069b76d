//! `pullet digest`: prints the digest that a name points to.

use pullet::Sandbox;
use serde_json::json;

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::format::{self, FORMAT, Format};
use crate::cli::registry::{NAME_NOTE, PLATFORM, REGISTRY, RegistryOptions, SETTINGS_NOTE, TRANSFER, TRUST};
use crate::cli::value::name;
use crate::exit::Failure;
use crate::report::{Outcome, Reporter};
use crate::sandbox;

pub(super) static COMMAND: Command = Command {
    name: "digest",
    arguments: "NAME",
    summary: "print the digest that a name points to",
    about: "Print the digest that NAME points to; if that is an index, the digest of the index. The option --platform selects \
            the manifest of one platform. Stores nothing. Without it, this is one HEAD request, which Docker Hub does not \
            count as a pull: a cheap way to look for a new image now and then.",
    definitions: &[],
    groups: &[&FORMAT, &PLATFORM, &REGISTRY, &TRUST, &TRANSFER],
    notes: &[SETTINGS_NOTE, NAME_NOTE],
    run,
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let Format { is_json } = line.options()?;
    let registry = RegistryOptions::parse(line, common)?;
    let [word] = line.operands()?;
    let name = name(word)?;
    let client = registry.client()?;
    client.find_credentials(&name, reporter);
    sandbox::enter(&Sandbox::new(), reporter);
    let digest = match registry.platform {
        None => client.digest(&name, reporter)?,
        Some(_) => client.resolve(&name, None, reporter)?.manifest().digest,
    };
    let outcome = Outcome { name: Some(&name.to_string()), digest: Some(&digest), ..Outcome::default() };
    reporter.result(&outcome);
    format::print(is_json, json!({ "Name": name.to_string(), "Digest": digest.to_string() }), digest.to_string())
}
