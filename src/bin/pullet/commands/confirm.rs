//! `pullet confirm`: from now on, images that are older than an installed one are refused.

use pullet::Sandbox;

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::value::name;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "confirm",
    arguments: "NAME",
    summary: "refuse images that are older than the installed one",
    about: "Confirm that the image NAME, which was installed with --unconfirmed, has proven good: from now on, images of its \
            repository whose signed version is older are refused. Print the version. With a digest, NAME must be the image \
            that was installed.",
    definitions: &[],
    groups: &[],
    notes: &[],
    run,
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let [word] = line.operands()?;
    let name = name(word)?;
    let store = common.store()?;
    sandbox::enter(&Sandbox::new().store(&store).offline(), reporter);
    let versions = store.confirm(&name, &common.cancel, reporter)?;
    text::print(versions.iter().map(|version| format!("{version}\n")).collect::<String>())
}
