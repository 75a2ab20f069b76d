//! Members of gzip and frames of zstd: what comes out does not depend on how much is asked for at once.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::fuzzing::{Format, decode};

/// Bytes that are decoded of one input, so that a bomb takes no time.
const MOST: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    // The window of zstd, what is decoded twice, and buffers.
    pullet_fuzz::within(32 << 20, || {
        for format in [Format::Gzip, Format::Zstd] {
            let whole = decode(bytes, format, MOST, 64 << 10);
            let parts = decode(bytes, format, MOST, 509);
            assert_eq!(whole.is_ok(), parts.is_ok(), "{format:?}: {:?} {:?}", whole.err(), parts.err());
            assert!(whole == parts || whole.is_err(), "{format:?}");
        }
    });
});
