//! Mistakes that programs which verify signatures have made, each once. Other files of this folder test some of them in more
//! ways.

use kit::digest::{base64, sha256};
use kit::fault::on;
use kit::image::{Image, OCI_MANIFEST, index};
use kit::signature::{
    SIGNATURE, bundle, list, payload, push_bundle, push_list, push_referrer, push_simply, referrer, sign_simply,
    sign_with_bundles, simple_layer, simple_manifest, statement,
};
use serde_json::{Value, json};

use super::{APP, Scene, signer, stranger};

/// A bundle that the signer has made for the image, as text.
fn good_bundle(scene: &Scene) -> String {
    bundle(statement(&scene.image.digest()).to_string().as_bytes(), signer()).to_string()
}

/// Lists a bundle, or something in its place, as the only referrer of the image.
fn list_bundle(scene: &Scene, bundle: &[u8]) {
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    let entry = push_bundle(registry, APP, &digest, bundle);
    registry.put_referrers(APP, &digest, &[list(&[entry])]);
}

#[test]
fn p01_a_signature_of_a_sibling_in_the_index_does_not_count() {
    let scene = Scene::new();
    let registry = &scene.bench.registry;
    let sibling = Image::for_platform(scene.image.layers.clone(), "linux/s390x");
    let platform = format!("linux/{}", kit::image::architecture());
    let entries = [scene.image.entry(&platform), sibling.entry("linux/s390x")];
    registry.put_manifest(APP, Some("latest"), kit::image::OCI_INDEX, index(&entries).to_string().as_bytes());
    sign_simply(registry, APP, &sibling.digest(), &[signer()]);
    scene.refuses("a sibling", &[&signer().option()], "the image is not signed");
    sign_simply(registry, APP, &sha256(index(&entries).to_string().as_bytes()), &[signer()]);
    scene.accepts("the index", &[&signer().option()]);
}

#[test]
fn p02_a_valid_bundle_of_another_image_attached_to_this_one_does_not_count() {
    let scene = Scene::new();
    let other = statement(&Image::small("another").digest()).to_string();
    list_bundle(&scene, bundle(other.as_bytes(), signer()).to_string().as_bytes());
    scene.refuses("another subject", &[&signer().option()], "it signs something else");
}

#[test]
fn p03_a_malformed_payload_that_is_validly_signed_does_not_count() {
    for text in ["", "x", "{}", "null", "[]", "{\"_type\":\"https://in-toto.io/Statement/v1\"}"] {
        let scene = Scene::new();
        list_bundle(&scene, bundle(text.as_bytes(), signer()).to_string().as_bytes());
        scene.refuses(
            text,
            &[&signer().option()],
            "the image is signed, but by no given key; a signature is malformed",
        );
        let layer = simple_layer(&scene.bench.registry, APP, text.as_bytes(), signer());
        push_simply(&scene.bench.registry, APP, &scene.image.digest(), &simple_manifest(&[layer]));
        scene.refuses(text, &[&signer().option()], "a signature is malformed");
    }
}

#[test]
fn p04_log_entries_and_timestamps_do_not_matter() {
    for (name, entries) in [
        ("none", json!([])),
        ("of something else", json!([{ "logIndex": "7", "canonicalizedBody": base64(b"something else") }])),
        ("malformed", json!({ "x": [null, 1e3] })),
    ] {
        let scene = Scene::new();
        let mut bundle: Value = serde_json::from_str(&good_bundle(&scene)).unwrap();
        bundle["verificationMaterial"]["tlogEntries"] = entries;
        bundle["verificationMaterial"]["timestampVerificationData"] = json!({ "rfc3161Timestamps": "x" });
        list_bundle(&scene, bundle.to_string().as_bytes());
        scene.accepts(name, &[&signer().option()]);
        scene.bench.home.run(&["rmi", &scene.name]).exits(0);
        let scene = Scene::new();
        bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!(base64(&signer().sign(b"x")));
        list_bundle(&scene, bundle.to_string().as_bytes());
        scene.refuses(name, &[&signer().option()], "by no given key");
    }
}

