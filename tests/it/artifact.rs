//! `pullet artifact` verifies files and writes them under their titles, either all of them or none.

use rustix::fs::XattrFlags;
use serde_json::{Value, json};

use crate::acl;
use kit::bench::Bench;
use kit::digest::sha256;
use kit::fault::{Fault, on};
use kit::image::{Image, OCI_CONFIG, OCI_MANIFEST, descriptor, index};
use kit::listing::{assert_same, listing};
use kit::process::Finished;

const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const TITLE: &str = "org.opencontainers.image.title";

/// The manifest of an artifact with these files and the empty config.
fn artifact(files: &[(&str, &[u8])]) -> Value {
    let blob = |(title, body): &(&str, &[u8])| {
        let mut blob = descriptor("application/octet-stream", body);
        blob["annotations"] = json!({ TITLE: title });
        blob
    };
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.firmware",
        "config": descriptor(EMPTY, b"{}"),
        "layers": files.iter().map(blob).collect::<Vec<_>>(),
    })
}

const FILES: [(&str, &[u8]); 3] = [("boot.img", b"boot"), ("etc/deep/conf", b"key=value"), ("empty", b"")];

/// Pushes the manifest and the bodies, and fetches the artifact into `out`.
fn fetch(bench: &Bench, manifest: &Value, bodies: &[(&str, &[u8])]) -> Finished {
    bodies.iter().for_each(|(_, body)| drop(bench.registry.put_blob("app", body)));
    bench.registry.put_manifest("app", Some("latest"), OCI_MANIFEST, manifest.to_string().as_bytes());
    bench.home.run(&["artifact", &bench.registry.name("app"), &bench.home.arg("out")])
}

/// Asserts that the target does not exist and that nothing was left next to it.
#[track_caller]
fn assert_no_target(case: &str, bench: &Bench) {
    let mut names: Vec<String> = std::fs::read_dir(bench.home.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["home"], "{case}");
}

#[test]
fn names_files_by_their_titles() {
    let bench = Bench::new();
    let outcome = fetch(&bench, &artifact(&FILES), &FILES).exits(0).prints("");
    outcome.says("boot.img").says("application/vnd.example.firmware");
    let expected =
        "f 0644 boot.img \"boot\"\nf 0644 empty \"\"\nd 0755 etc\nd 0755 etc/deep\nf 0644 etc/deep/conf \"key=value\"";
    assert_same("the files", expected, &listing(&bench.home.path("out")));
    assert!(!bench.home.store().exists(), "a store was made");
    // An empty file needs no request because its digest is known.
    let blobs = FILES.iter().filter(|(_, body)| !body.is_empty());
    let blobs = blobs.map(|(_, body)| format!("GET /v2/app/blobs/{} 200", sha256(body))).collect();
    let log = [vec!["GET /v2/app/manifests/latest 200".to_string()], blobs].concat();
    assert_same("the requests", &log.join("\n"), &bench.registry.log().join("\n"));
    assert_eq!(bench.registry.connections(), 1);
    // An existing target is left alone, unless it is an empty folder.
    fetch(&bench, &artifact(&FILES), &FILES).exits(9).fails_in_one_line();
    assert_same("the files", expected, &listing(&bench.home.path("out")));
    std::fs::create_dir(bench.home.path("empty")).unwrap();
    bench.home.run(&["artifact", "-q", &bench.registry.name("app"), &bench.home.arg("empty")]).exits(0).prints("");
    assert_same("the files", expected, &listing(&bench.home.path("empty")));
}

#[test]
fn the_default_acl_around_the_folder_is_not_inherited() {
    let bench = Bench::new();
    rustix::fs::setxattr(bench.home.path(""), acl::DEFAULT, &acl::acl(), XattrFlags::empty()).unwrap();
    fetch(&bench, &artifact(&FILES), &FILES).exits(0);
    acl::assert_none_below(&bench.home.path("out"));
}

