//! The store from outside: its location and layout, `images`, and `verify` on a broken store.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType};

use kit::archive::file;
use kit::bench::Bench;
use kit::digest::short;
use kit::image::{Image, Layer};
use kit::listing::{assert_same, listing};
use kit::process::{Finished, ordinary_user};

fn image() -> Image {
    Image::new((0..3).map(|n| Layer::of(&[file(format!("f{n}"), format!("body {n}").repeat(100))])).collect())
}

#[test]
fn uses_the_configured_store_directory() {
    let bench = Bench::new();
    let name = Image::small("x").push(&bench.registry, "app", "latest");
    bench.home.run(&["pull", "-q", "--store", "elsewhere/store", &name]).exits(0);
    assert!(bench.home.path("elsewhere/store/oci-layout").exists(), "--store");
    assert!(!bench.home.store().exists(), "the environment must not override the option");
    bench.home.run(&["pull", "-q", &name]).exits(0);
    assert_eq!(
        fs::read_to_string(bench.home.store().join("oci-layout")).unwrap().replace([' ', '\n'], ""),
        r#"{"imageLayoutVersion":"1.0.0"}"#
    );
    bench.home.write("file", "not a folder");
    bench.home.run(&["pull", "--store", "file", &name]).exits(9).fails_in_one_line().says("file");
    bench.home.run(&["pull", "--store", "", &name]).exits_among("an empty folder's name", &[2, 9]).fails_in_one_line();
}

#[test]
fn the_index_has_the_names_that_other_tools_read() {
    let bench = Bench::new();
    let image = image();
    bench.pull(&image).exits(0);
    let entry = &bench.home.index()[0];
    let full = bench.registry.name("app:latest");
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], full);
    assert_eq!(entry["annotations"]["io.containerd.image.name"], full);
    assert_eq!(entry["digest"], image.digest());
    assert_eq!(entry["size"], image.manifest_bytes().len());
    for (digest, bytes) in image
        .layers
        .iter()
        .map(|layer| (layer.digest(), layer.blob.clone()))
        .chain([(image.config_digest(), image.config_bytes.clone()), (image.digest(), image.manifest_bytes())])
    {
        assert!(fs::read(bench.home.blob(&digest)).unwrap() == bytes, "{digest}");
    }
    let left = fs::read_dir(bench.home.store().join("ingest")).map(Iterator::count).unwrap_or(0);
    assert_eq!(left, 0, "partial files were left");
}

#[test]
fn images_prints_a_table() {
    let bench = Bench::new();
    let outcome = bench.home.run(&["images"]).exits(0);
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome}");
    let (one, two) = (image(), Image::small("two"));
    let names = [one.push(&bench.registry, "app", "latest"), two.push(&bench.registry, "other/app", "1.0")];
    bench.home.run(&["pull", "-q", &names[0], &names[1]]).exits(0);
    let outcome = bench.home.run(&["images"]).exits(0);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{outcome}");
    let words: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(words[..4], ["REPOSITORY", "TAG", "IMAGE", "ID"], "{outcome}");
    assert_eq!(words.last(), Some(&"SIZE"), "{outcome}");
    for (repository, tag, image) in [("app", "latest", &one), ("other/app", "1.0", &two)] {
        let repository = bench.registry.name(repository);
        let line = lines.iter().find(|line| line.starts_with(&format!("{repository} "))).expect("a line for the image");
        assert!(line.split_whitespace().any(|word| word == tag), "{line}");
        assert!(line.contains(short(&image.config_digest())), "{line}");
    }
    // The columns are aligned with their headings.
    let at = lines[0].find("TAG").unwrap();
    assert!(lines[1..].iter().all(|line| line.as_bytes()[at - 1] == b' ' && line.as_bytes()[at] != b' '), "{outcome}");
    let ids = bench.home.run(&["images", "-q"]).exits(0);
    assert_eq!(ids.stdout.lines().count(), 2, "{ids}");
    assert!(ids.stdout.contains(short(&one.config_digest())), "{ids}");
}

#[test]
fn images_and_verify_make_no_request_and_no_change() {
    let bench = Bench::new();
    bench.pull(&image()).exits(0);
    bench.registry.clear_log();
    let before = listing(&bench.home.store());
    bench.home.run(&["images"]).exits(0);
    bench.home.run(&["verify"]).exits(0);
    assert_eq!(bench.registry.connections(), 0);
    assert_same("the store", &before, &listing(&bench.home.store()));
}

