//! Unpacks one or more layers. Nothing outside the target is made or changed, the target is complete or absent, and the
//! archive cannot make memory grow without limit.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pullet::{ErrorKind, Limits};
use pullet_fuzz::Watched;

static WATCHED: LazyLock<Watched> = LazyLock::new(Watched::new);

fuzz_target!(|script: &[u8]| {
    let layers = pullet_fuzz::layers(script, WATCHED.folder());
    let mut limits = Limits::default();
    limits.unpacked = 16 << 20;
    limits.entries = 10_000;
    let unpacked = pullet_fuzz::within((1 << 20) + 64 * script.len(), || {
        pullet::fuzzing::unpack(&layers, &WATCHED.target(), &limits)
    });
    if let Err(error) = &unpacked {
        // Everything outside the folder is read-only, so this error means that pullet tried to write there.
        assert!(error.kind() != ErrorKind::Disk || !error.to_string().contains("Read-only"), "{error}");
    }
    WATCHED.check(unpacked.is_ok());
});
