//! `pullet load`: takes images from an archive into the store.

use std::path::PathBuf;

use pullet::{Escaped, Image, Reference, Sandbox};

use crate::cli::admission::{ADMISSION, CONTENT_TRUST, POLICY};
use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::limits::{BLOB_LIMITS, WINDOW_LIMIT};
use crate::cli::options::{Group, Opt};
use crate::cli::registry::{PLATFORM, RegistryOptions};
use crate::cli::signatures::VERIFY;
use crate::exit::Failure;
use crate::input::Input;
use crate::report::{Outcome, Reporter};
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "load",
    arguments: "",
    summary: "take images from an archive into the store",
    about: "Take the images of an archive into the store, from standard input or a file: an archive of `pullet save`, `docker \
            save` or `podman save`, or an OCI image layout in a tar, uncompressed or compressed with gzip or zstd. Everything \
            in it is verified: digests, sizes and the diff_ids of all layers. Images get their names when all of it is in \
            the store. Nothing stays of an archive that is refused.",
    definitions: &[],
    groups: &[&OPTIONS, &PLATFORM, &VERIFY, &POLICY, &CONTENT_TRUST, &ADMISSION, &BLOB_LIMITS, &WINDOW_LIMIT],
    notes: &[
        "An archive in Docker's format has no signatures, so --verify-key needs one that `pullet save --format oci-archive` or \
         `cosign save` has written.",
    ],
    run,
};

#[derive(Default)]
struct Options {
    input: Option<PathBuf>,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[Opt::value("-i, --input FILE", "read FILE instead of standard input", |options, value| {
        options.input = Some(value.path()?);
        Ok(())
    })],
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let [] = line.operands()?;
    let options: Options = line.options()?;
    let mut registry = RegistryOptions::parse(line, common)?;
    registry.admission.archive =
        options.input.as_ref().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()));
    let store = common.store()?;
    let client = registry.client()?;
    let mut input = Input::open(options.input.as_ref().map(|path| path.as_os_str()), &common.cancel)?;
    sandbox::enter(&Sandbox::new().store(&store).offline(), reporter);
    let loaded = client.load(&mut input, &store, reporter)?;
    for loaded in &loaded {
        reporter.result(&Outcome::of_image(&loaded.image));
    }
    text::print(loaded.iter().map(|loaded| describe(&loaded.image)).collect::<String>())
}

/// Docker's line for a loaded image.
fn describe(image: &Image) -> String {
    match image.name().parse::<Reference>() {
        Ok(name) => format!("Loaded image: {}\n", name.familiar()),
        Err(_) if image.name().is_empty() => format!("Loaded image ID: {}\n", image.id()),
        Err(_) => format!("Loaded image: {}\n", Escaped(image.name())),
    }
}
