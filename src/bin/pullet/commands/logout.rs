//! `pullet logout`: removes stored credentials.

use super::login::{LOGIN_FILE, host};
use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::registry::RegistryOptions;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::text;

pub(super) static COMMAND: Command = Command {
    name: "logout",
    arguments: "[HOST[:PORT]]",
    summary: "remove stored credentials",
    about: "Remove the credentials that login stored for a registry. HOST is docker.io by default. With -q, print nothing.",
    definitions: &[],
    groups: &[&LOGIN_FILE],
    notes: &[],
    run,
};

fn run(line: &CommandLine, common: &Common, _: &Reporter) -> Result<(), Failure> {
    let registry = RegistryOptions::parse(line, common)?;
    let host = host(line)?;
    let was_logged_in = registry.client()?.logout(host)?;
    if common.is_quiet {
        return Ok(());
    }
    if was_logged_in {
        return text::print(format!("Removing login credentials for {host}\n"));
    }
    text::print(format!("Not logged in to {host}\n"))
}
