//! One owner per dependency, and one for each part of std that a file must not reach for on its own.

use super::source::Source;

struct Owner {
    /// The dependency, or nothing for a part of std.
    package: Option<&'static str>,
    /// As code names it. The row with the longest fitting path decides.
    path: &'static str,
    /// The files, and folders with a slash at the end, that may name it.
    homes: &'static [&'static str],
}

const OWNERS: &[Owner] = &[
    dependency("base64", "base64", &["src/oci/credentials.rs", "src/oci/schema1.rs"]),
    dependency("flate2", "flate2", &["src/layer/decoder.rs"]),
    dependency("landlock", "landlock", &["src/host/landlock.rs"]),
    dependency("lexopt", "lexopt", &["src/bin/pullet/args.rs", "src/bin/pullet/words.rs"]),
    dependency("miniz_oxide", "miniz_oxide", &["src/layer/decoder.rs"]),
    dependency("rustix", "rustix", SYSTEM),
    dependency("rustls", "rustls", &["src/registry/tls.rs"]),
    // There for its version alone.
    dependency("rustls-webpki", "webpki", &[]),
    dependency("ruzstd", "ruzstd", &["src/layer/decoder.rs"]),
    dependency("serde", "serde", DOCUMENTS),
    dependency("serde_json", "serde_json", DOCUMENTS),
    dependency("signal-hook", "signal_hook", &["src/bin/pullet/interrupt.rs"]),
    dependency("sha2", "sha2", &["src/digest.rs"]),
    dependency("tar", "tar", &["src/layer/entries.rs"]),
    dependency("toml", "toml", &["src/host/mirrors/toml_file.rs"]),
    dependency("ureq", "ureq", &["src/registry/http.rs"]),
    // The TCP and TLS connectors are ureq's transports, and those end in its error.
    dependency("ureq", "ureq::unversioned", TRANSPORT),
    dependency("ureq", "ureq::Error", TRANSPORT),
    dependency("ureq", "ureq::Timeout", TRANSPORT),
    dependency("webpki-roots", "webpki_roots", &["src/registry/tls.rs"]),
    standard("std::env", &["src/host/", "src/bin/"]),
    // What this was built for: of the compiler, not of the environment.
    standard("std::env::consts", &["src/oci/platform.rs"]),
    // It ends the program after 2038 where musl has words of 32 bits.
    standard("std::time::SystemTime", &[]),
    standard("std::thread", &["src/workers.rs"]),
    standard("thread", &["src/workers.rs"]),
];

/// HTTP, and those who make and wrap its connections.
const TRANSPORT: &[&str] =
    &["src/registry/http.rs", "src/registry/no_tls.rs", "src/registry/socket.rs", "src/registry/tls.rs"];

/// Who reads or writes JSON.
const DOCUMENTS: &[&str] = &["src/bin/pullet/", "src/host/", "src/oci/", "src/registry/", "src/store/"];

/// Who touches files by their descriptors, or asks the kernel about itself. The rest of unpack/ is pure.
const SYSTEM: &[&str] = &[
    "src/bin/pullet/",
    "src/boot/",
    "src/host/",
    "src/images/space.rs",
    "src/registry/socket.rs",
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

pub fn complaints(sources: &[Source], cargo_toml: &str) -> Vec<String> {
    let ours = sources.iter().filter(|source| source.path.starts_with("src/") && !source.is_test());
    let mut complaints: Vec<String> = ours.flat_map(trespasses).collect();
    complaints.extend(dependencies(cargo_toml).filter(|package| !is_owned(package)).map(|package| {
        format!("Cargo.toml: {package} has no owner; give it one in OWNERS (xtask/src/tidy/owners.rs)")
    }));
    complaints
}

fn trespasses(source: &Source) -> impl Iterator<Item = String> {
    source.uses.paths.iter().filter_map(|path| {
        let owner = owner(&path.segments)?;
        let at_home = |home: &&str| source.path == **home || home.ends_with('/') && source.path.starts_with(*home);
        if owner.homes.iter().any(at_home) {
            return None;
        }
        let homes = if owner.homes.is_empty() { "nobody".into() } else { owner.homes.join(", ") };
        Some(format!("{}:{}: {} belongs to {homes}", source.path, path.line, owner.path))
    })
}

fn owner(segments: &[String]) -> Option<&'static Owner> {
    let fits = |owner: &&Owner| {
        let path: Vec<&str> = owner.path.split("::").collect();
        segments.len() >= path.len() && path.iter().zip(segments).all(|(one, other)| one == other)
    };
    OWNERS.iter().filter(fits).max_by_key(|owner| owner.path.len())
}

