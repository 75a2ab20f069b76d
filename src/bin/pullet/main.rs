//! The command line: what was typed becomes a command, the command runs on the library's public API, and its outcome
//! becomes an exit code.

// What was typed is understood the same in every pullet, also what this one cannot do.
#![cfg_attr(
    not(all(feature = "manage", feature = "boot")),
    allow(dead_code, reason = "it is only said that the command is not there")
)]

mod args;
#[cfg(feature = "manage")]
mod artifact;
#[cfg(feature = "boot")]
mod boot;
#[cfg(feature = "manage")]
mod config;
#[cfg(feature = "manage")]
mod digest;
mod exit;
mod help;
#[cfg(feature = "manage")]
mod images;
mod interrupt;
#[cfg(feature = "manage")]
mod login;
#[cfg(feature = "manage")]
mod manifest;
mod pull;
mod report;
mod sandbox;
#[cfg(feature = "manage")]
mod tags;
mod text;
mod topic;
mod unpack;
#[cfg(feature = "manage")]
mod verify;
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
        Command::Artifact(artifact) => artifact::run(&artifact, reporter),
        #[cfg(feature = "boot")]
        Command::Boot(boot) => boot::run(boot, reporter),
        #[cfg(not(feature = "boot"))]
        Command::Boot(_) => Err(Failure::NotBuilt("boot")),
        #[cfg(feature = "manage")]
        Command::Config(config) => config::run(common, &config, reporter),
        #[cfg(feature = "manage")]
        Command::Digest(digest) => digest::run(&digest, reporter),
        #[cfg(feature = "manage")]
        Command::Images => images::run(common, reporter),
        #[cfg(feature = "manage")]
        Command::Manifest(manifest) => manifest::run(&manifest, reporter),
        #[cfg(feature = "manage")]
        Command::Login(login) => login::run(common, login, reporter),
        #[cfg(feature = "manage")]
        Command::Logout(logout) => login::out(common, &logout),
        Command::Pull(pull) => pull::run(common, pull, reporter),
        #[cfg(feature = "manage")]
        Command::Tags(tags) => tags::run(&tags, reporter),
        Command::Unpack(unpack) => unpack::run(common, unpack, reporter),
        #[cfg(feature = "manage")]
        Command::Verify(verify) => verify::run(common, verify, reporter),
        #[cfg(not(feature = "manage"))]
        _ => Err(Failure::NotBuilt("manage")),
    }
}
