//! `load` refuses archives that are wrong or hostile, and keeps nothing of them.

use kit::archive::{Entry, archive, dir, file, symlink};
use kit::bench::Bench;
use kit::digest::sha256;
use kit::fault::on;
use kit::home::Home;
use kit::http::Latch;
use kit::image::{Image, Layer, OCI_INDEX, architecture, gzip, index};
use kit::noise::noise;
use kit::signature::{Signer, sign_simply};
use serde_json::{Value, json};
use std::fs;

use super::load::{NAME, blobs, count_blobs, docker, hex, image, layer_name, layout, load, oci};

#[track_caller]
fn refuses(case: &str, tar: &[u8], code: i32) {
    let home = Home::new();
    load(&home, tar).exits_in(case, code).fails_in_one_line().prints("");
    assert_eq!((home.index().len(), count_blobs(&home)), (0, 0), "{case}: something is left");
}

#[test]
fn refuses_archives_that_are_wrong_or_hostile() {
    let image = image(true);
    let tags = json!(["app:1"]);
    let good = docker(&image, &tags);
    let with = |more: &[Entry]| archive(&[&good[..], more].concat());
    let without = |at: usize| {
        let mut members = good.clone();
        members.remove(at);
        archive(&members)
    };
    let list = |list: &Value| {
        let mut members = good.clone();
        members.pop();
        members.push(file("manifest.json", list.to_string()));
        archive(&members)
    };
    let item =
        |layers: &Value| json!([{ "Config": format!("{}.json", hex(&image.config_digest())), "Layers": layers }]);
    let layer = layer_name(&image.layers[0]);
    let whole = archive(&good);
    for (case, tar, code) in [
        ("nothing", Vec::new(), 10),
        ("no image", archive(&[file("a", "b")]), 10),
        ("not a tar", b"hello ".repeat(200), 11),
        ("a name above the root", with(&[file("../x", "y")]), 11),
        ("two members of one name", with(&[file(&layer, "other")]), 11),
        ("two manifests", with(&[file("manifest.json", "[]")]), 11),
        ("a link in place of a member", with(&[symlink(&layer, "x")]), 11),
        ("a layer is missing", without(0), 11),
        ("the config is missing", without(2), 11),
        (
            "a circle of links",
            {
                let links = [symlink("x", "y"), symlink("y", "x")];
                let layers = json!(["x", layer_name(&image.layers[1])]);
                archive(&[&good[..3], &links, &[file("manifest.json", item(&layers).to_string())]].concat())
            },
            11,
        ),
        ("too few layers", list(&item(&json!([layer]))), 8),
        ("layers in another order", list(&item(&json!([layer_name(&image.layers[1]), layer]))), 8),
        ("a layer twice", list(&item(&json!([layer, layer]))), 8),
        ("the config is a layer", list(&json!([{ "Config": layer, "Layers": [] }])), 11),
        ("a tag with a newline", list(&json!([{ "Config": "x", "RepoTags": ["a:b\n"], "Layers": [] }])), 11),
        ("too many layers", list(&item(&json!(vec![&layer; 1001]))), 11),
        ("manifest.json of 2 MiB", with(&[file("oci-layout", vec![b' '; 2 << 20])]), 11),
        ("deep JSON", archive(&[&good[..3], &[file("manifest.json", "[".repeat(100_000))]].concat()), 11),
        ("truncated", whole[..whole.len() - 2000].to_vec(), 11),
        ("truncated gzip", gzip(&whole)[..200].to_vec(), 11),
        ("a checksum of gzip that lies", with_changed_checksum(gzip(&whole)), 11),
        ("a size that lies", with(&[file("x", "y").size(1 << 40)]), 11),
        ("a sparse member", with(&[file("x", "y").pax("GNU.sparse.size", "9").pax("GNU.sparse.map", "0,1")]), 11),
        (
            "a config of 5 MiB",
            {
                let mut members = good.clone();
                members[2] = file(format!("{}.json", hex(&image.config_digest())), vec![b' '; 5 << 20]);
                archive(&members)
            },
            11,
        ),
    ] {
        refuses(case, &tar, code);
    }
}

