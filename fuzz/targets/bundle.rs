//! Bundles, manifests of signatures and lists of referrers. The first byte says which of them the rest is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::fuzzing::{bundle_outline, referrers, signature_manifest};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    pullet_fuzz::within((1 << 20) + 256 * bytes.len(), || match kind {
        b'b' => drop(bundle_outline(rest)),
        b'm' => drop(signature_manifest(rest)),
        b'r' => drop(referrers(rest)),
        _ => {}
    });
});
