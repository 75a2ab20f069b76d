//! `pullet config`: shows what would be used for a name, and which file, variable or option says so.

use pullet::{Escaped, Fact, Sandbox};
use serde_json::{Value, json};

use crate::cli::admission::POLICY;
use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::format::{self, FORMAT, Format};
use crate::cli::registry::{NAME_NOTE, PLATFORM, REGISTRY, RegistryOptions, SETTINGS_NOTE, TRUST};
use crate::cli::value::name;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "config",
    arguments: "NAME",
    summary: "show what would be used for a name, and what says so",
    about: "Print what would be used for NAME, one fact a line: endpoints in the order of use, CA files, proxy, whose \
            credentials, and which file, variable or option says so. Sends no request, runs no credential helper, and shows \
            no secret.",
    definitions: &[],
    groups: &[&FORMAT, &PLATFORM, &REGISTRY, &TRUST, &POLICY],
    notes: &[SETTINGS_NOTE, NAME_NOTE],
    run,
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let Format { is_json } = line.options()?;
    let registry = RegistryOptions::parse(line, common)?;
    let [word] = line.operands()?;
    let name = name(word)?;
    let store = common.store()?;
    let client = registry.client()?;
    sandbox::enter(&Sandbox::new().offline(), reporter);
    let configuration = client.configuration(&name, reporter)?;
    let store = store.folder().display().to_string();
    if is_json {
        let first = json!({ "Key": "store", "Value": store, "Details": [] });
        return text::print(format::lines([first].into_iter().chain(configuration.facts().iter().map(object))));
    }
    text::print(format!("store: {}\n{configuration}", Escaped(&store)))
}

/// A fact for programs.
fn object(fact: &Fact) -> Value {
    json!({ "Key": fact.key, "Value": fact.value, "Details": fact.details.iter().map(object).collect::<Vec<_>>() })
}
