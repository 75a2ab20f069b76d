//! The command line: what was typed becomes a command, the command runs on the library's public API, and its outcome
//! becomes an exit code.

mod args;
mod artifact;
mod digest;
mod exit;
mod help;
mod images;
mod login;
mod manifest;
mod pull;
mod report;
mod tags;
mod text;
mod topic;
mod unpack;
mod verify;
mod words;

use std::process::ExitCode;

use crate::args::Command;
use crate::exit::Failure;
use crate::report::Reporter;

fn main() -> ExitCode {
    let (common, command) = args::parse(std::env::args_os().skip(1));
    let reporter = Reporter::new(&common);
    let outcome = command.and_then(|command| run(&common, command, &reporter));
    reporter.end(outcome)
}

fn run(common: &args::Common, command: Command, reporter: &Reporter) -> Result<(), Failure> {
    match command {
        Command::Help(topic) => text::print(help::of(topic)),
        Command::Version => text::print(concat!("pullet ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Artifact(artifact) => artifact::run(&artifact, reporter),
        Command::Digest(digest) => digest::run(&digest, reporter),
        Command::Images => images::run(common),
        Command::Manifest(manifest) => manifest::run(&manifest, reporter),
        Command::Login(login) => login::run(common, login, reporter),
        Command::Logout(logout) => login::out(common, &logout),
        Command::Pull(pull) => pull::run(common, pull, reporter),
        Command::Tags(tags) => tags::run(&tags, reporter),
        Command::Unpack(unpack) => unpack::run(common, unpack, reporter),
        Command::Verify(verify) => verify::run(common, verify),
    }
}
