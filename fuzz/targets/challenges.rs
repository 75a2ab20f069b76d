//! `WWW-Authenticate` headers, one per line.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    pullet_fuzz::within((16 << 10) + 256 * text.len(), || {
        for (scheme, _) in pullet::fuzzing::challenges(text) {
            assert!(!scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_graphic()), "{scheme:?}");
        }
    });
});
