//! Images by name and by digest in stores that other tools, or attackers, wrote into.

use std::fs;

use serde_json::{Value, json};

use kit::archive::file;
use kit::bench::Bench;
use kit::digest::sha256;
use kit::home::Home;
use kit::image::{Image, Layer, architecture, index, push_index};
use kit::schema1;

pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const NAME: &str = "r.example/team/app:1";

fn image(seed: &str, platform: &str) -> Image {
    Image::for_platform(vec![Layer::of(&[file(seed, seed)])], platform)
}

pub fn native(seed: &str) -> Image {
    image(seed, &format!("linux/{}", architecture()))
}

/// An architecture that this machine does not run.
pub fn other() -> Image {
    image("other", "linux/s390x")
}

/// Writes a store as another tool would: the blobs of the images, and these entries in `index.json`.
pub fn write_store(home: &Home, images: &[&Image], documents: &[Vec<u8>], entries: &[Value]) {
    let blobs = home.store().join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(home.store().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let put = |bytes: &[u8]| fs::write(home.blob(&sha256(bytes)), bytes).unwrap();
    for image in images {
        put(&image.manifest_bytes());
        put(&image.config_bytes);
        image.layers.iter().for_each(|layer| put(&layer.blob));
    }
    documents.iter().for_each(|document| put(document));
    let index = json!({ "schemaVersion": 2, "manifests": entries });
    fs::write(home.store().join("index.json"), index.to_string()).unwrap();
}

pub fn named(mut entry: Value, annotations: Value) -> Value {
    entry["annotations"] = annotations;
    entry
}

pub fn edit_index(home: &Home, edit: impl FnOnce(&mut Value)) {
    let path = home.store().join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut index["manifests"][0]);
    fs::write(&path, index.to_string()).unwrap();
}

/// Unpacks from the store alone, and returns the names of the files.
pub fn unpack_stored(home: &Home, options: &[&str], name: &str) -> Result<Vec<String>, i32> {
    let target = home.path("tree");
    let _ = fs::remove_dir_all(&target);
    let arg = home.arg("tree");
    let args = [&["unpack", "--pull", "never"], options, &[name, &arg]].concat();
    let outcome = home.run(&args);
    if outcome.code != 0 {
        assert!(!target.exists(), "{outcome}");
        return Err(outcome.code);
    }
    let mut names: Vec<String> =
        fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    Ok(names)
}

#[test]
fn an_annotation_does_not_satisfy_a_pinned_digest() {
    for annotation in ["pullet.resolved.digest", "pullet.source.digest"] {
        let bench = Bench::new();
        bench.pull(&native("evil")).exits(0);
        let pinned = format!("sha256:{}", "ab".repeat(32));
        edit_index(&bench.home, |entry| entry["annotations"][annotation] = json!(pinned));
        let name = bench.registry.name(&format!("app@{pinned}"));
        assert_eq!(unpack_stored(&bench.home, &[], &name), Err(3), "{annotation}");
        bench.home.run(&["verify", &name]).exits_in(annotation, 3);
        // Asked for it, the registry says that it does not have it either.
        let requests = bench.registry.log().len();
        bench.home.run(&["unpack", &name, &bench.home.arg("tree")]).exits_in(annotation, 3);
        assert!(bench.registry.log().len() > requests, "{annotation}");
        assert!(!bench.home.path("tree").exists(), "{annotation}");
    }
}

#[test]
fn a_changed_image_does_not_keep_the_digest_of_the_old_one() {
    let bench = Bench::new();
    let platform = format!("linux/{}", architecture());
    push_index(&bench.registry, "app", "latest", &[(&platform, &native("good"))]);
    bench.home.run(&["pull", "-q", &bench.registry.name("app:latest")]).exits(0);
    let resolved = bench.home.index()[0]["annotations"]["pullet.resolved.digest"].as_str().unwrap().to_string();
    let pinned = bench.registry.name(&format!("app@{resolved}"));
    assert_eq!(unpack_stored(&bench.home, &[], &pinned), Ok(vec!["good".to_string()]));
    bench.home.run(&["verify", &pinned]).exits(0);

    // Another tool puts another image under the name and keeps the annotations.
    let evil = native("evil");
    bench.home.run(&["pull", "-q", &evil.push(&bench.registry, "app", "evil")]).exits(0);
    edit_index(&bench.home, |entry| {
        entry["digest"] = json!(evil.digest());
        entry["size"] = json!(evil.manifest_bytes().len());
    });
    assert_eq!(unpack_stored(&bench.home, &[], &pinned), Err(3));
    bench.home.run(&["verify", &pinned]).exits(3);
}

