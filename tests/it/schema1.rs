//! Docker's schema 1: the conversion to an OCI image, pulling a converted image again, and manifests that are refused.

use serde_json::{Value, json};

use kit::archive::{archive, file, whiteout};
use kit::bench::Bench;
use kit::debian::{command, run};
use kit::digest::{sha256, short};
use kit::fault::{Fault, on};
use kit::image::{Image, Layer, OCI_MANIFEST, architecture};
use kit::listing::{assert_same, listing};
use kit::schema1::{EMPTY, SCHEMA_1, SIGNED, Step, edit_v1, id, manifest, payload, protected, push, signed, signed_as};

fn layers() -> [Layer; 2] {
    [Layer::of(&[file("a", "1"), file("b", "2")]), Layer::of(&[whiteout("a"), file("c", "3")])]
}

/// Two layers, with empty steps of both kinds between and above them.
fn steps(layers: &[Layer; 2]) -> [Step<'_>; 5] {
    [Step::Layer(&layers[0]), Step::Empty, Step::Throwaway, Step::Layer(&layers[1]), Step::Throwaway]
}

fn document(bench: &Bench, digest: &Value) -> Value {
    serde_json::from_slice(&std::fs::read(bench.home.blob(digest.as_str().unwrap())).unwrap()).unwrap()
}

fn blobs(layers: &[Layer]) -> Vec<String> {
    layers.iter().map(|layer| format!("GET /v2/app/blobs/{} 200", layer.digest())).collect()
}

#[test]
fn converts_schema_1_to_an_oci_image() {
    let layers = layers();
    let payload = payload(&manifest(&steps(&layers)));
    for (case, media_type, bytes) in [
        ("unsigned", SCHEMA_1, payload.clone()),
        ("signed", SIGNED, signed(&payload)),
        ("signed twice", SIGNED, signed_as(&payload, &vec![protected(payload.len() - 2, b"\n}"); 2])),
        ("recognized by its fields", "application/json", signed(&payload)),
        ("recognized by its fields, without a media type", "", payload.clone()),
        (
            "with a parameter",
            "application/vnd.docker.distribution.manifest.v1+prettyjws; charset=utf-8",
            signed(&payload),
        ),
    ] {
        let bench = Bench::new();
        let name = push(&bench.registry, "latest", media_type, &bytes, &[&layers[0], &layers[1]]);
        let outcome = bench.home.run(&["pull", &name]).exits_in(case, 0).says("deprecated");
        let digest = sha256(&payload);
        assert!(outcome.stdout.starts_with(&format!("Digest: {digest}\n")), "{case}: {outcome}");
        for layer in &layers {
            let line = format!("{}: Pull complete", short(&layer.digest()));
            assert!(outcome.stderr.contains(&line), "{case}: {outcome}");
        }
        let expected = [vec!["GET /v2/app/manifests/latest 200".to_string()], blobs(&layers)].concat();
        assert_same(case, &expected.join("\n"), &bench.registry.log().join("\n"));

        let entry = &bench.home.index()[0];
        assert_eq!(entry["mediaType"], OCI_MANIFEST, "{case}");
        assert_eq!(entry["annotations"]["pullet.resolved.digest"], digest, "{case}");
        let converted = document(&bench, &entry["digest"]);
        let named: Vec<&Value> = converted["layers"].as_array().unwrap().iter().map(|layer| &layer["digest"]).collect();
        assert_eq!(named, [&json!(layers[0].digest()), &json!(layers[1].digest())], "{case}");
        let config = document(&bench, &converted["config"]["digest"]);
        assert_eq!(config["architecture"], architecture(), "{case}");
        assert_eq!(config["config"], json!({ "Cmd": ["/bin/top"], "Env": ["A=b"] }), "{case}");
        assert_eq!(config["rootfs"]["diff_ids"], json!([layers[0].diff_id, layers[1].diff_id]), "{case}");
        for removed in ["id", "parent", "Size", "throwaway"] {
            assert_eq!(config.get(removed), None, "{case}: {removed}");
        }
        let history = config["history"].as_array().unwrap();
        let empty: Vec<bool> = history.iter().map(|step| step["empty_layer"] == true).collect();
        assert_eq!(empty, [false, true, true, false, true], "{case}");
        assert_eq!(history[3]["created_by"], "/bin/sh -c step 3", "{case}");
        assert_eq!(history[0]["created"], "2015-01-01T00:00:00Z", "{case}");

        bench.home.run(&["verify"]).exits_in(case, 0);
        bench.home.run(&["unpack", "--pull", "never", &name, &bench.home.arg("root")]).exits_in(case, 0);
        assert_same(case, "f 0644 b \"2\"\nf 0644 c \"3\"", &listing(&bench.home.path("root")));
    }
}

