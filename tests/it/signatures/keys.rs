//! The options for keys, and the files that they name.

use kit::debian::{command, run};
use kit::digest::base64;
use kit::signature::{
    Signer, bundle, list, payload, push_bundle, push_simply, sign_simply, sign_with_bundles, simple_layer,
};
use kit::signature::{simple_manifest, statement};
use serde_json::json;

use super::{APP, Scene, signer, stranger};

fn data(name: &str) -> String {
    format!("{}/tests/data/signatures/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_file_that_is_no_supported_key_is_refused_by_name() {
    let scene = Scene::new();
    let home = &scene.bench.home;
    let private = std::fs::read_to_string(signer().private_key()).unwrap();
    let sigstore = private.replace("PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY");
    for (path, code, text) in [
        (home.arg("missing"), 2, "No such file"),
        (home.write("empty", ""), 2, "it is not a PEM file"),
        (signer().private_key(), 2, "it is a private key (PRIVATE KEY) and not a public key"),
        (home.write("sigstore", sigstore), 2, "it is a private key (ENCRYPTED SIGSTORE PRIVATE KEY)"),
        (data("keys/cert.pem"), 2, "it is a certificate and not a public key"),
        (data("keys/p521.pub"), 10, "an ECDSA key on the curve P-521 is not supported"),
        (data("keys/ed448.pub"), 10, "an Ed448 key is not supported"),
        (data("keys/rsa1024.pub"), 10, "an RSA key of 1024 bits is not supported"),
        (data("keys/pss.pub"), 10, "an RSA-PSS key is not supported"),
    ] {
        let option = format!("--verify-key={path}");
        scene.pull(&[&option]).exits_in(&path, code).fails_in_one_line().says(text).says(&path);
        assert_eq!(scene.requests(), Vec::<String>::new(), "{path}");
    }
}

/// One key has one fingerprint, so that one key counts once.
#[test]
fn a_key_in_another_encoding_is_refused() {
    let scene = Scene::new();
    sign_simply(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    let file = scene.bench.home.arg("key.der");
    run(command("openssl").args(["pkey", "-pubin", "-outform", "DER", "-in", &signer().key(), "-out", &file]))
        .expect(0);
    let der = std::fs::read(file).unwrap();
    let mut long = der.clone();
    long.insert(1, 0x81);
    let mut longer = der.clone();
    longer[1] += 1;
    longer.push(0);
    for (case, der, code) in [
        ("unchanged", der.clone(), 0),
        ("a length of two bytes", long, 2),
        ("a byte more", [der, vec![0]].concat(), 2),
        ("a byte more within", longer, 2),
    ] {
        let text = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", base64(&der));
        let option = format!("--verify-key={}", scene.bench.home.write("key.pub", text));
        scene.pull(&[&option]).exits_in(case, code);
    }
}

#[test]
fn a_broken_key_is_an_error_although_another_one_would_do() {
    let scene = Scene::new();
    sign_simply(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    let broken = format!("--verify-key={}", scene.bench.home.write("broken", "-----BEGIN PUBLIC KEY-----\n"));
    for options in [[signer().option(), broken.clone()], [broken, signer().option()]] {
        scene.pull(&[&options[0], &options[1]]).exits(2).says("broken: ");
        let target = scene.bench.home.arg("root");
        scene.bench.home.run(&["unpack", &options[0], &options[1], &scene.name, &target]).exits(2);
    }
}

#[test]
fn a_second_key_is_an_alternative() {
    let scene = Scene::new();
    sign_with_bundles(&scene.bench.registry, APP, &scene.image.digest(), &[stranger()]);
    scene.refuses("the other key", &[&signer().option()], "by no given key");
    scene.accepts("both keys", &[&signer().option(), &stranger().option()]);
}

#[test]
fn counts_different_keys_over_both_formats() {
    let both = [signer().option(), stranger().option()];
    let options = ["--verify-count=2", both[0].as_str(), both[1].as_str()];
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    sign_simply(registry, APP, &digest, &[signer(), signer()]);
    scene.refuses("one key twice", &options, "1 of the given keys have signed the image, but 2 must have");
    sign_with_bundles(registry, APP, &digest, &[signer()]);
    scene.refuses("one key in both formats", &options, "1 of the given keys");
    sign_with_bundles(registry, APP, &digest, &[stranger()]);
    scene.accepts("one key in each format", &options);
    let scene = Scene::new();
    sign_simply(&scene.bench.registry, APP, &scene.image.digest(), &[signer(), stranger()]);
    scene.accepts("two keys in one manifest", &options);
}

#[test]
fn counts_are_checked_before_the_first_request() {
    let scene = Scene::new();
    let copy = scene.bench.home.write("copy", std::fs::read(signer().key()).unwrap());
    let copy = format!("--verify-key={copy}");
    for (options, text) in [
        (vec!["--verify-count=1"], "need a key"),
        (vec!["--verify-annotation=a=b"], "need a key"),
        (vec!["--verify-count=0", &signer().option()], "is 0"),
        (vec!["--verify-count=2", &signer().option()], "2 keys must have signed, but 1 different keys are given"),
        (vec!["--verify-count=2", &signer().option(), &copy], "but 1 different keys are given"),
        (vec!["--verify-count=x", &signer().option()], "expected a number"),
        (vec!["--verify-annotation=a", &signer().option()], "expected KEY=VALUE"),
        (vec!["--verify-annotation==a", &signer().option()], "expected KEY=VALUE"),
        (vec!["--verify-annotation=a=1", "--verify-annotation=a=2", &signer().option()], "two values"),
        (vec!["--verify-key="], "expected a path"),
    ] {
        scene.pull(&options).exits_in(&format!("{options:?}"), 2).fails_in_one_line().says(text);
        assert_eq!(scene.requests(), Vec::<String>::new(), "{options:?}");
    }
    scene
        .bench
        .home
        .run(&["tags", &signer().option(), &scene.bench.registry.name(APP)])
        .exits(2)
        .says("unknown option");
}

#[test]
fn annotations_count_in_both_formats() {
    for format in ["simple", "bundle"] {
        let scene = Scene::new();
        let (registry, digest) = (&scene.bench.registry, scene.image.digest());
        let sign = |annotations: serde_json::Value| {
            if format == "simple" {
                let mut payload = payload(&digest, "x");
                payload["optional"] = annotations;
                let layer = simple_layer(registry, APP, payload.to_string().as_bytes(), signer());
                push_simply(registry, APP, &digest, &simple_manifest(&[layer]));
            } else {
                let mut statement = statement(&digest);
                statement["subject"][0]["annotations"] = annotations;
                let bundle = bundle(statement.to_string().as_bytes(), signer()).to_string();
                registry.put_referrers(
                    APP,
                    &digest,
                    &[list(&[push_bundle(registry, APP, &digest, bundle.as_bytes())])],
                );
            }
        };
        let key = signer().option();
        let options = [key.as_str(), "--verify-annotation=channel=stable", "--verify-annotation=v=1=2"];
        sign(json!({}));
        scene.refuses(format, &options, "the image is signed by a given key, but it has no annotation channel");
        sign(json!({ "channel": "beta", "v": "1=2" }));
        scene.refuses(format, &options, "the annotation channel is \"beta\" and not \"stable\"");
        sign(json!({ "channel": "stable", "v": 1 }));
        scene.refuses(format, &options, "it has no annotation v");
        sign(json!({ "channel": "stable", "v": "1=2", "more": "x" }));
        scene.accepts(format, &options);
    }
}

#[test]
fn an_annotation_that_is_not_signed_does_not_count() {
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    let payload = payload(&digest, "x").to_string();
    let mut layer = simple_layer(registry, APP, payload.as_bytes(), signer());
    layer["annotations"]["channel"] = json!("stable");
    let mut manifest = simple_manifest(&[layer]);
    manifest["annotations"] = json!({ "channel": "stable" });
    push_simply(registry, APP, &digest, &manifest);
    scene.refuses("unsigned", &[&signer().option(), "--verify-annotation=channel=stable"], "no annotation channel");
}

#[test]
fn an_ed25519_signature_by_another_key_gets_a_hint() {
    let scene = Scene::new();
    let ed25519 = Signer::new("ed25519");
    sign_simply(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    scene.pull(&[&ed25519.option()]).exits(8).says("Ed25519ph");
}
