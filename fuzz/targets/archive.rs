//! The entries of a tar, unchanged and with corrected checksums. They never have more data than the tar has bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::fuzzing::archive;

fuzz_target!(|bytes: &[u8]| {
    let mended = pullet_fuzz::mended(bytes);
    pullet_fuzz::within((256 << 10) + 32 * bytes.len(), || {
        for tar in [bytes, &mended] {
            if let Ok(entries) = archive(tar) {
                let stored: u64 = entries.iter().map(|(_, stored)| stored).sum();
                assert!(stored <= tar.len() as u64, "{stored} bytes of data");
            }
        }
    });
});
