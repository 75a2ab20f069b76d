//! One owner per dependency, and one for each part of std that only certain files may use.

use super::source::Source;

struct Owner {
    /// The dependency, or `None` for a part of std.
    package: Option<&'static str>,
    /// The path in code. If several rows match, the longest path decides.
    path: &'static str,
    /// The files, and folders with a slash at the end, that may use it.
    homes: &'static [&'static str],
}

const OWNERS: &[Owner] = &[
    dependency("base64", "base64", &["src/oci/credentials.rs", "src/oci/schema1.rs", "src/trust/encoding.rs"]),
    dependency("flate2", "flate2", &["src/layer/decoder.rs"]),
    dependency("landlock", "landlock", &["src/host/landlock.rs"]),
    dependency("lexopt", "lexopt", &["src/bin/pullet/cli/command.rs"]),
    dependency("ring", "ring", &["src/trust/key.rs"]),
    dependency("rustix", "rustix", SYSTEM),
    dependency("rustls", "rustls", &["src/registry/tls/"]),
    // Named in Cargo.toml only to set its lowest version.
    dependency("rustls-webpki", "webpki", &[]),
    dependency("ruzstd", "ruzstd", &["src/layer/decoder.rs"]),
    dependency("serde", "serde", DOCUMENTS),
    dependency("serde_json", "serde_json", DOCUMENTS),
    dependency("signal-hook", "signal_hook", &["src/bin/pullet/interrupt.rs"]),
    dependency("sha2", "sha2", &["src/digest.rs"]),
    dependency("tar", "tar", &["src/layer/header.rs"]),
    dependency("toml", "toml", &["src/host/mirrors/toml_file.rs"]),
    dependency("ureq", "ureq", HTTP),
    // The TCP and TLS connectors implement ureq's transport traits, which return its error.
    dependency("ureq", "ureq::unversioned", TRANSPORT),
    dependency("ureq", "ureq::Error", TRANSPORT),
    dependency("ureq", "ureq::Timeout", TRANSPORT),
    dependency("webpki-roots", "webpki_roots", &["src/registry/tls/"]),
    standard("std::env", &["src/host/", "src/bin/"]),
    // The platform that the program was built for. It comes from the compiler, not from the environment.
    standard("std::env::consts", &["src/bin/pullet/commands/version.rs", "src/oci/platform.rs"]),
    // It panics after 2038 on 32-bit musl, where that file does not use it.
    standard("std::time::SystemTime", &["src/host/clock.rs"]),
    standard("std::thread", &["src/workers/mod.rs"]),
    standard("std::thread::available_parallelism", &["src/bin/pullet/cli/value.rs"]),
    standard("thread", &["src/workers/mod.rs"]),
];

/// HTTP.
const HTTP: &[&str] = &["src/registry/http/"];

/// HTTP, and the TLS connector that its connections go through.
const TRANSPORT: &[&str] = &["src/registry/http/", "src/registry/tls/"];

/// The folders that read or write JSON.
const DOCUMENTS: &[&str] = &[
    "src/bin/pullet/",
    "src/host/",
    "src/oci/",
    "src/registry/",
    "src/store/",
    "src/target/releases/record.rs",
    "src/trust/",
];

/// The files that use file descriptors or ask the kernel about itself. Everything else is pure or uses std.
const SYSTEM: &[&str] = &[
    "src/bin/pullet/",
    "src/boot/",
    "src/host/",
    "src/images/space.rs",
    "src/registry/http/socket.rs",
    "src/store/",
    "src/target/",
    "src/unpack/",
];

const fn dependency(package: &'static str, path: &'static str, homes: &'static [&'static str]) -> Owner {
    Owner { package: Some(package), path, homes }
}

const fn standard(path: &'static str, homes: &'static [&'static str]) -> Owner {
    Owner { package: None, path, homes }
}

pub fn complaints(sources: &[Source], manifest: &toml::Table) -> Vec<String> {
    let judged = sources.iter().filter(|source| source.path.starts_with("src/") && !source.is_test());
    let mut complaints: Vec<String> = judged.flat_map(trespasses).collect();
    for package in dependencies(manifest).filter(|package| !is_owned(package)) {
        complaints.push(format!("Cargo.toml: {package} has no owner; add it to OWNERS in xtask/src/tidy/owners.rs"));
    }
    complaints
}

fn trespasses(source: &Source) -> impl Iterator<Item = String> {
    source.names.paths.iter().filter_map(|path| {
        let owner = owner(&path.segments)?;
        let is_home = |home: &&str| source.path == **home || home.ends_with('/') && source.path.starts_with(*home);
        if owner.homes.iter().any(is_home) {
            return None;
        }
        let homes = if owner.homes.is_empty() { "no file".into() } else { owner.homes.join(", ") };
        Some(format!("{}:{}: {} belongs to {homes}", source.path, path.line, owner.path))
    })
}

fn owner(segments: &[String]) -> Option<&'static Owner> {
    let matches = |owner: &&Owner| {
        let path: Vec<&str> = owner.path.split("::").collect();
        segments.len() >= path.len() && path.iter().zip(segments).all(|(one, other)| one == other)
    };
    OWNERS.iter().filter(matches).max_by_key(|owner| owner.path.len())
}

