//! Versions of signed images: an image that is older than one that was accepted before is refused, although it is signed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

use kit::fault::on;
use kit::home::Home;
use kit::image::Image;
use kit::process::Finished;
use kit::registry::Registry;
use kit::signature::{Signer, bundle, payload, push_bundle, push_simply, simple_layer, simple_manifest, statement};
use kit::tree::Tree;
use serde_json::{Value, json};

const VERSION: &str = "org.opencontainers.image.version";

fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| Signer::new("p256"))
}

fn other_signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| Signer::new("p256"))
}

struct Scene {
    registry: Registry,
    home: Home,
}

impl Scene {
    fn new() -> Scene {
        Scene { registry: Registry::plain(), home: Home::new() }
    }

    /// Pushes an image under a tag without a signature.
    fn push(&self, repository: &str, tag: &str) -> Image {
        let image = Image::small(&format!("{repository} {tag}"));
        image.push(&self.registry, repository, tag);
        image
    }

    /// Pushes an image of this version, signed by these keys, under the tag of its version.
    fn publish(&self, repository: &str, version: &str, signers: &[&Signer]) -> Image {
        self.publish_with(repository, version, json!({ VERSION: version }), signers)
    }

    fn publish_with(&self, repository: &str, tag: &str, optional: Value, signers: &[&Signer]) -> Image {
        let image = self.push(repository, tag);
        let mut text = payload(&image.digest(), &self.registry.name(repository));
        text["optional"] = optional;
        let text = text.to_string();
        let layer = |signer: &&Signer| simple_layer(&self.registry, repository, text.as_bytes(), signer);
        let layers: Vec<Value> = signers.iter().map(layer).collect();
        push_simply(&self.registry, repository, &image.digest(), &simple_manifest(&layers));
        image
    }

    fn pull_of(&self, repository: &str, tag: &str, options: &[&str]) -> Finished {
        let key = signer().option();
        self.home
            .run(&[&["pull", "-q", &key], options, &[&self.registry.name(&format!("{repository}:{tag}"))]].concat())
    }

    fn pull(&self, tag: &str, options: &[&str]) -> Finished {
        self.pull_of("app", tag, options)
    }

    /// The versions that the store keeps, sorted; proposed ones with a question mark.
    fn kept(&self) -> Vec<String> {
        let folder = self.home.store().join("versions");
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let read = |path: std::path::PathBuf| {
            let mark = if path.extension().unwrap() == "proposed" { "?" } else { "" };
            format!("{}{mark}", fs::read_to_string(path).unwrap().lines().next().unwrap())
        };
        // A kill leaves temporary files.
        let is_stamp =
            |path: &std::path::PathBuf| ["version", "proposed"].contains(&path.extension().unwrap().to_str().unwrap());
        let mut kept: Vec<String> = entries.map(|entry| entry.path()).filter(is_stamp).map(read).collect();
        kept.sort();
        kept
    }
}

#[test]
fn an_older_image_is_refused_although_it_is_signed() {
    let scene = Scene::new();
    let older = scene.publish("app", "1.9.0", &[signer()]);
    for version in ["1.10.0-rc.1", "1.10.0"] {
        scene.publish("app", version, &[signer()]);
    }
    scene.pull("1.10.0", &[]).exits(0);
    assert_eq!(scene.kept(), ["1.10.0"]);
    for tag in ["1.9.0", "1.10.0-rc.1"] {
        let outcome = scene.pull(tag, &[]).exits_in(tag, 8).fails_in_one_line();
        let text = format!("its version {tag} is older than 1.10.0, which was accepted before");
        outcome.says(&text).says("--allow-downgrade");
    }
    assert_eq!(scene.registry.requests_to(&older.config_digest()), 0, "{:?}", scene.registry.log());
    scene.pull("1.10.0", &[]).exits_in("the same version", 0);
    // A downgrade that a person wants changes nothing about later runs.
    scene.pull("1.9.0", &["--allow-downgrade"]).exits(0);
    assert_eq!(scene.kept(), ["1.10.0"]);
    scene.pull("1.9.0", &[]).exits(8);
    // The image is in the store now, and is refused there too.
    let (name, target) = (scene.registry.name("app:1.9.0"), scene.home.arg("target"));
    let unpack = |options: &[&str]| {
        let key = signer().option();
        scene.home.run(&[&["unpack", "--pull", "never", &key], options, &[&name, &target]].concat())
    };
    unpack(&[]).exits(8).says("older than 1.10.0");
    unpack(&["--allow-downgrade"]).exits(0);
}

