//! `pullet boot`: mounts a new root filesystem in an initramfs, and prints the line that continues the boot.

use std::path::{Path, PathBuf};

use pullet::BootParameters;

use crate::cli::admission::{ADMISSION, CONTENT_TRUST, POLICY};
use crate::cli::command::{Command, CommandLine, Definitions};
use crate::cli::common::Common;
use crate::cli::limits::{BLOB_LIMITS, TREE_LIMITS, WINDOW_LIMIT};
use crate::cli::options::{Group, Opt};
use crate::cli::registry::{
    CLOCK, FOREIGN_LAYERS, JOBS, PLATFORM, REGISTRY, RegistryOptions, SETTINGS_NOTE, TRANSFER, TRUST,
};
use crate::cli::signatures::VERIFY;
use crate::cli::value::name;
use crate::exit::Failure;
use crate::report::{Outcome, Reporter};
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "boot",
    arguments: "[DIR]",
    summary: "mount a new root in an initramfs, as the kernel command line says",
    about: "Mount at DIR the root filesystem of the image that the kernel command line names, in an initramfs: wait for the \
            network, unpack the image while it arrives, and print the line that continues the boot, `switch_root DIR INIT`. \
            Keeps no store. If it fails, it unmounts what it mounted. DIR is /sysroot by default.",
    definitions: &[Definitions {
        heading: "Parameters on the kernel command line, of which the last of each counts",
        words: &[
            ("pullet.image=NAME", "the image, named as with Docker (required)"),
            ("pullet.digest=DIGEST", "the digest that the manifest or index of NAME must have"),
            ("pullet.ca=FILE", "replaces --ca-file"),
            (
                "pullet.key=FILE",
                "a public key that must have signed the image, in addition to --verify-key; may be given several times, and \
                 all of them count",
            ),
            ("pullet.policy=FILE", "replaces --policy"),
            (
                "pullet.root=WHERE",
                "`tmpfs` (the default), `tmpfs:SIZE` such as tmpfs:256m or tmpfs:50%, a block device in /dev/, or a folder \
                 on which something is mounted. On a device or in a folder, the tree is named by its digest: a tree that \
                 exists is not fetched again, and with pullet.digest needs no network",
            ),
            ("pullet.overlay=tmpfs[:SIZE]", "leave the tree unchanged, and keep what is written in memory"),
            (
                "pullet.wait=TIME",
                "longest wait for the network and the device together, and again for a network that fails during the download \
                 (default: 60s)",
            ),
            (
                "init=PATH",
                "the program to start (default: the first that exists of /sbin/init, /etc/init, /bin/init, /bin/sh)",
            ),
        ],
    }],
    groups: &[
        &OPTIONS,
        &PLATFORM,
        &REGISTRY,
        &TRUST,
        &CLOCK,
        &VERIFY,
        &POLICY,
        &CONTENT_TRUST,
        &ADMISSION,
        &FOREIGN_LAYERS,
        &JOBS,
        &TRANSFER,
        &BLOB_LIMITS,
        &TREE_LIMITS,
        &WINDOW_LIMIT,
    ],
    notes: &[SETTINGS_NOTE],
    run,
};

#[derive(Default)]
struct Options {
    cmdline: Option<PathBuf>,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[Opt::value(
        "--cmdline FILE",
        "read the parameters from FILE instead of /proc/cmdline",
        |options, value| {
            options.cmdline = Some(value.path()?);
            Ok(())
        },
    )],
};

/// Where dracut and systemd have the new root.
const SYSROOT: &str = "/sysroot";

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let options: Options = line.options()?;
    let mut registry = RegistryOptions::parse(line, common)?;
    let target = line.optional_operand()?.map_or(Path::new(SYSROOT), Path::new);
    let absolute = std::path::absolute(target).unwrap_or_else(|_| target.into());
    let shown = shell_word(&absolute.to_string_lossy(), line)?;

    let parameters = BootParameters::read(options.cmdline.as_deref())?;
    let name = name(&parameters.image().into())?;
    // The clock of a booting machine is often not set yet.
    registry.clock_floor = registry.clock_floor.or(Some(cfg!(feature = "tls")));
    if let Some(ca_file) = parameters.ca_file() {
        registry.ca_file = Some(ca_file.into());
    }
    if let Some(policy) = parameters.policy_file() {
        registry.admission.policy = Some(policy.into());
    }
    registry.signatures.keys.extend(parameters.key_files().iter().cloned());
    let client = registry.client()?;
    client.find_credentials(&name, reporter);
    let confine = |allowed: &_| sandbox::enter(allowed, reporter);
    let options = registry.unpack_options();
    let booted = client.boot(&name, &parameters, target, &options, &confine, reporter)?;
    reporter.result(&Outcome {
        name: Some(&name.to_string()),
        digest: name.digest(),
        is_new: Some(booted.tally.is_some()),
        path: Some(&absolute),
        bytes: booted.tally.as_ref().map(|tally| tally.bytes),
        ..Outcome::default()
    });
    if let Some(tally) = &booted.tally {
        reporter.note(&format!("Unpacked {name}: {} entries, {}", tally.entries, text::bytes(tally.bytes)));
    }
    text::print(format!("switch_root {shown} {}\n", booted.init))
}

/// Checks that a shell takes `word` as one word and does not expand it, because `exec $(pullet boot DIR)` must run what
/// was printed.
fn shell_word(word: &str, line: &CommandLine) -> Result<String, Failure> {
    let is_plain = |b: u8| b.is_ascii_graphic() && !b"*?[\\".contains(&b);
    if word.bytes().all(is_plain) {
        return Ok(word.to_owned());
    }
    Err(line.misused(format!("DIR {word:?} has characters that a shell would change")))
}
