//! Unusual files in the store and next to a target: links, devices, folders in place of files, files that are too large,
//! and files that an earlier run left.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use kit::archive::file;
use kit::bench::Bench;
use kit::image::{Image, Layer};
use kit::process::is_root;

fn image() -> Image {
    Image::new(vec![Layer::of(&[file("f", "1")])])
}

/// L1: the store may be a link to a folder. A dangling or looping link is an error and is not followed.
#[test]
fn follows_a_store_that_is_a_link_to_a_folder_and_refuses_other_links() {
    type Plant = fn(&Bench);
    let cases: [(&str, Plant, i32); 6] = [
        (
            "the store is a link to a folder",
            |b| (fs::create_dir(b.home.path("other")), symlink("other", b.home.store())).1.unwrap(),
            0,
        ),
        ("the store is a dangling link", |b| symlink("nowhere", b.home.store()).unwrap(), 9),
        ("the store is a link to itself", |b| symlink("store", b.home.store()).unwrap(), 9),
        ("the store is a file", |b| fs::write(b.home.store(), "").unwrap(), 9),
        (
            "the folder of blobs is a dangling link",
            |b| (fs::create_dir(b.home.store()), symlink("no", b.home.store().join("blobs"))).1.unwrap(),
            9,
        ),
        (
            "the index is a link",
            |b| (fs::create_dir(b.home.store()), symlink("../canary", b.home.store().join("index.json"))).1.unwrap(),
            9,
        ),
    ];
    for (case, plant, code) in cases {
        let bench = Bench::new();
        bench.home.write("canary", "{}");
        plant(&bench);
        let outcome = bench.pull(&image()).exits_in(case, code);
        if code != 0 {
            outcome.fails_in_one_line();
        }
        assert_eq!(fs::read_to_string(bench.home.path("canary")).unwrap(), "{}", "{case}");
        assert!(!bench.home.path("nowhere").exists(), "{case}");
    }
}

/// L2 and L11: only a regular file is opened as a blob or as a partial file.
#[test]
fn reports_irregular_files_in_the_store_and_does_not_open_them() {
    let image = image();
    let digest = image.layers[0].digest();
    type Plant = fn(&Path);
    let fifo: Plant = |path| rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into()).unwrap();
    let folder: Plant = |path| fs::create_dir(path).unwrap();
    let link: Plant = |path| symlink("/etc/hostname", path).unwrap();
    let device: Plant = |path| {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path,
            rustix::fs::FileType::CharacterDevice,
            0o600.into(),
            rustix::fs::makedev(1, 3),
        )
        .unwrap();
    };
    let mut plants = vec![("a FIFO", fifo), ("a folder", folder), ("a link", link)];
    if is_root() {
        plants.push(("a device", device));
    }
    for (case, plant) in plants {
        for place in ["partial", "blob", "lock", "prune.lock"] {
            let bench = Bench::new();
            bench.pull(&Image::small("first")).exits(0);
            let path = match place {
                "partial" => bench.home.store().join("ingest").join(format!("{}.partial", digest.replace(':', "-"))),
                "blob" => bench.home.blob(&digest),
                lock => bench.home.store().join(lock),
            };
            let _ = fs::remove_file(&path);
            plant(&path);
            let name = image.push(&bench.registry, "app", "2");
            let outcome = bench.home.run(&["pull", &name]).exits_in(&format!("{case} as {place}"), 9);
            outcome.fails_in_one_line();
        }
    }
    // A blob that its owner may not read. Root may read it.
    let bench = Bench::new();
    bench.pull(&image).exits(0);
    fs::set_permissions(bench.home.blob(&digest), fs::Permissions::from_mode(0o0)).unwrap();
    let args = ["unpack", "--pull", "never", &bench.registry.name("app"), "root"];
    bench.home.run(&args).exits(if is_root() { 0 } else { 9 });
}

/// L4: an index above the size limit.
#[test]
fn refuses_an_oversized_index() {
    let bench = Bench::new();
    bench.pull(&image()).exits(0);
    let index = fs::File::options().write(true).open(bench.home.store().join("index.json")).unwrap();
    index.set_len(100 << 20).unwrap();
    for args in [&["images"][..], &["verify"], &["pull", &bench.registry.name("app")]] {
        bench.home.run(args).exits_among(&format!("{args:?}"), &[9, 11]).fails_in_one_line().says("limit exceeded");
    }
}

/// L11 and A28: pullet uses a staging folder only if it is a real folder of its user.
#[test]
fn refuses_a_staging_folder_of_another_user() {
    let bench = Bench::new();
    bench.pull(&image()).exits(0);
    let args = ["unpack", "--pull", "never", &bench.registry.name("app"), "root"];
    let staging = bench.home.path(".root.pullet");
    fs::create_dir(bench.home.path("trap")).unwrap();
    symlink("trap", &staging).unwrap();
    bench.home.run(&args).exits(9).fails_in_one_line();
    assert_eq!(fs::read_dir(bench.home.path("trap")).unwrap().count(), 0);
    fs::remove_file(&staging).unwrap();
    if is_root() {
        fs::create_dir(&staging).unwrap();
        chown(&staging, Some(65534), Some(65534)).unwrap();
        bench.home.run(&args).exits(9).fails_in_one_line().says("belongs to another user");
        fs::remove_dir(&staging).unwrap();
    }
    // Leftovers of a run that died are removed, whatever their modes.
    fs::create_dir_all(staging.join("root/deep/er")).unwrap();
    fs::write(staging.join("partial"), "x").unwrap();
    fs::set_permissions(staging.join("root/deep"), fs::Permissions::from_mode(0o0)).unwrap();
    bench.home.run(&args).exits(0);
    assert!(!staging.exists() && !bench.home.path("root/deep").exists());
}