#[test]
fn verify_finds_corrupt_blobs_and_removes_them_on_request() {
    type Damage = fn(&mut Vec<u8>);
    let breaks: [(&str, Damage); 4] = [
        ("a flipped bit", |bytes| bytes[10] ^= 1),
        ("a byte less", |bytes| bytes.truncate(bytes.len() - 1)),
        ("a byte more", |bytes| bytes.push(0)),
        ("nothing left", |bytes| bytes.clear()),
    ];
    for (case, damage) in breaks {
        let (bench, image) = (Bench::new(), image());
        bench.pull(&image).exits(0);
        bench.home.run(&["verify"]).exits_in(case, 0);
        let digest = image.layers[1].digest();
        let path = bench.home.blob(&digest);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        let outcome = bench.home.run(&["verify"]).exits_in(case, 8);
        assert!(format!("{}{}", outcome.stdout, outcome.stderr).contains(short(&digest)), "{case}\n{outcome}");
        assert!(path.exists(), "{case}: removed without --remove-corrupt");
        bench.home.run(&["verify", &bench.registry.name("app")]).exits_in(&format!("{case}, by name"), 8);
        // Either code is right: the blob was corrupt, and it is removed now.
        bench.home.run(&["verify", "--remove-corrupt"]).exits_among(&format!("{case}, removed"), &[0, 8]);
        assert!(!path.exists(), "{case}: still there");
        bench.registry.clear_log();
        bench.home.run(&["pull", &bench.registry.name("app")]).exits_in(&format!("{case}, pulled again"), 0);
        let blobs: Vec<String> = bench
            .registry
            .calls()
            .iter()
            .map(|call| call.request.target.clone())
            .filter(|target| target.contains("/blobs/"))
            .collect();
        assert_eq!(blobs, [format!("/v2/app/blobs/{digest}")], "{case}");
        bench.home.run(&["verify"]).exits_in(&format!("{case}, repaired"), 0);
    }
}

#[test]
fn verify_checks_every_blob() {
    let (bench, image) = (Bench::new(), image());
    bench.pull(&image).exits(0);
    let mut all: Vec<String> = image.layers.iter().map(Layer::digest).collect();
    all.extend([image.config_digest(), image.digest()]);
    for digest in all {
        let path = bench.home.blob(&digest);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[0] ^= 0x80;
        fs::remove_file(&path).unwrap();
        fs::write(&path, bad).unwrap();
        bench.home.run(&["verify"]).exits_in(&digest, 8);
        fs::write(&path, good).unwrap();
    }
    bench.home.run(&["verify"]).exits(0);
    fs::remove_file(bench.home.blob(&image.layers[0].digest())).unwrap();
    bench.home.run(&["verify"]).exits_among("a missing blob", &[3, 8]);
    bench.home.run(&["verify", &bench.registry.name("nobody")]).exits_in("an image that is not stored", 3);
}

/// Puts something else in place of a blob.
type Plant = fn(&Path);

/// Files that are not readable regular files. `verify` must neither wait for them nor stop at them.
fn irregular_files() -> Vec<(&'static str, Plant)> {
    vec![
        ("a FIFO", |path| rustix::fs::mkfifoat(CWD, path, 0o600.into()).unwrap()),
        ("an empty folder", |path| fs::create_dir(path).unwrap()),
        ("a full folder", |path| fs::create_dir_all(path.join("in")).unwrap()),
        ("a link to nowhere", |path| symlink("nowhere", path).unwrap()),
        ("a link to itself", |path| symlink(path, path).unwrap()),
        ("a link to an endless device", |path| symlink("/dev/zero", path).unwrap()),
        ("a socket", |path| rustix::fs::mknodat(CWD, path, FileType::Socket, 0o600.into(), 0).unwrap()),
        ("nothing", |_| {}),
    ]
}

/// The digests that `verify` reports, in its order.
fn reported(outcome: &Finished) -> Vec<&str> {
    outcome.stdout.lines().filter_map(|line| line.split_once(": ")).map(|(digest, _)| digest).collect()
}

