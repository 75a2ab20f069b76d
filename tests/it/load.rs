//! `load`: archives of `docker save` and OCI layouts in a tar, in every order and compression, and hostile ones.

use std::fs;

use kit::archive::{Entry, archive, dir, file, hardlink, symlink};
use kit::digest::sha256;
use kit::home::Home;
use kit::image::{Image, Layer, OCI_INDEX, OCI_MANIFEST, architecture, descriptor, gzip, index, zstd};
use kit::process::Finished;
use serde_json::{Value, json};

pub const NAME: &str = "org.opencontainers.image.ref.name";

pub fn hex(digest: &str) -> &str {
    digest.split_once(':').unwrap().1
}

/// Two layers, the second of which is compressed if `is_mixed`.
pub fn image(is_mixed: bool) -> Image {
    let lower = archive(&[dir("d"), file("d/a", "1")]);
    let upper = archive(&[file("d/b", "2")]);
    Image::new(vec![Layer::plain(&lower), if is_mixed { Layer::gzip(&upper) } else { Layer::plain(&upper) }])
}

pub fn layer_name(layer: &Layer) -> String {
    format!("{}.tar", hex(&layer.diff_id))
}

/// The members of a docker-archive with these tags, `manifest.json` last.
pub fn docker(image: &Image, tags: &Value) -> Vec<Entry> {
    let layers: Vec<String> = image.layers.iter().map(layer_name).collect();
    let config = format!("{}.json", hex(&image.config_digest()));
    let manifest = json!([{ "Config": config, "RepoTags": tags, "Layers": layers }]);
    let mut members: Vec<Entry> = image.layers.iter().map(|layer| file(layer_name(layer), &layer.blob)).collect();
    members.push(file(config, &image.config_bytes));
    members.push(file("manifest.json", manifest.to_string()));
    members
}

fn blob(bytes: &[u8]) -> Entry {
    file(format!("blobs/sha256/{}", hex(&sha256(bytes))), bytes)
}

/// The members of an oci-archive with these entries and blobs.
pub fn layout(entries: &[Value], blobs: &[&[u8]]) -> Vec<Entry> {
    let mut members = vec![
        file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
        file("index.json", index(entries).to_string()),
        dir("blobs"),
        dir("blobs/sha256"),
    ];
    members.extend(blobs.iter().map(|bytes| blob(bytes)));
    members
}

pub fn blobs(image: &Image) -> Vec<Vec<u8>> {
    let mut blobs: Vec<Vec<u8>> = image.layers.iter().map(|layer| layer.blob.clone()).collect();
    blobs.extend([image.config_bytes.clone(), image.manifest_bytes()]);
    blobs
}