fn is_owned(package: &str) -> bool {
    OWNERS.iter().any(|owner| owner.package == Some(package))
}

/// The packages in every table of dependencies that are built into pullet.
fn dependencies(cargo_toml: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    cargo_toml.lines().filter_map(move |line| {
        if let Some(table) = line.trim().strip_prefix('[') {
            let table = table.trim_end_matches(']');
            inside = table.ends_with("dependencies") && !table.ends_with("dev-dependencies");
            return None;
        }
        let (key, _) = line.split_once('=').filter(|_| inside && !line.trim().starts_with('#'))?;
        Some(key.trim().split('.').next().unwrap_or(key).trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &[&str]) {
        let got = complaints(&[Source::new(path, text)], "");
        assert_eq!(got, expected, "{path}: {text}");
    }

    #[test]
    fn an_owner_is_at_home() {
        check("src/registry/http.rs", "use ureq::{Agent, unversioned::transport::Connector};", &[]);
        check("src/registry/tls.rs", "use ureq::unversioned::transport::Connector; use rustls::A;", &[]);
        check("src/store/lock.rs", "rustix::fs::flock()", &[]);
        check("src/workers.rs", "use std::thread; fn f() { thread::scope(g) }", &[]);
        check("src/pull.rs", "#[cfg(test)]\nmod tests {\n    use sha2::A;\n}\n", &[]);
        check("tests/it/main.rs", "use sha2::A; use std::thread;", &[]);
    }

    #[test]
    fn nobody_else_names_what_is_owned() {
        check("src/pull.rs", "\nuse ureq;", &["src/pull.rs:2: ureq belongs to src/registry/http.rs"]);
        check("src/registry/tls.rs", "ureq::get()", &["src/registry/tls.rs:1: ureq belongs to src/registry/http.rs"]);
        let system = SYSTEM.join(", ");
        check("src/layer/path.rs", "use rustix::fs;", &[&format!("src/layer/path.rs:1: rustix belongs to {system}")]);
        check("src/verify.rs", "sha2::Sha256::new()", &["src/verify.rs:1: sha2 belongs to src/digest.rs"]);
        check("src/registry/tls.rs", "use webpki::A;", &["src/registry/tls.rs:1: webpki belongs to nobody"]);
        check("src/pull.rs", "use std::{io, thread};", &["src/pull.rs:1: std::thread belongs to src/workers.rs"]);
        check("src/pull.rs", "std::env::var(x)", &["src/pull.rs:1: std::env belongs to src/host/, src/bin/"]);
        check(
            "src/pull.rs",
            "std::time::SystemTime::now()",
            &["src/pull.rs:1: std::time::SystemTime belongs to nobody"],
        );
        check("src/host.rs", "use std::env::var;", &["src/host.rs:1: std::env belongs to src/host/, src/bin/"]);
    }

    #[test]
    fn every_dependency_has_an_owner() {
        let check = |cargo_toml: &str, expected: usize| assert_eq!(complaints(&[], cargo_toml).len(), expected);
        check("[dependencies]\n# clap = 1\nureq = \"3\"\nserde.version = \"1\"\n[features]\nx = []\n", 0);
        check("[dependencies]\nclap = \"4\"\n", 1);
        check("[target.'cfg(unix)'.dependencies]\nclap = \"4\"\n", 1);
        check("[dev-dependencies]\nclap = \"4\"\n", 0);
    }
}