#[test]
fn stamps_are_private_and_belong_to_a_repository_and_a_key() {
    let scene = Scene::new();
    let both = [signer(), other_signer()];
    scene.publish("app", "9.0.0", &[signer()]);
    scene.publish("app", "2.0.0", &both);
    scene.publish("app", "1.0.0", &both);
    scene.publish("tool", "1.0.0", &[signer()]);
    scene.pull("9.0.0", &[]).exits(0);
    scene.pull_of("tool", "1.0.0", &[]).exits_in("another repository", 0);
    scene.pull("2.0.0", &[]).exits(8);
    // A stolen key has signed 9.0.0. Without it, its stamp means nothing, and those of other keys count.
    let name = |version: &str| scene.registry.name(&format!("app:{version}"));
    let other = other_signer().option();
    scene.home.run(&["pull", "-q", &other, &name("2.0.0")]).exits(0);
    scene.home.run(&["pull", "-q", &other, &name("1.0.0")]).exits(8).says("1.0.0 is older than 2.0.0");
    scene.pull("2.0.0", &[&other]).exits_in("a key that has signed a newer one", 8).says("9.0.0");
    assert_eq!(scene.kept(), ["1.0.0", "2.0.0", "9.0.0"]);
    let folder = scene.home.store().join("versions");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn only_a_complete_image_raises_the_version() {
    let scene = Scene::new();
    let newer = scene.publish("app", "2.0.0", &[signer()]);
    scene.publish("app", "1.0.0", &[signer()]);
    scene.registry.fault(on(newer.layers[0].digest()).status(404));
    scene.pull("2.0.0", &[]).exits(3);
    assert!(scene.kept().is_empty());
    let target = scene.home.write("target", "in the way");
    let key = signer().option();
    scene.registry.clear_faults();
    scene.home.run(&["unpack", &key, &scene.registry.name("app:2.0.0"), &target]).exits(9);
    assert!(scene.kept().is_empty(), "the tree was not published");
    scene.pull("1.0.0", &[]).exits(0);
    assert_eq!(scene.kept(), ["1.0.0"]);
}

#[test]
fn an_unconfirmed_version_counts_after_its_confirmation() {
    let scene = Scene::new();
    let newer = scene.publish("app", "3", &[signer()]);
    scene.publish("app", "2", &[signer()]);
    let name = scene.registry.name("app");
    scene.home.run(&["confirm", &name]).exits(3).fails_in_one_line().says("no version of this image is known");
    scene.pull("2", &[]).exits(0);
    scene.pull("3", &["--unconfirmed"]).exits(0);
    assert_eq!(scene.kept(), ["2", "3?"]);
    scene.pull("2", &[]).exits_in("the way back", 0);
    // A temporary file of a process that died is no version.
    fs::write(scene.home.store().join("versions/0.version.new"), "3").unwrap();
    scene.home.run(&["confirm", &scene.registry.name("tool")]).exits_in("another repository", 3);
    let other = Image::small("other").digest();
    scene.home.run(&["confirm", &format!("{name}@{other}")]).exits_in("another image", 3);
    scene.home.run(&["confirm", &format!("{name}@{}", newer.digest())]).exits(0).prints("3\n");
    fs::remove_file(scene.home.store().join("versions/0.version.new")).unwrap();
    assert_eq!(scene.kept(), ["3"]);
    scene.pull("2", &[]).exits(8).says("2 is older than 3");
    scene.home.run(&["confirm", &name]).exits_in("again", 0).prints("3\n");
    scene.home.run(&["confirm", &format!("{name}@{other}")]).exits_in("another image, again", 3);
    // A confirmation after a downgrade does not lower the version.
    scene.pull("2", &["--allow-downgrade", "--unconfirmed"]).exits(0);
    scene.home.run(&["confirm", &name]).exits(0).prints("2\n");
    assert_eq!(scene.kept(), ["3"]);
}

#[test]
fn versions_without_an_order_are_refused() {
    let scene = Scene::new();
    scene.publish("app", "7", &[signer()]);
    scene.publish("app", "8.0.0", &[signer()]);
    scene.publish_with("app", "none", Value::Null, &[signer()]);
    scene.publish_with("app", "number", json!({ VERSION: 9 }), &[signer()]);
    scene.publish("app", "v9", &[signer()]);
    scene.pull("none", &[]).exits_in("without a version before", 0);
    scene.pull("v9", &[]).exits_in("a malformed version is ignored", 0);
    assert!(scene.kept().is_empty());
    scene.pull("7", &[]).exits(0);
    scene.pull("8.0.0", &[]).exits(8).says("its version 8.0.0 cannot be compared with 7");
    for tag in ["none", "number"] {
        scene.pull(tag, &[]).exits_in(tag, 8).says("its signature has no version").says("7");
    }
    scene.pull("v9", &[]).exits(8).says("invalid version \"v9\"");
    scene.pull("8.0.0", &["--allow-downgrade"]).exits(0);
    assert_eq!(scene.kept(), ["8.0.0"]);
}

#[test]
fn a_minimum_refuses_older_images_by_their_signed_version() {
    let scene = Scene::new();
    let image = scene.publish("app", "1.0.0", &[signer()]);
    // The annotation of the manifest does not count for a signed image.
    let newer = image.edited(|manifest| manifest["annotations"] = json!({ VERSION: "9.0.0" }));
    newer.push(&scene.registry, "app", "annotated");
    let text = payload(&newer.digest(), "x.io/app").to_string();
    let layer = simple_layer(&scene.registry, "app", text.as_bytes(), signer());
    push_simply(&scene.registry, "app", &newer.digest(), &simple_manifest(&[layer]));
    let outcome = scene.pull("1.0.0", &["--min-version", "1.0.1"]).exits(8).fails_in_one_line();
    outcome.says("its version 1.0.0 is older than 1.0.1, which is the minimum").hides("--allow-downgrade");
    scene.pull("1.0.0", &["--min-version", "1.0.1", "--allow-downgrade"]).exits(8);
    scene.pull("annotated", &["--min-version", "1.0.0"]).exits(8).says("its signature has no version");
    scene.pull("1.0.0", &["--min-version", "1.0.0"]).exits(0);
    scene.pull("1.0.0", &["--min-version", "v1"]).exits(2).fails_in_one_line().says("invalid version \"v1\"");
}

#[test]
fn a_minimum_without_a_key_reads_the_manifest_and_says_so() {
    let scene = Scene::new();
    let annotate = |version: &str| {
        let image = Image::small(version).edited(|manifest| manifest["annotations"] = json!({ VERSION: version }));
        image.push(&scene.registry, "app", version)
    };
    let (old, new) = (annotate("1.0.0"), annotate("1.1.0"));
    let plain = Image::small("plain").push(&scene.registry, "app", "plain");
    let pull = |name: &str| scene.home.run(&["pull", "--min-version", "1.1.0", name]);
    pull(&old).exits(8).says("1.0.0 is older than 1.1.0");
    pull(&plain).exits(8).says("no annotation org.opencontainers.image.version");
    pull(&new).exits(0).says("no key has signed it");
    assert!(scene.kept().is_empty());
    let target = scene.home.arg("target");
    scene.home.run(&["pull", &old]).exits(0);
    let unpack = ["unpack", "--pull", "never", "--min-version", "1.1.0"];
    scene.home.run(&[&unpack[..], &[&old, &target]].concat()).exits_in("from the store", 8);
    scene.home.run(&[&unpack[..], &[&new, &target]].concat()).exits(0);
}

#[test]
fn a_minimum_counts_for_artifacts_before_a_file_is_fetched() {
    let scene = Scene::new();
    let image = Image::small("artifact").edited(|manifest| {
        manifest["annotations"] = json!({ VERSION: "1.0.0" });
        manifest["config"]["mediaType"] = json!("application/vnd.example.config+json");
        manifest["layers"][0]["annotations"] = json!({ "org.opencontainers.image.title": "file" });
    });
    let name = image.push(&scene.registry, "app", "1.0.0");
    let fetch = |minimum: &str| scene.home.run(&["artifact", "--min-version", minimum, &name, &scene.home.arg("out")]);
    fetch("1.0.1").exits(8).fails_in_one_line().says("1.0.0 is older than 1.0.1");
    assert_eq!(scene.registry.requests_to("/blobs/"), 0, "{:?}", scene.registry.log());
    assert!(!scene.home.path("out").exists());
    fetch("1.0.0").exits(0).says("no key has signed it");
    assert!(scene.home.path("out/file").exists());
}

#[test]
fn bundles_have_versions_too() {
    let scene = Scene::new();
    let publish = |version: &str| {
        let image = scene.push("app", version);
        let mut text = statement(&image.digest());
        text["subject"][0]["annotations"] = json!({ VERSION: version });
        let text = bundle(text.to_string().as_bytes(), signer()).to_string();
        let entry = push_bundle(&scene.registry, "app", &image.digest(), text.as_bytes());
        scene.registry.put_referrers("app", &image.digest(), &[kit::signature::list(&[entry])]);
    };
    publish("41");
    publish("42");
    scene.pull("42", &[]).exits(0);
    scene.pull("41", &[]).exits(8).says("41 is older than 42");
}

/// Only a signature that counts says which version was accepted.
#[test]
fn a_signature_without_the_right_annotation_raises_nothing() {
    let scene = Scene::new();
    let image = scene.push("app", "latest");
    let layer = |version: &str, channel: &str| {
        let mut text = payload(&image.digest(), "x.io/app");
        text["optional"] = json!({ VERSION: version, "channel": channel });
        simple_layer(&scene.registry, "app", text.to_string().as_bytes(), signer())
    };
    let layers = [layer("1", "stable"), layer("9", "beta")];
    push_simply(&scene.registry, "app", &image.digest(), &simple_manifest(&layers));
    scene.pull("latest", &["--verify-annotation", "channel=stable"]).exits(0);
    assert_eq!(scene.kept(), ["1"]);
}

#[test]
fn streams_and_artifacts_keep_versions_in_the_store() {
    let scene = Scene::new();
    for version in ["1", "2"] {
        scene.publish("app", version, &[signer()]);
    }
    let key = signer().option();
    let stream = |version: &str, target: &str| {
        let name = scene.registry.name(&format!("app:{version}"));
        scene.home.run(&["unpack", "--stream", &key, &name, &scene.home.arg(target)])
    };
    stream("2", "two").exits(0);
    assert_eq!(scene.kept(), ["2"]);
    assert!(!scene.home.store().join("index.json").exists(), "an image was stored");
    stream("1", "one").exits(8).says("1 is older than 2");
    assert!(!scene.home.path("one").exists());
}

#[test]
fn a_damaged_stamp_refuses_images() {
    let scene = Scene::new();
    scene.publish("app", "1", &[signer()]);
    scene.pull("1", &[]).exits(0);
    let stamp = fs::read_dir(scene.home.store().join("versions")).unwrap().next().unwrap().unwrap().path();
    fs::write(&stamp, "").unwrap();
    scene.pull("1", &[]).exits(9).fails_in_one_line().says(&stamp.display().to_string());
    scene.pull("1", &["--allow-downgrade"]).exits(9);
}

#[test]
fn commands_without_a_store_for_versions_refuse_the_options() {
    let home = Home::new();
    for (command, option) in [
        ("boot", "--allow-downgrade"),
        ("boot", "--unconfirmed"),
        ("tags", "--min-version"),
        ("config", "--unconfirmed"),
    ] {
        home.run(&[command, option, "1"]).exits_in(command, 2).says(&format!("unknown option {option}"));
    }
}

/// Kills `unpack --replace` at each call that changes a name or makes one durable. Until the new tree is in place, the old
/// image is not refused.
#[test]
fn a_kill_raises_no_version_before_the_new_tree_is_in_place() {
    kit::debian::program("strace");
    let (key, mut kills) = (signer().option(), 0);
    for (call, options) in [
        ("rename", &["--stream"][..]),
        ("renameat", &["--stream"]),
        ("renameat2", &["--stream"]),
        ("fsync", &["--stream"]),
        ("renameat2", &["--pull=always"]),
        ("renameat2", &["--pull=always", "--bundle"]),
    ] {
        for number in 1.. {
            let scene = Scene::new();
            let root = scene.home.arg("root");
            let args = |version: &str| {
                let name = scene.registry.name(&format!("app:{version}"));
                let words = [&["unpack", "--replace", &key], options, &[&name, &root]].concat();
                words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>()
            };
            for version in ["1.0.0", "2.0.0"] {
                scene.publish("app", version, &[signer()]);
            }
            scene.home.run(&args("1.0.0")).exits(0);
            assert_eq!(scene.kept(), ["1.0.0"]);
            let old = Tree::read(&scene.home.path("root"));
            let inject = format!("inject={call}:signal=KILL:when={number}");
            let strace = ["strace", "-f", "-o", "/dev/null", "-e", &inject];
            let code = scene.home.pullet(&args("2.0.0")).under(&strace).run().code;
            let case = format!("{call} {number} {options:?}: exit {code}, {:?}", scene.kept());
            if old.differences(&Tree::read(&scene.home.path("root"))).is_empty() {
                assert!(scene.kept().contains(&"1.0.0".to_owned()), "{case}: raised too early");
            }
            if code == 0 {
                assert_eq!(scene.kept(), ["2.0.0"], "{case}");
                break;
            }
            kills += 1;
            // The old image may be put back until then, and the new one can be installed again.
            scene.home.run(&args("2.0.0")).exits_in(&case, 0);
            assert_eq!(scene.kept(), ["2.0.0"], "{case}");
            scene.home.run(&args("1.0.0")).exits_in(&case, 8);
        }
    }
    assert!(kills > 5, "only {kills} kills");
}

#[test]
fn a_replacement_confirms_what_it_has_fetched_and_nothing_else() {
    let scene = Scene::new();
    for version in ["1.0.0", "2.0.0"] {
        scene.publish("app", version, &[signer()]);
    }
    let (key, root) = (signer().option(), scene.home.arg("root"));
    let replace = |version: &str, options: &[&str]| {
        let name = scene.registry.name(&format!("app:{version}"));
        scene.home.run(&[&["unpack", "--replace", &key], options, &[&name, &root]].concat()).exits(0);
    };
    replace("1.0.0", &["--stream"]);
    assert_eq!(scene.kept(), ["1.0.0"]);
    replace("2.0.0", &["--stream", "--unconfirmed"]);
    assert_eq!(scene.kept(), ["1.0.0", "2.0.0?"]);
    // An image out of the store was accepted before, or waits for its confirmation.
    scene.pull("2.0.0", &["--unconfirmed"]).exits(0);
    replace("2.0.0", &["--pull=never"]);
    assert_eq!(scene.kept(), ["1.0.0", "2.0.0?"]);
    replace("2.0.0", &["--stream", "--pull=always"]);
    assert_eq!(scene.kept(), ["2.0.0"]);
}

#[test]
fn a_bundle_or_layers_that_fail_raise_no_version() {
    for option in ["--bundle", "--layered"] {
        let scene = Scene::new();
        scene.publish("app", "1.0.0", &[signer()]);
        scene.home.write("occupied", "a file");
        let key = signer().option();
        let unpack = |target: &str| {
            let name = scene.registry.name("app:1.0.0");
            scene.home.run(&["unpack", option, "--pull=always", &key, &name, &scene.home.arg(target)])
        };
        unpack("occupied").exits_in(option, 9);
        assert!(!scene.kept().contains(&"1.0.0".to_owned()), "{option}: {:?}", scene.kept());
        unpack("root").exits_in(option, 0);
        assert_eq!(scene.kept(), ["1.0.0"], "{option}");
    }
}
