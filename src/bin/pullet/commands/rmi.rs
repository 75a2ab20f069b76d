//! `pullet rmi`: takes names from images, and removes images that have no other name.

use pullet::{ErrorKind, RemoveOptions, Removed, Sandbox};

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::options::{Group, Opt};
use crate::cli::registry::NAME_NOTE;
use crate::cli::value::selector;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "rmi",
    arguments: "NAME…",
    summary: "remove images from the store",
    about: "Take each NAME from its image, and remove the image if it has no other name: the blobs that no other image needs. \
            NAME may be the beginning of an image ID; then an image with several names is only removed with -f. Trees of layers \
            stay as long as an image or a DIR of unpack --layered needs them. Waits while another process fetches images into \
            the store. With -q, print nothing.",
    definitions: &[],
    groups: &[&OPTIONS],
    notes: &[NAME_NOTE],
    run,
};

#[derive(Default)]
struct Options {
    force: bool,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[Opt::flag(
        "-f, --force",
        "remove an image by its ID with all its names, and do not fail if there is no such image",
        |options| options.force = true,
    )],
};

/// Removes what it can; the first failure decides the exit code.
fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let Options { force } = line.options()?;
    let selectors = line.all_operands().iter().map(selector).collect::<Result<Vec<_>, _>>()?;
    if selectors.is_empty() {
        return Err(line.missing(COMMAND.arguments));
    }
    let store = common.store()?;
    sandbox::enter(&Sandbox::new().removal(&store).offline(), reporter);
    let options = RemoveOptions::new().force(force).cancel(common.cancel.clone());
    let mut failures = Failures::default();
    for selector in &selectors {
        match store.remove(selector, &options, reporter) {
            Ok(removed) if common.is_quiet => drop(removed),
            Ok(removed) => print_removed(&removed, ["Untagged", "Deleted"])?,
            Err(error) if force && error.kind() == ErrorKind::NotFound => reporter.note(&error.to_string()),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error.into()),
            // Without the hint that one may pull it.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                failures.add(Failure::new(error.kind(), error.to_string()));
            }
            Err(error) => failures.add(error.into()),
        }
    }
    failures.outcome()
}

/// Prints Docker's lines, with these words.
pub(super) fn print_removed(removed: &Removed, [untagged, deleted]: [&str; 2]) -> Result<(), Failure> {
    let names = removed.untagged.iter().map(|name| format!("{untagged}: {}\n", pullet::Escaped(name)));
    let digests = removed.deleted.iter().map(|digest| format!("{deleted}: {digest}\n"));
    text::print(names.chain(digests).collect::<String>())
}

/// The failures of a command that continues after one.
#[derive(Default)]
pub(super) struct Failures(Option<Failure>);

impl Failures {
    pub(super) fn add(&mut self, failure: Failure) {
        self.0 = Some(match self.0.take() {
            None => failure,
            Some(first) => first.and(&failure),
        });
    }

    pub(super) fn outcome(self) -> Result<(), Failure> {
        self.0.map_or(Ok(()), Err)
    }
}
