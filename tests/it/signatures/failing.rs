//! Registries that fail, refuse or know only a part: a failure is never taken for "not signed".

use kit::fault::on;
use kit::home::Home;
use kit::registry::Registry;
use kit::signature::{bundle, list, push_bundle, sign_simply, sign_with_bundles, statement, tag};
use serde_json::json;

use super::{APP, Scene, signer};

#[test]
fn a_failure_is_an_error_of_its_kind_and_never_unsigned() {
    for (status, code) in [(401, 4), (403, 4), (429, 6), (500, 5), (503, 5)] {
        for place in [".sig", "/referrers/", "/blobs/"] {
            let scene = Scene::new();
            sign_with_bundles(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
            scene.bench.registry.fault(on(place).status(status).header("Retry-After", "3600"));
            let case = format!("{status} for {place}");
            scene
                .pull(&["--retries", "0", &signer().option()])
                .exits_in(&case, code)
                .fails_in_one_line()
                .hides("not signed");
            scene.bench.assert_no_layer_requested(&case, &scene.image);
        }
    }
}

#[test]
fn only_three_statuses_mean_that_there_is_no_api_for_referrers() {
    for status in [404, 405, 501] {
        let scene = Scene::new();
        scene.bench.registry.fault(on("/referrers/").status(status));
        scene.refuses(&status.to_string(), &[&signer().option()], "the image is not signed");
        let digest = scene.image.digest();
        kit::signature::sign_with_tagged_bundles(&scene.bench.registry, APP, &digest, &[signer()]);
        scene.accepts(&status.to_string(), &[&signer().option()]);
    }
    let scene = Scene::new();
    scene.bench.registry.fault(on("/referrers/").status(400));
    scene.pull(&[&signer().option()]).exits(10).hides("not signed");
}

#[test]
fn a_transient_failure_is_retried() {
    let scene = Scene::new();
    sign_simply(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    scene.bench.registry.fault(on(".sig").nth(1).status(503));
    scene.accepts("the second attempt succeeds", &["--retries", "1", &signer().option()]);
}

#[test]
fn an_empty_list_is_not_the_last_word() {
    let scene = Scene::new();
    let digest = scene.image.digest();
    scene.bench.registry.put_referrers(APP, &digest, &[list(&[])]);
    kit::signature::sign_with_tagged_bundles(&scene.bench.registry, APP, &digest, &[signer()]);
    scene.accepts("the tag has it", &[&signer().option()]);
}

#[test]
fn reads_all_pages_of_the_list() {
    let scene = Scene::new();
    let (registry, digest) = (&scene.bench.registry, scene.image.digest());
    let signed = bundle(statement(&digest).to_string().as_bytes(), signer()).to_string();
    let entry = push_bundle(registry, APP, &digest, signed.as_bytes());
    registry.put_referrers(APP, &digest, &[list(&[]), list(&[entry]), list(&[])]);
    scene.accepts("the second of three pages has it", &[&signer().option()]);
    let endless: Vec<String> = (0..40).map(|_| list(&[])).collect();
    registry.put_referrers(APP, &digest, &endless);
    let other = Scene::new();
    other.bench.registry.put_referrers(APP, &other.image.digest(), &endless);
    other.pull(&[&signer().option()]).exits(11).says("limit exceeded: more than 32 pages of a list of referrers");
}

#[test]
fn an_image_under_the_tag_for_referrers_is_no_list() {
    let scene = Scene::new();
    scene.image.push(&scene.bench.registry, APP, &scene.image.digest().replace(':', "-"));
    scene.refuses("an image", &[&signer().option()], "the image is not signed");
}

#[test]
fn a_wrong_artifact_type_in_the_list_does_not_hide_a_signature() {
    for kind in [json!("application/vnd.oci.empty.v1+json"), json!(null), json!("")] {
        let scene = Scene::new();
        let (registry, digest) = (&scene.bench.registry, scene.image.digest());
        let signed = bundle(statement(&digest).to_string().as_bytes(), signer()).to_string();
        let mut entry = push_bundle(registry, APP, &digest, signed.as_bytes());
        entry["artifactType"] = kind.clone();
        entry.as_object_mut().unwrap().remove("annotations");
        kit::signature::push_list(registry, APP, &digest, &list(&[entry]));
        scene.accepts(&kind.to_string(), &[&signer().option()]);
    }
}

/// A scene whose image a mirror has too, and options that use the mirror.
fn mirrored() -> (Scene, Registry, String) {
    let (scene, mirror) = (Scene::new(), Registry::plain());
    scene.image.push(&mirror, APP, "latest");
    let option = format!("--registry-mirror={}={}", scene.bench.registry.host(), mirror.url(""));
    (scene, mirror, option)
}

#[test]
fn what_a_mirror_lacks_decides_nothing() {
    let sign = |registry: &Registry, scene: &Scene| sign_simply(registry, APP, &scene.image.digest(), &[signer()]);
    let (scene, mirror, option) = mirrored();
    mirror.put_referrers(APP, &scene.image.digest(), &[list(&[])]);
    sign(&scene.bench.registry, &scene);
    scene.accepts("the mirror has no signature", &[&option, &signer().option()]);
    // Bundles, with a mirror that has an empty list, no API for lists, or another signature.
    for of_mirror in [&[][..], &[super::stranger()]] {
        let (scene, mirror, option) = mirrored();
        let digest = scene.image.digest();
        sign_with_bundles(&mirror, APP, &digest, of_mirror);
        sign_with_bundles(&scene.bench.registry, APP, &digest, &[signer()]);
        scene.accepts("the mirror has no bundle of the key", &[&option, &signer().option()]);
    }
    let (scene, _mirror, option) = mirrored();
    sign_with_bundles(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    scene.accepts("the mirror has no lists", &[&option, &signer().option()]);
    // The signature may be an old one at the mirror.
    let (scene, mirror, option) = mirrored();
    sign_simply(&mirror, APP, &scene.image.digest(), &[super::stranger()]);
    sign(&scene.bench.registry, &scene);
    scene.accepts("the mirror has another signature", &[&option, &signer().option()]);
    let (scene, mirror, option) = mirrored();
    mirror.fault(on(".sig").status(500));
    sign(&scene.bench.registry, &scene);
    scene.accepts("the mirror fails", &[&option, &signer().option()]);
    let (scene, mirror, option) = mirrored();
    sign(&mirror, &scene);
    scene.accepts("only the mirror has it", &[&option, &signer().option()]);
    let (scene, mirror, option) = mirrored();
    scene.bench.registry.fault(on("/").status(503));
    drop(mirror.log());
    scene.pull(&[&option, "--retries", "0", &signer().option()]).exits(5).hides("not signed");
}

#[test]
fn the_registry_decides_although_its_mirror_was_asked_first() {
    let (scene, mirror, option) = mirrored();
    scene.refuses("no signature anywhere", &[&option, &signer().option()], "the image is not signed");
    let digest = scene.image.digest();
    for registry in [&mirror, &scene.bench.registry] {
        assert_eq!(registry.requests_to(&tag(&digest)), 1, "{:?}", registry.log());
        assert_eq!(registry.requests_to(&format!("/referrers/{digest}")), 1);
    }
}

#[test]
fn credentials_are_used_for_signatures_too() {
    let scene = Scene::new();
    sign_simply(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    scene.bench.registry.bearer("t0ken", None);
    let home = Home::new();
    home.run(&["pull", &signer().option(), &scene.name]).exits(0);
    assert_eq!(scene.bench.registry.requests_to("/token"), 1);
}
