//! `pullet help`: prints the help of the program or of a command.

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::help;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::text;

pub(super) static COMMAND: Command = Command {
    name: "help",
    arguments: "[COMMAND]",
    summary: "print the help of a command",
    about: "Print the help of COMMAND, as `pullet COMMAND --help` does, or the list of commands.",
    definitions: &[],
    groups: &[],
    notes: &[],
    run,
};

fn run(line: &CommandLine, _: &Common, _: &Reporter) -> Result<(), Failure> {
    let (asked, parsed) = CommandLine::parse(line.all_operands().iter().cloned(), line.table);
    parsed?;
    let [] = asked.operands()?;
    text::print(help::of(&asked))
}