#[test]
fn fetches_artifacts_of_every_shape() {
    type Edit = fn(&mut Value);
    let cases: [(&str, Edit); 4] = [
        ("a custom config", |m| m["config"] = descriptor("application/vnd.example.config.v1+json", b"{\"a\":1}")),
        ("ORAS without artifactType", |m| {
            m.as_object_mut().unwrap().remove("artifactType");
            m["config"] = descriptor("application/vnd.unknown.config.v1+json", b"{}");
        }),
        ("inline data", |m| m["layers"][0]["data"] = json!("ZXZpbA==")),
        ("a subject", |m| m["subject"] = descriptor(OCI_MANIFEST, b"{}")),
    ];
    for (case, edit) in cases {
        let (bench, mut manifest) = (Bench::new(), artifact(&FILES));
        edit(&mut manifest);
        fetch(&bench, &manifest, &FILES).exits_in(case, 0);
        assert_eq!(std::fs::read(bench.home.path("out/boot.img")).unwrap(), b"boot", "{case}");
        bench.home.run(&["pull", &bench.registry.name("app")]).exits_in(case, 10).says("pullet artifact");
        assert!(bench.home.index().is_empty(), "{case}");
    }
    // An artifact is also fetched from an index and by a pinned digest.
    let (bench, manifest) = (Bench::new(), artifact(&FILES));
    fetch(&bench, &manifest, &FILES).exits(0);
    let entries = index(&[descriptor(OCI_MANIFEST, manifest.to_string().as_bytes())]).to_string();
    bench.registry.put_manifest("app", None, OCI_MANIFEST, manifest.to_string().as_bytes());
    bench.registry.put_manifest("app", Some("many"), "application/vnd.oci.image.index.v1+json", entries.as_bytes());
    let pinned = format!("app@{}", sha256(manifest.to_string().as_bytes()));
    for (name, target) in [("app:many", "many"), (pinned.as_str(), "pinned")] {
        bench.home.run(&["artifact", &bench.registry.name(name), &bench.home.arg(target)]).exits_in(name, 0);
        assert!(bench.home.path(target).join("boot.img").exists(), "{name}");
    }
}

#[test]
fn lists_blobs_without_a_title_and_leaves_them_out() {
    let (bench, mut manifest) = (Bench::new(), artifact(&FILES));
    manifest["layers"][1].as_object_mut().unwrap().remove("annotations");
    manifest["layers"][2]["annotations"] = json!({ "another": "x" });
    let outcome = fetch(&bench, &manifest, &FILES).exits(0);
    outcome.says(&sha256(FILES[1].1)).says(&sha256(FILES[2].1)).says("left out");
    assert_same("the files", "f 0644 boot.img \"boot\"", &listing(&bench.home.path("out")));
    assert_eq!(bench.registry.requests_to("/blobs/"), 1);
    let (bench, mut manifest) = (Bench::new(), artifact(&FILES[..1]));
    manifest["layers"][0].as_object_mut().unwrap().remove("annotations");
    fetch(&bench, &manifest, &FILES).exits(10).fails_in_one_line();
    assert_no_target("no titles", &bench);
}

#[test]
fn does_not_unpack_packed_folders() {
    for (media_type, name) in [
        ("application/vnd.oci.image.layer.v1.tar+gzip", "site.tar.gz"),
        ("application/vnd.oci.image.layer.v1.tar", "site.tar"),
        ("application/vnd.example", "site.tar.gz"),
    ] {
        let (bench, mut manifest) = (Bench::new(), artifact(&[("site", b"packed")]));
        manifest["layers"][0]["mediaType"] = json!(media_type);
        manifest["layers"][0]["annotations"]["io.deis.oras.content.unpack"] = json!("true");
        fetch(&bench, &manifest, &[("", b"packed")]).exits(0).says(name);
        assert_same(media_type, &format!("f 0644 {name} \"packed\""), &listing(&bench.home.path("out")));
    }
}

#[test]
fn rejects_unsafe_names_before_requesting_blobs() {
    let long = "a".repeat(256);
    let deep = "a/".repeat(3000);
    let bad: [&[&str]; 18] = [
        &["../evil"],
        &["a/../../evil"],
        &["/etc/evil"],
        &["//evil"],
        &[".."],
        &["."],
        &[""],
        &["a/"],
        &["a//b"],
        &["a/./b"],
        &["a\0b"],
        &["a\nb"],
        &["\u{1b}[2J"],
        &[&long],
        &[&deep],
        &["a", "a"],
        &["a", "./a"],
        &["a/b", "a"],
    ];
    for names in bad {
        let case = format!("{names:?}");
        let bench = Bench::new();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &b"evil"[..])).collect();
        fetch(&bench, &artifact(&files), &files).exits_in(&case, 11).fails_in_one_line().hides("\u{1b}");
        assert_eq!(bench.registry.requests_to("/blobs/"), 0, "{case}");
        assert_no_target(&case, &bench);
    }
    let (bench, mut manifest) = (Bench::new(), artifact(&FILES));
    manifest["layers"][0]["annotations"][TITLE] = json!(7);
    fetch(&bench, &manifest, &FILES).exits(11).fails_in_one_line();
    let (bench, mut manifest) = (Bench::new(), artifact(&[("a", b"x")]));
    manifest["layers"] = json!(vec![manifest["layers"][0].clone(); 20_000]);
    fetch(&bench, &manifest, &[]).exits(11).fails_in_one_line();
}

