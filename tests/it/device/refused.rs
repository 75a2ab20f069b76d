//! Targets that are refused before anything is fetched.

use std::fmt::Write as _;
use std::fs;
use std::process::Child;

use super::{Slot, artifact, image, push};
use kit::bench::Bench;
use kit::debian::{command, run};
use kit::device::LoopDevice;
use kit::digest::sha256;
use kit::process::{Finished, is_root};
use kit::signature::{Signer, sign_simply};

/// Asserts that the target is refused with this code and text, and that the registry is not asked.
#[track_caller]
fn refused(bench: &Bench, target: &str, options: &[&str], code: i32, text: &str) {
    let digest = sha256(b"x");
    let name = format!("{}@{digest}", bench.registry.name("fw"));
    bench
        .home
        .run(&[&["blob", &name, "-o", target], options].concat())
        .exits_in(text, code)
        .says(text)
        .fails_in_one_line();
    assert!(bench.registry.log().is_empty(), "{text}");
}

#[test]
fn a_mistyped_device_never_becomes_a_file() {
    let bench = Bench::new();
    let name = format!("/dev/pullet-no-such-device-{}", std::process::id());
    refused(&bench, &name, &[], 9, "there is no such device");
    refused(&bench, &format!("/dev/shm/../{}", &name[5..]), &[], 9, "there is no such device");
    std::os::unix::fs::symlink("/dev", bench.home.path("dev")).unwrap();
    refused(&bench, &name.replacen("/dev", &bench.home.arg("dev"), 1), &[], 9, "there is no such device");
    assert!(!fs::exists(&name).unwrap());
    // Where another filesystem is mounted, a file is a file.
    let shared = format!("/dev/shm/pullet-{}", std::process::id());
    let digest = bench.registry.put_blob("fw", b"x");
    bench.home.run(&["blob", &format!("{}@{digest}", bench.registry.name("fw")), "-o", &shared]).exits(0);
    fs::remove_file(&shared).unwrap();
    bench.registry.clear_log();
    if is_root() {
        fs::write(&name, "left by dd").unwrap();
        refused(&bench, &name, &[], 9, "it is a file in /dev");
        assert_eq!(fs::read_to_string(&name).unwrap(), "left by dd");
        fs::remove_file(&name).unwrap();
    }
}

#[test]
fn other_kinds_of_files_are_refused() {
    let bench = Bench::new();
    refused(&bench, "/dev/null", &[], 2, "a character device");
    refused(&bench, "/dev/stdout", &[], 2, "neither a file nor a block device");
    refused(&bench, &bench.home.arg(""), &[], 2, "neither a file nor a block device");
    refused(&bench, &bench.home.arg("missing/file"), &[], 9, "missing");
    refused(&bench, &bench.home.write("file", "x"), &["--expect-partlabel", "root_b"], 2, "it is no partition");
    refused(&bench, &bench.home.arg("file"), &["--readback", "--no-readback"], 2, "exclude each other");
    assert_eq!(fs::read_to_string(bench.home.path("file")).unwrap(), "x");
}

#[test]
fn raw_flash_is_refused_with_the_tool_that_writes_it() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    run(command("mknod").arg(bench.home.path("mtd0")).args(["c", "90", "0"])).expect(0);
    refused(&bench, &bench.home.arg("mtd0"), &[], 2, "nandwrite");
}

#[test]
fn a_volume_of_ubi_is_refused_with_the_tool_that_writes_it() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    run(command("mknod").arg(bench.home.path("ubi0_1")).args(["c", "240", "1"])).expect(0);
    let script = "mount -t tmpfs none /sys/dev/char && mkdir -p /sys/dev/char/ubi/ubi0_1 && \
                  ln -s ubi/ubi0_1 /sys/dev/char/240:1 && \"$@\"";
    let name = format!("{}@{}", bench.registry.name("fw"), sha256(b"x"));
    let pullet = bench.home.pullet(&["blob", &name, "-o", &bench.home.arg("ubi0_1")]);
    pullet.in_mount_namespace(script).run().exits(10).says("ubiupdatevol").fails_in_one_line();
    assert!(bench.registry.log().is_empty());
}

