//! `pullet artifact`: fetches the files of an OCI artifact into a folder.

use std::path::Path;

use pullet::Sandbox;

use crate::cli::admission::{ADMISSION, CONTENT_TRUST, POLICY, VERSIONS};
use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::limits::BLOB_LIMITS;
#[cfg(feature = "device")]
use crate::cli::limits::{MAX_BYTES, WINDOW_LIMIT};
#[cfg(feature = "device")]
use crate::cli::raw::{self, DEVICE_NOTE, RAW, RawOptions};
use crate::cli::registry::{CLOCK, NAME_NOTE, PLATFORM, REGISTRY, RegistryOptions, SETTINGS_NOTE, TRANSFER, TRUST};
use crate::cli::signatures::VERIFY;
use crate::cli::value::name;
use crate::exit::Failure;
use crate::report::{Outcome, Reporter};
use crate::sandbox;

pub(super) static COMMAND: Command = Command {
    name: "artifact",
    arguments: if cfg!(feature = "device") { "NAME DIR, or NAME[:TITLE] -o FILE|DEVICE" } else { "NAME DIR" },
    summary: "fetch the files of an OCI artifact",
    about: "Fetch the files of an OCI artifact, each under the name in its title annotation. Every file is verified before it \
            gets its name. DIR must not exist or be an empty folder; it appears complete, by one rename. Blobs without a \
            title are listed and left out. A folder that ORAS packed stays an archive, named TITLE with .tar, .tar.gz or \
            .tar.zst.",
    definitions: &[],
    groups: &[
        #[cfg(feature = "device")]
        &RAW,
        #[cfg(feature = "device")]
        &MAX_BYTES,
        #[cfg(feature = "device")]
        &WINDOW_LIMIT,
        &PLATFORM,
        &REGISTRY,
        &TRUST,
        &CLOCK,
        &VERIFY,
        &POLICY,
        &CONTENT_TRUST,
        &ADMISSION,
        &VERSIONS,
        &TRANSFER,
        &BLOB_LIMITS,
    ],
    notes: &[
        #[cfg(feature = "device")]
        TITLE_NOTE,
        #[cfg(feature = "device")]
        DEVICE_NOTE,
        SETTINGS_NOTE,
        NAME_NOTE,
    ],
    run,
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let mut registry = RegistryOptions::parse(line, common)?;
    #[cfg(feature = "device")]
    if line.is_given("--output") {
        return write_file(line, common, reporter, &mut registry);
    }
    #[cfg(feature = "device")]
    RawOptions::refuse_without_output(line)?;
    let [word, target] = line.operands()?;
    let (name, target) = (name(word)?, Path::new(target));
    let store = common.store()?;
    let mut sandbox = Sandbox::new().output(target);
    if registry.keep_versions_in(&store) {
        sandbox = sandbox.store(&store);
    }
    let client = registry.client()?;
    client.find_credentials(&name, reporter);
    sandbox::enter(&sandbox, reporter);
    let fetched = client.artifact(&name, target, reporter)?;
    for file in &fetched.files {
        reporter.note(&format!("{}: {}", file.blob.digest.short(), file.name));
    }
    for blob in &fetched.untitled {
        reporter.warn(&format!("{}: left out: it has no title ({})", blob.digest, blob.media_type));
    }
    let count = fetched.files.len();
    reporter.result(&Outcome {
        name: Some(&name.to_string()),
        path: Some(target),
        bytes: Some(fetched.files.iter().map(|file| file.blob.size).sum()),
        ..Outcome::default()
    });
    reporter.note(&format!("Placed {count} files of {name} ({}) in {}", fetched.kind, target.display()));
    Ok(())
}

#[cfg(feature = "device")]
const TITLE_NOTE: &str = "TITLE is the title annotation of one file. It follows a tag or a digest: NAME:TAG:TITLE, NAME@DIGEST:TITLE. Without      it, -o writes the only file of the artifact. -o unpacks a file whose media type ends in +gzip or +zstd.";

/// Writes one file of the artifact to a file or a device.
#[cfg(feature = "device")]
fn write_file(
    line: &CommandLine,
    common: &Common,
    reporter: &Reporter,
    registry: &mut RegistryOptions,
) -> Result<(), Failure> {
    let mut options: RawOptions = line.options()?;
    let path = options.output.take().unwrap_or_default();
    let [word] = line.operands()?;
    let (name, title) = raw::name_and_title(word)?;
    let store = common.store()?;
    let has_versions = registry.keep_versions_in(&store);
    let client = registry.client()?;
    let target = options.open(line, &path)?;
    client.find_credentials(&name, reporter);
    let sandbox = Sandbox::new().raw_target(&target);
    sandbox::enter(&if has_versions { sandbox.store(&store) } else { sandbox }, reporter);
    let written = client.write_artifact_file(&name, title.as_deref(), target, reporter)?;
    raw::report(&written, &path, reporter);
    Ok(())
}
