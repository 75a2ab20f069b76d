//! `pullet releases`: lists the trees that `unpack --replace` keeps.

use std::path::Path;

use pullet::{Escaped, Release, Releases, Sandbox};

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "releases",
    arguments: "DIR",
    summary: "list the trees that unpack --replace keeps",
    about: "List the trees of DIR that unpack --replace made and keeps, the oldest first: number, name, digest, and when it \
            was unpacked. A star marks the one that DIR is. With -q, print only the numbers.",
    definitions: &[],
    groups: &[],
    notes: &[],
    run,
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let [target] = line.operands()?;
    sandbox::enter(&Sandbox::new().offline(), reporter);
    let releases = Releases::list(Path::new(target))?;
    let show = |release: &Release| {
        if common.is_quiet { format!("{}\n", release.number) } else { format!("{}\n", describe(release)) }
    };
    text::print(releases.iter().map(show).collect::<String>())
}

/// One line about a release.
pub(super) fn describe(release: &Release) -> String {
    let mark = if release.is_current { '*' } else { ' ' };
    let Release { number, source, .. } = release;
    let Some(source) = source else { return format!("{mark} {number}  <unknown>") };
    let time = source.unpacked().unwrap_or_else(|| "N/A".to_owned());
    format!("{mark} {number}  {}  {}  {time}", Escaped(&source.name), source.digest)
}