#[test]
fn p05_a_certificate_does_not_prove_an_image() {
    let scene = Scene::new();
    let mut bundle: Value = serde_json::from_str(&good_bundle(&scene)).unwrap();
    bundle["verificationMaterial"] = json!({ "certificate": { "rawBytes": base64(b"certificate") } });
    list_bundle(&scene, bundle.to_string().as_bytes());
    scene.refuses("certificate", &[&signer().option()], "the image is signed only by certificate");
}

#[test]
fn p06_the_name_in_a_signature_is_reported() {
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    let text = payload(&digest, "ghcr.io/another/name").to_string();
    let layer = simple_layer(registry, APP, text.as_bytes(), signer());
    push_simply(registry, APP, &digest, &simple_manifest(&[layer]));
    let pulled = scene.bench.home.run(&["pull", "-v", &signer().option(), &scene.name]);
    pulled.exits(0).says("signature, for the name ghcr.io/another/name");
}

#[test]
fn p07_one_key_counts_once() {
    let (one, other) = (signer().option(), stranger().option());
    let options = ["--verify-count=2", one.as_str(), other.as_str()];
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    // Two ECDSA signatures by one key differ, as (r, s) and (r, n - s) do.
    let text = payload(&digest, "x").to_string();
    let layers = [0, 1, 2].map(|_| simple_layer(registry, APP, text.as_bytes(), signer()));
    assert_ne!(layers[0]["annotations"][SIGNATURE], layers[1]["annotations"][SIGNATURE]);
    push_simply(registry, APP, &digest, &simple_manifest(&layers));
    sign_with_bundles(registry, APP, &digest, &[signer(), signer()]);
    scene.refuses("many signatures by one key", &options, "1 of the given keys have signed the image, but 2 must have");
}

#[test]
fn p08_an_empty_list_proves_nothing() {
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    push_simply(registry, APP, &digest, &simple_manifest(&[]));
    registry.put_referrers(APP, &digest, &[list(&[])]);
    push_list(registry, APP, &digest, &list(&[]));
    scene.refuses("no signatures", &[&signer().option()], "the image is not signed");
    scene.pull(&["--verify-count=0", &signer().option()]).exits(2);
    scene.pull(&["--verify-count=1"]).exits(2);
}

#[test]
fn p09_json_has_one_meaning() {
    let scene = Scene::new();
    let good = good_bundle(&scene);
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}: {good}");
        good.replacen(from, to, 1)
    };
    for (name, text) in [
        ("a repeated member", with("\"payload\":", "\"payload\":\"\",\"payload\":")),
        ("a repeated member, escaped", with("\"payload\":", "\"\\u0070ayload\":\"\",\"payload\":")),
        ("null", with("\"publicKey\":{", "\"publicKey\":null,\"x\":{")),
        ("a byte order mark", format!("\u{feff}{good}")),
        ("data after the end", format!("{good}{{}}")),
        ("a big number", with("\"tlogEntries\":", "\"big\":1e999,\"tlogEntries\":")),
        (
            "depth",
            with("\"tlogEntries\":", &format!("\"deep\":{}{},\"tlogEntries\":", "[".repeat(2000), "]".repeat(2000))),
        ),
    ] {
        list_bundle(&scene, text.as_bytes());
        scene.refuses(name, &[&signer().option()], "a signature is malformed");
    }
    let upper = statement(&scene.image.digest().to_uppercase().replace("SHA256", "sha256")).to_string();
    list_bundle(&scene, bundle(upper.as_bytes(), signer()).to_string().as_bytes());
    scene.refuses("upper case", &[&signer().option()], "it signs something else");
    list_bundle(&scene, good.as_bytes());
    scene.accepts("unchanged", &[&signer().option()]);
}

