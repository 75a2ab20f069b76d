//! `pullet tags`: prints the tags of a repository.

use pullet::Sandbox;
use serde_json::json;

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::format::{self, FORMAT, Format};
use crate::cli::registry::{REGISTRY, RegistryOptions, SETTINGS_NOTE, TRANSFER, TRUST};
use crate::cli::value::repository;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "tags",
    arguments: "REPOSITORY",
    summary: "print the tags of a repository",
    about: "Print the tags of a repository, one a line, in the registry's order; as JSON, one object with the \
            members Repository and Tags, as skopeo list-tags prints it. Stores nothing.",
    definitions: &[],
    groups: &[&FORMAT, &REGISTRY, &TRUST, &TRANSFER],
    notes: &[SETTINGS_NOTE],
    run,
};

/// Prints nothing until all pages of the list have arrived.
fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let Format { is_json } = line.options()?;
    let registry = RegistryOptions::parse(line, common)?;
    let [word] = line.operands()?;
    let repository = repository(word)?;
    let client = registry.client()?;
    client.find_credentials(&repository, reporter);
    sandbox::enter(&Sandbox::new(), reporter);
    let tags = client.tags(&repository, reporter)?;
    if is_json {
        let object = json!({ "Repository": repository.repository(), "Tags": tags });
        return text::print(format::lines([object].into_iter()));
    }
    text::print(tags.iter().map(|tag| format!("{tag}\n")).collect::<String>())
}
