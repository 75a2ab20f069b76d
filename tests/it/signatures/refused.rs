//! A signature with any single change is refused, with nothing requested but manifests and signatures.

use serde_json::{Value, json};

use kit::digest::base64;
use kit::image::{Image, OCI_MANIFEST};
use kit::signature::{
    SIGNATURE, bundle, list, payload, pre_authentication, push_bundle, push_list, push_referrer, push_simply, referrer,
    sign_simply, sign_with_bundles, simple_layer, simple_manifest, statement,
};

use super::{APP, Scene, signer};

/// Signs the image with an edited payload, and the manifest of the signature edited too.
fn simple(scene: &Scene, edit_payload: impl Fn(&mut Value), edit_layer: impl Fn(&mut Value)) {
    let registry = &scene.bench.registry;
    let mut payload = payload(&scene.image.digest(), &registry.name(APP));
    edit_payload(&mut payload);
    let mut layer = simple_layer(registry, APP, payload.to_string().as_bytes(), signer());
    edit_layer(&mut layer);
    push_simply(registry, APP, &scene.image.digest(), &simple_manifest(&[layer]));
}

/// Signs the image with an edited statement, and the bundle edited too.
fn bundled(scene: &Scene, edit_statement: impl Fn(&mut Value), edit_bundle: impl Fn(&mut Value)) {
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    let mut statement = statement(&digest);
    edit_statement(&mut statement);
    let mut bundle = bundle(statement.to_string().as_bytes(), signer());
    edit_bundle(&mut bundle);
    let entry = push_bundle(registry, APP, &digest, bundle.to_string().as_bytes());
    registry.put_referrers(APP, &digest, &[list(&[entry])]);
}

#[track_caller]
fn check_simple(case: &str, edit_payload: impl Fn(&mut Value), edit_layer: impl Fn(&mut Value), text: &str) {
    let scene = Scene::new();
    simple(&scene, edit_payload, edit_layer);
    scene.refuses(case, &[&signer().option()], text);
}

#[track_caller]
fn check_bundle(case: &str, edit_statement: impl Fn(&mut Value), edit_bundle: impl Fn(&mut Value), text: &str) {
    let scene = Scene::new();
    bundled(&scene, edit_statement, edit_bundle);
    scene.refuses(case, &[&signer().option()], text);
}

fn unchanged(_: &mut Value) {}

fn other_digest() -> String {
    Image::small("another image").digest()
}

/// The signature of a layer with one bit flipped, in canonical base64.
fn flip_signature(layer: &mut Value) {
    let text = layer["annotations"][SIGNATURE].as_str().unwrap();
    // The eighth digit is within r.
    let (at, digit) = (7, text.as_bytes()[7]);
    let other = if digit == b'A' { "B" } else { "A" };
    layer["annotations"][SIGNATURE] = json!(format!("{}{other}{}", &text[..at], &text[at + 1..]));
}

#[test]
fn unchanged_signatures_are_accepted() {
    for sign in
        [|scene: &Scene| simple(scene, unchanged, unchanged), |scene: &Scene| bundled(scene, unchanged, unchanged)]
    {
        let scene = Scene::new();
        sign(&scene);
        scene.accepts("unchanged", &[&signer().option()]);
    }
}

#[test]
fn refuses_a_simple_signature_with_any_single_change() {
    check_simple(
        "digest",
        |payload| payload["critical"]["image"]["docker-manifest-digest"] = json!(other_digest()),
        unchanged,
        "it signs sha256:",
    );
    check_simple("type", |payload| payload["critical"]["type"] = json!("x"), unchanged, "its type is \"x\"");
    check_simple("an extra field", |payload| payload["critical"]["more"] = json!(1), unchanged, "\"more\" is unknown");
    check_simple("no identity", |payload| payload["critical"]["identity"] = json!(null), unchanged, "not an object");
    check_simple("one bit", unchanged, flip_signature, "by no given key");
    check_simple(
        "another signature",
        unchanged,
        |layer| layer["annotations"][SIGNATURE] = json!(base64(&signer().sign(b"x"))),
        "by no given key",
    );
    let edit = |from: &'static str, to: &'static str| {
        move |layer: &mut Value| {
            let text = layer["annotations"][SIGNATURE].as_str().unwrap();
            layer["annotations"][SIGNATURE] = json!(format!("{}{to}", text.trim_end_matches(from)));
        }
    };
    check_simple("a line break", unchanged, edit("", "\n"), "base64");
    check_simple("a space", unchanged, edit("", " "), "base64");
    check_simple("no signature", unchanged, |layer| layer["annotations"] = json!({}), "is missing");
    check_simple(
        "the media type",
        unchanged,
        |layer| layer["mediaType"] = json!("text/plain"),
        "the image is not signed",
    );
}