#[test]
fn p10_base64_has_one_text() {
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    // A signature with padding, and with a digit that the other alphabet has differently.
    let (text, signature) = (0..)
        .map(|n| {
            let text = payload(&digest, &format!("name-{n}")).to_string();
            let signature = base64(&signer().sign(text.as_bytes()));
            (text, signature)
        })
        .find(|(_, signature)| signature.ends_with("A==") && signature.contains('/'))
        .unwrap();
    let mut layer = simple_layer(registry, APP, text.as_bytes(), signer());
    for (name, other) in [
        ("bits after the end", signature.replace("A==", "B==")),
        ("no padding", signature.trim_end_matches('=').to_owned()),
        ("a line break", format!("{}\n{}", &signature[..8], &signature[8..])),
        ("the other alphabet", signature.replace('/', "_")),
    ] {
        layer["annotations"][SIGNATURE] = json!(other);
        push_simply(registry, APP, &digest, &simple_manifest(&[layer.clone()]));
        scene.refuses(name, &[&signer().option()], "the base64 of its signature is malformed");
    }
    layer["annotations"][SIGNATURE] = json!(signature);
    push_simply(registry, APP, &digest, &simple_manifest(&[layer]));
    scene.accepts("unchanged", &[&signer().option()]);
}

#[test]
fn p11_nothing_is_endless() {
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    // The registry may serve more than a descriptor says, and a descriptor may say more than is allowed.
    let mut layer = simple_layer(registry, APP, &vec![b' '; 70_000], signer());
    push_simply(registry, APP, &digest, &simple_manifest(&[layer.clone()]));
    scene.refuses("a large payload", &[&signer().option()], "a payload has 70000 bytes, and 65536 are allowed");
    assert_eq!(registry.requests_to("/blobs/"), 0);
    layer["size"] = json!(100);
    push_simply(registry, APP, &digest, &simple_manifest(&[layer]));
    scene.refuses("more than its descriptor says", &[&signer().option()], "size mismatch");
    list_bundle(&scene, &vec![b' '; 1_100_000]);
    scene.refuses("a large bundle", &[&signer().option()], "size mismatch");
    let scene = Scene::new();
    list_bundle(&scene, &vec![b' '; 1_100_000]);
    scene.refuses("a large bundle", &[&signer().option()], "a bundle has 1100000 bytes, and 1048576 are allowed");
    // Of many signatures, the newest 64 are examined.
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    let text = payload(&digest, "x").to_string();
    let (good, bad) = (
        simple_layer(registry, APP, text.as_bytes(), signer()),
        simple_layer(registry, APP, text.as_bytes(), stranger()),
    );
    let many = |good_at: usize| {
        let mut layers = vec![bad.clone(); 1000];
        layers[good_at] = good.clone();
        push_simply(registry, APP, &digest, &simple_manifest(&layers));
    };
    many(0);
    scene.refuses("the oldest is good", &[&signer().option()], "it has more signatures than are examined");
    many(1000 - 64);
    scene.accepts("one of the newest is good", &[&signer().option()]);
    // And of many referrers, the newest 64, which are requested one by one.
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    let entry = |n: usize| {
        let mut manifest = referrer(&digest, b"x");
        manifest["annotations"]["n"] = json!(n);
        push_referrer(registry, APP, &manifest)
    };
    let entries: Vec<Value> = (0..200).map(entry).collect();
    registry.put_referrers(APP, &digest, &[list(&entries)]);
    scene.refuses("many referrers", &[&signer().option()], "it has more signatures than are examined");
    assert!(registry.requests_to("/manifests/sha256:") <= 64, "{}", registry.log().len());
}

#[test]
fn p12_digests_are_parsed_before_they_are_used() {
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    for bad in ["../../../etc/passwd", "sha256:../../x", "sha256:", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        let text = payload(bad, "x").to_string();
        let mut layer = simple_layer(registry, APP, text.as_bytes(), signer());
        push_simply(registry, APP, &digest, &simple_manifest(&[layer.clone()]));
        scene.refuses(bad, &[&signer().option()], "a signature is malformed");
        layer["digest"] = json!(bad);
        push_simply(registry, APP, &digest, &simple_manifest(&[layer]));
        scene.refuses(bad, &[&signer().option()], "a manifest of signatures is malformed");
        let mut entry = push_referrer(registry, APP, &referrer(&digest, b"x"));
        entry["digest"] = json!(bad);
        registry.put_referrers(APP, &digest, &[list(&[entry])]);
        scene.refuses(bad, &[&signer().option()], "a manifest of signatures is malformed");
        assert_eq!(registry.requests_to("passwd"), 0);
    }
}

