//! `save`: both formats, what `load` makes of them, and the file that appears whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use kit::archive::{archive, dir, file};
use kit::bench::Bench;
use kit::digest::sha256;
use kit::home::Home;
use kit::image::{Image, Layer, architecture, push_index};
use serde_json::Value;

fn image(seed: &str) -> Image {
    let layer = |name: &str| archive(&[dir("d"), file(format!("d/{name}"), seed.repeat(1000))]);
    Image::new(vec![
        Layer::gzip(&archive(&[file("shared", "x".repeat(5000))])),
        Layer::zstd(&layer("zstd")),
        Layer::plain(&layer("plain")),
    ])
}

fn hex(digest: &str) -> &str {
    digest.split_once(':').unwrap().1
}

/// The names of an archive's members, and the bytes of one of them.
fn members(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let (mut members, mut at) = (Vec::new(), 0);
    while tar[at] != 0 {
        let header = &tar[at..at + 512];
        let name: Vec<u8> = header[..100].iter().copied().take_while(|b| *b != 0).collect();
        let size = usize::from_str_radix(std::str::from_utf8(&header[124..135]).unwrap(), 8).unwrap();
        members.push((String::from_utf8(name).unwrap(), tar[at + 512..at + 512 + size].to_vec()));
        at += 512 + size.next_multiple_of(512);
    }
    members
}

fn save(home: &Home, arguments: &[&str]) -> Vec<u8> {
    let path = home.arg("saved.tar");
    home.run(&[&["save", "-o", &path], arguments].concat()).exits(0).prints("");
    fs::read(path).unwrap()
}

#[test]
fn a_docker_archive_has_uncompressed_layers_once_and_the_same_bytes_again() {
    let bench = Bench::new();
    let (one, two) = (image("1"), image("2"));
    let names = [one.push(&bench.registry, "one", "1"), two.push(&bench.registry, "two", "2")];
    for name in &names {
        bench.home.run(&["pull", name]).exits(0);
    }
    let tar = save(&bench.home, &[&names[0], &names[1], &names[0]]);
    assert!(tar == save(&bench.home, &[&names[0], &names[1]]), "the archive is not reproducible");
    let members = members(&tar);
    let listed: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    let mut expected: Vec<String> = Vec::new();
    for image in [&one, &two] {
        let layers = image.layers.iter().map(|layer| format!("{}.tar", hex(&layer.diff_id)));
        expected.extend(layers.filter(|name| !expected.contains(name)).collect::<Vec<_>>());
        expected.push(format!("{}.json", hex(&image.config_digest())));
    }
    expected.extend(["manifest.json", "repositories"].map(str::to_owned));
    assert_eq!(listed, expected);
    for (name, bytes) in members.iter().filter(|(name, _)| name.ends_with(".tar")) {
        assert_eq!(format!("{}.tar", hex(&sha256(bytes))), *name);
    }
    let manifest: Value = serde_json::from_slice(&members[members.len() - 2].1).unwrap();
    assert_eq!(manifest[1]["RepoTags"], serde_json::json!([names[1]]));
    let second = Home::new();
    let printed = names.each_ref().map(|name| format!("Loaded image: {name}\n")).concat();
    second.pullet(&["load"]).stdin(&tar).run().exits(0).prints(&printed);
    for (name, image) in names.iter().zip([&one, &two]) {
        let id = second.run(&["images", "-q", "--no-trunc", name]).exits(0).stdout;
        assert_eq!(id.trim(), image.config_digest());
    }
    assert!(tar == save(&second, &[&names[0], &names[1]]), "what was loaded gives another archive");
}

/// Manifests that differ only in the compression of layers are one image of Docker.
#[test]
fn a_docker_archive_has_an_image_once_for_all_its_manifests() {
    let bench = Bench::new();
    let tar = archive(&[file("f", "x".repeat(5000))]);
    let images = [Image::new(vec![Layer::plain(&tar)]), Image::new(vec![Layer::gzip(&tar)])];
    assert_eq!(images[0].config_digest(), images[1].config_digest());
    let names = [("a", &images[0]), ("b", &images[1])].map(|(tag, image)| image.push(&bench.registry, "app", tag));
    for name in &names {
        bench.home.run(&["pull", "-q", name]).exits(0);
    }
    let members = members(&save(&bench.home, &[&names[0], &names[1]]));
    let manifest: Value = serde_json::from_slice(&members[members.len() - 2].1).unwrap();
    assert_eq!((members.len(), manifest.as_array().unwrap().len()), (4, 1), "{manifest}");
    assert_eq!(manifest[0]["RepoTags"], serde_json::json!(names));
}

#[test]
fn nothing_is_written_of_an_image_that_lacks_a_layer() {
    let bench = Bench::new();
    let image = image("x");
    bench.pull(&image).exits(0);
    fs::remove_file(bench.home.blob(&image.layers[2].digest())).unwrap();
    let name = bench.registry.name("app:latest");
    for format in ["docker-archive", "oci-archive"] {
        let ran = bench.home.run(&["save", "--format", format, &name]).exits(3).fails_in_one_line();
        ran.says("the store lacks a layer of it").says(&format!("hint: pullet pull {name}")).prints("");
    }
}

