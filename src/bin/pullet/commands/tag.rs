//! `pullet tag`: gives an image in the store another name.

use pullet::Sandbox;

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::registry::NAME_NOTE;
use crate::cli::value::{name, selector};
use crate::exit::Failure;
use crate::report::Reporter;
use crate::sandbox;

pub(super) static COMMAND: Command = Command {
    name: "tag",
    arguments: "SOURCE NAME",
    summary: "give an image in the store another name",
    about: "Give the image SOURCE, a name or the beginning of an image ID, another NAME. An image that had NAME loses it. \
            Contacts no registry.",
    definitions: &[],
    groups: &[],
    notes: &[NAME_NOTE],
    run,
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let [source, target] = line.operands()?;
    let (source, target) = (selector(source)?, name(target)?);
    let store = common.store()?;
    sandbox::enter(&Sandbox::new().store(&store).offline(), reporter);
    Ok(store.tag(&source, &target, &common.cancel, reporter)?)
}