#[test]
fn refuses_a_bundle_with_any_single_change() {
    check_bundle(
        "digest",
        |statement| *statement = self::statement(&other_digest()),
        unchanged,
        "it signs something else",
    );
    check_bundle(
        "type",
        |statement| statement["_type"] = json!("https://in-toto.io/Statement/v0.1"),
        unchanged,
        "v0.1",
    );
    check_bundle(
        "two equal subjects",
        |statement| {
            let subject = statement["subject"][0].clone();
            statement["subject"] = json!([subject, subject]);
        },
        unchanged,
        "two of its subjects",
    );
    check_bundle("no subject", |statement| statement["subject"] = json!([]), unchanged, "something else");
    check_bundle(
        "the payload type",
        unchanged,
        |bundle| bundle["dsseEnvelope"]["payloadType"] = json!("application/json"),
        "type \"application/json\"",
    );
    check_bundle(
        "two signatures",
        unchanged,
        |bundle| {
            let signature = bundle["dsseEnvelope"]["signatures"][0].clone();
            bundle["dsseEnvelope"]["signatures"] = json!([signature, signature]);
        },
        "exactly one signature",
    );
    check_bundle(
        "no signature",
        unchanged,
        |bundle| bundle["dsseEnvelope"]["signatures"] = json!([]),
        "exactly one signature",
    );
    check_bundle(
        "another signature",
        unchanged,
        |bundle| bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!(base64(&signer().sign(b"x"))),
        "by no given key",
    );
    check_bundle(
        "one bit of the payload",
        unchanged,
        |bundle| {
            let text = bundle["dsseEnvelope"]["payload"].as_str().unwrap().replacen("ey", "fy", 1);
            bundle["dsseEnvelope"]["payload"] = json!(text);
        },
        "by no given key",
    );
    check_bundle(
        "the base64",
        unchanged,
        |bundle| {
            let text = bundle["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap();
            bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!(format!("{text}\n"));
        },
        "base64",
    );
    check_bundle(
        "version",
        unchanged,
        |bundle| bundle["mediaType"] = json!("application/vnd.dev.sigstore.bundle.v0.4+json"),
        "v0.4",
    );
    check_bundle(
        "a message signature",
        unchanged,
        |bundle| {
            bundle.as_object_mut().unwrap().remove("dsseEnvelope");
            bundle["messageSignature"] = json!({});
        },
        "message signature",
    );
    check_bundle(
        "a certificate",
        unchanged,
        |bundle| {
            bundle["verificationMaterial"] = json!({ "certificate": { "rawBytes": "AA==" } });
        },
        "the image is signed only by certificate",
    );
    check_bundle("no key", unchanged, |bundle| bundle["verificationMaterial"] = json!({}), "exactly one of");
}

#[test]
fn an_attestation_is_no_signature() {
    check_bundle(
        "an attestation",
        |statement| statement["predicateType"] = json!("https://slsa.dev/provenance/v1"),
        unchanged,
        "the image is not signed; it has 1 attestation, but an attestation approves nothing",
    );
    // Under cosign's tag for attestations, which is only looked at to explain the refusal.
    let scene = Scene::new();
    let tag = format!("{}.att", scene.image.digest().replace(':', "-"));
    scene.bench.registry.put_manifest(APP, Some(&tag), OCI_MANIFEST, b"{}");
    scene.refuses("a tagged attestation", &[&signer().option()], "the image is not signed; it has 1 attestation");
}

#[test]
fn names_notary_project_signatures() {
    let scene = Scene::new();
    let digest = scene.image.digest();
    let mut manifest = referrer(&digest, b"x");
    manifest["artifactType"] = json!("application/vnd.cncf.notary.signature");
    let entry = push_referrer(&scene.bench.registry, APP, &manifest);
    scene.bench.registry.put_referrers(APP, &digest, &[list(&[entry.clone(), entry])]);
    scene.refuses("notation", &[&signer().option()], "it has 2 Notary Project signatures, which pullet cannot check");
}

#[test]
fn refuses_a_repeated_member_everywhere() {
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    let doubled = |text: String, member: &str| {
        let found = text.find(&format!("\"{member}\":")).unwrap();
        format!("{}\"{member}\":null,{}", &text[..found], &text[found..])
    };
    let push = |bundle: String| {
        let entry = push_bundle(registry, APP, &digest, bundle.as_bytes());
        registry.put_referrers(APP, &digest, &[list(&[entry])]);
    };
    let statement = statement(&digest).to_string();
    push(bundle(doubled(statement.clone(), "predicateType").as_bytes(), signer()).to_string());
    scene.refuses("statement", &[&signer().option()], "member \"predicateType\" is repeated");
    push(doubled(bundle(statement.as_bytes(), signer()).to_string(), "payload"));
    scene.refuses("bundle", &[&signer().option()], "member \"payload\" is repeated");
    let payload = doubled(payload(&digest, "x").to_string(), "docker-manifest-digest");
    let layer = simple_layer(registry, APP, payload.as_bytes(), signer());
    push_simply(registry, APP, &digest, &simple_manifest(&[layer]));
    scene.refuses("payload", &[&signer().option()], "member \"docker-manifest-digest\" is repeated");
}

#[test]
fn the_payload_type_is_part_of_what_is_signed() {
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    let text = statement(&digest).to_string();
    let mut forged = bundle(text.as_bytes(), signer());
    for signed in [text.as_bytes().to_vec(), pre_authentication("application/json", text.as_bytes())] {
        forged["dsseEnvelope"]["signatures"][0]["sig"] = json!(base64(&signer().sign(&signed)));
        let entry = push_bundle(registry, APP, &digest, forged.to_string().as_bytes());
        registry.put_referrers(APP, &digest, &[list(&[entry])]);
        scene.refuses("signed without its type", &[&signer().option()], "by no given key");
    }
}

#[test]
fn signatures_of_another_image_prove_nothing_here() {
    let scene = Scene::new();
    let (registry, digest, other) = (&scene.bench.registry, scene.image.digest(), other_digest());
    // Valid signatures of the other image, where those of this one are looked for.
    let text = payload(&other, &registry.name(APP)).to_string();
    let layer = simple_layer(registry, APP, text.as_bytes(), signer());
    push_simply(registry, APP, &digest, &simple_manifest(&[layer]));
    let signed = bundle(statement(&other).to_string().as_bytes(), signer()).to_string();
    let claims_this = push_bundle(registry, APP, &digest, signed.as_bytes());
    let claims_other = push_bundle(registry, APP, &other, signed.as_bytes());
    registry.put_referrers(APP, &digest, &[list(std::slice::from_ref(&claims_other))]);
    scene.refuses("the subject is another image", &[&signer().option()], "it signs sha256:");
    registry.put_referrers(APP, &digest, &[list(&[claims_this])]);
    scene.refuses("the statement is about another image", &[&signer().option()], "it signs sha256:");
    // Signatures of the other image in its own place do not matter at all.
    let scene = Scene::new();
    sign_simply(&scene.bench.registry, APP, &other, &[signer()]);
    sign_with_bundles(&scene.bench.registry, APP, &other, &[signer()]);
    scene.refuses("another image is signed", &[&signer().option()], "the image is not signed");
}

#[test]
fn a_bad_signature_does_not_hide_a_good_one() {
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    simple(&scene, |payload| payload["critical"]["type"] = json!("x"), unchanged);
    let good = push_bundle(
        registry,
        APP,
        &digest,
        bundle(statement(&digest).to_string().as_bytes(), signer()).to_string().as_bytes(),
    );
    let bad = push_bundle(registry, APP, &digest, b"not JSON");
    let missing = push_referrer(registry, APP, &referrer(&digest, b"a blob that is missing"));
    push_list(registry, APP, &digest, &list(&[good, bad, missing]));
    scene.accepts("one of four is good", &[&signer().option()]);
}