#[test]
fn writes_nothing_when_a_blob_is_missing_or_wrong() {
    type Break = fn(Fault) -> Fault;
    let cases: [(&str, i32, Break); 6] = [
        ("a flipped bit", 8, |fault| fault.flip(3)),
        ("too short", 8, |fault| fault.shorter(3)),
        ("too long", 8, |fault| fault.longer(b"x")),
        ("a closed connection", 5, |fault| fault.cut(0)),
        ("missing", 3, |fault| fault.status(404).body("{}")),
        ("a server error", 5, |fault| fault.status(500).body("")),
    ];
    for (case, code, fault) in cases {
        let bench = Bench::new();
        bench.registry.fault(fault(on(sha256(FILES[1].1))));
        fetch(&bench, &artifact(&FILES), &FILES).exits_in(case, code).fails_in_one_line();
        assert_no_target(case, &bench);
    }
    type Edit = fn(&mut Value);
    let edits: [(&str, i32, Edit); 5] = [
        ("a size too small", 8, |m| m["layers"][0]["size"] = json!(3)),
        ("a size too large", 8, |m| m["layers"][0]["size"] = json!(5)),
        ("a negative size", 11, |m| m["layers"][0]["size"] = json!(-1)),
        ("sizes that overflow", 11, |m| m["layers"] = json!(vec![with_size(&m["layers"][0], i64::MAX); 2])),
        ("a digest that is a path", 11, |m| m["layers"][0]["digest"] = json!("sha256:../../etc/passwd")),
    ];
    for (case, code, edit) in edits {
        let (bench, mut manifest) = (Bench::new(), artifact(&FILES));
        edit(&mut manifest);
        fetch(&bench, &manifest, &FILES).exits_in(case, code).fails_in_one_line();
        assert_no_target(case, &bench);
    }
}

#[test]
fn a_file_with_urls_is_fetched_from_the_registry_only() {
    let (bench, other, mut manifest) = (Bench::new(), kit::registry::Registry::plain(), artifact(&FILES));
    manifest["layers"][0]["urls"] = json!([other.url("/x")]);
    fetch(&bench, &manifest, &FILES).exits(0);
    bench.registry.fault(on(sha256(FILES[0].1)).status(404).body("{}"));
    std::fs::remove_dir_all(bench.home.path("out")).unwrap();
    fetch(&bench, &manifest, &FILES).exits(3).fails_in_one_line();
    assert_eq!(other.connections(), 0);
}

#[test]
fn refuses_images() {
    let (bench, image) = (Bench::new(), Image::small("a"));
    let name = image.push(&bench.registry, "app", "latest");
    bench.home.run(&["artifact", &name, &bench.home.arg("out")]).exits(10).says("pullet pull").fails_in_one_line();
    assert_eq!(bench.registry.requests_to("/blobs/"), 0);
    let mut typed = artifact(&FILES);
    typed["config"] = descriptor(OCI_CONFIG, b"{}");
    bench.registry.put_manifest("app", Some("typed"), OCI_MANIFEST, typed.to_string().as_bytes());
    bench.home.run(&["artifact", &bench.registry.name("app:typed"), &bench.home.arg("out")]).exits(10);
    for args in [&["artifact"][..], &["artifact", "a"], &["artifact", "a", "b", "c"], &["artifact", "--raw", "a", "b"]]
    {
        bench.home.run(args).exits(2).fails_in_one_line();
    }
}

fn with_size(blob: &Value, size: i64) -> Value {
    let mut blob = blob.clone();
    blob["size"] = json!(size);
    blob
}
