//! Who can write to a store: other users cannot, and pullet does not write through files that they could have prepared.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use kit::archive::file;
use kit::bench::Bench;
use kit::fault::on;
use kit::image::{Image, Layer};
use kit::noise::noise;
use kit::process::{Signal, is_root};

const STRANGER: u32 = 12345;

fn image() -> Image {
    Image::new(vec![Layer::of(&[file("f", noise(5000))])])
}

fn partial(bench: &Bench, image: &Image) -> PathBuf {
    let name = format!("{}.partial", image.layers[0].digest().replace(':', "-"));
    bench.home.store().join("ingest").join(name)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Whoever can write to a store can give a name to another image, or replace a blob after it was verified.
#[test]
fn refuses_a_store_that_another_user_can_write() {
    type Damage = fn(&Path);
    let mut cases: Vec<(&str, &str, Damage, &str)> = vec![
        ("everyone may write", "", |path| set_mode(path, 0o777), "other users can write"),
        ("everyone may write, sticky", "", |path| set_mode(path, 0o1777), "other users can write"),
        ("everyone may write blobs", "blobs/sha256", |path| set_mode(path, 0o757), "other users can write"),
    ];
    if is_root() {
        cases.extend::<[(&str, &str, Damage, &str); 4]>([
            ("another owner", "", |path| chown(path, Some(STRANGER), None).unwrap(), "belongs to another user"),
            (
                "an owner of blobs",
                "blobs",
                |path| chown(path, Some(STRANGER), None).unwrap(),
                "belongs to another user",
            ),
            (
                "an owner of ingest",
                "ingest",
                |path| chown(path, Some(STRANGER), None).unwrap(),
                "belongs to another user",
            ),
            (
                "another group may write",
                "",
                |path| {
                    chown(path, None, Some(STRANGER)).unwrap();
                    set_mode(path, 0o775);
                },
                "other users can write",
            ),
        ]);
    }
    for (case, folder, damage, reason) in cases {
        let bench = Bench::new();
        bench.pull(&image()).exits(0);
        let name = bench.registry.name("app");
        damage(&bench.home.store().join(folder));
        let commands: [&[&str]; 5] = [
            &["pull", &name],
            &["unpack", "--pull", "never", &name, "root"],
            &["unpack", &name, "root"],
            &["images"],
            &["verify"],
        ];
        for args in commands {
            let outcome = bench.home.run(args).exits_in(&format!("{case}, {args:?}"), 9);
            outcome.fails_in_one_line().says(reason).says("hint: if you trust its content: ch");
        }
        assert!(!bench.home.path("root").exists(), "{case}");
    }
}

/// With the umask 002, as many systems have it, the caller's own group may write.
#[test]
fn accepts_a_store_that_only_the_callers_own_group_can_write() {
    let bench = Bench::new();
    bench.pull(&image()).exits(0);
    set_mode(&bench.home.store(), 0o775);
    bench.pull(&image()).exits(0);
    bench.home.run(&["verify"]).exits(0);
}

/// Anyone who can open a file can hold its lock, and every pull would wait.
#[test]
fn lock_files_and_partial_downloads_are_private() {
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    let store = bench.home.store();
    let private: [(PathBuf, u32); 4] = [
        (store.join("lock"), 0o600),
        (store.join("prune.lock"), 0o600),
        (store.join("ingest"), 0o700),
        (partial(&bench, &image), 0o600),
    ];
    let interrupt = || {
        bench.registry.fault(on(image.layers[0].digest()).nth(1).stall(1000));
        bench.registry.clear_log();
        let running = bench.home.pullet(&["pull", &name]).start();
        bench.registry.wait_for(&image.layers[0].digest());
        running.signal(Signal::TERM);
        running.wait().exits(143);
    };
    interrupt();
    for (path, expected) in &private {
        if path.exists() {
            assert_eq!(mode(path), *expected, "{}", path.display());
        }
    }
    // A store that an older version wrote.
    fs::write(&private[3].0, &image.layers[0].blob[..1000]).unwrap();
    for (path, expected) in &private {
        set_mode(path, expected | 0o055);
    }
    let running = {
        bench.registry.clear_faults();
        bench.registry.fault(on(image.layers[0].digest()).nth(1).stall(10));
        bench.registry.clear_log();
        let running = bench.home.pullet(&["pull", &name]).start();
        bench.registry.wait_for(&image.layers[0].digest());
        running
    };
    for (path, expected) in &private {
        assert_eq!(mode(path), *expected, "{} of an old store", path.display());
    }
    running.signal(Signal::TERM);
    running.wait().exits(143);
    bench.registry.clear_faults();
    bench.home.run(&["pull", &name]).exits(0);
    assert_eq!(mode(&bench.home.blob(&image.layers[0].digest())), 0o644, "others may read a complete blob");
}

/// A lock that is never released does not stop pullet silently, nor longer than the timeout.
#[test]
fn reports_that_it_waits_for_a_lock_and_obeys_the_timeout() {
    for held in ["lock", "prune.lock", "partial"] {
        let (bench, image) = (Bench::new(), image());
        bench.pull(&Image::small("first")).exits(0);
        let name = image.push(&bench.registry, "app", "2");
        let path = if held == "partial" { partial(&bench, &image) } else { bench.home.store().join(held) };
        let lock = File::options().create(true).truncate(false).write(true).open(&path).unwrap();
        lock.lock().unwrap();
        let outcome = bench.home.run(&["pull", "--timeout", "2", &name]).exits_in(held, 5).fails_in_one_line();
        let waiting = format!("waiting for another process, which has locked {}", path.display());
        assert_eq!(outcome.stderr.matches(&waiting).count(), 1, "{held}\n{outcome}");
        outcome.says(&format!("lock {}: out of time", path.display()));
        bench.home.run(&["unpack", "--pull", "never", &bench.registry.name("app:latest"), "root"]).exits_in(held, 0);
    }
}

/// Nothing is written through a name that leads to a file of somebody else.
#[test]
fn does_not_write_through_a_partial_download_with_a_second_name() {
    let (bench, image) = (Bench::new(), image());
    bench.pull(&Image::small("first")).exits(0);
    let blob = &image.layers[0].blob;
    let content = [&blob[..1000], b"not to be changed"].concat();
    bench.home.write("canary", &content);
    fs::hard_link(bench.home.path("canary"), partial(&bench, &image)).unwrap();
    let name = image.push(&bench.registry, "app", "2");
    bench.home.run(&["pull", &name]).exits(0);
    assert_eq!(fs::read(bench.home.path("canary")).unwrap(), content);
    assert_eq!(mode(&bench.home.path("canary")), 0o644, "the mode of a file of another program");
    bench.home.run(&["verify"]).exits(0);
    if is_root() {
        // Its owner may still have it open for writing.
        let path = partial(&bench, &self::other());
        fs::write(&path, "").unwrap();
        chown(&path, Some(STRANGER), None).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let open = File::open(&path).unwrap();
        bench.home.run(&["pull", &self::other().push(&bench.registry, "app", "3")]).exits(0);
        let stored = fs::metadata(bench.home.blob(&self::other().layers[0].digest())).unwrap();
        assert_ne!(stored.ino(), inode, "the file of another user became a blob");
        assert_eq!(stored.uid(), 0);
        drop(open);
    }
}

fn other() -> Image {
    Image::new(vec![Layer::of(&[file("other", noise(3000))])])
}

#[test]
fn temporary_files_are_created_anew() {
    type Plant = fn(&Path, &Path);
    let plants: [(&str, Plant); 3] = [
        ("a hard link", |canary, path| fs::hard_link(canary, path).unwrap()),
        ("a link", |canary, path| symlink(canary, path).unwrap()),
        ("a file", |_, path| fs::write(path, "left over").unwrap()),
    ];
    for (case, plant) in plants {
        for planted in ["index.json.new", "oci-layout.new"] {
            let bench = Bench::new();
            let canary = bench.home.write("canary", "not to be changed");
            fs::create_dir(bench.home.store()).unwrap();
            plant(Path::new(&canary), &bench.home.store().join(planted));
            bench.pull(&image()).exits_in(&format!("{case} as {planted}"), 0);
            assert_eq!(fs::read_to_string(&canary).unwrap(), "not to be changed", "{case} as {planted}");
            assert!(!bench.home.store().join(planted).exists(), "{case} as {planted}");
        }
    }
}
