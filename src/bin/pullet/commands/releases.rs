//! `pullet releases`: lists the trees that `unpack --replace` keeps.

use std::path::Path;

use pullet::{Escaped, Release, Releases, Sandbox};
use serde_json::{Value, json};

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::format::{self, FORMAT, Format};
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
    groups: &[&FORMAT],
    notes: &[],
    run,
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let Format { is_json } = line.options()?;
    let [target] = line.operands()?;
    sandbox::enter(&Sandbox::new().offline(), reporter);
    let releases = Releases::list(Path::new(target))?;
    if is_json {
        return text::print(format::lines(releases.iter().map(object)));
    }
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

/// A release for programs. What is not known is null.
fn object(release: &Release) -> Value {
    let source = release.source.as_ref();
    json!({
        "Number": release.number,
        "Current": release.is_current,
        "Name": source.map(|source| source.name.as_str()),
        "Digest": source.map(|source| source.digest.to_string()),
        "Unpacked": source.and_then(|source| source.unpacked()),
    })
}
