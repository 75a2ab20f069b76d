//! The configuration of mirrors: registries.conf, hosts.toml and daemon.json. The first line is a name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::Reference;
use pullet::fuzzing::{daemon_json, hosts_toml, registries_conf};

fuzz_target!(|bytes: &[u8]| {
    pullet_fuzz::within((512 << 10) + 256 * bytes.len(), || {
        let (first, rest) = pullet_fuzz::line(bytes);
        let _ = daemon_json(rest, "registry.example", 443);
        let _ = daemon_json(rest, "10.1.2.3", 5000);
        let (Ok(first), Ok(text)) = (std::str::from_utf8(first), std::str::from_utf8(rest)) else { return };
        let _ = hosts_toml(text);
        let Ok(name) = first.parse::<Reference>() else { return };
        if let Ok(Some(registry)) = registries_conf(text, &name) {
            assert!(!registry.is_empty());
        }
    });
});