fn is_owned(package: &str) -> bool {
    OWNERS.iter().any(|owner| owner.package == Some(package))
}

/// The packages that are built into pullet, also those for certain targets only.
fn dependencies(manifest: &toml::Table) -> impl Iterator<Item = &str> {
    let targets = manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
    let tables = [manifest].into_iter().chain(targets.filter_map(toml::Value::as_table));
    let dependencies = tables.filter_map(|table| table.get("dependencies")?.as_table());
    dependencies.flat_map(toml::Table::keys).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &[&str]) {
        let got = complaints(&[Source::new(path, text).unwrap()], &toml::Table::new());
        assert_eq!(got, expected, "{path}: {text}");
    }

    #[test]
    fn an_owner_may_use_its_dependency() {
        check("src/registry/http/client.rs", "use ureq::{Agent, unversioned::transport::Connector};", &[]);
        check("src/registry/tls/connector.rs", "use ureq::unversioned::transport::Connector; use rustls::A;", &[]);
        check("src/store/lock.rs", "fn a() { rustix::fs::flock() }", &[]);
        check("src/workers/mod.rs", "use std::thread; fn f() { thread::scope(g) }", &[]);
        check("src/pull.rs", "#[cfg(test)]\nmod tests {\n    use sha2::A;\n}\n", &[]);
        check("tests/it/main.rs", "use sha2::A; use std::thread;", &[]);
    }

    #[test]
    fn other_files_may_not() {
        check("src/pull.rs", "\nuse ureq;", &["src/pull.rs:2: ureq belongs to src/registry/http/"]);
        check(
            "src/registry/tls/connector.rs",
            "fn a() { ureq::get() }",
            &["src/registry/tls/connector.rs:1: ureq belongs to src/registry/http/"],
        );
        let system = SYSTEM.join(", ");
        check("src/layer/path.rs", "use rustix::fs;", &[&format!("src/layer/path.rs:1: rustix belongs to {system}")]);
        check("src/verify.rs", "fn a() { sha2::Sha256::new() }", &["src/verify.rs:1: sha2 belongs to src/digest.rs"]);
        check(
            "src/registry/tls/connector.rs",
            "use webpki::A;",
            &["src/registry/tls/connector.rs:1: webpki belongs to no file"],
        );
        check("src/pull.rs", "use std::{io, thread};", &["src/pull.rs:1: std::thread belongs to src/workers/mod.rs"]);
        check(
            "src/pull.rs",
            "fn a() { std::env::var(x) }",
            &["src/pull.rs:1: std::env belongs to src/host/, src/bin/"],
        );
        check(
            "src/pull.rs",
            "fn a() { std::time::SystemTime::now() }",
            &["src/pull.rs:1: std::time::SystemTime belongs to src/host/clock.rs"],
        );
        check("src/host.rs", "use std::env::var;", &["src/host.rs:1: std::env belongs to src/host/, src/bin/"]);
    }

    #[test]
    fn every_owner_exists() {
        let root = crate::cargo::root();
        for home in OWNERS.iter().flat_map(|owner| owner.homes) {
            assert!(root.join(home).exists(), "{home}");
        }
    }

    #[test]
    fn every_dependency_has_an_owner() {
        let check = |manifest: &str, expected: usize| {
            assert_eq!(complaints(&[], &manifest.parse().unwrap()).len(), expected, "{manifest}");
        };
        check("[dependencies]\n# clap = 1\nureq = \"3\"\nserde.version = \"1\"\n[features]\nx = []\n", 0);
        check("[dependencies]\nclap = \"4\"\n", 1);
        check("[target.'cfg(unix)'.dependencies]\nclap = \"4\"\n", 1);
        check("[dev-dependencies]\nclap = \"4\"\n", 0);
    }
}
