//! `tags`, `digest` and `manifest` read from the registry, print to standard output, and store nothing.

use serde_json::{Value, json};

use kit::bench::Bench;
use kit::digest::{sha256, sha512};
use kit::fault::on;
use kit::home::Home;
use kit::image::{Image, OCI_INDEX, OCI_MANIFEST, architecture, push_index};
use kit::process::Finished;
use kit::schema1::{self, SIGNED, Step};

/// Asserts that nothing was stored and that exactly these requests were sent, on one connection.
#[track_caller]
fn assert_requests(bench: &Bench, expected: &[String]) {
    assert!(!bench.home.store().exists(), "a store was made");
    assert_eq!(bench.registry.log(), expected);
    assert_eq!(bench.registry.connections(), 1);
    bench.registry.clear_log();
}

fn get(target: &str) -> String {
    format!("GET /v2/app/{target} 200")
}

fn head(target: &str) -> String {
    format!("HEAD /v2/app/{target} 200")
}

#[test]
fn tags_follows_the_pages_of_the_list() {
    let bench = Bench::new();
    bench.registry.page_size(2);
    for tag in ["1", "2", "3.0-rc_1", "4", "latest"] {
        Image::small(tag).push(&bench.registry, "app", tag);
    }
    bench.registry.bearer("t0ken", None);
    let name = bench.registry.name("app");
    bench.home.run(&["tags", &name]).exits(0).prints("1\n2\n3.0-rc_1\n4\nlatest\n").hides("t0ken");
    assert_eq!(bench.registry.requests_to("/tags/list"), 4, "{}", bench.registry.log().join("\n"));
    assert!(!bench.home.store().exists());
    bench.home.run(&["tags", "-v", &name]).exits(0).says("/v2/app/tags/list: 200");
    for bad in [format!("{name}:1"), format!("{name}@{}", sha256(b"x"))] {
        bench.home.run(&["tags", &bad]).exits(2).fails_in_one_line();
    }
    for args in [&["tags"][..], &["tags", "a", "b"], &["tags", "--raw", "a"], &["tags", "-a", "a"]] {
        bench.home.run(args).exits(2).fails_in_one_line().prints("");
    }
}

