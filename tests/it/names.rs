//! Image names on the command line: which are refused, and for which reason, and how valid names are completed.
//!
//! `unpack --pull never` prints the full name of an image that is not stored and contacts no registry. The whole grammar
//! is tested offline that way, and a few names again against a registry.

use kit::digest::{sha256, sha512};
use kit::home::Home;
use kit::image::Image;
use kit::registry::Registry;

#[test]
fn refuses_malformed_names_with_a_reason() {
    let hex = "a".repeat(64);
    let cases: &[(&str, &str)] = &[
        ("", "empty"),
        ("Alpine", "lower"),
        ("docker.io/library/Alpine", "lower"),
        ("localhost:5000/a/B", "lower"),
        (&hex, "64"),
        (&format!("app:{}", "t".repeat(129)), "128"),
        (&"p".repeat(248), "255"),
        (&format!("localhost/{}", "p".repeat(256)), "255"),
        ("app:", "tag"),
        ("localhost:5000/app:", "tag"),
        ("app:-1", "tag"),
        ("app:.1", "tag"),
        ("app:a:b", "tag"),
        ("app:a/b", ""),
        ("app:t\u{e4}g", "tag"),
        ("app@", "digest"),
        ("app@sha256:abc", "digest"),
        (&format!("app@{hex}"), "digest"),
        (&format!("app@sha256:{}", hex.to_uppercase()), "digest"),
        (&format!("app@sha256:{hex}0"), "digest"),
        (&format!("app@sha512:{hex}"), "digest"),
        (&format!("app@SHA256:{hex}"), "digest"),
        (&format!("app@sha256:{hex}@sha256:{hex}"), "digest"),
        (&format!("app@sha256:{hex}:tag"), "digest"),
        ("app/", ""),
        ("/app", ""),
        ("a//b", ""),
        ("localhost//b", ""),
        ("a..b", ""),
        ("a___b", ""),
        ("a._b", ""),
        ("a-", ""),
        ("_a", ""),
        ("a b", ""),
        ("a\nb", ""),
        ("a\u{1b}[31mb", ""),
        ("b\u{fc}cher", ""),
        ("http://localhost/app", ""),
        ("user@host/app", ""),
        ("localhost:port/app", ""),
        ("localhost:/app", ""),
        ("-a.example/app", ""),
        ("host_name.example/app", ""),
        ("[::1/app", ""),
        ("[::g]/app", ""),
        ("[::1]x/app", ""),
        ("..", ""),
        ("../../etc/passwd", ""),
    ];
    let home = Home::new();
    for (name, reason) in cases {
        let outcome = home.run(&["pull", "--", name]).exits_in(&format!("{name:?}"), 2).fails_in_one_line().prints("");
        assert!(outcome.stderr.to_lowercase().contains(reason), "{name:?}: no reason {reason:?}\n{outcome}");
    }
}

#[test]
fn completes_names_as_docker_does() {
    let (short, long) = (sha256(b"x"), sha512(b"x"));
    let hub = |rest: &str| format!("docker.io/{rest}");
    let path = "p".repeat(247);
    let tag = "T".repeat(128);
    let cases: &[(&str, String)] = &[
        ("alpine", hub("library/alpine:latest")),
        ("alpine:3.20", hub("library/alpine:3.20")),
        ("library/alpine", hub("library/alpine:latest")),
        ("docker.io/alpine", hub("library/alpine:latest")),
        ("docker.io/library/alpine:3", hub("library/alpine:3")),
        ("index.docker.io/alpine", hub("library/alpine:latest")),
        ("index.docker.io/user/app:1", hub("user/app:1")),
        ("user/app", hub("user/app:latest")),
        ("a/b/c", hub("a/b/c:latest")),
        ("a__b/c--d/e.f/g_h", hub("a__b/c--d/e.f/g_h:latest")),
        ("0/1", hub("0/1:latest")),
        (&"g".repeat(64), hub(&format!("library/{}:latest", "g".repeat(64)))),
        (&"a".repeat(63), hub(&format!("library/{}:latest", "a".repeat(63)))),
        (&path, hub(&format!("library/{path}:latest"))),
        (&format!("app:{tag}"), hub(&format!("library/app:{tag}"))),
        ("app:_x.Y-z", hub("library/app:_x.Y-z")),
        ("localhost/app", "localhost/app:latest".into()),
        ("localhost:5000/app:1", "localhost:5000/app:1".into()),
        ("Example/app", "Example/app:latest".into()),
        ("EXAMPLE.com:443/app", "EXAMPLE.com:443/app:latest".into()),
        ("example.com/a/b", "example.com/a/b:latest".into()),
        ("192.0.2.1:5000/app", "192.0.2.1:5000/app:latest".into()),
        ("[::1]/app", "[::1]/app:latest".into()),
        ("[2001:db8::1]:5000/app:1", "[2001:db8::1]:5000/app:1".into()),
        (&format!("app@{short}"), hub(&format!("library/app@{short}"))),
        (&format!("app:1@{short}"), hub(&format!("library/app:1@{short}"))),
        (&format!("user/app@{long}"), hub(&format!("user/app@{long}"))),
    ];
    let home = Home::new();
    for (name, full) in cases {
        let outcome = home.run(&["unpack", "--pull", "never", name, "root"]).exits_in(name, 3).fails_in_one_line();
        let is_whole_name = |text: &str| {
            let next = outcome.stderr.split(text).nth(1)?.chars().next()?;
            Some(!next.is_ascii_alphanumeric() && !matches!(next, '.' | '-' | '_' | '/' | '@'))
        };
        assert_eq!(is_whole_name(full), Some(true), "{name:?} must be completed to {full:?}\n{outcome}");
    }
}