/// A process that is killed when the value is dropped, also if the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn devices_in_use_are_refused_with_what_uses_them() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let device = LoopDevice::new(&bench.home.path("disk"), 8 << 20, 512);
    run(command("mkfs.ext4").args(["-q", device.arg()])).expect(0);
    let before = device.content();
    fs::create_dir(bench.home.path("mount")).unwrap();
    run(command("mount").arg(device.arg()).arg(bench.home.path("mount"))).expect(0);
    refused(&bench, device.arg(), &[], 9, &format!("mounted at {}", bench.home.arg("mount")));
    run(command("umount").arg(bench.home.path("mount"))).expect(0);
    // Mounted where pullet cannot see it.
    let script = format!("mount {} {} && exec sleep 100", device.arg(), bench.home.arg("mount"));
    let elsewhere = Killed(command("unshare").args(["--mount", "sh", "-c", &script]).spawn().unwrap());
    while fs::read_to_string(format!("/proc/{}/mounts", elsewhere.0.id()))
        .is_ok_and(|mounts| !mounts.contains(device.arg()))
    {
        std::thread::yield_now();
    }
    refused(&bench, device.arg(), &[], 9, "the kernel says that it is busy");
    drop(elsewhere);
    assert!(device.content().len() == before.len());
    let lock = fs::File::open(&device.path).unwrap();
    lock.lock().unwrap();
    refused(&bench, device.arg(), &[], 9, "another process has locked");
    drop(lock);
    refused(&bench, device.arg(), &["--expect-partlabel", "root_b"], 2, "it has no partition label");
    run(command("blockdev").args(["--setro", device.arg()])).expect(0);
    refused(&bench, device.arg(), &[], 9, "it is read-only");
}

#[test]
fn a_target_and_a_file_of_the_artifact_must_be_named() {
    let bench = Bench::new();
    let (a, b) = (image(1, 10), image(2, 10));
    let name = push(&bench, &artifact(&[("a", "x/y", &a), ("b", "x/y", &b)]), &[&a, &b]);
    let slot = Slot::new(&bench, 1 << 20, 512, &[1; 1 << 20]);
    let run = |words: &[&str]| bench.home.run(&[words, slot.options()].concat());
    let target = slot.arg();
    run(&["artifact", &name, "-o", &target]).exits(2).says("2 files").says("it has a, b");
    run(&["artifact", &format!("{name}:c"), "-o", &target]).exits(3).says("no file \"c\"").says("it has a, b");
    assert_eq!(bench.registry.requests_to("/blobs/"), 0);
    run(&["artifact", &format!("{name}:b"), "-o", &target]).exits(0);
    assert!(slot.content().starts_with(&b));
    let digest = sha256(&a);
    for (args, text) in [
        (&["blob", &name, "-o", "x"][..], "named by its digest"),
        (&["blob", &format!("{name}@{digest}")], "-o FILE"),
        (&["blob", "-o", "x"], "missing argument"),
        (&["artifact", &name, "dir", "-o", "x"], "unexpected argument"),
        (&["artifact", &name, "dir", "--skip-same"], "--skip-same needs -o"),
        (&["artifact", &name, "dir", "--max-zstd-window", "1m"], "--max-zstd-window needs -o"),
    ] {
        bench.home.run(args).exits_in(text, 2).says(text);
    }
}

/// Runs a command whose device has this name in sysfs, with these files.
fn with_sysfs(bench: &Bench, device: &LoopDevice, name: &str, files: &[(&str, &str)], args: &[&str]) -> Finished {
    let number = fs::read_to_string(format!("/sys/block/{}/dev", device.path.file_name().unwrap().display())).unwrap();
    let mut script = "mount -t tmpfs none /sys/dev/block && cd /sys/dev/block".to_owned();
    write!(script, " && mkdir {name} && ln -s {name} {}", number.trim()).unwrap();
    for (file, text) in files {
        write!(script, " && echo {text} > {name}/{file}").unwrap();
    }
    let protection = format!("cat /sys/dev/block/{name}/force_ro 2>/dev/null");
    write!(script, " && cd - >/dev/null && \"$@\"; code=$?; {protection}; exit $code").unwrap();
    bench.home.pullet(args).in_mount_namespace(&script).run()
}

