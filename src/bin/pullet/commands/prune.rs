//! `pullet prune`: removes images without a name, or more, and blobs that no image needs.

use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZeroUsize;

use pullet::{Cancel, Image, PruneOptions, Sandbox};

use super::rmi::print_removed;
use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::options::{Group, Opt};
use crate::exit::Failure;
use crate::filter::ImageFilter;
use crate::report::Reporter;
use crate::{interrupt, sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "prune",
    arguments: "",
    summary: "remove images without a name, and unneeded blobs",
    about: "Remove the images that have no name, and all blobs that no image needs, such as those of an image whose name moved \
            to a newer one. Trees of layers stay as long as an image or a DIR of unpack --layered needs them. Partial downloads \
            stay, unless -a is given. Asks at the terminal first. Waits while another \
            process fetches images into the store. With -q, print nothing.",
    definitions: &[],
    groups: &[&OPTIONS],
    notes: &[],
    run,
};

#[derive(Default)]
struct Options {
    all: bool,
    filters: Vec<String>,
    force: bool,
    keep: Option<NonZeroUsize>,
}

const FILTERS: [&str; 2] = ["until", "label"];

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[
        Opt::flag("-a, --all", "remove all images, and partial downloads", |options| options.all = true),
        Opt::value(
            "--keep N",
            "keep N images of each repository, those that were pulled or tagged last, and remove the others",
            |options, value| {
                options.keep = Some(value.count()?);
                Ok(())
            },
        ),
        Opt::value(
            "--filter KEY=VALUE",
            "remove only images made before a time (`until=24h`, `until=2026-01-31`), or with a label (`label=KEY[=VALUE]`, \
             `label!=…`); may be given several times",
            |options, value| {
                options.filters.push(value.text()?.to_owned());
                Ok(())
            },
        ),
        Opt::flag("-f, --force", "do not ask", |options| options.force = true),
    ],
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let Options { all, filters, force, keep } = line.options()?;
    let [] = line.operands()?;
    let store = common.store()?;
    let filter = ImageFilter::parse(&filters, &FILTERS, &store)?;
    let mut options = PruneOptions::new().all(all).cancel(common.cancel.clone());
    if let Some(keep) = keep {
        options = options.keep(keep);
    }
    if !force && !is_confirmed(&warning(all, keep), &common.cancel)? {
        return Ok(());
    }
    sandbox::enter(&Sandbox::new().removal(&store).offline(), reporter);
    let mut accepts = |image: &Image| filter.accepts(image);
    let removed = if filters.is_empty() {
        store.prune(&options, None, reporter)?
    } else {
        store.prune(&options, Some(&mut accepts), reporter)?
    };
    if common.is_quiet {
        return Ok(());
    }
    if !removed.untagged.is_empty() || !removed.deleted.is_empty() {
        text::print("Deleted Images:\n")?;
        print_removed(&removed, ["untagged", "deleted"])?;
        text::print("\n")?;
    }
    text::print(format!("Total reclaimed space: {}\n", text::bytes(removed.bytes)))
}

fn warning(all: bool, keep: Option<NonZeroUsize>) -> String {
    let what = match (keep, all) {
        (Some(count), _) => format!("all images except the last {count} of each repository"),
        (None, true) => "all images".to_owned(),
        (None, false) => "all dangling images".to_owned(),
    };
    format!("WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] ")
}

/// Asks at the terminal.
fn is_confirmed(question: &str, cancel: &Cancel) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        let failure = Failure::usage("cannot ask whether to continue: standard input is not a terminal");
        return Err(failure.hint("-f does not ask"));
    }
    let mut out = io::stderr().lock();
    let _ = out.write_all(question.as_bytes()).and_then(|()| out.flush());
    let mut answer = String::new();
    let read = interrupt::uninterruptible(cancel, || io::stdin().read_line(&mut answer))?;
    read.map_err(|e| Failure::usage(format!("read standard input: {e}")))?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}
