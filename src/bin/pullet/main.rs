//! The program: parses the command line, runs a command on the library's public API, and turns the outcome into an exit
//! code.

mod advice;
mod cli;
mod commands;
mod exit;
#[cfg(feature = "manage")]
mod filter;
#[cfg(feature = "manage")]
mod input;
mod interrupt;
#[cfg(feature = "manage")]
mod json;
#[cfg(feature = "manage")]
mod listing;
#[cfg(feature = "manage")]
mod output;
#[cfg(feature = "manage")]
mod ready;
mod report;
mod sandbox;
#[cfg(feature = "manage")]
mod template;
#[cfg(feature = "manage")]
mod terminal;
mod text;

use std::process::ExitCode;

use pullet::ErrorKind;

use crate::cli::command::{CommandLine, Selected};
use crate::cli::common::Common;
use crate::cli::help;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::report::Reporter;

fn main() -> ExitCode {
    let interrupt = Interrupt::install();
    let (line, parsed) = CommandLine::parse(std::env::args_os().skip(1), &commands::TABLE);
    let mut common = Common::new(interrupt.cancel.clone());
    let stored = line.store(&mut common);
    let (reporter, opened) = Reporter::new(&common, line.command_name());
    let outcome = parsed.and(stored).and(opened).and_then(|()| run(&line, &common, &reporter));
    reporter.end(outcome.map_err(|failure| interrupt.name_signal(failure)))
}

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    if common.version {
        return text::print(concat!("pullet ", env!("CARGO_PKG_VERSION"), "\n"));
    }
    if common.help {
        return text::print(help::of(line));
    }
    match line.selected {
        Selected::Command(command) => (command.run)(line, common, reporter),
        Selected::Family(family) => Err(line.misused(format!("a command is missing after {}", family.name))),
        Selected::Unbuilt(feature) => {
            let failure = Failure::new(ErrorKind::Unsupported, "this pullet was built without this command");
            Err(failure.hint(format!("use a build with the feature \"{}\"", feature.name)))
        }
        Selected::Nothing => Err(line.misused("a command is missing")),
    }
}
