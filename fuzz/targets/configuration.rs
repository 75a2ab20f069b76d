//! Local configuration: credential files, the output of credential helpers, proxies, and the kernel's command line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::fuzzing::{auth_json, boot_line, helper_output, proxy_for};

fuzz_target!(|bytes: &[u8]| {
    pullet_fuzz::within((256 << 10) + 64 * bytes.len(), || {
        let (first, rest) = pullet_fuzz::line(bytes);
        if let (Ok(first), Ok(rest)) = (std::str::from_utf8(first), std::str::from_utf8(rest)) {
            if let Ok(Some(url)) = proxy_for(first, rest, "registry.example", 443) {
                assert!(url.bytes().all(|b| b.is_ascii_graphic()) && !url.contains('@'), "{url}");
            }
            let _ = proxy_for(first, rest, "10.1.2.3", 5000);
            let _ = proxy_for(first, rest, "[2001:db8::1]", 443);
            if let Ok(name) = first.parse() {
                file(rest.as_bytes(), &name);
            }
        }
        let name = "registry.example/a/b".parse().expect("the name is valid");
        file(bytes, &name);
        let _ = helper_output(bytes);
        if let Ok((image, init)) = boot_line(bytes) {
            assert!(!image.is_empty() && init.is_none_or(|init| init.bytes().all(|b| b.is_ascii_graphic())));
        }
    });
});

/// A credential file that was rewritten can be read, and rewriting it again does not change it.
fn file(bytes: &[u8], name: &pullet::Reference) {
    if let Ok(kept) = auth_json(bytes, name) {
        assert_eq!(auth_json(&kept, name), Ok(kept));
    }
}