#[test]
fn verify_reports_irregular_files_and_continues() {
    for (case, plant) in irregular_files() {
        let (bench, image) = (Bench::new(), image());
        bench.pull(&image).exits(0);
        // The irregular file comes first and a flipped bit last, so that every blob between them must be verified.
        let mut layers: Vec<String> = image.layers.iter().map(Layer::digest).collect();
        layers.sort();
        fs::remove_file(bench.home.blob(&layers[0])).unwrap();
        plant(&bench.home.blob(&layers[0]));
        let path = bench.home.blob(&layers[2]);
        let mut bytes = fs::read(&path).unwrap();
        bytes[3] ^= 1;
        fs::write(&path, bytes).unwrap();
        for name in [&[][..], &[bench.registry.name("app")]] {
            let args: Vec<&str> = ["verify"].into_iter().chain(name.iter().map(String::as_str)).collect();
            let outcome = bench.home.run(&args).exits_in(case, 8).fails_in_one_line();
            assert_eq!(reported(&outcome), [layers[0].as_str(), &layers[2]], "{case}\n{outcome}");
            assert!(outcome.stdout.contains("3 blobs verified"), "{case}\n{outcome}");
        }
        // A folder may stay, because pullet did not create it, but the corrupt blob after it must be removed.
        let outcome = bench.home.run(&["verify", "--remove-corrupt"]).exits_among(case, &[0, 8, 9]);
        assert!(!path.exists(), "{case}: the corrupt blob after it is still there\n{outcome}");
        assert_eq!(reported(&outcome), [layers[0].as_str(), &layers[2]], "{case}\n{outcome}");
    }
}

#[test]
fn verify_reports_an_unreadable_blob() {
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    let run = |args: &[&str]| bench.home.pullet(args).user(ordinary_user()).run();
    run(&["pull", "-q", &name]).exits(0);
    let digest = image.layers[1].digest();
    fs::set_permissions(bench.home.blob(&digest), fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = run(&["verify"]).exits(8).fails_in_one_line();
    assert_eq!(reported(&outcome), [digest.as_str()], "{outcome}");
    assert!(outcome.stdout.contains("4 blobs verified"), "{outcome}");
}

#[test]
fn verify_reports_missing_blobs_of_an_image() {
    let image = image();
    let layer = image.layers[1].digest();
    for (case, digest) in
        [("a layer", &layer), ("the config", &image.config_digest()), ("the manifest", &image.digest())]
    {
        let bench = Bench::new();
        bench.pull(&image).exits(0);
        fs::remove_file(bench.home.blob(digest)).unwrap();
        let name = bench.registry.name("app");
        for args in [&["verify"][..], &["verify", &name], &["verify", "--remove-corrupt", "-q"]] {
            let code = if args.len() == 3 { 0 } else { 8 };
            let case = format!("without {case}, {args:?}");
            let outcome = bench.home.run(args).exits_in(&case, code);
            if code == 8 {
                assert_eq!(reported(&outcome), [digest.as_str()], "{case}\n{outcome}");
            }
        }
        bench.home.run(&["pull", &name]).exits_in(case, 0);
        bench.home.run(&["verify", &name]).exits_in(&format!("{case}, pulled again"), 0);
    }
}

#[test]
fn a_corrupt_manifest_is_reported_removed_and_pulled_again() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("a flipped bit", |bytes| bytes[5] ^= 1),
        ("not JSON", |bytes| bytes.fill(b'x')),
        ("cut", |bytes| bytes.truncate(20)),
        ("empty", |bytes| bytes.clear()),
    ];
    for (case, damage) in damages {
        let (bench, image) = (Bench::new(), image());
        bench.pull(&image).exits(0);
        let (name, path) = (bench.registry.name("app"), bench.home.blob(&image.digest()));
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let outcome = bench.home.run(&["verify", &name]).exits_in(case, 8).fails_in_one_line();
        assert_eq!(reported(&outcome), [image.digest().as_str()], "{case}\n{outcome}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{case}: changed without --remove-corrupt");
        let outcome = bench.home.run(&["verify", "--remove-corrupt", &name]).exits_among(case, &[0, 8]);
        assert!(!path.exists(), "{case}: still there\n{outcome}");
        bench.registry.clear_log();
        bench.home.run(&["pull", &name]).exits_in(&format!("{case}, pulled again"), 0);
        assert_eq!(bench.registry.log().len(), 1, "{case}: {}", bench.registry.log().join("\n"));
        bench.home.run(&["verify", &name]).exits_in(&format!("{case}, repaired"), 0);
        bench.home.run(&["unpack", "--pull", "never", &name, &bench.home.arg("root")]).exits_in(case, 0);
    }
}

