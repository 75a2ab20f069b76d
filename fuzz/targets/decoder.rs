//! gzip members and zstd frames. The output does not depend on the size of the read buffer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::fuzzing::{Format, decode};

/// The most bytes that are decoded from one input, so that a decompression bomb takes little time.
const MOST: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    // The zstd window, two outputs, and buffers.
    pullet_fuzz::within(32 << 20, || {
        for format in [Format::Gzip, Format::Zstd] {
            let whole = decode(bytes, format, MOST, 64 << 10);
            let parts = decode(bytes, format, MOST, 509);
            assert_eq!(whole.is_ok(), parts.is_ok(), "{format:?}: {:?} {:?}", whole.err(), parts.err());
            assert!(whole == parts || whole.is_err(), "{format:?}");
        }
    });
});
