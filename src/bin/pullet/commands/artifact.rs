//! `pullet artifact`: fetches the files of an OCI artifact into a folder.

use std::path::Path;

use pullet::Sandbox;

use crate::cli::admission::{ADMISSION, POLICY, VERSIONS};
use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::registry::{
    BLOB_LIMITS, CLOCK, NAME_NOTE, PLATFORM, REGISTRY, RegistryOptions, SETTINGS_NOTE, TRANSFER, TRUST,
};
use crate::cli::signatures::VERIFY;
use crate::cli::value::name;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::sandbox;

pub(super) static COMMAND: Command = Command {
    name: "artifact",
    arguments: "NAME DIR",
    summary: "fetch the files of an OCI artifact into a folder",
    about: "Fetch the files of an OCI artifact, each under the name in its title annotation. Every file is verified before it \
            gets its name. DIR must not exist or be an empty folder; it appears complete, by one rename. Blobs without a \
            title are listed and left out. A folder that ORAS packed stays an archive, named TITLE with .tar, .tar.gz or \
            .tar.zst.",
    definitions: &[],
    groups: &[&PLATFORM, &REGISTRY, &TRUST, &CLOCK, &VERIFY, &POLICY, &ADMISSION, &VERSIONS, &TRANSFER, &BLOB_LIMITS],
    notes: &[SETTINGS_NOTE, NAME_NOTE],
    run,
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let mut registry = RegistryOptions::parse(line, common)?;
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
        reporter.note(&format!("{}: left out: it has no title ({})", blob.digest, blob.media_type));
    }
    let count = fetched.files.len();
    reporter.note(&format!("Placed {count} files of {name} ({}) in {}", fetched.kind, target.display()));
    Ok(())
}
