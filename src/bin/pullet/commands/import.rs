//! `pullet import`: makes an image from a tar of a root filesystem.

use std::ffi::OsStr;

use pullet::{ImportOptions, Reference, Sandbox};

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::limits::{BLOB_LIMITS, TREE_LIMITS, WINDOW_LIMIT};
use crate::cli::options::{Group, Opt};
use crate::cli::registry::{NAME_NOTE, PLATFORM, RegistryOptions};
use crate::cli::value::name;
use crate::exit::Failure;
use crate::input::Input;
use crate::report::{Outcome, Reporter};
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "import",
    arguments: "FILE|- [NAME]",
    summary: "make an image from a root filesystem tar",
    about: "Make an image of one layer from a tar of a root filesystem, uncompressed or compressed with gzip or zstd, and print \
            its ID. The image has no creation time unless $SOURCE_DATE_EPOCH is set, so the same tar gives the same image.",
    definitions: &[],
    groups: &[&OPTIONS, &PLATFORM, &BLOB_LIMITS, &TREE_LIMITS, &WINDOW_LIMIT],
    notes: &[NAME_NOTE],
    run,
};

#[derive(Default)]
struct Options {
    changes: Vec<String>,
    message: Option<String>,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[
        Opt::value(
            "-c, --change INSTRUCTION",
            "apply CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME or WORKDIR of a Dockerfile; may be given several times",
            |options, value| {
                options.changes.push(value.text()?.to_owned());
                Ok(())
            },
        ),
        Opt::value("-m, --message TEXT", "the comment in the history of the image", |options, value| {
            options.message = Some(value.text()?.to_owned());
            Ok(())
        }),
    ],
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let Options { changes, message } = line.options()?;
    let registry = RegistryOptions::parse(line, common)?;
    let (file, name) = operands(line)?;
    let mut options = ImportOptions::new().limits(registry.limits.clone()).cancel(common.cancel.clone());
    for change in &changes {
        options = options.change(change)?;
    }
    if let Some(message) = message {
        options = options.message(message);
    }
    if let Some(platform) = registry.platform() {
        options = options.platform(platform.clone());
    }
    if let Some(seconds) = source_date_epoch()? {
        options = options.created(seconds);
    }
    let store = common.store()?;
    let mut input = Input::open((file != "-").then_some(file), &common.cancel)?;
    sandbox::enter(&Sandbox::new().store(&store).offline(), reporter);
    let image = store.import(&mut input, name.as_ref(), &options, reporter)?;
    reporter.result(&Outcome::of_image(&image));
    text::print(format!("{}\n", image.id()))
}

fn operands(line: &CommandLine) -> Result<(&OsStr, Option<Reference>), Failure> {
    match line.all_operands() {
        [file] => Ok((file, None)),
        [file, word] => Ok((file, Some(name(word)?))),
        [_, _, operand, ..] => Err(line.misused(format!("unexpected argument {operand:?}"))),
        [] => Err(line.missing(COMMAND.arguments)),
    }
}

/// The time of the source, for reproducible builds (reproducible-builds.org/specs/source-date-epoch).
fn source_date_epoch() -> Result<Option<i64>, Failure> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|value| !value.is_empty()) else { return Ok(None) };
    match value.to_str().and_then(|text| text.parse::<u32>().ok()) {
        Some(seconds) => Ok(Some(seconds.into())),
        None => Err(Failure::usage(format!("$SOURCE_DATE_EPOCH: {value:?} is not a number of seconds"))),
    }
}