pub fn oci(image: &Image, annotations: &Value) -> Vec<Entry> {
    let mut entry = image.entry(&format!("linux/{}", architecture()));
    entry["annotations"] = annotations.clone();
    let blobs = blobs(image);
    layout(&[entry], &blobs.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

pub fn load(home: &Home, tar: &[u8]) -> Finished {
    home.pullet(&["load"]).stdin(tar).run()
}

/// The number of blobs in the store; no temporary file may be left.
#[track_caller]
pub fn count_blobs(home: &Home) -> usize {
    let left = fs::read_dir(home.store().join("ingest")).map(Iterator::count).unwrap_or(0);
    assert_eq!(left, 0, "temporary files are left");
    fs::read_dir(home.store().join("blobs/sha256")).map(Iterator::count).unwrap_or(0)
}

#[track_caller]
fn unpacks(home: &Home, name: &str, expected: &str) {
    let target = home.arg("root");
    home.run(&["unpack", "--pull", "never", name, &target]).exits(0);
    let mut names: Vec<String> = fs::read_dir(home.path("root/d"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.join(" "), expected);
    fs::remove_dir_all(home.path("root")).unwrap();
}

#[test]
fn loads_a_docker_archive_in_every_order_and_compression() {
    for is_mixed in [false, true] {
        let image = image(is_mixed);
        let members = docker(&image, &json!(["app:1", "localhost:5000/b/c:2"]));
        let reversed: Vec<Entry> = members.iter().rev().cloned().collect();
        for (case, tar) in [
            ("in order", archive(&members)),
            ("manifest.json first", archive(&reversed)),
            ("gzip", gzip(&archive(&members))),
            ("zstd", zstd(&archive(&members))),
            ("names with ./", archive(&members.iter().map(with_dot).collect::<Vec<_>>())),
        ] {
            let home = Home::new();
            load(&home, &tar).exits_in(case, 0).prints("Loaded image: app:1\nLoaded image: localhost:5000/b/c:2\n");
            assert_eq!(home.names(), ["docker.io/library/app:1", "localhost:5000/b/c:2"], "{case}");
            // The layers, the config and one manifest.
            assert_eq!(count_blobs(&home), 4, "{case}");
            let id = home.run(&["images", "-q", "--no-trunc", "app:1"]).exits(0).stdout;
            assert_eq!(id.trim(), image.config_digest(), "{case}");
            let manifest: Value =
                serde_json::from_slice(&fs::read(home.blob(home.index()[0]["digest"].as_str().unwrap())).unwrap())
                    .unwrap();
            let types: Vec<&str> = image.layers.iter().map(|layer| layer.media_type.as_str()).collect();
            let found: Vec<&str> = manifest["layers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|layer| layer["mediaType"].as_str().unwrap())
                .collect();
            assert_eq!(found, types, "{case}");
            home.run(&["verify"]).exits(0);
            unpacks(&home, "app:1", "a b");
        }
    }
}

fn with_dot(entry: &Entry) -> Entry {
    let bytes = entry.bytes();
    let name: Vec<u8> = bytes[..100].iter().copied().take_while(|b| *b != 0).collect();
    entry.clone().patch(0, [b"./", name.as_slice()].concat())
}

#[test]
fn a_file_is_read_by_name_and_a_second_load_changes_nothing() {
    let home = Home::new();
    let path = home.write("a.tar", archive(&docker(&image(true), &json!(["app:1"]))));
    home.run(&["load", "-q", "-i", &path]).exits(0).prints("Loaded image: app:1\n");
    let before = home.index();
    home.run(&["load", "--input", &path]).exits(0).prints("Loaded image: app:1\n");
    assert_eq!((home.index(), count_blobs(&home)), (before, 4));
    home.run(&["load", "-i", &home.arg("missing")]).exits(3).fails_in_one_line();
    home.run(&["load", "-i", &home.arg("home")]).exits(9).fails_in_one_line();
    home.run(&["load", &path]).exits(2).fails_in_one_line();
}

#[test]
fn follows_links_between_members() {
    let image = image(false);
    let [lower, upper] = &image.layers[..] else { panic!("two layers") };
    let manifest = |layers: [&str; 2]| {
        file("manifest.json", json!([{ "Config": "c.json", "RepoTags": ["app:1"], "Layers": layers }]).to_string())
    };
    for (case, members) in [
        (
            "symlinks of old docker save",
            vec![
                symlink("x/layer.tar", "../a/layer.tar"),
                file("a/layer.tar", &lower.blob),
                file("b/layer.tar", &upper.blob),
                manifest(["x/layer.tar", "b/layer.tar"]),
            ],
        ),
        (
            "hard links and chains",
            vec![
                file("a/layer.tar", &lower.blob),
                file("b/layer.tar", &upper.blob),
                hardlink("h", "a/layer.tar"),
                symlink("s/l", "/h"),
                manifest(["s/l", "./b//layer.tar"]),
            ],
        ),
        (
            "a link above the root stays in the archive",
            vec![
                file("etc/l", &lower.blob),
                file("b", &upper.blob),
                symlink("x/layer.tar", "../../../etc/l"),
                manifest(["x/layer.tar", "b"]),
            ],
        ),
    ] {
        let home = Home::new();
        let tar = archive(&[vec![file("c.json", &image.config_bytes)], members].concat());
        load(&home, &tar).exits_in(case, 0).prints("Loaded image: app:1\n");
        assert_eq!(count_blobs(&home), 4, "{case}");
    }
}

#[test]
fn images_without_a_name_and_several_images() {
    let home = Home::new();
    let one = image(false);
    load(&home, &archive(&docker(&one, &Value::Null)))
        .exits(0)
        .prints(&format!("Loaded image ID: {}\n", one.config_digest()));
    assert_eq!((home.names(), home.index().len()), (Vec::new(), 1));
    load(&home, &archive(&docker(&one, &json!([])))).exits(0);
    assert_eq!(home.index().len(), 1, "the same image without a name");
    // Both have the same base layer.
    let two = Image::new(vec![one.layers[0].clone()]);
    let parts: Vec<Value> = [(&one, "one:1"), (&two, "two:1")]
        .map(|(image, name)| {
            let layers: Vec<String> = image.layers.iter().map(layer_name).collect();
            json!({ "Config": format!("{}.json", hex(&image.config_digest())), "RepoTags": [name], "Layers": layers })
        })
        .to_vec();
    let mut members = docker(&one, &json!([]));
    members.pop();
    members.push(file(format!("{}.json", hex(&two.config_digest())), &two.config_bytes));
    members.push(file("manifest.json", Value::Array(parts).to_string()));
    load(&home, &archive(&members)).exits(0).prints("Loaded image: one:1\nLoaded image: two:1\n");
    assert_eq!(home.names().len(), 2);
}

#[test]
fn an_oci_archive_keeps_its_documents() {
    for (annotations, line, name) in [
        (json!({ NAME: "docker.io/library/app:1" }), "app:1", "docker.io/library/app:1"),
        (json!({ NAME: "app:1" }), "app:1", "docker.io/library/app:1"),
        (json!({ NAME: "1", "io.containerd.image.name": "ghcr.io/a/b:1" }), "ghcr.io/a/b:1", "ghcr.io/a/b:1"),
        // As podman does.
        (json!({ NAME: "latest" }), "localhost/latest:latest", "localhost/latest:latest"),
    ] {
        let home = Home::new();
        let image = image(true).edited(|manifest| {
            manifest["annotations"] = json!({ "k": "v" });
            manifest["layers"][0]["annotations"] = json!({ "l": "w" });
        });
        load(&home, &archive(&oci(&image, &annotations))).exits(0).prints(&format!("Loaded image: {line}\n"));
        assert_eq!(home.names(), [name]);
        assert_eq!(home.index()[0]["digest"], image.digest());
        assert!(fs::read(home.blob(&image.digest())).unwrap() == image.manifest_bytes());
        assert_eq!(count_blobs(&home), 4);
        unpacks(&home, line, "a b");
    }
    let home = Home::new();
    let image = image(false);
    let line = format!("Loaded image ID: {}\n", image.config_digest());
    load(&home, &archive(&oci(&image, &json!({})))).exits(0).prints(&line);
}

#[test]
fn an_index_is_kept_and_the_platform_chosen_from_it() {
    let home = Home::new();
    let layer = |name: &str| vec![Layer::of(&[dir("d"), file(format!("d/{name}"), "x")])];
    let native = Image::new(layer("native"));
    let other = Image::for_platform(layer("other"), "linux/s390x");
    let own = format!("linux/{}", architecture());
    let list = index(&[other.entry("linux/s390x"), native.entry(&own)]).to_string().into_bytes();
    let mut entry = descriptor(OCI_INDEX, &list);
    entry["annotations"] = json!({ NAME: "app:1" });
    let all = [blobs(&native), blobs(&other), vec![list.clone()]].concat();
    let tar = archive(&layout(&[entry], &all.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    load(&home, &tar).exits(0).prints("Loaded image: app:1\n");
    // Layer, config, manifest and index; the other platform's blobs are not kept.
    assert_eq!(count_blobs(&home), 4);
    assert_eq!(home.index()[0]["digest"], native.digest());
    assert_eq!(home.index()[0]["annotations"]["pullet.resolved.digest"], sha256(&list));
    unpacks(&home, &format!("app@{}", sha256(&list)), "native");
    let second = Home::new();
    second.pullet(&["load", "--platform", "linux/s390x"]).stdin(&tar).run().exits(0);
    assert_eq!(second.index()[0]["digest"], other.digest());
    let third = Home::new();
    let refused = third.pullet(&["load", "--platform", "windows/amd64"]).stdin(&tar).run();
    refused.exits(10).fails_in_one_line().says("--platform");
    assert_eq!(count_blobs(&third), 0);
}

#[test]
fn docker_manifests_in_a_layout_become_oci_manifests() {
    let home = Home::new();
    let image = image(true).docker();
    load(&home, &archive(&oci(&image, &json!({ NAME: "app:1" })))).exits(0);
    let entry = &home.index()[0];
    assert_eq!(entry["mediaType"], OCI_MANIFEST);
    assert_eq!(entry["annotations"]["pullet.source.digest"], image.digest());
    assert!(fs::read(home.blob(&image.digest())).unwrap() == image.manifest_bytes());
    unpacks(&home, "app:1", "a b");
}

/// Docker 25 and later write both; some versions left the layers out of the layout's manifest.
#[test]
fn an_archive_of_both_kinds_is_one_image() {
    let image = image(false);
    let both = |manifest: &[u8]| {
        let name = |bytes: &[u8]| format!("blobs/sha256/{}", hex(&sha256(bytes)));
        let layers: Vec<String> = image.layers.iter().map(|layer| name(&layer.blob)).collect();
        let list = json!([{ "Config": name(&image.config_bytes), "RepoTags": ["app:1"], "Layers": layers }]);
        let mut entry = descriptor(OCI_MANIFEST, manifest);
        entry["annotations"] = json!({ NAME: "1", "io.containerd.image.name": "docker.io/library/app:1" });
        let all = [blobs(&image), vec![manifest.to_vec()]].concat();
        let mut members = layout(&[entry], &all.iter().map(Vec::as_slice).collect::<Vec<_>>());
        members.push(file("manifest.json", list.to_string()));
        members.push(file("repositories", "{}"));
        archive(&members)
    };
    let home = Home::new();
    load(&home, &both(&image.manifest_bytes())).exits(0).prints("Loaded image: app:1\n");
    assert_eq!(home.index()[0]["digest"], image.digest());
    assert_eq!((home.index().len(), count_blobs(&home)), (1, 4));
    let broken = image.clone().edited(|manifest| manifest["layers"] = json!([]));
    let home = Home::new();
    load(&home, &both(&broken.manifest_bytes())).exits(0).prints("Loaded image: app:1\n");
    assert_eq!((home.index().len(), count_blobs(&home)), (1, 4));
    unpacks(&home, "app:1", "a b");
}

#[test]
fn of_one_name_for_two_platforms_the_image_for_this_machine_is_loaded() {
    let native = image(true);
    let other = Image::for_platform(vec![native.layers[0].clone()], "linux/s390x");
    let platform = format!("linux/{}", architecture());
    let mut entries = [other.entry("linux/s390x"), native.entry(&platform)];
    for entry in &mut entries {
        entry["annotations"] = json!({ NAME: "app:1" });
    }
    let all = [blobs(&native), blobs(&other)].concat();
    let tar = archive(&layout(&entries, &all.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    let home = Home::new();
    load(&home, &tar).exits(0).prints("Loaded image: app:1\n").hides("s390x");
    assert_eq!((home.index().len(), count_blobs(&home)), (1, 4));
    assert_eq!(home.index()[0]["digest"], native.digest());
}

/// An archive could fill the store with signatures of images that it does not have.
#[test]
fn what_is_attached_to_another_image_is_not_loaded() {
    let image = image(true);
    let payload = b"{\"critical\":{}}".to_vec();
    let signature = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [descriptor("application/vnd.dev.cosign.simplesigning.v1+json", &payload)],
    });
    let signature = signature.to_string().into_bytes();
    let mut named = image.entry(&format!("linux/{}", architecture()));
    named["annotations"] = json!({ NAME: "app:1" });
    let mut attached = descriptor(OCI_MANIFEST, &signature);
    for (subject, count) in [(sha256(b"another"), 1), (image.digest(), 2)] {
        attached["annotations"] = json!({ "pullet.subject": subject });
        let all = [blobs(&image), vec![payload.clone(), b"{}".to_vec(), signature.clone()]].concat();
        let entries = [named.clone(), attached.clone()];
        let tar = archive(&layout(&entries, &all.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        let home = Home::new();
        load(&home, &tar).exits(0).prints("Loaded image: app:1\n");
        assert_eq!((home.index().len(), count_blobs(&home)), (count, 1 + 3 * count));
    }
}

#[test]
fn signatures_of_cosign_save_stay_with_their_image() {
    let image = image(true);
    let payload = b"{\"critical\":{}}".to_vec();
    let signature = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [descriptor("application/vnd.dev.cosign.simplesigning.v1+json", &payload)],
    })
    .to_string()
    .into_bytes();
    let kind = |mut entry: Value, kind: &str| {
        entry["annotations"] = json!({ "kind": format!("dev.cosignproject.cosign/{kind}") });
        entry
    };
    let mut named = kind(image.entry("linux/amd64"), "image");
    named["annotations"][NAME] = json!("ghcr.io/a/b:1");
    let entries = [named, kind(descriptor(OCI_MANIFEST, &signature), "sigs")];
    let all = [blobs(&image), vec![payload.clone(), b"{}".to_vec(), signature.clone()]].concat();
    let home = Home::new();
    let tar = archive(&layout(&entries, &all.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    load(&home, &tar).exits(0).prints("Loaded image: ghcr.io/a/b:1\n");
    let index = home.index();
    assert_eq!(index.len(), 2, "{index:?}");
    assert_eq!(index[0]["annotations"], json!({ "pullet.subject": image.digest() }));
    assert_eq!((index[0]["digest"].as_str(), count_blobs(&home)), (Some(sha256(&signature).as_str()), 7));
    home.run(&["prune", "-f"]).exits(0);
    assert_eq!(count_blobs(&home), 7);
    // What is saved as OCI keeps the signature, and so does what is loaded from that.
    let saved = home.arg("saved.tar");
    home.run(&["save", "--format", "oci-archive", "-o", &saved, "ghcr.io/a/b:1"]).exits(0);
    let second = Home::new();
    second.run(&["load", "-i", &saved]).exits(0).prints("Loaded image: ghcr.io/a/b:1\n");
    assert_eq!((second.index(), count_blobs(&second)), (index, 7));
    // cosign gives images no names, so an error has the digest.
    let entry = kind(image.entry("linux/amd64"), "image");
    let unnamed = layout(&[entry], &blobs(&image).iter().map(Vec::as_slice).collect::<Vec<_>>());
    let unnamed = home.write("unnamed.tar", archive(&unnamed));
    let key = concat!("--verify-key=", env!("CARGO_MANIFEST_DIR"), "/tests/data/signatures/container-libs/cosign.pub");
    let outcome = Home::new().run(&["load", key, "-i", &unnamed]).exits(8).fails_in_one_line();
    outcome.says(&format!("load archive: {}: verify signatures: the image is not signed", image.digest()));
}

#[test]
fn a_failure_leaves_the_images_of_the_store_as_they_were() {
    let home = Home::new();
    load(&home, &archive(&docker(&image(false), &json!(["app:1"])))).exits(0);
    let before = (home.index(), count_blobs(&home));
    // The second image is broken, so the first one gets no name either.
    let mut members = docker(&image(true), &json!(["app:1"]));
    let config = format!("{}.json", hex(&image(true).config_digest()));
    let layers: Vec<String> = image(true).layers.iter().map(layer_name).collect();
    members.pop();
    let list = json!([
        { "Config": config, "RepoTags": ["app:1"], "Layers": layers },
        { "Config": config, "RepoTags": ["b:1"], "Layers": ["missing"] },
    ]);
    members.push(file("manifest.json", list.to_string()));
    load(&home, &archive(&members)).exits(11);
    assert_eq!(home.index(), before.0);
    home.run(&["prune", "-f"]).exits(0);
    assert_eq!(count_blobs(&home), before.1);
}