#[test]
fn a_pull_prints_the_full_name() {
    let registry = Registry::plain();
    let image = Image::small("names");
    image.push(&registry, "app", "latest");
    image.push(&registry, "deep/er/app", "1.0");
    let digest = image.digest();
    let local = |rest: &str| registry.host().replace("127.0.0.1", "localhost") + rest;
    let cases = [
        (registry.name("app"), registry.name("app:latest")),
        (registry.name("app:latest"), registry.name("app:latest")),
        (registry.name("deep/er/app:1.0"), registry.name("deep/er/app:1.0")),
        (local("/app"), local("/app:latest")),
        (registry.name(&format!("app@{digest}")), registry.name(&format!("app@{digest}"))),
    ];
    for (name, full) in cases {
        let home = Home::new();
        home.run(&["pull", "-q", &name]).exits_in(&name, 0).prints(&format!("{full}\n"));
        assert_eq!(home.names(), [full.as_str()], "{name}: the name in the store");
        let status = format!("Digest: {digest}\nStatus: Image is up to date for {full}\n{full}\n");
        home.run(&["pull", &name]).exits_in(&name, 0).prints(&status);
        let status = format!("Digest: {digest}\nStatus: Downloaded newer image for {full}\n{full}\n");
        Home::new().run(&["pull", &name]).exits_in(&name, 0).prints(&status);
    }
}

#[test]
fn a_name_with_tag_and_digest_pulls_by_digest() {
    let registry = Registry::plain();
    let (old, new) = (Image::small("old"), Image::small("new"));
    old.push(&registry, "app", "1");
    new.push(&registry, "app", "1");
    let home = Home::new();
    let name = registry.name(&format!("app:1@{}", old.digest()));
    let outcome = home.run(&["pull", &name]).exits(0);
    assert!(outcome.stdout.contains(&format!("Digest: {}\n", old.digest())), "{outcome}");
    assert_eq!(registry.requests_to("/manifests/1"), 0, "the tag was requested:\n{}", registry.log().join("\n"));
    assert_eq!(home.index()[0]["digest"], old.digest());
}

#[test]
fn verifies_sha512_digests() {
    let registry = Registry::plain();
    let image = Image::small("long");
    image.push(&registry, "app", "latest");
    let right = sha512(&image.manifest_bytes());
    let wrong = sha512(b"something else");
    registry.put_manifest_as("app", &right, &image.media_type, &image.manifest_bytes());
    registry.put_manifest_as("app", &wrong, &image.media_type, &image.manifest_bytes());
    let home = Home::new();
    home.run(&["pull", &registry.name(&format!("app@{right}"))]).exits(0);
    let home = Home::new();
    home.run(&["pull", &registry.name(&format!("app@{wrong}"))]).exits(8).fails_in_one_line();
    assert!(home.index().is_empty());
}

#[test]
fn pulls_several_names_in_one_command() {
    let registry = Registry::plain();
    let names: Vec<String> =
        ["one", "two"].iter().map(|seed| Image::small(seed).push(&registry, seed, "latest")).collect();
    let home = Home::new();
    home.run(&["pull", "-q", &names[0], &names[1]]).exits(0).prints(&format!("{}\n{}\n", names[0], names[1]));
    let mut stored = home.names();
    stored.sort();
    assert_eq!(stored, names);
    let missing = registry.name("three");
    home.run(&["pull", "-q", &missing]).exits(3).fails_in_one_line();
    // A malformed name is refused before any request, even after valid names.
    registry.clear_log();
    home.run(&["pull", &names[0], "Bad"]).exits(2);
    assert_eq!(registry.connections(), 0);
}

#[test]
fn a_docker_scheme_is_accepted_and_other_prefixes_name_the_right_form() {
    let registry = Registry::plain();
    let name = Image::small("scheme").push(&registry, "app", "latest");
    let home = Home::new();
    home.run(&["pull", "-q", &format!("docker://{name}")]).exits(0).prints(&format!("{name}\n"));
    home.run(&["unpack", "--pull", "never", &format!("docker://{name}"), &home.arg("root")]).exits(0);
    home.run(&["tags", &format!("docker://{}", registry.name("app"))]).exits(0).prints("latest\n");
    for (typed, right) in [
        ("https://quay.io/a/b:1", "write quay.io/a/b:1"),
        ("http://127.0.0.1:5000/a/", "write 127.0.0.1:5000/a"),
        ("docker://https://quay.io/a", "write quay.io/a"),
        ("oci:image:tag", "[HOST[:PORT]/]REPOSITORY[:TAG]"),
        ("oci:image", "[HOST[:PORT]/]REPOSITORY[:TAG]"),
        ("oci-archive:/tmp/a.tar", "[HOST[:PORT]/]REPOSITORY[:TAG]"),
        ("docker-archive:a.tar", "[HOST[:PORT]/]REPOSITORY[:TAG]"),
        ("docker-daemon:app:1", "[HOST[:PORT]/]REPOSITORY[:TAG]"),
        ("containers-storage:app", "[HOST[:PORT]/]REPOSITORY[:TAG]"),
        ("dir:/tmp/x", "[HOST[:PORT]/]REPOSITORY[:TAG]"),
    ] {
        let outcome = home.run(&["pull", typed]).exits_in(typed, 2).fails_in_one_line();
        outcome.says(typed).says("hint: ").says(right);
    }
}