#[test]
fn p13_a_failure_is_not_a_missing_signature() {
    for (status, code) in [(401, 4), (403, 4), (500, 5)] {
        let scene = Scene::new();
        scene.bench.registry.fault(on("/referrers/").status(status));
        scene.pull(&[&signer().option()]).exits_in(&status.to_string(), code).hides("not signed");
        scene.assert_nothing_fetched(&status.to_string());
    }
}

#[test]
fn p14_after_the_first_response_only_the_digest_is_used() {
    let scene = Scene::new();
    sign_with_bundles(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    scene.accepts("signed", &[&signer().option()]);
    assert_eq!(scene.bench.registry.requests_to("/manifests/latest"), 1);
    for request in scene.requests().iter().skip(1) {
        assert!(request.contains("sha256"), "{request}");
    }
}

#[test]
fn p15_a_referrer_that_names_another_subject_does_not_count() {
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    let good = good_bundle(&scene);
    registry.put_blob(APP, good.as_bytes());
    let entry = push_referrer(registry, APP, &referrer(&Image::small("another").digest(), good.as_bytes()));
    registry.put_referrers(APP, &digest, &[list(&[entry])]);
    scene.refuses("another subject", &[&signer().option()], "a manifest of signatures is about another image");
    let mut manifest = referrer(&digest, good.as_bytes());
    manifest.as_object_mut().unwrap().remove("subject");
    let mut entry = push_referrer(registry, APP, &manifest);
    registry.put_referrers(APP, &digest, &[list(&[entry.clone()])]);
    scene.refuses("no subject", &[&signer().option()], "a manifest of signatures is about another image");
    // The registry serves something else under the digest.
    let other = push_referrer(registry, APP, &referrer(&digest, good.as_bytes()));
    registry.put_manifest_as(APP, other["digest"].as_str().unwrap(), OCI_MANIFEST, b"{}");
    entry["digest"] = other["digest"].clone();
    registry.put_referrers(APP, &digest, &[list(&[entry])]);
    scene.refuses("another document", &[&signer().option()], "a referrer cannot be read: size mismatch");
    // What a manifest says about itself is shown escaped, and decides nothing.
    let mut manifest = referrer(&digest, good.as_bytes());
    manifest["annotations"]["dev.sigstore.bundle.predicateType"] = json!("https://slsa.dev/\u{1b}[2J");
    let entry = push_referrer(registry, APP, &manifest);
    registry.put_referrers(APP, &digest, &[list(&[entry])]);
    scene.accepts("a wrong annotation", &[&signer().option()]);
}

#[test]
fn p16_data_and_urls_in_a_descriptor_are_ignored() {
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    let good = good_bundle(&scene);
    let mut manifest = referrer(&digest, good.as_bytes());
    manifest["layers"][0]["data"] = json!(base64(good.as_bytes()));
    manifest["layers"][0]["urls"] = json!([registry.url("/elsewhere")]);
    registry.serve("/elsewhere", good.as_bytes());
    let entry = push_referrer(registry, APP, &manifest);
    registry.put_referrers(APP, &digest, &[list(&[entry])]);
    scene.refuses("the blob is missing", &[&signer().option()], "a bundle cannot be read");
    assert_eq!(registry.requests_to("/elsewhere"), 0);
    registry.put_blob(APP, good.as_bytes());
    scene.accepts("the blob is there", &[&signer().option()]);
}

#[test]
fn p17_no_other_server_is_asked() {
    // No transparency log, no trusted root: everything comes from the registry of the image.
    let scene = Scene::new();
    sign_with_bundles(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    let pull = scene.bench.home.pullet(&["pull", &signer().option(), &scene.name]);
    pull.env("HTTPS_PROXY", "http://127.0.0.1:1").env("HTTP_PROXY", "http://127.0.0.1:1").run().exits(0);
}

#[test]
fn p18_a_broken_key_is_an_error_although_another_one_would_do() {
    let scene = Scene::new();
    sign_simply(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    let broken = format!("--verify-key={}", scene.bench.home.write("broken.pub", "-----BEGIN PUBLIC KEY-----"));
    scene.pull(&[&signer().option(), &broken]).exits(2).says("broken.pub: ");
    assert_eq!(scene.requests(), Vec::<String>::new());
}
