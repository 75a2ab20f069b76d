//! Names, digests and platforms. Parsing the text of a parsed value returns the same value, and the text has no control
//! characters.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::{Digest, Escaped, Platform, Reference};

fuzz_target!(|text: &str| {
    pullet_fuzz::within((64 << 10) + 64 * text.len(), || {
        if let Ok(name) = text.parse::<Reference>() {
            let text = name.to_string();
            assert_eq!(text.parse().ok().as_ref(), Some(&name), "{text}");
            assert!(text.bytes().all(|b| b.is_ascii_graphic()), "{text:?}");
            assert_eq!(name.familiar().parse().ok().as_ref(), Some(&name), "{text}");
            assert!(!name.path().split('/').any(|part| matches!(part, "" | "." | "..")), "{text}");
        }
        let _ = Reference::parse_repository(text);
        if let Ok(digest) = text.parse::<Digest>() {
            assert_eq!(digest.to_string(), text);
            assert!(digest.hex().bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        }
        if let Ok(platform) = text.parse::<Platform>() {
            assert_eq!(platform.to_string().parse().ok().as_ref(), Some(&platform), "{platform}");
        }
        let escaped = Escaped(text).to_string();
        assert!(!escaped.chars().any(char::is_control), "{escaped:?}");
    });
});
