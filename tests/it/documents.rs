//! Malicious and broken manifests, indexes and configs. Each has the right exit code and leaves nothing in the store's
//! index, and no layer is requested before all documents have been checked.

use serde_json::{Value, json};

use kit::archive::file;
use kit::bench::Bench;
use kit::digest::{sha256, sha512};
use kit::fault::{Fault, on};
use kit::image::{
    DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, Image, Layer, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, architecture,
    descriptor, index, push_index,
};

pub fn image() -> Image {
    Image::new(vec![Layer::of(&[file("a", "1")]), Layer::of(&[file("b", "2")])])
}

/// Serves these bytes as the manifest of an image whose blobs exist, and expects one of these exit codes.
#[track_caller]
fn check_bytes(case: &str, media_type: &str, bytes: &[u8], codes: &[i32]) {
    let (bench, image) = (Bench::new(), image());
    image.push_blobs(&bench.registry, "app");
    bench.registry.put_manifest("app", Some("latest"), media_type, bytes);
    bench.home.run(&["pull", &bench.registry.name("app")]).exits_among(case, codes).fails_in_one_line();
    bench.assert_no_layer_requested(case, &image);
    assert_eq!(bench.registry.requests_to("/blobs/"), 0, "{case}: {}", bench.registry.log().join("\n"));
}

/// Like [`check_bytes`], with an edited copy of a valid manifest.
#[track_caller]
fn check_edit(case: &str, codes: &[i32], edit: impl FnOnce(&mut Value)) {
    check_bytes(case, OCI_MANIFEST, &image().edited(edit).manifest_bytes(), codes);
}

/// Like [`check_bytes`], with a valid manifest in whose text `from` is replaced by `to`.
#[track_caller]
fn check_text(case: &str, codes: &[i32], from: &str, to: &str) {
    let text = String::from_utf8(image().manifest_bytes()).unwrap();
    assert!(text.contains(from), "{case}: {from} is not in {text}");
    check_bytes(case, OCI_MANIFEST, text.replacen(from, to, 1).as_bytes(), codes);
}

#[test]
fn rejects_ambiguous_documents() {
    let image = image();
    let entry = image.entry("linux/amd64");
    check_edit("manifests next to layers", &[11], |m| m["manifests"] = json!([entry]));
    check_edit("empty manifests next to layers", &[11], |m| m["manifests"] = json!([]));
    for (member, extra) in
        [("layers", json!([])), ("config", descriptor(OCI_CONFIG, b"{}")), ("layers", image.manifest["layers"].clone())]
    {
        let mut both = index(&[image.entry(&format!("linux/{}", architecture()))]);
        both[member] = extra;
        check_bytes(&format!("{member} in an index"), OCI_INDEX, both.to_string().as_bytes(), &[11]);
    }
    let manifest = image.manifest_bytes();
    for served in [OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST] {
        check_bytes(&format!("served as {served}"), served, &manifest, &[11]);
    }
    for claimed in [OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST] {
        check_edit(&format!("mediaType is {claimed}"), &[11], |m| m["mediaType"] = json!(claimed));
    }
    let as_index = index(&[entry]).to_string();
    check_bytes("an index served as a manifest", OCI_MANIFEST, as_index.as_bytes(), &[11]);
    let untyped = as_index.replace(&format!("\"mediaType\":\"{OCI_INDEX}\","), "");
    assert_ne!(untyped, as_index);
    check_bytes("an index without mediaType served as a manifest", OCI_MANIFEST, untyped.as_bytes(), &[11]);
}

