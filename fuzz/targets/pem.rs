//! Files of public keys in PEM.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::fuzzing::key_file;

fuzz_target!(|bytes: &[u8]| {
    pullet_fuzz::within((1 << 20) + 256 * bytes.len(), || {
        if let Some(fingerprint) = key_file(bytes) {
            assert_eq!(fingerprint.len(), 71, "{fingerprint}");
        }
    });
});
