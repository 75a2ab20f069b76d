//! Public keys in DER.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::fuzzing::key_der;

fuzz_target!(|bytes: &[u8]| {
    pullet_fuzz::within((1 << 20) + 256 * bytes.len(), || {
        // One key has one encoding, so nothing may follow it.
        if key_der(bytes).is_some() {
            assert!(key_der(&[bytes, b"\0"].concat()).is_none());
        }
    });
});