#[test]
fn a_second_pull_makes_one_request() {
    let (bench, layers) = (Bench::new(), layers());
    let bytes = signed(&payload(&manifest(&steps(&layers))));
    let name = push(&bench.registry, "latest", SIGNED, &bytes, &[&layers[0], &layers[1]]);
    let other = push(&bench.registry, "other", SIGNED, &bytes, &[]);
    bench.home.run(&["pull", &name]).exits(0);
    let config = document(&bench, &bench.home.index()[0]["digest"])["config"]["digest"].clone();
    let before = bench.home.index();
    let check_pull = |case: &str, name: &str, status: &str| {
        bench.registry.clear_log();
        let outcome = bench.home.run(&["pull", name]).exits_in(case, 0);
        assert!(outcome.stdout.contains(status), "{case}: {outcome}");
        let tag = name.rsplit(':').next().unwrap();
        assert_same(case, &format!("GET /v2/app/manifests/{tag} 200"), &bench.registry.log().join("\n"));
        bench.home.run(&["verify"]).exits_in(case, 0);
    };
    check_pull("the same tag", &name, "Status: Image is up to date for");
    assert_eq!(bench.home.index(), before);
    check_pull("another tag", &other, "Status: Downloaded newer image for");
    // The config and the manifest are converted check_pull, without fetching the layers that are still stored.
    std::fs::remove_file(bench.home.blob(config.as_str().unwrap())).unwrap();
    check_pull("without the config", &name, "Status: Image is up to date for");
    let manifest = bench.home.blob(before[0]["digest"].as_str().unwrap());
    std::fs::write(&manifest, "damaged").unwrap();
    check_pull("with a damaged manifest", &name, "Status: Image is up to date for");
    // Only the missing layer is fetched.
    std::fs::remove_file(bench.home.blob(&layers[1].digest())).unwrap();
    bench.registry.clear_log();
    bench.home.run(&["pull", &name]).exits(0);
    let expected = ["GET /v2/app/manifests/latest 200".to_string(), blobs(&layers)[1].clone()];
    assert_same("without a layer", &expected.join("\n"), &bench.registry.log().join("\n"));
}

#[test]
fn a_pinned_digest_covers_the_signed_payload() {
    let layers = layers();
    let payload = payload(&manifest(&steps(&layers)));
    let bytes = signed(&payload);
    let pull = |digest: &str, bytes: &[u8]| {
        let bench = Bench::new();
        push(&bench.registry, digest, SIGNED, bytes, &[&layers[0], &layers[1]]);
        let outcome = bench.home.run(&["pull", &bench.registry.name(&format!("app@{digest}"))]);
        (bench, outcome)
    };
    let (bench, outcome) = pull(&sha256(&payload), &bytes);
    outcome.exits(0);
    bench.home.run(&["pull", &bench.registry.name(&format!("app@{}", sha256(&payload)))]).exits(0);
    assert_eq!(bench.registry.requests_to("/blobs/"), 2, "{}", bench.registry.log().join("\n"));
    pull(&sha256(&payload), &payload).1.exits_in("without the signatures", 0);
    let edited = String::from_utf8(bytes.clone()).unwrap().replace("somebody/else", "somebody/evil").into_bytes();
    for (case, digest, bytes) in [
        ("the digest of all bytes", sha256(&bytes), &bytes),
        ("another digest", sha256(b"x"), &bytes),
        ("an edited payload", sha256(&payload), &edited),
    ] {
        let (bench, outcome) = pull(&digest, bytes);
        outcome.exits_in(case, 8).fails_in_one_line();
        assert!(bench.home.index().is_empty() && bench.registry.requests_to("/blobs/") == 0, "{case}");
    }
}

