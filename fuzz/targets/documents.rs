//! Manifests, indexes, configs and schema 1. The first line is the content type of the document that follows, or the
//! manifest of the config that follows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::fuzzing::{config, document, pretty, schema1};

fuzz_target!(|bytes: &[u8]| {
    pullet_fuzz::within((1 << 20) + 256 * bytes.len(), || {
        let (first, rest) = pullet_fuzz::line(bytes);
        let content_type = std::str::from_utf8(first).unwrap_or_default();
        if let Ok(found) = document(rest, content_type) {
            assert!(found.iter().all(|blob| blob.size <= i64::MAX as u64), "{found:?}");
        }
        let _ = config(first, rest);
        let _ = schema1(rest);
        if let Ok(pretty) = pretty(rest) {
            assert!(!pretty.chars().any(|c| c.is_control() && c != '\n'), "{pretty:?}");
        }
    });
});
