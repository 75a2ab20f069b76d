//! The options for how much a command may receive and unpack.

use super::options::{Group, Opt};
use super::registry::RegistryOptions;

/// How much a command that keeps partial blobs transfers.
#[cfg(feature = "manage")]
pub(crate) static MAX_BYTES: Group<RegistryOptions> = Group {
    heading: "Transfer",
    options: &[Opt::value(
        "--max-bytes BYTES[k|m|g|t]",
        "receive at most this many bytes in one run, then end with exit code 6; the next run goes on there (default: no limit)",
        |registry, value| {
            registry.max_bytes = Some(value.bytes()?);
            Ok(())
        },
    )],
};

/// Limits of commands that fetch blobs.
pub(crate) static BLOB_LIMITS: Group<RegistryOptions> = Group {
    heading: "Limits",
    options: &[Opt::value(
        "--max-unpacked BYTES[k|m|g|t]",
        "refuse content with more bytes than this, in its blobs or unpacked, holes included (default: 256g)",
        |registry, value| {
            registry.limits.unpacked = value.bytes()?;
            Ok(())
        },
    )],
};

/// Limits of commands that unpack layers.
pub(crate) static TREE_LIMITS: Group<RegistryOptions> = Group {
    heading: "Limits",
    options: &[
        Opt::value(
            "--max-entries N",
            "refuse an image with more archive entries (default: 10000000)",
            |registry, value| {
                registry.limits.entries = value.number()?;
                Ok(())
            },
        ),
        Opt::value(
            "--max-depth N",
            "refuse an image with more components in a path (default: 1024)",
            |registry, value| {
                registry.limits.depth = value.number()?;
                Ok(())
            },
        ),
    ],
};

/// The limit of commands that decompress layers.
pub(crate) static WINDOW_LIMIT: Group<RegistryOptions> = Group {
    heading: "Limits",
    options: &[Opt::value(
        "--max-zstd-window BYTES[k|m|g|t]",
        "refuse layers whose zstd frames refer further back (default: 8m)",
        |registry, value| {
            registry.limits.zstd_window = value.bytes()?;
            Ok(())
        },
    )],
};