#[test]
fn reads_layers_of_any_compression_and_framing() {
    let tar = archive(&[file("a", "1")]);
    type Serve = fn(Fault) -> Fault;
    let framings: [(&str, Serve); 3] = [
        ("with a length", |fault| fault),
        ("in chunks", |fault| fault.chunked(100)),
        ("to the end of the connection", |fault| fault.closed()),
    ];
    for (kind, layer) in [("gzip", Layer::gzip(&tar)), ("plain", Layer::plain(&tar)), ("zstd", Layer::zstd(&tar))] {
        for (framing, fault) in &framings {
            let case = format!("{kind} {framing}");
            let bench = Bench::new();
            let bytes = payload(&manifest(&[Step::Layer(&layer), Step::Layer(&layer)]));
            let name = push(&bench.registry, "latest", SCHEMA_1, &bytes, &[&layer]);
            bench.registry.fault(fault(on("/blobs/")));
            bench.home.run(&["unpack", &name, &bench.home.arg("root")]).exits_in(&case, 0);
            assert_same(&case, "f 0644 a \"1\"", &listing(&bench.home.path("root")));
        }
    }
}

#[test]
fn an_image_of_empty_steps_has_no_layer() {
    let bench = Bench::new();
    let name = push(&bench.registry, "latest", SCHEMA_1, &payload(&manifest(&[Step::Empty, Step::Throwaway])), &[]);
    bench.home.run(&["unpack", &name, &bench.home.arg("root")]).exits(0);
    assert_eq!(bench.registry.requests_to("/blobs/"), 0, "{}", bench.registry.log().join("\n"));
    assert_eq!(listing(&bench.home.path("root")), "");
}

