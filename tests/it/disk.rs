//! Disk faults: no space, no inodes, read-only file systems, and failing system calls. Existing files stay, nothing
//! incomplete is published, and the next run succeeds.

use std::fs;
use std::path::Path;

use kit::archive::{self, Entry, dir};
use kit::bench::Bench;
use kit::image::{Image, Layer};
use kit::noise::noise;
use kit::process::{Finished, is_root, ordinary_user};

/// A file owned by root. In a namespace where an ordinary user is mapped to root, no other owner can be set.
fn file(name: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Entry {
    archive::file(name, body).owner(0, 0)
}

fn image() -> Image {
    Image::new(vec![
        Layer::of(&[dir("etc").owner(0, 0), file("etc/conf", "1"), file("noise", noise(300_000))]),
        Layer::of(&[file("etc/more", "2")]),
    ])
}

/// A script that runs its arguments under `strace` and makes one system call fail.
fn failing(call: &str, error: &str, nth: usize) -> String {
    format!("exec strace -f -qq -o /dev/null -e trace={call} -e inject={call}:error={error}:when={nth} \"$@\"")
}

/// Asserts that every named image is complete, and that a pull without the fault succeeds and leaves no partial files.
#[track_caller]
fn assert_recovers(case: &str, bench: &Bench, name: &str) {
    // If the call failed before the store was made, `verify` exits with 3.
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
fn a_pull_recovers_from_a_failing_system_call() {
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
            // A failed write may only lose output, and a number beyond the last call has no effect.
            let outcome = outcome.exits_among(&case, if call == "write" { &[0, 5, 9] } else { &[0, 9] });
            assert!(nth > 2 || call == "write" || outcome.code == 9, "{case}: the fault had no effect\n{outcome}");
            if outcome.code == 9 {
                assert_eq!(bench.home.names(), Vec::<String>::new(), "{case}");
                outcome.fails_in_one_line();
            }
            assert_recovers(&case, &bench, &name);
        }
    }
}

#[test]
fn an_unpack_with_a_failing_system_call_publishes_nothing() {
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
    let mut effective = 0;
    for (call, error, nth) in calls {
        let case = format!("{call} number {nth}: {error}");
        let outcome =
            bench.home.pullet(&args).through_shell(&failing(call, error, nth)).run().exits_among(&case, &[0, 9]);
        let exists = bench.home.path("root").exists();
        assert_eq!(exists, outcome.code == 0, "{case}\n{outcome}");
        assert!(!bench.home.path(".root.pullet").exists(), "{case}: a staging tree is left");
        effective += usize::from(outcome.code == 9);
        if exists {
            fs::remove_dir_all(bench.home.path("root")).unwrap();
        }
    }
    assert!(effective >= calls.len() - 3, "only {effective} faults had an effect");
    for (call, error) in [("syncfs", "EINTR"), ("fsync", "EINTR"), ("openat2", "EINTR"), ("openat2", "EAGAIN")] {
        bench.home.pullet(&args).through_shell(&failing(call, error, 1)).run().exits_in(&format!("{call}: {error}"), 0);
        fs::remove_dir_all(bench.home.path("root")).unwrap();
    }
}

