//! The disk's faults: no room, no inodes, read-only, broken, and calls that fail one after the other. What was there stays,
//! nothing is half published, and the next run ends well.

use std::fs;
use std::path::Path;

use kit::archive::{self, Entry, dir};
use kit::bench::Bench;
use kit::image::{Image, Layer};
use kit::noise::noise;
use kit::process::{Finished, is_root, ordinary_user};

/// A file of root's: in a namespace where an ordinary user plays root, no other owner can be given.
fn file(name: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Entry {
    archive::file(name, body).owner(0, 0)
}

fn image() -> Image {
    Image::new(vec![
        Layer::of(&[dir("etc").owner(0, 0), file("etc/conf", "1"), file("noise", noise(300_000))]),
        Layer::of(&[file("etc/more", "2")]),
    ])
}

/// `strace` with a fault in one call.
fn failing(call: &str, error: &str, nth: usize) -> String {
    format!("exec strace -f -qq -o /dev/null -e trace={call} -e inject={call}:error={error}:when={nth} \"$@\"")
}

/// Nothing named is wrong, the target is whole or absent, and a run without the fault ends well.
#[track_caller]
fn recovers(case: &str, bench: &Bench, name: &str) {
    // The call may have failed before there was a store, which `verify` reports.
    let has_store = bench.home.store().join("index.json").exists();
    bench.home.run(&["verify"]).exits_in(case, if has_store { 0 } else { 3 });
    for image in bench.home.index() {
        assert!(bench.home.blob(image["digest"].as_str().unwrap()).exists(), "{case}");
    }
    bench.home.run(&["pull", name]).exits_in(case, 0);
    bench.home.run(&["verify", name]).exits_in(case, 0);
    let left = fs::read_dir(bench.home.store().join("ingest")).unwrap().count();
    assert_eq!(left, 0, "{case}: partial files are left");
}

#[test]
fn a_call_that_fails_leaves_nothing_half_done() {
    let calls = [
        ("fsync", &["EIO", "ENOSPC", "EDQUOT"][..], 14),
        ("rename", &["EIO", "EROFS", "EXDEV", "ENOSPC"], 6),
        ("write", &["ENOSPC", "EIO", "EDQUOT"], 8),
        ("mkdir", &["ENOSPC", "EROFS", "EDQUOT"], 4),
    ];
    for (call, errors, most) in calls {
        for nth in 1..=most {
            let error = errors[nth % errors.len()];
            let case = format!("{call} number {nth}: {error}");
            let (bench, image) = (Bench::new(), image());
            let name = image.push(&bench.registry, "app", "latest");
            let outcome = bench.home.pullet(&["pull", &name]).through_shell(&failing(call, error, nth)).run();
            // A write may be of what is told, and a call more than there are fails nothing.
            let outcome = outcome.exits_among(&case, if call == "write" { &[0, 5, 9] } else { &[0, 9] });
            assert!(nth > 2 || call == "write" || outcome.code == 9, "{case}: not felt\n{outcome}");
            if outcome.code == 9 {
                assert_eq!(bench.home.names(), Vec::<String>::new(), "{case}");
                outcome.fails_in_one_line();
            }
            recovers(&case, &bench, &name);
        }
    }
}

#[test]
fn an_unpack_with_a_call_that_fails_publishes_nothing() {
    let calls = [
        ("syncfs", "EIO", 1),
        ("fsync", "EIO", 1),
        ("renameat", "EXDEV", 1),
        ("renameat2", "EXDEV", 1),
        ("fchmod", "EROFS", 2),
        ("openat", "EMFILE", 40),
        ("linkat", "EDQUOT", 1),
        ("symlinkat", "ENOSPC", 1),
        ("utimensat", "EIO", 2),
        ("write", "ENOSPC", 3),
        ("write", "EDQUOT", 4),
    ];
    let entries =
        [file("a", noise(200_000)), archive::symlink("s", "a").owner(0, 0), archive::hardlink("h", "a").owner(0, 0)];
    let image = Image::new(vec![Layer::of(&entries)]);
    let bench = Bench::new();
    bench.pull(&image).exits(0);
    let name = bench.registry.name("app");
    let args = ["unpack", "--pull", "never", "-q", &name, "root"];
    let mut felt = 0;
    for (call, error, nth) in calls {
        let case = format!("{call} number {nth}: {error}");
        let outcome =
            bench.home.pullet(&args).through_shell(&failing(call, error, nth)).run().exits_among(&case, &[0, 9]);
        let there = bench.home.path("root").exists();
        assert_eq!(there, outcome.code == 0, "{case}\n{outcome}");
        assert!(!bench.home.path(".root.pullet").exists(), "{case}: a staging tree is left");
        felt += usize::from(outcome.code == 9);
        if there {
            fs::remove_dir_all(bench.home.path("root")).unwrap();
        }
    }
    assert!(felt >= calls.len() - 3, "only {felt} of the faults were felt");
    for (call, error) in [("syncfs", "EINTR"), ("fsync", "EINTR"), ("openat2", "EINTR"), ("openat2", "EAGAIN")] {
        bench.home.pullet(&args).through_shell(&failing(call, error, 1)).run().exits_in(&format!("{call}: {error}"), 0);
        fs::remove_dir_all(bench.home.path("root")).unwrap();
    }
}

#[test]
fn a_blob_whose_sync_failed_is_fetched_anew() {
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    let partial = bench.home.store().join("ingest");
    let layer = image.layers[0].digest();
    // The folders and files of a new store are synced before the first blob is.
    for nth in 1..20 {
        let fresh = Bench::new();
        let name = image.push(&fresh.registry, "app", "latest");
        let outcome = fresh.home.pullet(&["pull", &name]).through_shell(&failing("fsync", "EIO", nth)).run();
        if outcome.stderr.contains(".partial") {
            let left: Vec<_> = fs::read_dir(fresh.home.store().join("ingest")).unwrap().collect();
            assert!(left.is_empty(), "worthless, and kept: {left:?}");
            fresh.registry.clear_log();
            fresh.home.run(&["pull", &name]).exits(0);
            assert_eq!(fresh.registry.requests_to(&layer), 1);
            assert!(fresh.registry.calls().iter().all(|call| call.request.header("range").is_none()));
            return;
        }
    }
    panic!("no fsync of a partial file in {} for {name}", partial.display());
}

#[test]
fn too_little_room_is_told_before_anything_is_fetched() {
    let image = Image::new(vec![Layer::of(&[file("f", noise(3 << 20))]), Layer::of(&[file("g", noise(2 << 20))])]);
    let total: usize = image.layers.iter().map(|layer| layer.blob.len()).sum();
    let told = |bench: &Bench, case: &str, outcome: Finished, what: &str| {
        outcome.exits_in(case, 9).fails_in_one_line().says(what).says(" free in ");
        bench.assert_no_layer_requested(case, &image);
    };
    let mount =
        |options: &str| format!("mkdir -p small && mount -t tmpfs -o {options},mode=755 tmpfs small && exec \"$@\"");
    let bench = Bench::new();
    let name = image.push(&bench.registry, "app", "latest");
    let outcome =
        bench.home.pullet(&["pull", "--store", "small/store", &name]).in_mount_namespace(&mount("size=4m")).run();
    told(&bench, "the store", outcome, &format!("check space: {total} bytes are needed and "));
    let outcome = bench.home.pullet(&["unpack", &name, "small/root"]).in_mount_namespace(&mount("size=2m")).run();
    told(&bench, "the target", outcome, &format!("check space: {} bytes are needed", image.layers[0].blob.len()));
    // The store has room for the layers, but not for the tree too.
    let sum = total + image.layers[0].blob.len();
    let outcome = bench
        .home
        .pullet(&["unpack", "--store", "small/s", &name, "small/root"])
        .in_mount_namespace(&mount("size=6m"))
        .run();
    told(&bench, "both", outcome, &format!("check space: {sum} bytes are needed"));
    let outcome = bench
        .home
        .pullet(&["pull", "--store", "small/s", &name])
        .in_mount_namespace(&mount("size=20m,nr_inodes=10"))
        .run();
    // The folders of the store take most of them.
    let outcome = outcome.exits_in("inodes", 9).fails_in_one_line();
    assert!(outcome.stderr.contains("files") || outcome.stderr.contains("No space"), "{outcome}");
    bench
        .home
        .pullet(&["unpack", "--store", "small/s", &name, "small/root"])
        .in_mount_namespace(&mount("size=20m"))
        .run()
        .exits(0);
    // What is there already is not counted again.
    bench.home.run(&["pull", &name]).exits(0);
    let outcome = bench.home.pullet(&["unpack", &name, "small/root"]).in_mount_namespace(&mount("size=2m")).run();
    outcome.exits(9).says("check space").fails_in_one_line();
}

#[test]
fn a_disk_that_fills_up_meanwhile_leaves_nothing() {
    // The layer compresses to nothing, so that no look ahead can tell.
    let image = Image::new(vec![Layer::of(&[file("zeros", vec![0; 8 << 20])])]);
    let bench = Bench::new();
    let name = image.push(&bench.registry, "app", "latest");
    let full = "mkdir -p small && mount -t tmpfs -o size=4m,mode=755 tmpfs small && \"$@\"; code=$?; ls -A small >&2; \
                exit $code";
    let outcome = bench.home.pullet(&["unpack", &name, "small/root"]).in_mount_namespace(full).run().exits(9);
    assert!(outcome.stderr.contains("No space left"), "{outcome}");
    assert!(outcome.stderr.ends_with("\n") && !outcome.stderr.contains("\nroot"), "{outcome}");
    assert!(!outcome.stderr.contains(".root.pullet\n"), "{outcome}");
    // No inode is left in the middle.
    let many: Vec<_> = (0..100).map(|n| file(format!("f{n}"), "")).collect();
    let name = Image::new(vec![Layer::of(&many)]).push(&bench.registry, "many", "latest");
    let full = full.replace("size=4m", "size=4m,nr_inodes=50");
    let outcome = bench.home.pullet(&["unpack", &name, "small/root"]).in_mount_namespace(&full).run().exits(9);
    assert!(outcome.stderr.contains("No space left"), "{outcome}");
    assert!(!outcome.stderr.contains(".root.pullet\n") && !outcome.stderr.contains("\nroot"), "{outcome}");
}

#[test]
fn a_read_only_disk_is_told_and_still_read() {
    let bench = Bench::new();
    bench.pull(&image()).exits(0);
    let name = bench.registry.name("app");
    let read_only = |what: &str| {
        format!("mkdir -p {what} && mount --bind {what} {what} && mount -o remount,bind,ro {what} && exec \"$@\"")
    };
    let new = Image::small("new").push(&bench.registry, "new", "latest");
    bench
        .home
        .pullet(&["pull", &new])
        .in_mount_namespace(&read_only("store"))
        .run()
        .exits(9)
        .fails_in_one_line()
        .says("Read-only");
    bench.home.pullet(&["images"]).in_mount_namespace(&read_only("store")).run().exits(0);
    bench.home.pullet(&["verify"]).in_mount_namespace(&read_only("store")).run().exits(0);
    bench
        .home
        .pullet(&["unpack", "--pull", "never", &name, "a"])
        .in_mount_namespace(&read_only("store"))
        .run()
        .exits(0);
    let target = ["unpack", "--pull", "never", &name, "ro/root"];
    bench
        .home
        .pullet(&target)
        .in_mount_namespace(&read_only("ro"))
        .run()
        .exits(9)
        .fails_in_one_line()
        .says("Read-only");
    // The blobs on another filesystem than the partial files: nothing is renamed across.
    let other = "mount -t tmpfs tmpfs store/blobs/sha256 && exec \"$@\"";
    bench
        .home
        .pullet(&["pull", &new])
        .in_mount_namespace(other)
        .run()
        .exits(9)
        .fails_in_one_line()
        .says("cross-device");
    // Mount points are no folders that a rename could replace: the same filesystem, and another one.
    for mount in ["mount -t tmpfs tmpfs point", "mount --bind point point"] {
        let shell = format!("mkdir -p point && {mount} && exec \"$@\"");
        let args = ["unpack", "--pull", "never", &name, "point"];
        bench.home.pullet(&args).in_mount_namespace(&shell).run().exits_in(mount, 9).fails_in_one_line();
        assert!(!bench.home.path(".point.pullet").exists(), "{mount}");
    }
}

#[test]
fn too_few_descriptors_are_told_as_such() {
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    let mut codes = Vec::new();
    for limit in 3..18 {
        let case = format!("{limit} descriptors");
        let shell = format!("ulimit -n {limit} && exec \"$@\"");
        let target = format!("root{limit}");
        let outcome = bench.home.pullet(&["unpack", &name, &target]).through_shell(&shell).run();
        // The loader itself needs one to begin.
        if outcome.code != 127 {
            codes.push(outcome.code);
            let outcome = outcome.exits_among(&case, &[0, 9]);
            assert_eq!(bench.home.path(&target).exists(), outcome.code == 0, "{case}");
            // Tidying up needs some too: then it is for the next run.
            bench.home.run(&["unpack", &name, &target]).exits_in(&case, if outcome.code == 0 { 9 } else { 0 });
            assert!(!bench.home.path(&format!(".{target}.pullet")).exists(), "{case}");
        }
    }
    assert!(codes.contains(&9) && codes.last() == Some(&0), "{codes:?}");
    recovers("few descriptors", &bench, &name);
}

/// Under every umask the store is the owner's to use and the tree is the image's.
#[test]
fn the_umask_does_not_matter() {
    for umask in ["0", "077", "0777"] {
        let (bench, image) = (Bench::new(), image());
        let name = image.push(&bench.registry, "app", "latest");
        let shell = format!("umask {umask} && exec \"$@\"");
        // An ordinary user would be locked out of what 0777 leaves.
        let outcome =
            bench.home.pullet(&["unpack", &name, "root"]).through_shell(&shell).run().exits_among(umask, &[0, 9]);
        if outcome.code == 0 {
            let mode = |path: &str| {
                let meta = fs::symlink_metadata(bench.home.path(path)).unwrap();
                std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o7777
            };
            assert_eq!((mode("root/etc"), mode("root/etc/conf"), mode("root")), (0o755, 0o644, 0o755), "{umask}");
            bench.home.run(&["verify", &name]).exits_in(umask, 0);
            let paths = ["store", "store/blobs/sha256", "store/index.json", "store/lock", "store/prune.lock"];
            assert!(paths.iter().all(|path| mode(path) & 0o022 == 0), "{umask}: others may write to the store");
        } else {
            assert!(umask == "0777" && !is_root(), "{outcome}");
            outcome.fails_in_one_line();
        }
    }
}

#[test]
fn a_folder_that_was_removed_under_the_process_is_told() {
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    let shell = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"";
    bench.home.pullet(&["pull", &name]).through_shell(shell).run().exits(0);
    bench.home.pullet(&["unpack", &name, &bench.home.arg("root")]).through_shell(shell).run().exits(0);
    bench.home.pullet(&["unpack", &name, "root"]).through_shell(shell).run().exits(9).fails_in_one_line();
    bench.home.pullet(&["pull", "--store", "store", &name]).through_shell(shell).run().exits(9).fails_in_one_line();
}

/// What the folder of somebody else's making forbids.
#[test]
fn a_parent_that_may_not_be_written_is_told() {
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    let locked = bench.home.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    for args in [["pull", "--store", "locked/store", &name].to_vec(), ["unpack", &name, "locked/root"].to_vec()] {
        let outcome = bench.home.pullet(&args).user(ordinary_user()).run();
        outcome.exits_in(&format!("{args:?}"), 9).fails_in_one_line().says("Permission denied");
    }
    assert_eq!(fs::read_dir(&locked).unwrap().count(), 0);
    assert!(Path::new(&locked).is_dir());
}