#[test]
fn a_pinned_digest_is_proven_by_the_documents_in_the_store() {
    // An index.
    let bench = Bench::new();
    let platform = format!("linux/{}", architecture());
    push_index(&bench.registry, "app", "latest", &[("linux/s390x", &other()), (&platform, &native("x"))]);
    bench.home.run(&["pull", "-q", &bench.registry.name("app:latest")]).exits(0);
    let resolved = bench.home.index()[0]["annotations"]["pullet.resolved.digest"].as_str().unwrap().to_string();
    let by_index = bench.registry.name(&format!("app@{resolved}"));
    let by_manifest = bench.registry.name(&format!("app@{}", native("x").digest()));
    for name in [&by_index, &by_manifest] {
        assert_eq!(unpack_stored(&bench.home, &[], name), Ok(vec!["x".to_string()]), "{name}");
    }
    // Without its document there is no proof.
    fs::remove_file(bench.home.blob(&resolved)).unwrap();
    assert_eq!(unpack_stored(&bench.home, &[], &by_index), Err(3));
    assert_eq!(unpack_stored(&bench.home, &[], &by_manifest), Ok(vec!["x".to_string()]));
    // A damaged document is no proof either.
    fs::write(bench.home.blob(&resolved), "{}").unwrap();
    assert_eq!(unpack_stored(&bench.home, &[], &by_index), Err(3));

    // Docker's manifest, which is stored with OCI media types.
    let bench = Bench::new();
    let docker = native("docker").docker();
    bench.pull(&docker).exits(0);
    let name = bench.registry.name(&format!("app@{}", docker.digest()));
    assert_eq!(unpack_stored(&bench.home, &[], &name), Ok(vec!["docker".to_string()]));

    // Schema 1, from which manifest and config are made.
    let bench = Bench::new();
    let layer = Layer::of(&[file("one", "1")]);
    let payload = schema1::payload(&schema1::manifest(&[schema1::Step::Layer(&layer)]));
    let name = schema1::push(&bench.registry, "latest", schema1::SCHEMA_1, &payload, &[&layer]);
    bench.home.run(&["pull", "-q", &name]).exits(0);
    let name = bench.registry.name(&format!("app@{}", sha256(&payload)));
    assert_eq!(unpack_stored(&bench.home, &[], &name), Ok(vec!["one".to_string()]));
}

#[test]
fn an_index_under_a_name_is_resolved_for_the_platform() {
    let home = Home::new();
    let (here, other) = (native("here"), other());
    let platform = format!("linux/{}", architecture());
    let document = index(&[other.entry("linux/s390x"), here.entry(&platform)]).to_string().into_bytes();
    let entry = json!({ "mediaType": OCI_INDEX, "digest": sha256(&document), "size": document.len() });
    write_store(&home, &[&here, &other], std::slice::from_ref(&document), &[named(entry, json!({ REF_NAME: NAME }))]);
    assert_eq!(unpack_stored(&home, &[], NAME), Ok(vec!["here".to_string()]));
    assert_eq!(unpack_stored(&home, &["--platform", "linux/s390x"], NAME), Ok(vec!["other".to_string()]));
    assert_eq!(unpack_stored(&home, &["--platform", "linux/riscv64"], NAME), Err(10));
    let pinned = format!("r.example/team/app@{}", sha256(&document));
    assert_eq!(unpack_stored(&home, &[], &pinned), Ok(vec!["here".to_string()]));
    let listed = home.run(&["images"]).exits(0);
    assert!(listed.stdout.contains("r.example/team/app"), "{listed}");
    home.run(&["verify", NAME]).exits(0);
    // A blob of any platform that is missing is a fault.
    for layer in [&here.layers[0], &other.layers[0]] {
        let bytes = fs::read(home.blob(&layer.digest())).unwrap();
        fs::remove_file(home.blob(&layer.digest())).unwrap();
        home.run(&["verify", NAME]).exits(8);
        fs::write(home.blob(&layer.digest()), bytes).unwrap();
    }
    fs::remove_file(home.blob(&sha256(&document))).unwrap();
    home.run(&["verify", NAME]).exits(8);
}

#[test]
fn one_name_for_two_platforms_means_the_one_that_runs_here() {
    let home = Home::new();
    let (here, other) = (native("here"), other());
    let platform = format!("linux/{}", architecture());
    for entries in [[other.entry("linux/s390x"), here.entry(&platform)], [here.entry(&platform), other.entry("x/y")]] {
        let entries = entries.map(|entry| named(entry, json!({ REF_NAME: NAME })));
        write_store(&home, &[&here, &other], &[], &entries);
        assert_eq!(unpack_stored(&home, &[], NAME), Ok(vec!["here".to_string()]));
        assert_eq!(unpack_stored(&home, &["--platform", "linux/s390x"], NAME), Ok(vec!["other".to_string()]));
    }
}

#[test]
fn an_image_of_another_architecture_says_so() {
    let home = Home::new();
    let other = other();
    write_store(&home, &[&other], &[], &[named(other.entry("linux/s390x"), json!({ REF_NAME: NAME }))]);
    let note = "r.example/team/app:1 is for linux/s390x, which this machine does not run";
    home.run(&["unpack", "--pull", "never", NAME, "one"]).exits(0).says(note);
    let asked = home.run(&["unpack", "--pull", "never", "--platform", "linux/s390x", NAME, "two"]).exits(0);
    assert!(!asked.stderr.contains("does not run"), "{asked}");
    home.run(&["images", "--format", "{{.Platform}}"]).exits(0).prints("linux/s390x\n");
}