#[test]
fn a_repeated_member_is_refused_at_any_depth() {
    let layers = layers();
    let good = String::from_utf8(payload(&manifest(&steps(&layers)))).unwrap();
    for (case, member, twice) in [
        ("at the top", r#""fsLayers":"#, r#""fsLayers":[],"fsLayers":"#),
        ("in a layer", r#""blobSum":"#, r#""blobSum":"","blobSum":"#),
        ("in a step", r#"\"id\":"#, r#"\"id\":\"\",\"id\":"#),
    ] {
        let (bench, text) = (Bench::new(), good.replacen(member, twice, 1));
        assert_ne!(text, good, "{case}");
        let name = push(&bench.registry, "latest", SCHEMA_1, text.as_bytes(), &[&layers[0], &layers[1]]);
        bench.home.run(&["pull", &name]).exits_in(case, 11).fails_in_one_line().says("is repeated");
        assert_eq!(bench.registry.requests_to("/blobs/"), 0, "{case}");
    }
}

/// As in Docker: of consecutive steps with the same ID only the lowest counts.
#[test]
fn a_repeated_step_counts_once() {
    let (bench, layers) = (Bench::new(), layers());
    let mut twice = manifest(&[Step::Layer(&layers[0]), Step::Layer(&layers[1]), Step::Throwaway]);
    let (layer, step) = (twice["fsLayers"][1].clone(), twice["history"][1].clone());
    twice["fsLayers"].as_array_mut().unwrap().insert(1, layer);
    twice["history"].as_array_mut().unwrap().insert(1, step);
    let name = push(&bench.registry, "latest", SCHEMA_1, &payload(&twice), &[&layers[0], &layers[1]]);
    bench.home.run(&["pull", &name]).exits(0);
    assert_eq!(document(&bench, &bench.home.index()[0]["digest"])["layers"].as_array().unwrap().len(), 2);
}

#[test]
fn refuses_another_platform_before_fetching_layers() {
    let (bench, layers) = (Bench::new(), layers());
    let mut other = manifest(&steps(&layers));
    edit_v1(&mut other, 0, |v1| v1["architecture"] = json!("s390x"));
    let name = push(&bench.registry, "latest", SCHEMA_1, &payload(&other), &[&layers[0], &layers[1]]);
    bench.home.run(&["pull", "--platform", "linux/amd64", &name]).exits(10).fails_in_one_line();
    assert_eq!(bench.registry.requests_to("/blobs/"), 0);
    bench.home.run(&["pull", "--platform", "linux/s390x", &name]).exits(0);
    assert_eq!(bench.home.index()[0]["platform"]["architecture"], "s390x");
    bench.home.run(&["pull", "--platform", "linux/amd64", &name]).exits(10).fails_in_one_line();
}

type Edit = Box<dyn Fn(&mut Value)>;

/// Serves an edited manifest, and expects exit code 11, no request for a layer and no image in the index.
#[track_caller]
fn check_edit(case: &str, edit: Edit) {
    let layers = layers();
    let mut edited = manifest(&steps(&layers));
    edit(&mut edited);
    check_bytes(case, &payload(&edited));
}

#[track_caller]
fn check_bytes(case: &str, bytes: &[u8]) {
    let (bench, layers) = (Bench::new(), layers());
    let name = push(&bench.registry, "latest", SIGNED, bytes, &[&layers[0], &layers[1]]);
    bench.home.run(&["pull", &name]).exits_in(case, 11).fails_in_one_line();
    assert!(bench.home.index().is_empty(), "{case}");
    assert_eq!(bench.registry.requests_to("/blobs/"), 0, "{case}: {}", bench.registry.log().join("\n"));
}

#[test]
fn refuses_malformed_manifests_before_fetching_layers() {
    let v1 = |line: usize, edit: fn(&mut Value)| -> Edit { Box::new(move |m| edit_v1(m, line, edit)) };
    let text = |text: &'static str| -> Edit { Box::new(move |m| m["history"][1]["v1Compatibility"] = json!(text)) };
    let pop = |member: &'static str| -> Edit { Box::new(move |m| drop(m[member].as_array_mut().unwrap().pop())) };
    let cases: Vec<(&str, Edit)> = vec![
        ("one layer too few", pop("fsLayers")),
        ("one step too few", pop("history")),
        ("no layers", Box::new(|m| (m["fsLayers"], m["history"]) = (json!([]), json!([])))),
        ("layers of null", Box::new(|m| m["fsLayers"] = json!(null))),
        (
            "ten thousand layers",
            Box::new(|m| {
                m["fsLayers"] = json!(vec![m["fsLayers"][0].clone(); 10_000]);
                m["history"] = json!(vec![m["history"][0].clone(); 10_000]);
            }),
        ),
        ("schema 2 by its number", Box::new(|m| m["schemaVersion"] = json!(2))),
        ("another media type inside", Box::new(|m| m["mediaType"] = json!(OCI_MANIFEST))),
        ("with the layers of schema 2 as well", Box::new(|m| m["layers"] = json!([]))),
        ("with manifests as well", Box::new(|m| m["manifests"] = json!([]))),
        ("with a config as well", Box::new(|m| m["config"] = json!({}))),
        ("a blobSum that is a path", Box::new(|m| m["fsLayers"][0]["blobSum"] = json!("sha256:../../etc/passwd"))),
        ("a blobSum in capitals", Box::new(|m| m["fsLayers"][0]["blobSum"] = json!(EMPTY.to_uppercase()))),
        ("no blobSum", Box::new(|m| m["fsLayers"][0] = json!({}))),
        ("a v1Compatibility that is an object", Box::new(|m| m["history"][1]["v1Compatibility"] = json!({}))),
        ("a v1Compatibility that is not JSON", text("{")),
        ("an empty v1Compatibility", text("")),
        ("a v1Compatibility of null", text("null")),
        ("a v1Compatibility that is a list", text("[]")),
        (
            "a deep v1Compatibility",
            Box::new(|m| {
                m["history"][0]["v1Compatibility"] =
                    json!(format!("{{\"x\":{}{}}}", "[".repeat(5000), "]".repeat(5000)));
            }),
        ),
        (
            "a v1Compatibility with two IDs",
            Box::new(|m| {
                let v1 = m["history"][0]["v1Compatibility"].as_str().unwrap().replacen('{', "{\"id\":\"x\",", 1);
                m["history"][0]["v1Compatibility"] = json!(v1);
            }),
        ),
        ("no ID", v1(1, |v1| drop(v1.as_object_mut().unwrap().remove("id")))),
        ("a malformed ID", v1(1, |v1| v1["id"] = json!("../../x"))),
        ("a broken chain", v1(1, |v1| v1["parent"] = json!(id(9)))),
        ("a step without a parent", v1(1, |v1| drop(v1.as_object_mut().unwrap().remove("parent")))),
        ("a base with a parent", v1(4, |v1| v1["parent"] = json!(id(9)))),
        ("a loop", v1(4, |v1| v1["id"] = json!(id(4)))),
        ("throwaway as text", v1(1, |v1| v1["throwaway"] = json!("yes"))),
    ];
    for (case, edit) in cases {
        check_edit(case, edit);
    }
}

#[test]
fn refuses_signatures_that_do_not_match_the_bytes() {
    let payload = payload(&manifest(&steps(&layers())));
    let length = payload.len() - 2;
    let tail = b"\n}";
    let evil = b",\"fsLayers\":[]}";
    let cases: Vec<(&str, Vec<Value>)> = vec![
        ("no signature", vec![]),
        ("two that differ", vec![protected(length, tail), protected(length - 1, tail)]),
        ("a length beyond the bytes", vec![protected(1 << 30, tail)]),
        ("a length of zero", vec![protected(0, tail)]),
        ("a negative length", vec![json!({ "formatLength": -1, "formatTail": "Cn0" })]),
        ("a huge length", vec![json!({ "formatLength": 1e300, "formatTail": "Cn0" })]),
        ("a tail that is not base64", vec![json!({ "formatLength": length, "formatTail": "***" })]),
        ("no tail", vec![json!({ "formatLength": length })]),
        ("a tail with more content", vec![protected(length, evil)]),
        ("a tail with another member", vec![protected(length, b",\"other\":1}")]),
        ("an empty tail", vec![protected(length, b"")]),
    ];
    for (case, protected) in cases {
        check_bytes(case, &signed_as(&payload, &protected));
    }
    let broken = |from: &str, to: &str| String::from_utf8(signed(&payload)).unwrap().replacen(from, to, 1).into_bytes();
    check_bytes("a protected header that is not base64", &broken("\"protected\":\"", "\"protected\":\"*"));
    check_bytes("no protected header", &broken("\"protected\"", "\"unprotected\""));
    check_bytes("signatures that are text", &broken("\"signatures\": [", "\"signatures\": \"x\", \"y\": ["));
    check_bytes("nothing", b"");
    check_bytes("not JSON", b"<html>");
}

#[test]
fn verifies_layers_before_converting_them() {
    type Break = fn(Fault) -> Fault;
    let cases: [(&str, i32, Break); 5] = [
        ("a flipped bit", 8, |fault| fault.flip(30)),
        ("short", 8, |fault| fault.shorter(20)),
        ("long", 8, |fault| fault.longer(b"x")),
        ("cut", 5, |fault| fault.cut(20)),
        ("gone", 3, |fault| fault.status(404).body("{}")),
    ];
    for (case, code, fault) in cases {
        let (bench, layers) = (Bench::new(), layers());
        let bytes = payload(&manifest(&steps(&layers)));
        let name = push(&bench.registry, "latest", SCHEMA_1, &bytes, &[&layers[0], &layers[1]]);
        bench.registry.fault(fault(on(layers[1].digest())));
        bench.home.run(&["pull", &name]).exits_in(case, code).fails_in_one_line();
        assert!(bench.home.index().is_empty(), "{case}");
        bench.registry.clear_faults();
        bench.registry.clear_log();
        bench.home.run(&["pull", &name]).exits_in(case, 0);
        assert_eq!(bench.registry.requests_to("/blobs/"), 1, "{case}: only the second layer must be fetched");
    }
    for (case, blob) in [
        ("a broken gzip", b"\x1f\x8b\x08 and no more".to_vec()),
        ("a cut gzip", {
            let mut blob = layers()[0].blob.clone();
            blob.truncate(blob.len() - 5);
            blob
        }),
    ] {
        let (bench, layer) = (Bench::new(), Layer::with_blob(b"tar", blob));
        let bytes = payload(&manifest(&[Step::Layer(&layer)]));
        let name = push(&bench.registry, "latest", SCHEMA_1, &bytes, &[&layer]);
        bench.home.run(&["pull", &name]).exits_in(case, 11).fails_in_one_line();
        assert!(bench.home.index().is_empty(), "{case}");
    }
    // A blob damaged in the store must not become a layer of a converted image.
    let (bench, layers) = (Bench::new(), layers());
    let bytes = payload(&manifest(&steps(&layers)));
    let name = push(&bench.registry, "latest", SCHEMA_1, &bytes, &[&layers[0], &layers[1]]);
    let first = payload(&manifest(&[Step::Layer(&layers[0])]));
    let other = push(&bench.registry, "other", SCHEMA_1, &first, &[]);
    bench.home.run(&["pull", &other]).exits(0);
    let mut blob = std::fs::read(bench.home.blob(&layers[0].digest())).unwrap();
    let last = blob.len() - 9;
    blob[last] ^= 1;
    std::fs::write(bench.home.blob(&layers[0].digest()), blob).unwrap();
    bench.home.run(&["pull", &name]).exits(8).fails_in_one_line().says("verify --remove-corrupt");
    bench.home.run(&["verify", "--remove-corrupt"]).exits(0);
    bench.home.run(&["pull", &name]).exits(0);
}

/// skopeo reads the converted manifest in the store and copies the image to an archive for `docker load`.
#[test]
fn skopeo_reads_the_converted_image() {
    let (bench, layers) = (Bench::new(), layers());
    let bytes = signed(&payload(&manifest(&steps(&layers))));
    let name = push(&bench.registry, "latest", SIGNED, &bytes, &[&layers[0], &layers[1]]);
    bench.home.run(&["pull", &name]).exits(0);
    let stored = format!("oci:{}:{name}", bench.home.store().display());
    let inspected = run(command("skopeo").args(["inspect", &stored])).expect(0).stdout;
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Layers"], json!([layers[0].digest(), layers[1].digest()]));
    assert_eq!((&inspected["Architecture"], &inspected["Os"]), (&json!(architecture()), &json!("linux")));
    let config = run(command("skopeo").args(["inspect", "--config", &stored])).expect(0).stdout;
    assert!(config.contains("/bin/top"), "{config}");
    let archive = format!("docker-archive:{}:localhost/copied:latest", bench.home.arg("copied.tar"));
    run(command("skopeo").args(["--insecure-policy", "copy", &stored, &archive])).expect(0);
    let tag = format!("{}:{name}", bench.home.store().display());
    run(command("umoci").args(["stat", "--image", &tag])).expect(0);
}

/// skopeo converts a current image to schema 1, signs it, and prints the digest of the signed manifest.
#[test]
fn reads_manifests_that_skopeo_signed() {
    let (bench, layers) = (Bench::new(), layers());
    let history =
        json!([{ "created_by": "one" }, { "created_by": "two" }, { "created_by": "three", "empty_layer": true }]);
    let image = Image::with_config(layers.to_vec(), |config| config["history"] = history);
    let name = image.push(&bench.registry, "app", "current");
    bench.home.run(&["pull", &name]).exits(0);
    let (from, folder) = (format!("oci:{}:{name}", bench.home.store().display()), bench.home.path("signed"));
    let to = format!("dir:{}", folder.display());
    run(command("skopeo").args(["--insecure-policy", "copy", "--format", "v2s1", &from, &to])).expect(0);
    let file = folder.join("manifest.json");
    let digest = run(command("skopeo").arg("manifest-digest").arg(&file)).expect(0).stdout;
    let bytes = std::fs::read(&file).unwrap();
    assert_ne!(digest.trim(), sha256(&bytes));
    for selector in ["latest", digest.trim()] {
        push(&bench.registry, selector, SIGNED, &bytes, &[]);
    }
    let old = bench.registry.name("app");
    bench.home.run(&["digest", &old]).exits(0).prints(&digest);
    bench.home.run(&["pull", &format!("{old}@{}", digest.trim())]).exits(0);
    bench.home.run(&["unpack", &old, &bench.home.arg("root")]).exits(0);
    assert_same("the tree", "f 0644 b \"2\"\nf 0644 c \"3\"", &listing(&bench.home.path("root")));
}
