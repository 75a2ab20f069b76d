//! Payloads of simple signing and statements of in-toto.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::fuzzing::signed_content;

fuzz_target!(|bytes: &[u8]| {
    pullet_fuzz::within((1 << 20) + 256 * bytes.len(), || drop(signed_content(bytes)));
});