#[test]
fn short_names_and_those_of_containerd_are_found() {
    let home = Home::new();
    let image = native("x");
    let platform = format!("linux/{}", architecture());
    for (annotations, names) in [
        (json!({ REF_NAME: "app:1" }), ["app:1", "docker.io/library/app:1", "library/app:1"]),
        (
            json!({ REF_NAME: "1", CONTAINERD_NAME: "docker.io/library/app:1" }),
            ["app:1", "docker.io/library/app:1", "index.docker.io/library/app:1"],
        ),
        (json!({ CONTAINERD_NAME: NAME }), [NAME; 3]),
    ] {
        write_store(&home, &[&image], &[], &[named(image.entry(&platform), annotations)]);
        for name in names {
            assert_eq!(unpack_stored(&home, &[], name), Ok(vec!["x".to_string()]), "{name}");
            home.run(&["verify", name]).exits_in(name, 0);
        }
        assert_eq!(unpack_stored(&home, &[], "app:2"), Err(3));
    }
}

/// umoci copies an entry with all its annotations for a new name, and changes only the one that it knows.
#[test]
fn an_annotation_that_another_tool_has_copied_is_no_name() {
    let bench = Bench::new();
    let home = &bench.home;
    let (old, copy) = (native("old"), native("copy"));
    let name = native("new").push(&bench.registry, "app", "1");
    let entry = |image: &Image, name: &str, of_containerd: &str| {
        named(image.entry("linux/any"), json!({ CONTAINERD_NAME: of_containerd, REF_NAME: name }))
    };
    let copied = bench.registry.name("app:copy");
    for (kept, of_containerd) in [(copied.as_str(), name.as_str()), ("copy:1", "docker.io/library/app:1")] {
        write_store(home, &[&old, &copy], &[], &[entry(&old, &name, &name), entry(&copy, kept, of_containerd)]);
        let listed = home.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).exits(0).stdout;
        assert_eq!(listed.lines().collect::<std::collections::BTreeSet<_>>(), [name.as_str(), kept].into());
        home.run(&["pull", "-q", &name]).exits(0);
        assert_eq!(unpack_stored(home, &[], &name), Ok(vec!["new".to_string()]));
        assert_eq!(unpack_stored(home, &[], kept), Ok(vec!["copy".to_string()]));
        home.run(&["rmi", kept]).exits(0);
        assert_eq!(home.names(), [name.as_str()]);
    }
    // Next to the full name, a part of it is no other name.
    write_store(home, &[&copy], &[], &[entry(&copy, "team/app:1", NAME)]);
    home.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).exits(0).prints(&format!("{NAME}\n"));
}

#[test]
fn an_empty_name_is_no_name() {
    let home = Home::new();
    let image = native("x");
    for key in [CONTAINERD_NAME, REF_NAME] {
        write_store(&home, &[&image], &[], &[named(image.entry("linux/any"), json!({ key: "" }))]);
        home.run(&["prune", "-f"]).exits(0);
        assert!(home.index().is_empty(), "{key}");
    }
}

#[test]
fn a_pull_replaces_the_short_name_of_another_tool() {
    let bench = Bench::new();
    let old = native("old");
    let name = native("new").push(&bench.registry, "app", "1");
    let entry = named(old.entry("linux/any"), json!({ CONTAINERD_NAME: name, REF_NAME: "1" }));
    write_store(&bench.home, &[&old], &[], &[entry]);
    bench.home.run(&["pull", "-q", &name]).exits(0);
    assert_eq!(bench.home.index().len(), 1);
    assert_eq!(unpack_stored(&bench.home, &[], &name), Ok(vec!["new".to_string()]));
}

#[test]
fn indexes_that_name_each_other_often_are_read_once() {
    let home = Home::new();
    let image = native("x");
    let mut documents: Vec<Vec<u8>> = vec![image.manifest_bytes()];
    for _ in 0..3 {
        let child = documents.last().unwrap();
        let media_type = if documents.len() == 1 { &image.media_type } else { OCI_INDEX };
        let entry = json!({ "mediaType": media_type, "digest": sha256(child), "size": child.len() });
        documents.push(index(&vec![entry; 3000]).to_string().into_bytes());
    }
    let top = documents.last().unwrap().clone();
    let entry = json!({ "mediaType": OCI_INDEX, "digest": sha256(&top), "size": top.len() });
    write_store(&home, &[&image], &documents, &[named(entry, json!({ REF_NAME: NAME }))]);
    // Read once for each time that it is named, this would take hours.
    home.run(&["verify", NAME]).exits(0);
    let unknown = format!("r.example/team/app@sha256:{}", "0".repeat(64));
    home.run(&["verify", &unknown]).exits(3);
}

#[test]
fn verify_without_a_store_finds_nothing() {
    let home = Home::new();
    home.run(&["verify"]).exits(3).fails_in_one_line().says("there is no store");
    home.run(&["verify", NAME]).exits(3).fails_in_one_line();
    home.run(&["images"]).exits(0);
}
