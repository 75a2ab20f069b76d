//! `pullet cat`: prints one file of the merged root filesystem of an image in the store.

use std::os::unix::ffi::OsStrExt as _;

use pullet::Sandbox;

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::limits::{BLOB_LIMITS, TREE_LIMITS, WINDOW_LIMIT};
use crate::cli::registry::{NAME_NOTE, RegistryOptions};
use crate::cli::value::selector;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{output, sandbox};

pub(super) static COMMAND: Command = Command {
    name: "cat",
    arguments: "NAME PATH",
    summary: "print one file of an image in the store",
    about: "Print one file of the merged root filesystem of an image in the store. Links lead to where they would lead a \
            program that runs in the image. Layers are read from the top, and no more of them than it takes to be sure of \
            the file. Nothing is printed unless those match their diff_ids. NAME may be the beginning of an image ID.",
    definitions: &[],
    groups: &[&BLOB_LIMITS, &TREE_LIMITS, &WINDOW_LIMIT],
    notes: &[NAME_NOTE],
    run,
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let options = RegistryOptions::parse(line, common)?.read_options();
    let [word, path] = line.operands()?;
    let selector = selector(word)?;
    let store = common.store()?;
    sandbox::enter(&Sandbox::new().stored(&store).offline(), reporter);
    let image = store.select(&selector)?;
    output::stream(&common.cancel, |out| image.read_file(path.as_bytes(), &options, out))
}
