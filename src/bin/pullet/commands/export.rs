//! `pullet export`: writes the merged root filesystem of an image in the store as one tar.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use pullet::Sandbox;

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::limits::{BLOB_LIMITS, TREE_LIMITS, WINDOW_LIMIT};
use crate::cli::options::{Group, Opt};
use crate::cli::registry::{NAME_NOTE, RegistryOptions};
use crate::cli::value::selector;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{output, sandbox};

pub(super) static COMMAND: Command = Command {
    name: "export",
    arguments: "NAME",
    summary: "write the root filesystem of an image as one tar",
    about: "Write the merged root filesystem of an image in the store as one tar, to standard output or a file. Nothing is \
            unpacked to disk, and nothing is written unless every layer matches its diff_id. The same image gives the same \
            bytes. NAME may be the beginning of an image ID.",
    definitions: &[],
    groups: &[&OPTIONS, &BLOB_LIMITS, &TREE_LIMITS, &WINDOW_LIMIT],
    notes: &[NAME_NOTE],
    run,
};

#[derive(Default)]
struct Options {
    output: Option<PathBuf>,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[Opt::value(
        "-o, --output FILE",
        "write to FILE, which appears complete or not at all, and which only its owner can read",
        |options, value| {
            options.output = Some(value.path()?);
            Ok(())
        },
    )],
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let Options { output: path } = line.options()?;
    let options = RegistryOptions::parse(line, common)?.read_options();
    let [word] = line.operands()?;
    let selector = selector(word)?;
    if path.is_none() && io::stdout().is_terminal() {
        let failure = Failure::usage("the tar is not written to a terminal");
        return Err(failure.hint("use -o FILE, or redirect the output"));
    }
    let store = common.store()?;
    let sandbox = Sandbox::new().stored(&store).offline();
    let Some(path) = path else {
        sandbox::enter(&sandbox, reporter);
        let image = store.select(&selector)?;
        return output::stream(&common.cancel, |out| image.export(&options, out));
    };
    sandbox::enter(&sandbox.output(&path), reporter);
    Ok(store.select(&selector)?.export_file(&options, &path)?)
}