#[test]
fn refuses_layouts_that_are_wrong_or_hostile() {
    let image = image(true);
    let named = json!({ NAME: "app:1" });
    let good = oci(&image, &named);
    let edited = |at: usize, entry: Entry| {
        let mut members = good.clone();
        members[at] = entry;
        archive(&members)
    };
    let entry_with = |edit: &dyn Fn(&mut Value)| {
        let mut entry = image.entry("linux/amd64");
        entry["annotations"] = named.clone();
        edit(&mut entry);
        edited(1, file("index.json", index(&[entry]).to_string()))
    };
    let layer = |at: usize| format!("blobs/sha256/{}", hex(&image.layers[at].digest()));
    let other_size = image.clone().edited(|manifest| manifest["layers"][0]["size"] = json!(7));
    let plain_type = image
        .clone()
        .edited(|manifest| manifest["layers"][1]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar"));
    let mut other = Image::new(vec![image.layers[0].clone(), Layer::with_blob(b"other", image.layers[1].blob.clone())]);
    other.layers[1].diff_id = sha256(b"other");
    for (case, tar, code) in [
        ("another version", edited(0, file("oci-layout", r#"{"imageLayoutVersion":"2"}"#)), 10),
        ("a damaged marker", edited(0, file("oci-layout", "{")), 11),
        ("no index", edited(1, file("x", "y")), 11),
        ("a damaged index", edited(1, file("index.json", "[]")), 11),
        ("no image", edited(1, file("index.json", index(&[]).to_string())), 3),
        ("not a descriptor", edited(1, file("index.json", index(&[json!({})]).to_string())), 11),
        ("a size that lies", entry_with(&|entry| entry["size"] = json!(1)), 8),
        ("a media type that lies", entry_with(&|entry| entry["mediaType"] = json!(OCI_INDEX)), 11),
        ("a malformed name", entry_with(&|entry| entry["annotations"][NAME] = json!("A B")), 11),
        (
            "a name with a digest",
            entry_with(&|entry| entry["annotations"][NAME] = json!(format!("a@{}", image.digest()))),
            11,
        ),
        ("a missing manifest", entry_with(&|entry| entry["digest"] = json!(sha256(b"x"))), 3),
        ("a blob with another digest", edited(4, file(layer(0), "x")), 8),
        ("a missing layer", edited(4, file("x", "y")), 3),
        ("a layer of another size", archive(&oci(&other_size, &named)), 8),
        ("a layer that is compressed although its type says not", archive(&oci(&plain_type, &named)), 8),
        ("a layer with another diff_id", archive(&oci(&other, &named)), 8),
        (
            "too many entries",
            edited(1, file("index.json", index(&vec![image.entry("linux/amd64"); 1001]).to_string())),
            11,
        ),
    ] {
        refuses(case, &tar, code);
    }
}

#[test]
fn limits_hold_while_loading() {
    let members = docker(&image(false), &json!(["app:1"]));
    let home = Home::new();
    let limited = home.pullet(&["load", "--max-unpacked", "1k"]).stdin(archive(&members)).run();
    limited.exits(11).fails_in_one_line().says("--max-unpacked");
    // Two megabytes that decompress to much more.
    let bomb = Layer::gzip(&vec![0; 64 << 20]);
    let bomb = Image::new(vec![bomb]);
    let tar = archive(&docker(&bomb, &json!(["app:1"])));
    assert!(tar.len() < 1 << 20);
    home.pullet(&["load", "--max-unpacked", "10m"]).stdin(&tar).run().exits(11).says("--max-unpacked");
    let many: Vec<Entry> = (0..20_001).map(|n| dir(n.to_string())).collect();
    refuses("20,001 members", &archive(&many), 11);
    let long: Vec<Entry> = (0..1100).map(|n| symlink(n.to_string(), "x".repeat(4000))).collect();
    refuses("4 MB of names", &archive(&[long, docker(&image(false), &json!(["app:1"]))].concat()), 11);
    // No image has it, but it takes space until that is known.
    let more = [docker(&image(false), &json!(["app:1"])), vec![file("more", vec![0; 2 << 20])]].concat();
    home.pullet(&["load", "--max-unpacked", "1m"]).stdin(archive(&more)).run().exits(11).says("--max-unpacked");
    home.pullet(&["load", "--max-unpacked", "3m"]).stdin(archive(&more)).run().exits(0);
    let home = Home::new();
    assert_eq!((home.index().len(), count_blobs(&home)), (0, 0));
}

/// The list of docker save counts only if the layout next to it lacks something.
#[test]
fn a_hostile_layout_is_refused_although_a_good_list_is_next_to_it() {
    let image = image(false);
    let (list, layout) = (docker(&image, &json!(["app:1"])), oci(&image, &json!({ NAME: "A B" })));
    refuses("a malformed name", &archive(&[&layout[..], &list[..]].concat()), 11);
    let lacking = oci(&image, &json!({ NAME: "app:1" }));
    let home = Home::new();
    // Without the manifest.
    load(&home, &archive(&[&lacking[..lacking.len() - 1], &list[..]].concat()))
        .exits(0)
        .prints("Loaded image: app:1\n");
}

/// A layer that occurs twice counts twice, although it is read once.
#[test]
fn the_limit_of_unpacked_bytes_is_for_all_layers_of_an_image() {
    let zeros = |size: usize| Layer::gzip(&archive(&[file(size.to_string(), vec![0; size])]));
    let (one, two) = (zeros(6 << 20), zeros(7 << 20));
    for layers in [vec![one.clone(), two], vec![one.clone(), one]] {
        let image = Image::new(layers);
        let members = docker(&image, &json!(["app:1"]));
        let unique = members
            .iter()
            .enumerate()
            .filter(|(at, member)| !members[..*at].iter().any(|m| m.bytes() == member.bytes()));
        let unique: Vec<Entry> = unique.map(|(_, member)| member.clone()).collect();
        for tar in [archive(&unique), archive(&members), archive(&oci(&image, &json!({ NAME: "app:1" })))] {
            let home = Home::new();
            home.pullet(&["load", "--max-unpacked", "11m"]).stdin(&tar).run().exits(11).says("--max-unpacked");
            assert_eq!((home.index().len(), count_blobs(&home)), (0, 0));
            home.pullet(&["load", "--max-unpacked", "14m"]).stdin(&tar).run().exits(0);
        }
    }
}

/// Followed along every path, these indexes would take a thousand million reads.
#[test]
fn indexes_that_name_each_other_many_times_are_read_once() {
    let image = image(false);
    let mut document = image.manifest_bytes();
    let mut indexes = Vec::new();
    for _ in 0..4 {
        let entry = json!({ "digest": sha256(&document), "size": document.len() });
        document = index(&vec![entry; 1000]).to_string().into_bytes();
        indexes.push(document.clone());
    }
    let mut entry = image.entry(&format!("linux/{}", architecture()));
    entry["annotations"] = json!({ NAME: "app:1", "pullet.source.digest": sha256(&document) });
    let blobs = [blobs(&image), indexes].concat();
    let tar = archive(&layout(&[entry], &blobs.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    let home = Home::new();
    load(&home, &tar).exits(0);
    // Two layers, config, manifest and the indexes.
    assert_eq!(count_blobs(&home), 8);
    home.run(&["save", "--format", "oci-archive", "-o", &home.arg("saved.tar"), "app:1"]).exits(0);
}

/// Changes the checksum at the end of gzip data.
fn with_changed_checksum(mut gzip: Vec<u8>) -> Vec<u8> {
    let at = gzip.len() - 8;
    gzip[at] ^= 1;
    gzip
}

/// The members of a docker-archive with a good image, and after it one whose config names other layers.
fn half_good(good: &Image) -> Vec<u8> {
    let bad = image(true);
    let mut members = docker(good, &json!(["good:1"]));
    members.pop();
    let mut more = docker(&bad, &json!(["bad:1"]));
    more.pop();
    let item = |image: &Image, layers: &[Layer], tag: &str| {
        let layers: Vec<String> = layers.iter().map(layer_name).collect();
        json!({ "Config": format!("{}.json", hex(&image.config_digest())), "RepoTags": [tag], "Layers": layers })
    };
    let swapped: Vec<Layer> = bad.layers.iter().rev().cloned().collect();
    let list = json!([item(good, &good.layers, "good:1"), item(&bad, &swapped, "bad:1")]);
    more.push(file("manifest.json", list.to_string()));
    archive(&[members, more].concat())
}

/// What the archive has added goes. What the store had before stays, with a name or without one.
#[test]
fn nothing_is_left_of_the_good_images_of_a_refused_archive() {
    let home = Home::new();
    let layers = ["kept", "unnamed", "new"].map(|name| Layer::of(&[file(name, noise(3000))]));
    let kept = Image::new(vec![layers[0].clone()]);
    load(&home, &archive(&docker(&kept, &json!(["kept:1"])))).exits(0);
    fs::write(home.blob(&layers[1].digest()), &layers[1].blob).unwrap();
    let (before, blobs) = (home.index(), count_blobs(&home));
    load(&home, &half_good(&Image::new(layers.to_vec()))).exits(8).fails_in_one_line().prints("").hides("unneeded");
    assert_eq!((home.index(), count_blobs(&home)), (before, blobs));
    assert!(home.blob(&layers[0].digest()).exists() && home.blob(&layers[1].digest()).exists());
    home.run(&["verify"]).exits(0);
    home.run(&["prune", "-f"]).exits(0);
    assert_eq!(count_blobs(&home), blobs - 1);
}

#[test]
fn nothing_is_left_of_an_archive_without_the_signatures_that_are_demanded() {
    let bench = Bench::new();
    let (signer, other) = (Signer::new("p256"), Signer::new("p256"));
    let signed = Image::small("signed");
    let name = signed.push(&bench.registry, "app", "1");
    sign_simply(&bench.registry, "app", &signed.digest(), &[&signer]);
    bench.home.run(&["pull", "-q", &signer.option(), &name]).exits(0);
    let saved = bench.home.arg("saved.tar");
    for format in ["oci-archive", "docker-archive"] {
        bench.home.run(&["save", "--format", format, "-o", &saved, &name]).exits(0);
        let home = Home::new();
        home.run(&["load", &other.option(), "-i", &saved]).exits(8).fails_in_one_line();
        assert_eq!((home.index().len(), count_blobs(&home)), (0, 0), "{format}");
    }
}

/// A pull that is running relies on blobs without a name, and may have counted one of the archive as present.
#[test]
fn a_pull_at_the_same_time_keeps_what_a_refused_archive_has_added() {
    let (bench, latch) = (Bench::new(), Latch::default());
    let layers = [Layer::of(&[file("a", noise(5000))]), Layer::of(&[file("b", noise(6000))])];
    let name = Image::new(layers.to_vec()).push(&bench.registry, "app", "1");
    bench.registry.fault(on(layers[0].digest()).held(&latch));
    bench.registry.clear_log();
    let pulling = bench.home.pullet(&["pull", &name]).start();
    bench.registry.wait_for(&layers[0].digest());
    let good = Image::new(vec![layers[1].clone()]);
    let tar = bench.home.write("archive.tar", half_good(&good));
    let refused = bench.home.run(&["load", "-i", &tar]).exits(8);
    refused.says("what was added of the archive has no name, and goes when unneeded blobs are removed");
    assert!(bench.home.blob(&layers[1].digest()).exists());
    latch.open();
    pulling.wait().exits(0);
    assert_eq!(bench.registry.requests_to(&layers[1].digest()), 0, "{:?}", bench.registry.log());
    assert_eq!(bench.home.names(), [name.as_str()]);
    bench.home.run(&["verify", &name]).exits(0);
    // The config and the manifest of the good image of the archive.
    assert_eq!(count_blobs(&bench.home), 6);
    bench.home.run(&["prune", "-f"]).exits(0);
    assert_eq!(count_blobs(&bench.home), 4);
}