#[test]
fn reports_a_broken_store() {
    for (case, name, text) in [
        ("another version", "oci-layout", r#"{"imageLayoutVersion":"9.0.0"}"#),
        ("a torn index", "index.json", r#"{"schemaVersion":2,"manif"#),
        ("an empty index", "index.json", ""),
        ("an index of null", "index.json", "null"),
    ] {
        let bench = Bench::new();
        bench.pull(&Image::small("x")).exits(0);
        fs::write(bench.home.store().join(name), text).unwrap();
        for args in [&["images"][..], &["verify"], &["unpack", "--pull", "never", &bench.registry.name("app"), "root"]]
        {
            bench.home.run(args).exits_among(&format!("{case}, {args:?}"), &[8, 9, 10, 11]).fails_in_one_line();
        }
        assert_eq!(fs::read_to_string(bench.home.store().join(name)).unwrap(), text, "{case}: the file was changed");
    }
}

#[test]
fn does_not_accept_another_file_in_place_of_a_blob() {
    let image = image();
    let digest = image.layers[1].digest();
    let cases: [(&str, Plant, &[i32]); 6] = [
        ("an empty file", |path| fs::write(path, "").unwrap(), &[0]),
        ("a short file", |path| fs::write(path, "short").unwrap(), &[0]),
        ("a long file", |path| fs::write(path, [0; 9999]).unwrap(), &[0]),
        ("a folder", |path| fs::create_dir(path).unwrap(), &[9]),
        ("a link to nowhere", |path| symlink("nowhere", path).unwrap(), &[0, 9]),
        ("a FIFO", |path| rustix::fs::mkfifoat(CWD, path, 0o600.into()).unwrap(), &[0, 9]),
    ];
    for (case, plant, codes) in cases {
        let bench = Bench::new();
        bench.pull(&Image::small("first")).exits(0);
        plant(&bench.home.blob(&digest));
        let name = image.push(&bench.registry, "app", "2");
        let outcome = bench.home.run(&["pull", &name]).exits_among(case, codes);
        if outcome.code == 0 {
            assert_eq!(fs::read(bench.home.blob(&digest)).unwrap(), image.layers[1].blob, "{case}");
            bench.home.run(&["verify"]).exits_in(case, 0);
        } else {
            outcome.fails_in_one_line();
            assert_eq!(bench.home.names(), [bench.registry.name("app:latest")], "{case}");
        }
    }
}

#[test]
fn parallel_pulls_share_a_store() {
    // The first pulls create the store, so each round starts with a new one.
    for round in 0..3 {
        let bench = Bench::new();
        let common = image().layers;
        let mut names: Vec<String> = (0..10)
            .map(|n| {
                let own = Layer::of(&[file("own", (n / 2).to_string())]);
                let image = Image::new([common.clone(), vec![own]].concat());
                // Tags of one repository and other repositories, and each image under two names.
                let repository = if n < 5 { "app".to_string() } else { format!("app{n}") };
                image.push(&bench.registry, &repository, &format!("tag{n}"))
            })
            .collect();
        let bench = &bench;
        std::thread::scope(|scope| {
            for name in &names {
                scope.spawn(move || bench.home.run(&["pull", "-q", name]).exits(0).prints(&format!("{name}\n")));
            }
        });
        let mut stored = bench.home.names();
        stored.sort();
        names.sort();
        assert_eq!(stored, names, "round {round}");
        bench.home.run(&["verify"]).exits(0);
        let left = fs::read_dir(bench.home.store().join("ingest")).map(Iterator::count).unwrap_or(0);
        assert_eq!(left, 0, "round {round}: partial files were left");
    }
}

#[test]
fn keeps_entries_and_members_of_other_tools_in_the_index() {
    let bench = Bench::new();
    bench.pull(&Image::small("first")).exits(0);
    let path = bench.home.store().join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    index["manifests"][0]["annotations"]["org.example.note"] = "mine".into();
    index["annotations"] = serde_json::json!({ "org.example.store": "mine too" });
    let other = serde_json::json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": format!("sha256:{}", "0".repeat(64)),
        "size": 2,
        "annotations": { "org.opencontainers.image.ref.name": "another-tool" },
    });
    index["manifests"].as_array_mut().unwrap().push(other.clone());
    fs::write(&path, index.to_string()).unwrap();
    let name = Image::small("second").push(&bench.registry, "other", "latest");
    bench.home.run(&["pull", &name]).exits(0);
    let after: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(after["annotations"]["org.example.store"], "mine too");
    let entries = after["manifests"].as_array().unwrap();
    assert!(entries.contains(&other), "{after}");
    assert!(entries.iter().any(|entry| entry["annotations"]["org.example.note"] == "mine"), "{after}");
    assert_eq!(entries.len(), 3, "{after}");
}
