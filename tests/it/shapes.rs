//! Odd shapes of the store and of what lies beside a target: links, devices, folders in the place of files, what is too
//! large, and what an earlier run left.

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

/// L1: a link to a folder is a place for a store; one that leads nowhere or in a circle is told of, and nothing follows it.
#[test]
fn a_store_of_links_is_used_or_refused() {
    type Plant = fn(&Bench);
    let cases: [(&str, Plant, i32); 6] = [
        (
            "the store leads elsewhere",
            |b| (fs::create_dir(b.home.path("other")), symlink("other", b.home.store())).1.unwrap(),
            0,
        ),
        ("the store leads nowhere", |b| symlink("nowhere", b.home.store()).unwrap(), 9),
        ("the store is a circle", |b| symlink("store", b.home.store()).unwrap(), 9),
        ("the store is a file", |b| fs::write(b.home.store(), "").unwrap(), 9),
        (
            "the blobs lead nowhere",
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

/// L2 and L11: nothing but a regular file is opened as a blob or as a partial one.
#[test]
fn what_cannot_be_a_file_of_the_store_is_told_and_not_opened() {
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
    // A blob that its owner may not read: root may.
    let bench = Bench::new();
    bench.pull(&image).exits(0);
    fs::set_permissions(bench.home.blob(&digest), fs::Permissions::from_mode(0o0)).unwrap();
    let args = ["unpack", "--pull", "never", &bench.registry.name("app"), "root"];
    bench.home.run(&args).exits(if is_root() { 0 } else { 9 });
}

/// L4: an index that is too large to be one, and what others wrote into a good one.
#[test]
fn an_index_without_end_is_not_read() {
    let bench = Bench::new();
    bench.pull(&image()).exits(0);
    let index = fs::File::options().write(true).open(bench.home.store().join("index.json")).unwrap();
    index.set_len(100 << 20).unwrap();
    for args in [&["images"][..], &["verify"], &["pull", &bench.registry.name("app")]] {
        bench.home.run(args).exits_among(&format!("{args:?}"), &[9, 11]).fails_in_one_line().says("limit exceeded");
    }
}

/// L11 and A28: a staging folder is ours alone, or it is not used.
#[test]
fn a_staging_folder_of_somebody_elses_is_not_entered() {
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
    // What a run that died left, whatever modes it has.
    fs::create_dir_all(staging.join("root/deep/er")).unwrap();
    fs::write(staging.join("partial"), "x").unwrap();
    fs::set_permissions(staging.join("root/deep"), fs::Permissions::from_mode(0o0)).unwrap();
    bench.home.run(&args).exits(0);
    assert!(!staging.exists() && !bench.home.path("root/deep").exists());
}
