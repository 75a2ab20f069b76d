//! Other parts of responses: `Location` and `Retry-After`, and the JSON of token responses and of errors.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::fuzzing::{joined, refusal, retry_after, token_answer};

fuzz_target!(|bytes: &[u8]| {
    pullet_fuzz::within((256 << 10) + 64 * bytes.len(), || {
        let (first, rest) = pullet_fuzz::line(bytes);
        if let (Ok(first), Ok(rest)) = (std::str::from_utf8(first), std::str::from_utf8(rest)) {
            url(first, rest);
            retry_after(first, rest);
        }
        if let Ok(token) = token_answer(bytes) {
            assert!(!token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()), "{token:?}");
        }
        refusal(429, bytes);
    });
});

/// A joined URL has only valid characters, and joining it with itself does not change it or its origin.
fn url(base: &str, reference: &str) {
    let Some((url, origin)) = joined(base, reference) else { return };
    assert!(url.bytes().all(|b| b.is_ascii_graphic()) && !url.contains('#'), "{url}");
    assert!(url.starts_with(&origin), "{url} {origin}");
    let authority = origin.split("://").nth(1).expect("an origin has a scheme");
    assert!(!authority.contains('@'), "{origin}");
    assert_eq!(joined(&url, &url), Some((url.clone(), origin)), "{url}");
}
