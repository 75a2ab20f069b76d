//! `pullet tags`: prints the tags of a repository.

use pullet::Sandbox;

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::registry::{REGISTRY, RegistryOptions, SETTINGS_NOTE, TRANSFER, TRUST};
use crate::cli::value::repository;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "tags",
    arguments: "REPOSITORY",
    summary: "print the tags of a repository",
    about: "Print the tags of a repository, one a line, in the registry's order. Stores nothing.",
    definitions: &[],
    groups: &[&REGISTRY, &TRUST, &TRANSFER],
    notes: &[SETTINGS_NOTE],
    run,
};

/// Prints nothing until all pages of the list have arrived.
fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let registry = RegistryOptions::parse(line, common)?;
    let [word] = line.operands()?;
    let repository = repository(word)?;
    let client = registry.client()?;
    client.find_credentials(&repository, reporter);
    sandbox::enter(&Sandbox::new(), reporter);
    let tags = client.tags(&repository, reporter)?;
    text::print(tags.iter().map(|tag| format!("{tag}\n")).collect::<String>())
}
