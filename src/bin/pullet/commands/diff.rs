//! `pullet diff`: prints which files differ between two images in the store.

use pullet::{ChangeKind, Sandbox};

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::limits::{BLOB_LIMITS, TREE_LIMITS, WINDOW_LIMIT};
use crate::cli::registry::{NAME_NOTE, RegistryOptions};
use crate::cli::value::selector;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{output, sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "diff",
    arguments: "NAME NAME",
    summary: "print which files differ between two images",
    about: "Print which paths differ between the merged root filesystems of two images in the store, from the first to the \
            second, as `docker diff` does: A for added, C for changed, D for deleted. A file has changed if its content, \
            type, owner, mode, time, link target or extended attributes differ; a folder also if something in it has.",
    definitions: &[],
    groups: &[&BLOB_LIMITS, &TREE_LIMITS, &WINDOW_LIMIT],
    notes: &[NAME_NOTE],
    run,
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let options = RegistryOptions::parse(line, common)?.read_options();
    let [old, new] = line.operands()?;
    let (old, new) = (selector(old)?, selector(new)?);
    let store = common.store()?;
    sandbox::enter(&Sandbox::new().stored(&store).offline(), reporter);
    let (old, new) = (store.select(&old)?, store.select(&new)?);
    let mut lines = Vec::new();
    for change in old.changes_to(&new, &options)? {
        lines.extend_from_slice(match change.kind {
            ChangeKind::Added => b"A ",
            ChangeKind::Changed => b"C ",
            ChangeKind::Deleted => b"D ",
        });
        lines.extend(output::image_path(&change.path));
        lines.push(b'\n');
    }
    text::print(lines)
}