#[test]
fn rejects_an_index_that_contradicts_its_manifest() {
    let (image, host) = (image(), format!("linux/{}", architecture()));
    type Edit = fn(&mut Value);
    let cases: [(&str, &[i32], Edit); 8] = [
        ("another media type", &[11], |e| e["mediaType"] = json!(OCI_INDEX)),
        ("Docker's media type", &[11], |e| e["mediaType"] = json!(DOCKER_MANIFEST)),
        ("a size too small", &[8], |e| e["size"] = json!(e["size"].as_u64().unwrap() - 1)),
        ("a size too large", &[8], |e| e["size"] = json!(e["size"].as_u64().unwrap() + 1)),
        ("a negative size", &[11], |e| e["size"] = json!(-1)),
        ("no size", &[11], |e| drop(e.as_object_mut().unwrap().remove("size"))),
        ("a digest that is a path", &[11], |e| e["digest"] = json!("sha256:../../../../etc/passwd")),
        ("a size of five megabytes", &[8, 11], |e| e["size"] = json!(5 << 20)),
    ];
    for (case, codes, edit) in cases {
        let bench = Bench::new();
        image.push_blobs(&bench.registry, "app");
        bench.registry.put_manifest("app", None, OCI_MANIFEST, &image.manifest_bytes());
        let mut entry = image.entry(&host);
        edit(&mut entry);
        bench.registry.put_manifest("app", Some("latest"), OCI_INDEX, index(&[entry]).to_string().as_bytes());
        bench.home.run(&["pull", &bench.registry.name("app")]).exits_among(case, codes).fails_in_one_line();
        bench.assert_no_layer_requested(case, &image);
    }
}

#[test]
fn reports_unsupported_documents_and_layers() {
    check_bytes(
        "schema 1 without layers",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        br#"{"schemaVersion":1,"name":"app","tag":"latest","fsLayers":[]}"#,
        &[11],
    );
    check_bytes("schema 1 by its number", OCI_MANIFEST, br#"{"schemaVersion":1,"fsLayers":[]}"#, &[10]);
    check_bytes("HTML", "text/html", b"<html>", &[10, 11]);
    for media_type in [
        "application/vnd.oci.image.layer.v1.tar+xz",
        "application/octet-stream",
        "",
        "application/vnd.oci.image.layer.v1.tar+gzip+gzip",
    ] {
        check_edit(&format!("a layer of type {media_type:?}"), &[10, 11], |m| {
            m["layers"][1]["mediaType"] = json!(media_type)
        });
    }
    check_edit("an artifact", &[10], |m| {
        m["config"]["mediaType"] = json!("application/vnd.example.thing.config.v1+json")
    });
    check_edit("an empty config", &[10], |m| m["config"] = descriptor("application/vnd.oci.empty.v1+json", b"{}"));
}

#[test]
fn rejects_malformed_digests() {
    let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let bad = [
        "".to_string(),
        hex.to_string(),
        "sha256:".to_string(),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}0"),
        format!("sha512:{hex}"),
        format!("sha256:{hex}\r\nX-Evil: 1"),
        format!("sha256:{hex}/../../x"),
        format!("sha256:{}", "/".repeat(64)),
        "sha256:../../../../etc/passwd".to_string(),
        format!("sha256-{hex}"),
        format!(" sha256:{hex}"),
        format!("sha256:{}\0", &hex[1..]),
    ];
    for digest in &bad {
        check_edit(&format!("config digest {digest:?}"), &[11], |m| m["config"]["digest"] = json!(digest));
        check_edit(&format!("layer digest {digest:?}"), &[11], |m| m["layers"][1]["digest"] = json!(digest));
    }
    for digest in [
        "SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha384:38b060a751ac96384cd9327eb1b1e36a",
        "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
    ] {
        check_edit(&format!("layer digest {digest:?}"), &[10, 11], |m| m["layers"][1]["digest"] = json!(digest));
    }
    check_edit("a digest that is a number", &[11], |m| m["layers"][0]["digest"] = json!(7));
    check_edit("no digest", &[11], |m| drop(m["layers"][0].as_object_mut().unwrap().remove("digest")));
}

#[test]
fn rejects_impossible_sizes() {
    let size = image().layers[0].blob.len();
    let from = format!("\"size\":{size}");
    for to in [
        "-1",
        "-9223372036854775808",
        "9223372036854775808",
        "18446744073709551616",
        "1e3",
        "1.5",
        "1.0",
        "\"12\"",
        "null",
        "[]",
        "0x10",
        "012",
        "1e400",
    ] {
        check_text(&format!("a layer's size is {to}"), &[11], &from, &format!("\"size\":{to}"));
    }
    // 2^62 is a valid number, but no machine has the space.
    check_text("a layer's size is 2^62", &[9, 11], &from, "\"size\":4611686018427387904");
    check_edit("sizes that overflow together", &[9, 11], |m| {
        m["layers"][0]["size"] = json!(i64::MAX);
        m["layers"][1]["size"] = json!(i64::MAX);
    });
    let entry = image().entry("linux/amd64").to_string();
    let size = entry.split("\"size\":").nth(1).and_then(|rest| rest.split([',', '}']).next()).unwrap();
    for to in ["-1", "9223372036854775808", "18446744073709551615"] {
        let entry = entry.replacen(&format!("\"size\":{size}"), &format!("\"size\":{to}"), 1);
        let index = format!("{{\"schemaVersion\":2,\"mediaType\":\"{OCI_INDEX}\",\"manifests\":[{entry}]}}");
        check_bytes(&format!("a manifest's size is {to}"), OCI_INDEX, index.as_bytes(), &[11]);
    }
    check_edit("a layer without a size", &[11], |m| drop(m["layers"][0].as_object_mut().unwrap().remove("size")));
    check_edit("a config of five megabytes", &[11], |m| m["config"]["size"] = json!(5 << 20));
}

