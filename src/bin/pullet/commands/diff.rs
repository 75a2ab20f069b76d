//! `pullet diff`: prints which files differ between two images in the store.

use pullet::{Change, ChangeKind, Sandbox};
use serde_json::{Value, json};

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::format::{self, FORMAT, Format};
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
    groups: &[&FORMAT, &BLOB_LIMITS, &TREE_LIMITS, &WINDOW_LIMIT],
    notes: &[NAME_NOTE],
    run,
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let Format { is_json } = line.options()?;
    let options = RegistryOptions::parse(line, common)?.read_options();
    let [old, new] = line.operands()?;
    let (old, new) = (selector(old)?, selector(new)?);
    let store = common.store()?;
    sandbox::enter(&Sandbox::new().stored(&store).offline(), reporter);
    let (old, new) = (store.select(&old)?, store.select(&new)?);
    let changes = old.changes_to(&new, &options)?;
    if is_json {
        return text::print(format::lines(changes.iter().map(object)));
    }
    let mut lines = Vec::new();
    for change in changes {
        lines.extend_from_slice(letter(change.kind).as_bytes());
        lines.push(b' ');
        lines.extend(output::image_path(&change.path));
        lines.push(b'\n');
    }
    text::print(lines)
}

fn letter(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "A",
        ChangeKind::Changed => "C",
        ChangeKind::Deleted => "D",
    }
}

/// A change for programs. JSON cannot have bytes that are not UTF-8, so they are replaced.
fn object(change: &Change) -> Value {
    json!({ "Kind": letter(change.kind), "Path": String::from_utf8_lossy(&change.path) })
}
