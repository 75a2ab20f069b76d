//! `pullet blob`: writes one blob to a file or a block device.

use pullet::Sandbox;

use crate::cli::admission::{CONTENT_TRUST, POLICY};
use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::limits::{BLOB_LIMITS, MAX_BYTES, WINDOW_LIMIT};
use crate::cli::raw::{DEVICE_NOTE, RAW, RawOptions, report};
use crate::cli::registry::{CLOCK, NAME_NOTE, REGISTRY, RegistryOptions, SETTINGS_NOTE, TRANSFER, TRUST};
use crate::cli::value::name;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::sandbox;

pub(super) static COMMAND: Command = Command {
    name: "blob",
    arguments: "NAME@DIGEST -o FILE|DEVICE",
    summary: "write one blob to a file or a block device",
    about: "Write one blob of a repository to a file or a block device, unpacked if an option says so. The digest is that of the \
            blob, and everything is verified. A blob alone has no signature: where a key or a policy demands one, use `pullet \
            artifact`.",
    definitions: &[],
    groups: &[
        &RAW,
        &REGISTRY,
        &TRUST,
        &CLOCK,
        &POLICY,
        &CONTENT_TRUST,
        &TRANSFER,
        &MAX_BYTES,
        &BLOB_LIMITS,
        &WINDOW_LIMIT,
    ],
    notes: &[DEVICE_NOTE, SETTINGS_NOTE, NAME_NOTE],
    run,
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let registry = RegistryOptions::parse(line, common)?;
    let mut raw: RawOptions = line.options()?;
    let [word] = line.operands()?;
    let name = name(word)?;
    if name.digest().is_none() {
        return Err(line.misused("a blob is named by its digest: NAME@DIGEST"));
    }
    let Some(path) = raw.output.take() else { return Err(line.misused("-o FILE or -o DEVICE is missing")) };
    let client = registry.client()?;
    let target = raw.open(line, &path)?;
    client.find_credentials(&name, reporter);
    sandbox::enter(&Sandbox::new().raw_target(&target), reporter);
    let written = client.write_blob(&name, target, reporter)?;
    report(&written, &path, reporter);
    Ok(())
}
