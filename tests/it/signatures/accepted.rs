//! Signatures that are accepted, and the requests that they cost.

use serde_json::json;

use kit::archive::file;
use kit::bench::Bench;
use kit::digest::sha256;
use kit::image::{Image, Layer, OCI_INDEX, OCI_MANIFEST, architecture, descriptor, index, push_index};
use kit::process::Finished;
use kit::signature::{Signer, sign_simply, sign_with_bundles, sign_with_tagged_bundles};

use super::{APP, Scene, signer, stranger};

#[test]
fn accepts_both_formats_of_each_kind_of_key() {
    for kind in ["p256", "p384", "ed25519", "rsa2048", "rsa3072", "rsa4096"] {
        let signer = Signer::new(kind);
        for (format, sign) in [
            ("simple", sign_simply as fn(&_, &_, &_, &_)),
            ("bundle", sign_with_bundles),
            ("tagged bundle", sign_with_tagged_bundles),
        ] {
            let case = format!("{kind} {format}");
            let scene = Scene::new();
            scene.refuses(&case, &[&signer.option()], "the image is not signed");
            sign(&scene.bench.registry, APP, &scene.image.digest(), &[&signer]);
            scene.refuses(&case, &[&stranger().option()], "the image is signed, but by no given key");
            scene.accepts(&case, &[&signer.option()]);
        }
    }
}

