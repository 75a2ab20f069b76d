//! Keys in PEM and DER, payloads, statements, bundles, manifests of signatures and lists of referrers. The first byte says
//! which of them the rest is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::fuzzing::{bundle_outline, key_der, key_file, referrers, signature_manifest, signed_content};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    pullet_fuzz::within((1 << 20) + 256 * bytes.len(), || match kind {
        b'k' => {
            if let Some(fingerprint) = key_file(rest) {
                assert_eq!(fingerprint.len(), 71, "{fingerprint}");
            }
        }
        // One key has one encoding, so nothing may follow it.
        b'd' if key_der(rest).is_some() => assert!(key_der(&[rest, b"\0"].concat()).is_none()),
        b's' => drop(signed_content(rest)),
        b'b' => drop(bundle_outline(rest)),
        b'm' => drop(signature_manifest(rest)),
        b'r' => drop(referrers(rest)),
        _ => {}
    });
});