#[test]
fn an_image_by_its_id_has_no_name_and_two_names_are_one_image() {
    let bench = Bench::new();
    let image = image("x");
    bench.pull(&image).exits(0);
    let name = bench.registry.name("app:latest");
    bench.home.run(&["tag", &name, "other:1"]).exits(0);
    let id = hex(&image.config_digest())[..12].to_owned();
    let tags = |tar: &[u8]| {
        let members = members(tar);
        let manifest: Value = serde_json::from_slice(&members[members.len() - 2].1).unwrap();
        assert_eq!(manifest.as_array().map(Vec::len), Some(1));
        manifest[0]["RepoTags"].to_string()
    };
    assert_eq!(tags(&save(&bench.home, &[&id])), "[]");
    assert_eq!(tags(&save(&bench.home, &[&name, "other:1", &id])), format!("[\"{name}\",\"other:1\"]"));
}

#[test]
fn an_oci_archive_keeps_the_index_and_all_digests() {
    let bench = Bench::new();
    let (image, other) = (image("x").docker(), Image::for_platform(Vec::new(), "linux/s390x"));
    let own = format!("linux/{}", architecture());
    let name = push_index(&bench.registry, "app", "latest", &[("linux/s390x", &other), (&own, &image)]);
    bench.home.run(&["pull", &name]).exits(0);
    let index = bench.home.index();
    let pinned = format!("{name}@{}", index[0]["annotations"]["pullet.resolved.digest"].as_str().unwrap());
    let tar = save(&bench.home, &["--format", "oci-archive", &name]);
    assert!(tar == save(&bench.home, &["--format", "oci-archive", &name, &pinned]));
    for (name, bytes) in members(&tar) {
        assert!(
            !name.starts_with("blobs/sha256/") || bytes.is_empty() || name.ends_with(hex(&sha256(&bytes))),
            "{name}"
        );
    }
    let second = Home::new();
    second.pullet(&["load"]).stdin(&tar).run().exits(0).prints(&format!("Loaded image: {name}\n"));
    assert_eq!(second.index(), index);
    second.run(&["verify", &pinned]).exits(0);
    let blobs = |home: &Home| {
        let mut names: Vec<_> =
            fs::read_dir(home.store().join("blobs/sha256")).unwrap().map(|blob| blob.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(blobs(&second), blobs(&bench.home));
}

#[test]
fn the_file_appears_whole_or_not_at_all() {
    let bench = Bench::new();
    let image = image("x");
    bench.pull(&image).exits(0);
    let (home, name) = (&bench.home, bench.registry.name("app:latest"));
    let path = home.arg("out.tar");
    let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
    home.run(&["save", "-o", &path, &name]).exits(0);
    assert_eq!(mode(), 0o600);
    let good = fs::read(&path).unwrap();
    // An older file is replaced and keeps its mode, also through a link.
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("out.tar", home.path("link")).unwrap();
    home.run(&["save", "-o", &home.arg("link"), &name]).exits(0);
    assert!(fs::read(&path).unwrap() == good && mode() == 0o640 && home.path("link").is_symlink());
    // A leftover of a killed process is taken over.
    home.write(".out.tar.pullet-new", "left over");
    fs::write(&path, "old").unwrap();
    let blob = home.blob(&image.layers[1].digest());
    let bytes = fs::read(&blob).unwrap();
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    fs::write(&blob, &damaged).unwrap();
    for format in ["docker-archive", "oci-archive"] {
        home.run(&["save", "--format", format, "-o", &path, &name])
            .exits(8)
            .fails_in_one_line()
            .says("--remove-corrupt");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old", "{format}");
        assert!(!home.path(".out.tar.pullet-new").exists(), "{format}");
    }
    fs::remove_file(&blob).unwrap();
    home.run(&["save", "-o", &home.arg("new.tar"), &name]).exits(3).fails_in_one_line().says("pull");
    home.run(&["save", "-o", &home.arg("new.tar"), "missing"]).exits(3).fails_in_one_line();
    assert!(!home.path("new.tar").exists());
    fs::write(&blob, &bytes).unwrap();
    home.run(&["save", "-o", &home.arg("home"), &name]).exits(9).fails_in_one_line();
    home.run(&["save", "-o", &home.arg("no/such/folder"), &name]).exits(9).fails_in_one_line();
}

#[test]
fn writes_to_standard_output_and_to_devices() {
    let bench = Bench::new();
    bench.pull(&image("x")).exits(0);
    let (home, name) = (&bench.home, bench.registry.name("app:latest"));
    let out = home.path("out");
    home.pullet(&["save", &name]).stdout(File::create(&out).unwrap()).run().exits(0);
    assert!(fs::read(&out).unwrap() == save(home, &[&name]));
    home.run(&["save", "-o", "/dev/null", &name]).exits(0);
    assert!(!fs::metadata("/dev/null").unwrap().is_file(), "the device was replaced");
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    home.pullet(&["save", &name]).stdout(full).run().exits(9).fails_in_one_line();
    home.run(&["save", "-o", "/dev/full", &name]).exits(9).fails_in_one_line();
    for words in [&["save"][..], &["save", "--format", "tar", &name], &["save", "A"]] {
        home.run(words).exits(2).fails_in_one_line();
    }
}
