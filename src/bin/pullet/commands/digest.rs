//! `pullet digest`: prints the digest that a name points to.

use super::manifest::fetch_document;
use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::registry::{NAME_NOTE, REGISTRY, SETTINGS_NOTE, TRANSFER, TRUST};
use crate::exit::Failure;
use crate::report::Reporter;
use crate::text;

pub(super) static COMMAND: Command = Command {
    name: "digest",
    arguments: "NAME",
    summary: "print the digest that a name points to",
    about: "Print the digest that NAME points to; if that is an index, the digest of the index. The option --platform selects \
            the manifest of one platform. Stores nothing.",
    definitions: &[],
    groups: &[&REGISTRY, &TRUST, &TRANSFER],
    notes: &[SETTINGS_NOTE, NAME_NOTE],
    run,
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let document = fetch_document(line, common, reporter)?;
    text::print(format!("{}\n", document.digest))
}
