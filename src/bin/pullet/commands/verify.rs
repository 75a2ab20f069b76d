//! `pullet verify`: reads blobs back from the store and checks their digests.

use pullet::{Check, Client, ErrorKind, Reference, Sandbox, Store};
use serde_json::json;

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::format::{self, FORMAT, Format};
use crate::cli::options::{Group, Opt};
use crate::cli::registry::{NAME_NOTE, RegistryOptions};
use crate::cli::signatures::VERIFY;
use crate::cli::value::name;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::sandbox;

pub(super) static COMMAND: Command = Command {
    name: "verify",
    arguments: "[NAME…]",
    summary: "read the store back and check every digest",
    about: "Read blobs back from the store and compare them with their digests: the blobs of the named images, or all. \
            Print those that are corrupt or missing. Given a key, also prove the images by the signatures that the \
            pull has kept, without a network. With -q, print nothing.",
    definitions: &[],
    groups: &[&OPTIONS, &FORMAT, &VERIFY],
    notes: &[NAME_NOTE],
    run,
};

#[derive(Default)]
struct Options {
    remove_corrupt: bool,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[Opt::flag(
        "--remove-corrupt",
        "remove corrupt blobs, which the next pull fetches again, and rebuild a damaged index",
        |options| {
            options.remove_corrupt = true;
        },
    )],
};

/// Prints each fault as soon as it is found.
fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let Options { remove_corrupt } = line.options()?;
    let Format { is_json } = line.options()?;
    let mut registry = RegistryOptions::parse(line, common)?;
    // An older image in the store is as well signed as a newer one.
    registry.admission.allow_downgrade = true;
    // Before the sandbox and before the work, because a broken key is an error in any case.
    let client = registry.local_client()?;
    let names = line.all_operands().iter().map(name).collect::<Result<Vec<_>, _>>()?;
    let store = common.store()?;
    let mut sandbox = Sandbox::new().stored(&store).offline();
    if remove_corrupt {
        sandbox = sandbox.store(&store);
    }
    sandbox::enter(&sandbox, reporter);

    if remove_corrupt {
        store.mend(&common.cancel, reporter)?;
    }
    let (mut good, mut bad, mut printed) = (0, 0, Ok(()));
    let mut count = |check: &Check| match &check.fault {
        None => good += 1,
        Some(fault) => {
            bad += 1;
            if printed.is_ok() && !common.is_quiet {
                let object = json!({ "Digest": check.digest.to_string(), "Fault": fault.to_string() });
                printed = format::print(is_json, object, format!("{}: {fault}", check.digest));
            }
        }
    };
    store.verify(&names, remove_corrupt, &common.cancel, &mut count)?;
    printed?;
    if !common.is_quiet {
        let is_removed = remove_corrupt && bad > 0;
        let removed = if is_removed { ", removed" } else { "" };
        let object = json!({ "Verified": good, "Corrupt": bad, "Removed": is_removed });
        format::print(is_json, object, format!("{good} blobs verified, {bad} corrupt or missing{removed}"))?;
    }
    if bad > 0 && !remove_corrupt {
        let hint = "pullet verify --remove-corrupt removes them; the next pull fetches them again";
        return Err(Failure::new(ErrorKind::Mismatch, format!("{bad} corrupt or missing blobs")).hint(hint));
    }
    if registry.signatures.keys.is_empty() {
        return Ok(());
    }
    let proven = prove(&client, &store, &names, reporter)?;
    if common.is_quiet {
        return Ok(());
    }
    format::print(is_json, json!({ "Signed": proven }), format!("images signed: {proven}"))
}

/// Proves the named images, or all, with the signatures in the store. Returns their number.
fn prove(client: &Client, store: &Store, names: &[Reference], reporter: &Reporter) -> Result<usize, Failure> {
    if names.is_empty() {
        let images = store.images()?;
        let count = images.len();
        for image in images {
            client.admit(&image.name().parse()?, image, reporter)?;
        }
        return Ok(count);
    }
    for name in names {
        client.admit(name, store.image(name)?, reporter)?;
    }
    Ok(names.len())
}