#[test]
fn rejects_anything_but_strict_json_of_the_right_shape() {
    let good = String::from_utf8(image().manifest_bytes()).unwrap();
    let layers = image().manifest["layers"].to_string();
    let documents: &[(&str, Vec<u8>)] = &[
        ("an empty document", Vec::new()),
        ("null", b"null".to_vec()),
        ("a list", b"[]".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("text", b"manifest".to_vec()),
        ("a byte order mark", format!("\u{feff}{good}").into_bytes()),
        ("trailing text", format!("{good}x").into_bytes()),
        ("two documents", format!("{good}{good}").into_bytes()),
        ("truncated", good.as_bytes()[..good.len() / 2].to_vec()),
        (
            "not UTF-8",
            good.replace("schemaVersion", "x\u{1}")
                .into_bytes()
                .into_iter()
                .map(|b| if b == 1 { 0xff } else { b })
                .collect(),
        ),
        ("a trailing NUL", format!("{good}\0").into_bytes()),
        ("deeply nested", format!("{{\"x\":{}{}}}", "[".repeat(5000), "]".repeat(5000)).into_bytes()),
        ("deeply nested and never closed", "[".repeat(1_000_000).into_bytes()),
        (
            "deeply nested inside a valid one",
            good.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(200), "]".repeat(200)), 1).into_bytes(),
        ),
        ("UTF-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect()),
    ];
    for (case, bytes) in documents {
        check_bytes(case, OCI_MANIFEST, bytes, &[11]);
    }
    let texts = [
        ("two schemaVersions", "\"schemaVersion\":2", "\"schemaVersion\":2,\"schemaVersion\":2"),
        ("two lists of layers", "\"layers\":[", "\"layers\":[],\"layers\":["),
        ("two digests in a layer", "{\"digest\":", "{\"digest\":\"sha256:0\",\"digest\":"),
        ("layers in another case", "\"layers\"", "\"Layers\""),
        ("config in another case", "\"config\"", "\"CONFIG\""),
        ("schemaVersion as text", "\"schemaVersion\":2", "\"schemaVersion\":\"2\""),
        ("a comment", "{", "{/**/"),
        ("an additional comma", "\"schemaVersion\":2", "\"schemaVersion\":2,"),
        ("layers null", layers.as_str(), "null"),
        ("layers an object", layers.as_str(), "{}"),
        ("a layer null", layers.as_str(), "[null]"),
        ("a layer that is text", layers.as_str(), "[\"sha256:x\"]"),
    ];
    for (case, from, to) in texts {
        check_text(case, &[11], from, to);
    }
}

