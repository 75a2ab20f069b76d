//! `pullet rollback`: puts the tree back that `unpack --replace` replaced.

use std::path::Path;

use pullet::{Releases, Sandbox};

use super::releases::describe;
use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::options::{Group, Opt};
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "rollback",
    arguments: "DIR",
    summary: "put the tree back that unpack --replace replaced",
    about: "Put the tree back in the place of DIR that unpack --replace replaced, in one atomic step. Prints its number and \
            name. The tree that DIR was is kept.",
    definitions: &[],
    groups: &[&OPTIONS],
    notes: &[],
    run,
};

#[derive(Default)]
struct Options {
    number: Option<u64>,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[Opt::value(
        "--to NUMBER",
        "the tree with this number, as pullet releases lists it",
        |options, value| {
            options.number = Some(value.number()?);
            Ok(())
        },
    )],
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let options: Options = line.options()?;
    let [target] = line.operands()?;
    let target = Path::new(target);
    sandbox::enter(&Sandbox::new().target(target).offline(), reporter);
    let release = Releases::open_existing(target, &common.cancel)?.roll_back(options.number)?;
    if common.is_quiet {
        return Ok(());
    }
    text::print(format!("{}\n", describe(&release)))
}
