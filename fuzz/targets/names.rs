//! Names, digests and platforms: what is parsed and written is the same when it is parsed again, and can move no cursor.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::{Digest, Escaped, Platform, Reference};

fuzz_target!(|text: &str| {
    pullet_fuzz::within((64 << 10) + 64 * text.len(), || {
        if let Ok(name) = text.parse::<Reference>() {
            let written = name.to_string();
            assert_eq!(written.parse().ok().as_ref(), Some(&name), "{written}");
            assert!(written.bytes().all(|b| b.is_ascii_graphic()), "{written:?}");
            assert_eq!(name.familiar().parse().ok().as_ref(), Some(&name), "{written}");
            assert!(!name.path().split('/').any(|part| matches!(part, "" | "." | "..")), "{written}");
        }
        let _ = Reference::parse_repository(text);
        if let Ok(digest) = text.parse::<Digest>() {
            assert_eq!(digest.to_string(), text);
            assert!(digest.hex().bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        }
        if let Ok(platform) = text.parse::<Platform>() {
            assert_eq!(platform.to_string().parse().ok().as_ref(), Some(&platform), "{platform}");
        }
        let shown = Escaped(text).to_string();
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    });
});
