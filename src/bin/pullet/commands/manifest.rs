//! `pullet manifest`: prints the manifest or index that a name points to.

use pullet::{RawDocument, Sandbox};

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::options::{Group, Opt};
use crate::cli::registry::{NAME_NOTE, PLATFORM, REGISTRY, RegistryOptions, SETTINGS_NOTE, TRANSFER, TRUST};
use crate::cli::value::name;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "manifest",
    arguments: "NAME",
    summary: "print the manifest or index that a name points to",
    about: "Print the document that NAME points to, a manifest or an index, indented. The option --platform selects the \
            manifest of one platform. Stores nothing.",
    definitions: &[],
    groups: &[&OPTIONS, &PLATFORM, &REGISTRY, &TRUST, &TRANSFER],
    notes: &[SETTINGS_NOTE, NAME_NOTE],
    run,
};

#[derive(Default)]
struct Options {
    is_raw: bool,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[Opt::flag("--raw", "print the bytes of the document as they are", |options| options.is_raw = true)],
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let options: Options = line.options()?;
    let document = fetch_document(line, common, reporter)?;
    if options.is_raw { text::print(document.bytes) } else { text::print(document.pretty()?) }
}

/// Fetches the document that NAME points to, or with `--platform` the manifest for that platform.
fn fetch_document(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<RawDocument, Failure> {
    let registry = RegistryOptions::parse(line, common)?;
    let [word] = line.operands()?;
    let name = name(word)?;
    let client = registry.client()?;
    client.find_credentials(&name, reporter);
    sandbox::enter(&Sandbox::new(), reporter);
    match registry.platform {
        None => Ok(client.document(&name, reporter)?),
        Some(_) => Ok(client.resolve(&name, None, reporter)?.into()),
    }
}
