//! What proved an image is kept in the store, and proves it again without a network.

use std::fs;

use kit::image::Image;
use kit::registry::Registry;
use kit::signature::{Signer, sign_simply, sign_with_bundles};

use super::{APP, Scene, signer, stranger};

const SUBJECT: &str = "pullet.subject";

impl Scene {
    /// Pulls with a key, and then nothing of the registry can be had any more.
    fn pulled_and_offline(sign: fn(&Registry, &str, &str, &[&Signer])) -> Scene {
        let scene = Scene::new();
        sign(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
        scene.accepts("online", &[&signer().option()]);
        scene.bench.registry.fault(kit::fault::on("/").status(500));
        scene.bench.registry.clear_log();
        scene
    }

    fn unpack(&self, options: &[&str]) -> kit::process::Finished {
        let _ = fs::remove_dir_all(self.bench.home.path("root"));
        let target = self.bench.home.arg("root");
        self.bench.home.run(&[&["unpack"], options, &[&self.name, &target]].concat())
    }

    fn verify(&self, options: &[&str]) -> kit::process::Finished {
        self.bench.home.run(&[&["verify"], options, &[&self.name]].concat())
    }
}

#[test]
fn a_stored_image_is_proven_without_a_request() {
    for sign in [sign_simply, sign_with_bundles] {
        let scene = Scene::pulled_and_offline(sign);
        scene.unpack(&[&signer().option()]).exits_in("missing", 0);
        scene.unpack(&["--pull", "never", &signer().option()]).exits_in("never", 0);
        scene.unpack(&["--stream", &signer().option()]).exits_in("stream", 0);
        scene.verify(&[&signer().option()]).exits_in("verify", 0);
        assert_eq!(scene.bench.registry.log(), Vec::<String>::new());
        scene.unpack(&["--pull", "never", &stranger().option()]).exits_in("another key", 8).says("by no given key");
        scene.verify(&[&stranger().option()]).exits_in("verify, another key", 8).says("by no given key");
        assert_eq!(scene.bench.registry.log(), Vec::<String>::new());
        assert!(!scene.bench.home.path("root").exists());
    }
}

#[test]
fn the_documents_are_unnamed_entries_of_the_index() {
    let scene = Scene::pulled_and_offline(sign_simply);
    let index = scene.bench.home.index();
    let kept: Vec<_> = index.iter().filter(|entry| entry["annotations"][SUBJECT].is_string()).collect();
    assert_eq!(kept.len(), 1, "{index:?}");
    assert_eq!(kept[0]["annotations"][SUBJECT], scene.image.digest());
    assert_eq!(kept[0]["annotations"].as_object().unwrap().len(), 1);
    assert!(kept[0].get("platform").is_none());
    scene.bench.home.run(&["images", "-q"]).exits(0).prints(&format!("{}\n", &scene.image.config_digest()[7..19]));
}

#[test]
fn an_image_that_is_up_to_date_costs_one_request() {
    let scene = Scene::new();
    sign_with_bundles(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    scene.accepts("first", &[&signer().option()]);
    let before = fs::read(scene.bench.home.store().join("index.json")).unwrap();
    scene.accepts("second", &[&signer().option()]);
    assert_eq!(scene.requests(), ["GET manifests/latest 200"]);
    assert_eq!(fs::read(scene.bench.home.store().join("index.json")).unwrap(), before);
}

#[test]
fn signatures_of_an_image_that_is_stored_already_are_kept() {
    let scene = Scene::new();
    scene.accepts("without a key", &[]);
    scene.unpack(&["--pull", "never", &signer().option()]).exits_in("not kept", 8).says("the image is not signed");
    sign_simply(&scene.bench.registry, APP, &scene.image.digest(), &[signer()]);
    // The registry is asked for the signatures, and for no blob of the image.
    scene.bench.registry.clear_log();
    scene.unpack(&[&signer().option()]).exits_in("asks the registry", 0);
    assert_eq!(scene.bench.registry.requests_to(&scene.image.layers[0].digest()), 0);
    scene.unpack(&["--pull", "never", &signer().option()]).exits_in("kept now", 0);
}

#[test]
fn a_signature_of_the_index_proves_the_stored_image() {
    let scene = Scene::new();
    let registry = &scene.bench.registry;
    let platform = format!("linux/{}", kit::image::architecture());
    let docker = Image::small("docker").docker();
    let name = kit::image::push_index(registry, APP, "multi", &[(&platform, &docker)]);
    let index = kit::digest::sha256(kit::image::index(&[docker.entry(&platform)]).to_string().as_bytes());
    sign_simply(registry, APP, &index, &[signer()]);
    let run = |words: &[&str]| scene.bench.home.run(words);
    run(&["pull", &signer().option(), &name]).exits(0);
    registry.clear_log();
    run(&["verify", &signer().option(), &name]).exits(0);
    assert_eq!(registry.log(), Vec::<String>::new());
}

#[test]
fn claims_in_the_index_prove_nothing() {
    let scene = Scene::pulled_and_offline(sign_simply);
    let other = Image::small("an image that nobody signed");
    scene.bench.registry.clear_faults();
    let name = other.push(&scene.bench.registry, APP, "other");
    scene.bench.home.run(&["pull", &name]).exits(0);
    // The kept signature claims to be about the other image.
    let path = scene.bench.home.store().join("index.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&text).unwrap();
    for entry in index["manifests"].as_array_mut().unwrap() {
        if entry["annotations"][SUBJECT].is_string() {
            entry["annotations"][SUBJECT] = other.digest().into();
        }
    }
    fs::write(&path, index.to_string()).unwrap();
    let outcome = scene.bench.home.run(&["verify", &signer().option(), &name]);
    outcome.exits_in("the other image", 8).says("it signs sha256:");
    // And one that claims to have resolved to the signed digest.
    let mut index: serde_json::Value = serde_json::from_str(&text).unwrap();
    for entry in index["manifests"].as_array_mut().unwrap() {
        if entry["digest"] == other.digest() {
            entry["annotations"]["pullet.resolved.digest"] = scene.image.digest().into();
            entry["annotations"]["pullet.source.digest"] = scene.image.digest().into();
        }
    }
    fs::write(&path, index.to_string()).unwrap();
    let outcome = scene.bench.home.run(&["verify", &signer().option(), &name]);
    outcome.exits_in("a claimed digest", 8).says("the image is not signed");
}

#[test]
fn a_damaged_signature_in_the_store_proves_nothing() {
    let scene = Scene::pulled_and_offline(sign_simply);
    let index = scene.bench.home.index();
    let kept = index.iter().find(|entry| entry["annotations"][SUBJECT].is_string()).unwrap();
    let blob = kept["digest"].as_str().unwrap().replace(':', "/");
    let path = scene.bench.home.store().join("blobs").join(blob);
    let text = fs::read_to_string(&path).unwrap().replace("\"dev.cosign", "\"dev.cosigm");
    fs::write(&path, text).unwrap();
    scene.verify(&[&signer().option()]).exits(8);
    // The registry is asked again, and the good copy replaces the damaged one.
    scene.bench.registry.clear_faults();
    scene.accepts("again", &[&signer().option()]);
    scene.verify(&[&signer().option()]).exits(0);
}

#[test]
fn kept_documents_go_with_their_image() {
    let scene = Scene::pulled_and_offline(sign_with_bundles);
    let blobs = || fs::read_dir(scene.bench.home.store().join("blobs/sha256")).unwrap().count();
    // Manifest, config and layer, and the manifest and the bundle of the signature.
    assert_eq!(blobs(), 5);
    scene.bench.home.run(&["prune", "-f"]).exits(0);
    scene.verify(&[&signer().option()]).exits_in("after prune", 0);
    scene.bench.home.run(&["rmi", &scene.name]).exits(0);
    scene.bench.home.run(&["prune", "-f"]).exits(0);
    assert_eq!((blobs(), scene.bench.home.index().len()), (0, 0));
}

#[test]
fn a_tag_that_moved_to_an_unsigned_image_is_refused() {
    let scene = Scene::pulled_and_offline(sign_simply);
    scene.bench.registry.clear_faults();
    Image::small("a newer image").push(&scene.bench.registry, APP, "latest");
    scene.pull(&[&signer().option()]).exits(8).says("the image is not signed");
    // The signed one stays.
    scene.unpack(&["--pull", "never", &signer().option()]).exits(0);
}