#[test]
fn only_the_partition_with_the_expected_label_is_written() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let device = LoopDevice::new(&bench.home.path("disk"), 1 << 20, 512);
    let digest = bench.registry.put_blob("fw", b"image");
    let name = format!("{}@{digest}", bench.registry.name("fw"));
    let files = [("partition", "2"), ("uevent", "PARTNAME=root_b")];
    let write = |label: &str| {
        let args = ["blob", &name, "-o", device.arg(), "--expect-partlabel", label];
        with_sysfs(&bench, &device, "sda2", &files, &args)
    };
    write("root_a").exits(2).says("its partition label is \"root_b\", not \"root_a\"").fails_in_one_line();
    assert!(device.content().iter().all(|byte| *byte == 0) && bench.registry.log().is_empty());
    write("root_b").exits(0);
    assert!(device.content().starts_with(b"image"));
}

#[test]
fn the_boot_partition_of_an_emmc_is_protected_again_on_every_way_out() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let device = LoopDevice::new(&bench.home.path("disk"), 2 << 20, 512);
    let good = bench.registry.put_blob("fw", &image(1, 2 << 20));
    let large = bench.registry.put_blob("fw", &image(1, (2 << 20) + 1));
    for (digest, code) in [(&good, 0), (&large, 9), (&sha256(b"missing"), 3)] {
        for state in ["0", "1"] {
            let name = format!("{}@{digest}", bench.registry.name("fw"));
            let files = [("force_ro", state)];
            let args = ["blob", &name, "-o", device.arg()];
            with_sysfs(&bench, &device, "mmcblk0boot1", &files, &args).exits(code).prints(&format!("{state}\n"));
        }
    }
}

#[test]
fn a_blob_is_refused_where_a_signature_is_demanded() {
    let bench = Bench::new();
    let digest = bench.registry.put_blob("fw", b"image");
    let name = format!("{}@{digest}", bench.registry.name("fw"));
    let target = bench.home.arg("image");
    let policy = |default: &str| {
        let text = format!("{{\"default\":[{default}]}}");
        bench.home.write("policy.json", text)
    };
    let args = |policy: &str| ["blob", &name, "-o", &target, "--policy", policy].map(str::to_owned);
    let signer = Signer::new("p256");
    let key = signer.key();
    bench.home.run(&args(&policy("{\"type\":\"reject\"}"))).exits(8).says("rejects");
    let signed = format!("{{\"type\":\"sigstoreSigned\",\"keyPath\":\"{key}\"}}");
    bench.home.run(&args(&policy(&signed))).exits(8).says("a blob alone has neither").says("artifact");
    let required = bench.home.pullet(&args(&policy("{\"type\":\"insecureAcceptAnything\"}")));
    required.env("DOCKER_CONTENT_TRUST", "1").run().exits(8).says("a signature is required");
    assert!(bench.registry.log().is_empty() && !bench.home.path("image").exists());
    bench.home.run(&args(&policy("{\"type\":\"insecureAcceptAnything\"}"))).exits(0);
    assert_eq!(fs::read(bench.home.path("image")).unwrap(), b"image");
}

#[test]
fn an_artifact_must_be_signed_if_a_key_is_given() {
    let bench = Bench::new();
    let (signer, content) = (Signer::new("p256"), image(1, 100_000));
    let manifest = artifact(&[("rootfs", "x/y", &content)]);
    let name = push(&bench, &manifest, &[&content]);
    let target = bench.home.arg("image");
    let key = signer.key();
    let args = ["artifact", &name, "--verify-key", &key, "-o", &target];
    bench.home.run(&args).exits(8).fails_in_one_line();
    assert!(bench.registry.requests_to("/blobs/") == 0 && !bench.home.path("image").exists());
    sign_simply(&bench.registry, "fw", &sha256(manifest.to_string().as_bytes()), &[&signer]);
    bench.home.run(&args).exits(0);
    assert!(fs::read(bench.home.path("image")).unwrap() == content);
}
