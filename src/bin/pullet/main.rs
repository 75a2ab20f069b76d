//! The command line: what was typed becomes a command, the command runs on the library's public API, and its outcome
//! becomes an exit code.

// What was typed is understood the same in every pullet, also what this one cannot do.
#![cfg_attr(
    not(all(feature = "manage", feature = "boot")),
    allow(dead_code, reason = "it is only said that the command is not there")
)]

mod advice;
mod args;
mod commands;
mod exit;
mod help;
mod interrupt;
mod report;
mod sandbox;
mod text;
mod topic;
mod words;

use std::process::ExitCode;

use crate::args::Command;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::report::Reporter;

fn main() -> ExitCode {
    let interrupt = Interrupt::install();
    let (common, command) = args::parse(std::env::args_os().skip(1), &interrupt.cancel);
    let reporter = Reporter::new(&common);
    let outcome = command.and_then(|command| run(&common, command, &reporter));
    reporter.end(outcome.map_err(|failure| interrupt.name(failure)))
}

fn run(common: &args::Common, command: Command, reporter: &Reporter) -> Result<(), Failure> {
    match command {
        Command::Help(topic) => text::print(help::of(topic)),
        Command::Version => text::print(concat!("pullet ", env!("CARGO_PKG_VERSION"), "\n")),
        #[cfg(feature = "manage")]
        Command::Artifact(artifact) => commands::artifact::run(&artifact, reporter),
        #[cfg(feature = "boot")]
        Command::Boot(boot) => commands::boot::run(boot, reporter),
        #[cfg(not(feature = "boot"))]
        Command::Boot(_) => Err(Failure::NotBuilt("boot")),
        #[cfg(feature = "manage")]
        Command::Config(config) => commands::config::run(common, &config, reporter),
        #[cfg(feature = "manage")]
        Command::Digest(digest) => commands::digest::run(&digest, reporter),
        #[cfg(feature = "manage")]
        Command::Images => commands::images::run(common, reporter),
        #[cfg(feature = "manage")]
        Command::Manifest(manifest) => commands::manifest::run(&manifest, reporter),
        #[cfg(feature = "manage")]
        Command::Login(login) => commands::login::run(common, login, reporter),
        #[cfg(feature = "manage")]
        Command::Logout(logout) => commands::login::out(common, &logout),
        Command::Pull(pull) => commands::pull::run(common, pull, reporter),
        #[cfg(feature = "manage")]
        Command::Tags(tags) => commands::tags::run(&tags, reporter),
        Command::Unpack(unpack) => commands::unpack::run(common, unpack, reporter),
        #[cfg(feature = "manage")]
        Command::Verify(verify) => commands::verify::run(common, verify, reporter),
        #[cfg(not(feature = "manage"))]
        _ => Err(Failure::NotBuilt("manage")),
    }
}