#[test]
fn fetches_a_blob_again_after_its_sync_failed() {
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
            assert!(left.is_empty(), "a partial file that was not synced is kept: {left:?}");
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
fn reports_too_little_space_before_fetching_layers() {
    let image = Image::new(vec![Layer::of(&[file("f", noise(3 << 20))]), Layer::of(&[file("g", noise(2 << 20))])]);
    let total: usize = image.layers.iter().map(|layer| layer.blob.len()).sum();
    let assert_no_space = |bench: &Bench, case: &str, outcome: Finished, message: &str| {
        outcome.exits_in(case, 9).fails_in_one_line().says(message).says(" free in ");
        bench.assert_no_layer_requested(case, &image);
    };
    let mount =
        |options: &str| format!("mkdir -p small && mount -t tmpfs -o {options},mode=755 tmpfs small && exec \"$@\"");
    let bench = Bench::new();
    let name = image.push(&bench.registry, "app", "latest");
    let outcome =
        bench.home.pullet(&["pull", "--store", "small/store", &name]).in_mount_namespace(&mount("size=4m")).run();
    assert_no_space(&bench, "the store", outcome, &format!("check space: {total} bytes are needed and "));
    let outcome = bench.home.pullet(&["unpack", &name, "small/root"]).in_mount_namespace(&mount("size=2m")).run();
    assert_no_space(
        &bench,
        "the target",
        outcome,
        &format!("check space: {} bytes are needed", image.layers[0].blob.len()),
    );
    // There is room for the layers, but not for the tree as well.
    let sum = total + image.layers[0].blob.len();
    let outcome = bench
        .home
        .pullet(&["unpack", "--store", "small/s", &name, "small/root"])
        .in_mount_namespace(&mount("size=6m"))
        .run();
    assert_no_space(&bench, "both", outcome, &format!("check space: {sum} bytes are needed"));
    let outcome = bench
        .home
        .pullet(&["pull", "--store", "small/s", &name])
        .in_mount_namespace(&mount("size=20m,nr_inodes=10"))
        .run();
    // The folders of the store need most of the inodes.
    let outcome = outcome.exits_in("inodes", 9).fails_in_one_line();
    assert!(outcome.stderr.contains("files") || outcome.stderr.contains("No space"), "{outcome}");
    bench
        .home
        .pullet(&["unpack", "--store", "small/s", &name, "small/root"])
        .in_mount_namespace(&mount("size=20m"))
        .run()
        .exits(0);
    // Layers that are stored already are not counted.
    bench.home.run(&["pull", &name]).exits(0);
    let outcome = bench.home.pullet(&["unpack", &name, "small/root"]).in_mount_namespace(&mount("size=2m")).run();
    outcome.exits(9).says("check space").fails_in_one_line();
}

#[test]
fn a_disk_that_fills_up_during_unpacking_leaves_nothing() {
    // The layer compresses so well that the check of the free space passes.
    let image = Image::new(vec![Layer::of(&[file("zeros", vec![0; 8 << 20])])]);
    let bench = Bench::new();
    let name = image.push(&bench.registry, "app", "latest");
    let full = "mkdir -p small && mount -t tmpfs -o size=4m,mode=755 tmpfs small && \"$@\"; code=$?; ls -A small >&2; \
                exit $code";
    let outcome = bench.home.pullet(&["unpack", &name, "small/root"]).in_mount_namespace(full).run().exits(9);
    assert!(outcome.stderr.contains("No space left"), "{outcome}");
    assert!(outcome.stderr.ends_with("\n") && !outcome.stderr.contains("\nroot"), "{outcome}");
    assert!(!outcome.stderr.contains(".root.pullet\n"), "{outcome}");
    // The same with too few inodes.
    let many: Vec<_> = (0..100).map(|n| file(format!("f{n}"), "")).collect();
    let name = Image::new(vec![Layer::of(&many)]).push(&bench.registry, "many", "latest");
    let full = full.replace("size=4m", "size=4m,nr_inodes=50");
    let outcome = bench.home.pullet(&["unpack", &name, "small/root"]).in_mount_namespace(&full).run().exits(9);
    assert!(outcome.stderr.contains("No space left"), "{outcome}");
    assert!(!outcome.stderr.contains(".root.pullet\n") && !outcome.stderr.contains("\nroot"), "{outcome}");
}

#[test]
fn reads_a_read_only_disk_and_reports_failed_writes() {
    let bench = Bench::new();
    bench.pull(&image()).exits(0);
    let name = bench.registry.name("app");
    let read_only = |folder: &str| {
        format!(
            "mkdir -p {folder} && mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && exec \"$@\""
        )
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
    // A partial file cannot be renamed if the blobs are on another file system.
    let other = "mount -t tmpfs -o mode=755 tmpfs store/blobs/sha256 && exec \"$@\"";
    bench
        .home
        .pullet(&["pull", &new])
        .in_mount_namespace(other)
        .run()
        .exits(9)
        .fails_in_one_line()
        .says("cross-device");
    // A mount point cannot be replaced by a rename, whether it has another file system or the same.
    for mount in ["mount -t tmpfs tmpfs point", "mount --bind point point"] {
        let shell = format!("mkdir -p point && {mount} && exec \"$@\"");
        let args = ["unpack", "--pull", "never", &name, "point"];
        bench.home.pullet(&args).in_mount_namespace(&shell).run().exits_in(mount, 9).fails_in_one_line();
        assert!(!bench.home.path(".point.pullet").exists(), "{mount}");
    }
}

#[test]
fn reports_too_few_descriptors() {
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    let mut codes = Vec::new();
    for limit in 3..18 {
        let case = format!("{limit} descriptors");
        let shell = format!("ulimit -n {limit} && exec \"$@\"");
        let target = format!("root{limit}");
        let outcome = bench.home.pullet(&["unpack", &name, &target]).through_shell(&shell).run();
        // With 127 the dynamic loader has failed, because it needs a descriptor.
        if outcome.code != 127 {
            codes.push(outcome.code);
            let outcome = outcome.exits_among(&case, &[0, 9]);
            assert_eq!(bench.home.path(&target).exists(), outcome.code == 0, "{case}");
            // Cleaning up needs descriptors, too. If it fails, the next run cleans up.
            bench.home.run(&["unpack", &name, &target]).exits_in(&case, if outcome.code == 0 { 9 } else { 0 });
            assert!(!bench.home.path(&format!(".{target}.pullet")).exists(), "{case}");
        }
    }
    assert!(codes.contains(&9) && codes.last() == Some(&0), "{codes:?}");
    assert_recovers("few descriptors", &bench, &name);
}

/// Under every umask the owner can use the store, and the tree has the image's modes.
#[test]
fn works_with_any_umask() {
    for umask in ["0", "077", "0777"] {
        let (bench, image) = (Bench::new(), image());
        let name = image.push(&bench.registry, "app", "latest");
        let shell = format!("umask {umask} && exec \"$@\"");
        // With umask 0777 an ordinary user cannot use the files that it makes.
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
fn reports_a_removed_working_directory() {
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    let shell = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"";
    bench.home.pullet(&["pull", &name]).through_shell(shell).run().exits(0);
    bench.home.pullet(&["unpack", &name, &bench.home.arg("root")]).through_shell(shell).run().exits(0);
    bench.home.pullet(&["unpack", &name, "root"]).through_shell(shell).run().exits(9).fails_in_one_line();
    bench.home.pullet(&["pull", "--store", "store", &name]).through_shell(shell).run().exits(9).fails_in_one_line();
}

#[test]
fn reports_a_parent_without_write_permission() {
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