#[test]
fn tags_prints_the_valid_tags_of_a_well_formed_list() {
    let body = |tags: &str| format!(r#"{{"name":"app","tags":{tags}}}"#);
    for (case, code, text, printed) in [
        ("null", 0, body("null"), ""),
        ("an empty list", 0, body("[]"), ""),
        ("a repeated tag", 0, body(r#"["a","a"]"#), "a\n"),
        ("an invalid tag", 0, body(r#"["a","../b"]"#), "a\n"),
        ("a tag of two lines", 0, body(r#"["a\nb"]"#), ""),
        ("an escape", 0, body("[\"\\u001b[2J\"]"), ""),
        ("not a list", 5, body("7"), ""),
        ("not JSON", 5, "<html>".to_string(), ""),
    ] {
        let bench = Bench::new();
        bench.registry.fault(on("/tags/list").status(200).body(text));
        bench.home.run(&["tags", &bench.registry.name("app")]).exits_in(case, code).prints(printed);
    }
    let bench = Bench::new();
    bench.registry.fault(on("/tags/list").status(404).body(r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#));
    bench.home.run(&["tags", &bench.registry.name("app")]).exits(3).says("NAME_UNKNOWN").fails_in_one_line();
}

#[test]
fn digest_and_manifest_of_an_image() {
    let (bench, image) = (Bench::new(), Image::small("a"));
    let name = image.push(&bench.registry, "app", "latest");
    bench.home.run(&["digest", &name]).exits(0).prints(&format!("{}\n", image.digest()));
    assert_requests(&bench, &[head("manifests/latest")]);
    let raw = bench.home.run(&["manifest", "--raw", &name]).exits(0);
    assert_eq!(raw.stdout.as_bytes(), image.manifest_bytes());
    assert_eq!(raw.stderr, "");
    assert_requests(&bench, &[get("manifests/latest")]);
    let pretty = bench.home.run(&["manifest", &name]).exits(0);
    assert_eq!(serde_json::from_str::<Value>(&pretty.stdout).unwrap(), image.manifest);
    assert!(pretty.stdout.lines().count() > 10 && pretty.stdout.ends_with("}\n"), "{pretty}");
    bench.registry.clear_log();
    bench.home.run(&["digest", "-v", &name]).exits(0).says("/v2/app/manifests/latest: 200");
}

#[test]
fn digest_and_manifest_of_an_index() {
    let bench = Bench::new();
    let (native, other) = (Image::small("native"), Image::for_platform(Image::small("other").layers, "linux/s390x"));
    let own = format!("linux/{}", architecture());
    let name = push_index(&bench.registry, "app", "latest", &[(&own, &native), ("linux/s390x", &other)]);
    let raw = bench.home.run(&["manifest", "--raw", &name]).exits(0).stdout;
    assert_eq!(serde_json::from_str::<Value>(&raw).unwrap()["mediaType"], OCI_INDEX);
    bench.registry.clear_log();
    bench.home.run(&["digest", &name]).exits(0).prints(&format!("{}\n", sha256(raw.as_bytes())));
    assert_requests(&bench, &[head("manifests/latest")]);
    for (platform, image) in [(own.as_str(), &native), ("linux/s390x", &other)] {
        let args = |command: &'static str| [command, "--platform", platform, &name].map(str::to_string).to_vec();
        bench.home.run(&args("digest")).exits(0).prints(&format!("{}\n", image.digest()));
        assert_requests(&bench, &[get("manifests/latest"), get(&format!("manifests/{}", image.digest()))]);
        let raw = [args("manifest"), vec!["--raw".to_string()]].concat();
        assert_eq!(bench.home.run(&raw).exits(0).stdout.as_bytes(), image.manifest_bytes());
        bench.registry.clear_log();
    }
    bench
        .home
        .run(&["digest", "--platform", "linux/riscv64", &name])
        .exits(10)
        .says("no image for platform")
        .prints("");
}

#[test]
fn verifies_a_pinned_digest() {
    let (bench, image, other) = (Bench::new(), Image::small("a"), Image::small("b"));
    for digest in [image.digest(), sha512(&image.manifest_bytes())] {
        let name = bench.registry.name(&format!("app@{digest}"));
        for command in ["digest", "manifest"] {
            bench.registry.put_manifest_as("app", &digest, OCI_MANIFEST, &image.manifest_bytes());
            bench.home.run(&[command, &name]).exits_in(&digest, 0);
            bench.registry.put_manifest_as("app", &digest, OCI_MANIFEST, &other.manifest_bytes());
            bench.home.run(&[command, &name]).exits_in(&digest, 8).fails_in_one_line().prints("");
        }
    }
    // The header is not trusted.
    let name = image.push(&bench.registry, "app", "latest");
    let lie = on("/manifests/").without("Docker-Content-Digest").header("Docker-Content-Digest", sha256(b"lie"));
    bench.registry.fault(lie);
    bench.home.run(&["digest", "--platform", "linux", &name]).exits(0).prints(&format!("{}\n", image.digest()));
    bench.home.run(&["pull", &name]).exits(0);
    assert_eq!(bench.home.index()[0]["digest"], image.digest());
}

/// Docker Hub counts a GET request as a pull, and a HEAD request not.
#[test]
fn digest_sends_a_get_request_only_if_head_does_not_answer() {
    let no_digest = || on("/manifests/").nth(1).without("Docker-Content-Digest");
    for (case, fault) in [
        ("not allowed", on("/manifests/").nth(1).status(405).body("")),
        ("forbidden", on("/manifests/").nth(1).status(403).body("")),
        ("not found", on("/manifests/").nth(1).status(404).body("")),
        ("broken", on("/manifests/").nth(1).status(500).body("")),
        ("redirected", on("/manifests/").nth(1).redirect(307, "/elsewhere")),
        ("no digest", no_digest()),
        ("malformed digest", no_digest().header("Docker-Content-Digest", "latest")),
    ] {
        let (bench, image) = (Bench::new(), Image::small("a"));
        let name = image.push(&bench.registry, "app", "latest");
        bench.registry.fault(fault);
        bench.home.run(&["digest", &name]).exits_in(case, 0).prints(&format!("{}\n", image.digest()));
        let methods: Vec<String> = bench.registry.calls().into_iter().map(|call| call.request.method).collect();
        assert_eq!(methods, ["HEAD", "GET"], "{case}");
    }
    // The name has the digest already, so that it only has to exist.
    let (bench, image) = (Bench::new(), Image::small("a"));
    image.push(&bench.registry, "app", "latest");
    bench.registry.fault(no_digest());
    let target = format!("manifests/{}", image.digest());
    let pinned = bench.registry.name(&format!("app@{}", image.digest()));
    bench.home.run(&["digest", &pinned]).exits(0).prints(&format!("{}\n", image.digest()));
    assert_requests(&bench, &[head(&target)]);
    // A registry that limits requests gets no second one.
    bench.registry.fault(on("/manifests/").status(429).header("Retry-After", "3600").body(""));
    bench.home.run(&["digest", &pinned]).exits(6).says("try again after 3600 s");
    assert_eq!(bench.registry.requests_to("/manifests/"), 1);
}

#[test]
fn digest_authenticates_a_head_request() {
    let (bench, image) = (Bench::new(), Image::small("a"));
    let name = image.push(&bench.registry, "app", "latest");
    bench.registry.bearer("t0ken", None);
    bench.home.run(&["digest", &name]).exits(0).prints(&format!("{}\n", image.digest()));
    let calls = bench.registry.calls();
    let requests: Vec<(&str, u16)> = calls.iter().map(|call| (call.request.method.as_str(), call.status)).collect();
    assert_eq!(requests, [("HEAD", 401), ("GET", 200), ("HEAD", 200)]);
}

#[test]
fn prints_documents_that_are_not_images() {
    let bench = Bench::new();
    let unknown = br#"{"schemaVersion":2,"mediaType":"application/vnd.unknown","n":1.50,"z":1,"a":[]}"#;
    bench.registry.put_manifest("app", Some("latest"), "application/vnd.unknown", unknown);
    let name = bench.registry.name("app");
    bench.home.run(&["manifest", &name]).exits(0).prints(
        "{\n  \"schemaVersion\": 2,\n  \"mediaType\": \"application/vnd.unknown\",\n  \"n\": 1.50,\n  \"z\": 1,\n  \"a\": []\n}\n",
    );
    bench.home.run(&["digest", &name]).exits(0).prints(&format!("{}\n", sha256(unknown)));
    let layer = Image::small("a").layers.remove(0);
    let payload = schema1::payload(&schema1::manifest(&[Step::Layer(&layer)]));
    let name = schema1::push(&bench.registry, "old", SIGNED, &schema1::signed(&payload), &[]);
    bench.home.run(&["digest", &name]).exits(0).prints(&format!("{}\n", sha256(&payload)));
    assert!(bench.home.run(&["manifest", &name]).exits(0).stdout.contains("\"signatures\""));
    bench.home.run(&["digest", "--platform", "linux", &name]).exits(0).prints(&format!("{}\n", sha256(&payload)));
}

#[test]
fn escapes_control_characters_of_a_document() {
    let bench = Bench::new();
    let check = |text: &str, code: i32| -> Finished {
        bench.registry.put_manifest("app", Some("latest"), OCI_MANIFEST, text.as_bytes());
        bench.home.run(&["manifest", &bench.registry.name("app")]).exits_in(text, code)
    };
    let outcome = check("{\"a\":\"\u{9b}31m\u{202e}\u{7f}\"}", 0);
    assert_eq!(serde_json::from_str::<Value>(&outcome.stdout).unwrap(), json!({ "a": "\u{9b}31m\u{202e}\u{7f}" }));
    assert!(outcome.stdout.is_ascii(), "{outcome}");
    for bad in ["", "<html>", "{\"a\":\"\u{1b}[2J\"}", "{} x", "{\"a\":1", &"[".repeat(200), "\u{1b}[2J"] {
        check(bad, 11).fails_in_one_line().prints("");
    }
    let big = format!("{{\"a\":\"{}\"}}", "x".repeat(5 << 20));
    check(&big[..], 11).prints("");
}

#[test]
fn errors_have_their_exit_codes() {
    let bench = Bench::new();
    let name = bench.registry.name("app");
    for command in ["digest", "manifest"] {
        bench.home.run(&[command, &name]).exits(3).fails_in_one_line().prints("");
        bench.home.run(&[command]).exits(2).fails_in_one_line();
        bench.home.run(&[command, "a", "b"]).exits(2).fails_in_one_line();
        bench.home.run(&[command, "Bad"]).exits(2).fails_in_one_line();
    }
    bench.home.run(&["digest", "--raw", "a"]).exits(2).fails_in_one_line();
    bench.registry.require("Basic dXNlcjpwYXNz", &["Basic realm=\"x\""]);
    let image = Image::small("a");
    let name = image.push(&bench.registry, "app", "latest");
    bench.home.run(&["digest", &name]).exits(4).fails_in_one_line();
    let digest = format!("{}\n", image.digest());
    bench.home.run(&["digest", "--creds", "user:pass", &name]).exits(0).prints(&digest).hides("pass");
    Home::new().run(&["digest", "--creds", "user:pass", &name]).exits(0).prints(&digest);
}