#[test]
fn a_simple_signature_costs_two_requests() {
    let scene = Scene::new();
    sign_simply(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    scene.accepts("signed", &[&signer().option()]);
    let requests = scene.requests();
    assert_eq!(&requests[..2], ["GET manifests/latest 200", "GET manifests/sha256-IMAGE.sig 200"]);
    assert!(requests[2].starts_with("GET blobs/sha256:"), "{requests:?}");
    assert_eq!(requests.len(), 5, "{requests:?}");
}

#[test]
fn a_bundle_costs_four_requests_or_five_without_the_api() {
    let scene = Scene::new();
    sign_with_bundles(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    scene.accepts("signed", &[&signer().option()]);
    let requests = scene.requests();
    let expected = ["GET manifests/latest 200", "GET manifests/sha256-IMAGE.sig 404", "GET referrers/sha256:IMAGE 200"];
    assert_eq!(&requests[..3], expected);
    assert!(requests[3].starts_with("GET manifests/sha256:") && requests[4].starts_with("GET blobs/sha256:"));
    assert_eq!(requests.len(), 7, "{requests:?}");

    let scene = Scene::new();
    sign_with_tagged_bundles(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    scene.accepts("signed", &[&signer().option()]);
    let requests = scene.requests();
    let expected = [
        "GET manifests/latest 200",
        "GET manifests/sha256-IMAGE.sig 404",
        "GET referrers/sha256:IMAGE 404",
        "GET manifests/sha256-IMAGE 200",
    ];
    assert_eq!(&requests[..4], expected);
    assert_eq!(requests.len(), 8, "{requests:?}");
}

#[test]
fn a_signature_of_the_index_covers_the_manifest_in_it() {
    let family = Family::new();
    family.pull(&[&signer().option()]).exits_in("nothing is signed", 8).says("the image is not signed");
    sign_simply(&family.bench.registry, APP, &family.index, &[signer()]);
    family.pull(&[&signer().option()]).exits_in("the index is signed", 0);
}

#[test]
fn a_signature_of_the_manifest_is_enough() {
    let family = Family::new();
    sign_with_bundles(&family.bench.registry, APP, &family.own.digest(), &[signer()]);
    family.pull(&[&signer().option()]).exits_in("the manifest is signed", 0);
}

#[test]
fn a_signature_of_a_sibling_proves_nothing() {
    let family = Family::new();
    sign_simply(&family.bench.registry, APP, &family.sibling.digest(), &[signer()]);
    sign_with_bundles(&family.bench.registry, APP, &family.sibling.digest(), &[signer()]);
    family.pull(&[&signer().option()]).exits_in("the sibling is signed", 8).says("the image is not signed");
    family.bench.assert_no_layer_requested("the sibling is signed", &family.own);
}

#[test]
fn a_pinned_manifest_of_a_signed_index_gets_a_hint() {
    let family = Family::new();
    sign_simply(&family.bench.registry, APP, &family.index, &[signer()]);
    let pinned = family.bench.registry.name(&format!("{APP}@{}", family.own.digest()));
    let outcome = family.bench.home.run(&["pull", &signer().option(), &pinned]).exits(8);
    outcome.says("the image is not signed").says("cosign sign --recursive");
}

#[test]
fn an_index_without_platforms_is_proven_before_a_config_is_read() {
    let bench = Bench::new();
    let image = Image::small("signed");
    let other = Image::for_platform(image.layers.clone(), "linux/s390x");
    let mut entries = Vec::new();
    for image in [&image, &other] {
        image.push(&bench.registry, APP, "single");
        let mut entry = image.entry("linux/any");
        entry.as_object_mut().unwrap().remove("platform");
        entries.push(entry);
    }
    let digest = bench.registry.put_manifest(APP, Some("odd"), OCI_INDEX, index(&entries).to_string().as_bytes());
    let pull = || bench.home.run(&["pull", &signer().option(), &bench.registry.name("app:odd")]);
    sign_simply(&bench.registry, APP, &image.digest(), &[signer()]);
    pull().exits_in("only the manifest is signed", 8);
    assert_eq!(bench.registry.requests_to(&image.config_digest()), 0);
    sign_simply(&bench.registry, APP, &digest, &[signer()]);
    bench.registry.clear_log();
    pull().exits_in("the index is signed", 0);
    assert_eq!(bench.registry.requests_to(".sig"), 1, "{:?}", bench.registry.log());
}

#[test]
fn without_a_key_no_signature_is_requested() {
    let scene = Scene::new();
    sign_simply(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    scene.accepts("no key", &[]);
    assert_eq!(scene.requests().len(), 3, "{:?}", scene.requests());
}

#[test]
fn every_flow_passes_the_gate() {
    let scene = Scene::new();
    let (home, key) = (&scene.bench.home, signer().option());
    let target = home.arg("root");
    let flows = [
        vec!["pull", &key, &scene.name],
        vec!["unpack", &key, &scene.name, &target],
        vec!["unpack", "--stream", &key, &scene.name, &target],
        vec!["unpack", "-j2", &key, &scene.name, &target],
    ];
    for flow in &flows {
        home.run(flow).exits_in(&format!("{flow:?}"), 8).says("the image is not signed");
        scene.assert_nothing_fetched(&format!("{flow:?}"));
        assert!(!home.path("root").exists());
    }
    sign_simply(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    for flow in &flows {
        home.run(flow).exits_in(&format!("{flow:?}"), 0);
        let _ = std::fs::remove_dir_all(&target);
    }
}

#[test]
fn artifacts_pass_the_gate() {
    let bench = Bench::new();
    let mut blob = descriptor("text/plain", b"file");
    blob["annotations"] = json!({ "org.opencontainers.image.title": "file" });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [blob],
    });
    bench.registry.put_blob(APP, b"file");
    let digest = bench.registry.put_manifest(APP, Some("latest"), OCI_MANIFEST, manifest.to_string().as_bytes());
    let fetch = || bench.home.run(&["artifact", &signer().option(), &bench.registry.name(APP), &bench.home.arg("out")]);
    fetch().exits_in("unsigned", 8).says("the image is not signed");
    assert_eq!(bench.registry.requests_to("/blobs/"), 0);
    sign_with_tagged_bundles(&bench.registry, APP, &digest, &[signer()]);
    fetch().exits_in("signed", 0);
}

#[test]
fn says_which_key_has_signed() {
    let scene = Scene::new();
    sign_simply(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    let name = scene.bench.registry.name(APP);
    let pulled = scene.bench.home.run(&["pull", "-v", &signer().option(), &scene.name]).exits(0);
    pulled.says(&format!("signature, for the name {name}")).says("key sha256:");
}

/// An index with an image for this machine and one for another.
struct Family {
    bench: Bench,
    own: Image,
    sibling: Image,
    index: String,
    name: String,
}

impl Family {
    fn new() -> Family {
        let bench = Bench::new();
        let platform = format!("linux/{}", architecture());
        let layers = |seed: &str| vec![Layer::of(&[file("seed", seed)])];
        let (own, sibling) = (Image::small("own"), Image::for_platform(layers("sibling"), "linux/s390x"));
        let name = push_index(&bench.registry, APP, "multi", &[(&platform, &own), ("linux/s390x", &sibling)]);
        let index = sha256(index(&[own.entry(&platform), sibling.entry("linux/s390x")]).to_string().as_bytes());
        Family { bench, own, sibling, index, name }
    }

    fn pull(&self, options: &[&str]) -> Finished {
        self.bench.home.run(&[&["pull", "-q"], options, &[&self.name]].concat())
    }
}