#[test]
fn limits_the_size_of_documents() {
    let spaces = " ".repeat(5 << 20);
    check_bytes(
        "a manifest of five megabytes",
        OCI_MANIFEST,
        [image().manifest_bytes(), spaces.clone().into_bytes()].concat().as_slice(),
        &[11],
    );
    let layer = image().manifest["layers"][0].clone();
    check_edit("20,000 layers", &[11], |m| m["layers"] = json!(vec![layer.clone(); 20_000]));
    check_edit("1,001 layers", &[11], |m| m["layers"] = json!(vec![layer.clone(); 1001]));
    let entries = vec![image().entry("linux/s390x"); 12_000];
    check_bytes("an index with 12,000 other platforms", OCI_INDEX, index(&entries).to_string().as_bytes(), &[10]);
    // An error's body is read for its message only.
    let bench = Bench::new();
    let body = format!(r#"{{"errors":[{{"code":"X","message":"{}"}}]}}"#, "m".repeat(5 << 20));
    bench.registry.fault(on("/manifests/").status(500).body(body));
    let outcome = bench.home.run(&["pull", &bench.registry.name("app")]).exits(5).fails_in_one_line();
    assert!(outcome.stderr.len() < 64 << 10, "{} bytes of error", outcome.stderr.len());
}

#[test]
fn checks_the_config_before_requesting_layers() {
    let id = sha256(b"x");
    type Edit = Box<dyn Fn(&mut Value)>;
    let ids = |ids: Vec<Value>| -> Edit { Box::new(move |c| c["rootfs"]["diff_ids"] = json!(ids)) };
    let cases: Vec<(&str, &[i32], Edit)> = vec![
        ("one diff_id too few", &[8], ids(vec![json!(id)])),
        ("no diff_id", &[8], ids(vec![])),
        ("one diff_id too many", &[8], ids(vec![json!(id), json!(id), json!(id)])),
        ("diff_ids of null", &[8, 11], ids(vec![json!(null), json!(null)])),
        ("a malformed diff_id", &[11], ids(vec![json!(id), json!("sha256:xyz")])),
        ("a diff_id in capitals", &[11], ids(vec![json!(id), json!(id.to_uppercase())])),
        ("a diff_id that is a path", &[11], ids(vec![json!(id), json!("../../etc/passwd")])),
        ("diff_ids that are text", &[11], Box::new(|c| c["rootfs"]["diff_ids"] = json!("sha256:0"))),
        ("no member diff_ids", &[8, 11], Box::new(|c| drop(c["rootfs"].as_object_mut().unwrap().remove("diff_ids")))),
        ("no rootfs", &[8, 11], Box::new(|c| drop(c.as_object_mut().unwrap().remove("rootfs")))),
        ("a rootfs of another type", &[10, 11], Box::new(|c| c["rootfs"]["type"] = json!("layers+base"))),
        ("a rootfs with only another type", &[8, 10, 11], Box::new(|c| c["rootfs"] = json!({ "type": "none" }))),
    ];
    for (case, codes, edit) in cases {
        let (bench, image) = (Bench::new(), Image::with_config(image().layers, edit));
        bench.pull(&image).exits_among(case, codes).fails_in_one_line();
        bench.assert_no_layer_requested(case, &image);
    }
    let good = image().config.to_string();
    let duplicate = good.replacen("\"rootfs\":", "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]},\"rootfs\":", 1);
    for (case, bytes) in [
        ("not JSON", b"config".to_vec()),
        ("an empty document", Vec::new()),
        ("truncated", good.as_bytes()[..good.len() - 1].to_vec()),
        ("trailing text", format!("{good} x").into_bytes()),
        ("rootfs twice", duplicate.into_bytes()),
        ("a byte order mark", format!("\u{feff}{good}").into_bytes()),
        ("deeply nested", format!("{{\"x\":{}", "[".repeat(100_000)).into_bytes()),
    ] {
        let (bench, image) = (Bench::new(), Image::with_config_bytes(image().layers, json!({}), bytes));
        bench.pull(&image).exits_in(case, 11).fails_in_one_line();
        bench.assert_no_layer_requested(case, &image);
    }
}

#[test]
fn checks_the_size_and_digest_of_the_config() {
    type Break = fn(Fault) -> Fault;
    let cases: [(&str, &[i32], Break); 5] = [
        ("a flipped bit", &[8], |fault| fault.flip(3)),
        ("too short", &[8], |fault| fault.shorter(20)),
        ("a byte too long", &[8], |fault| fault.longer(b" ")),
        ("a closed connection", &[5], |fault| fault.cut(10)),
        ("missing", &[3], |fault| fault.status(404).body("{}")),
    ];
    for (case, codes, fault) in cases {
        let (bench, image) = (Bench::new(), image());
        bench.registry.fault(fault(on(image.config_digest())));
        bench.pull(&image).exits_among(case, codes).fails_in_one_line();
        bench.assert_no_layer_requested(case, &image);
    }
    for size in [-1i64, 1] {
        let wrong = image().edited(|m| m["config"]["size"] = json!(m["config"]["size"].as_i64().unwrap() + size));
        let bench = Bench::new();
        bench.pull(&wrong).exits_in(&format!("config size {size:+}"), 8).fails_in_one_line();
        bench.assert_no_layer_requested("config size", &wrong);
    }
}

#[test]
fn checks_a_pinned_digest_against_the_bytes() {
    let (bench, image, other) = (Bench::new(), image(), Image::small("other"));
    image.push(&bench.registry, "app", "latest");
    other.push_blobs(&bench.registry, "app");
    bench.registry.put_manifest_as("app", &image.digest(), OCI_MANIFEST, &other.manifest_bytes());
    bench.home.run(&["pull", &bench.registry.name(&format!("app@{}", image.digest()))]).exits(8).fails_in_one_line();
    bench.assert_no_layer_requested("other bytes under a pinned digest", &other);
    // The digest in an index is checked, too.
    let bench = Bench::new();
    let name = push_index(&bench.registry, "app", "latest", &[(&format!("linux/{}", architecture()), &image)]);
    bench.registry.fault(on(image.digest()).flip(5));
    bench.home.run(&["pull", &name]).exits(8).fails_in_one_line();
    bench.assert_no_layer_requested("a flipped bit in the manifest of an index", &image);
}

#[test]
fn computes_the_digest_and_ignores_the_header() {
    for lie in [sha256(b"lie"), sha512(b"lie"), "nonsense".to_string(), "sha256:\u{1b}[31m".to_string()] {
        let (bench, image) = (Bench::new(), image());
        bench
            .registry
            .fault(on("/manifests/").without("Docker-Content-Digest").header("Docker-Content-Digest", lie.clone()));
        let outcome = bench.pull(&image).exits_among(&lie, &[0, 5, 8]);
        if outcome.code == 0 {
            assert!(outcome.stdout.contains(&format!("Digest: {}\n", image.digest())), "{outcome}");
            assert_eq!(bench.home.index()[0]["digest"], image.digest());
        }
    }
}

#[test]
fn accepts_additional_members() {
    type Edit = fn(&mut Value);
    let cases: [(&str, Edit); 7] = [
        ("unknown members", |m| m["x-unknown"] = json!({ "deep": [1, { "er": null }] })),
        ("annotations", |m| m["annotations"] = json!({ "org.example": "x" })),
        ("no mediaType", |m| drop(m.as_object_mut().unwrap().remove("mediaType"))),
        ("an artifactType", |m| m["artifactType"] = json!("application/vnd.example")),
        ("a subject", |m| m["subject"] = descriptor(OCI_MANIFEST, b"{}")),
        ("annotations on a layer", |m| m["layers"][0]["annotations"] = json!({ "a": "b" })),
        ("a platform on a layer", |m| m["layers"][0]["platform"] = json!({ "os": "linux", "architecture": "amd64" })),
    ];
    for (case, edit) in cases {
        let bench = Bench::new();
        bench.pull(&image().edited(edit)).exits_in(case, 0);
    }
    let (bench, docker) = (Bench::new(), image().docker());
    bench.pull(&docker).exits_in("Docker schema 2", 0);
    assert_eq!(bench.home.index()[0]["mediaType"], OCI_MANIFEST, "the store names an OCI manifest of the same blobs");
    assert_eq!(docker.manifest["config"]["mediaType"], DOCKER_CONFIG);
    let bench = Bench::new();
    bench.registry.fault(
        on("/manifests/").without("Content-Type").header("Content-Type", format!("{OCI_MANIFEST}; charset=utf-8")),
    );
    bench.pull(&image()).exits_in("a parameter of the media type", 0);
}

#[test]
fn does_not_trust_embedded_data() {
    let (bench, image) = (Bench::new(), image());
    // "ZXZpbA==" is "evil", which is neither the config nor a layer.
    let lying = image.edited(|m| {
        m["config"]["data"] = json!("ZXZpbA==");
        m["layers"][0]["data"] = json!("ZXZpbA==");
    });
    let outcome = bench.pull(&lying).exits_among("data that does not match the digest", &[0, 8, 11]);
    if outcome.code == 0 {
        let root = bench.home.arg("root");
        bench.home.run(&["unpack", "--pull", "never", &bench.registry.name("app"), &root]).exits(0);
        assert_eq!(std::fs::read(bench.home.path("root/a")).unwrap(), b"1");
    }
}
