//! `pullet boot`: prepares the root that the kernel's command line describes. Each run has its own mount namespace. The
//! mounts stay if the boot succeeds, and are removed if it fails.

use std::fs;
use std::net::TcpListener;

use kit::archive::{dir, file, symlink};
use kit::authority::Authority;
use kit::bench::Bench;
use kit::digest::sha256;
use kit::fault::on;
use kit::home::Home;
use kit::http::Latch;
use kit::image::{Image, Layer, architecture, index, push_index};
use kit::noise::noise;
use kit::process::Finished;
use kit::registry::Registry;
use kit::signature::{Signer, sign_simply};

/// A script that prints what `boot` has mounted.
const MOUNTS: &str = "grep -e /newroot -e /run/pullet /proc/self/mounts || true";

/// An image with a file that the host does not have, and with an init behind links that must resolve inside the image.
fn system() -> Image {
    let init = [
        dir("./").mode(0o711),
        dir("usr"),
        dir("usr/bin"),
        symlink("sbin", "usr/bin"),
        file("usr/bin/real", "#!").mode(0o755),
        symlink("usr/bin/init", "/sbin/real"),
        file("etc/issue", "of the image"),
    ];
    Image::new(vec![Layer::of(&init), Layer::of(&[file("noise", noise(300_000))])])
}

/// Pushes the system. Returns its name, too.
fn pushed() -> (Bench, Image, String) {
    let (bench, image) = (Bench::new(), system());
    let name = image.push(&bench.registry, "app", "latest");
    (bench, image, name)
}

/// Boots with this command line in a mount namespace that has its own `/run`, then runs the script `after` in it. `$@` in
/// the script is the boot command. The script's output follows that of pullet.
fn boot_then(home: &Home, line: &str, options: &[&str], after: &str) -> Finished {
    boot_between(home, ":", line, options, after)
}

/// Like [`boot_then`], but runs the script `before` first.
fn boot_between(home: &Home, before: &str, line: &str, options: &[&str], after: &str) -> Finished {
    let cmdline = home.write("cmdline", format!("BOOT_IMAGE=/vmlinuz quiet {line}\n"));
    let (root, data) = (home.arg("newroot"), home.arg("data"));
    let script = format!(
        "mount -t tmpfs none /run; root={root}; data={data}; mkdir -p $data; {before}; \"$@\"; code=$?; {after}; exit $code"
    );
    home.pullet(&[&["boot", "--cmdline", &cmdline, &root], options].concat()).in_mount_namespace(&script).run()
}

fn boot(home: &Home, line: &str, options: &[&str]) -> Finished {
    boot_then(home, line, options, MOUNTS)
}

/// Asserts that the boot failed with `code` and that the script after it found nothing mounted.
#[track_caller]
fn fails(outcome: Finished, code: i32) -> Finished {
    outcome.exits(code).prints("")
}

#[test]
fn unpacks_into_a_tmpfs() {
    let (bench, _, name) = pushed();
    let script = format!("cat $root/etc/issue; echo; stat -c %a $root; {MOUNTS}; ls -A /run/pullet/root");
    let outcome = boot_then(&bench.home, &format!("pullet.image={name} pullet.root=tmpfs:8m"), &[], &script).exits(0);
    let root = bench.home.arg("newroot");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[..3], [&format!("switch_root {root} /sbin/init"), "of the image", "711"], "{outcome}");
    // There is one mount, and no other mount below it that would hide its files.
    assert_eq!(lines.len(), 4, "{outcome}");
    assert!(lines[3].starts_with(&format!("tmpfs {root} tmpfs rw,")), "{outcome}");
    assert!(lines[3].contains("size=8192k"), "{outcome}");
    assert_eq!(bench.registry.calls().len(), 4, "{:?}", bench.registry.log());
    assert!(!bench.home.store().exists(), "a store was made");
}

#[test]
fn fetches_a_tree_in_a_folder_once() {
    let (bench, image, name) = pushed();
    let digest = image.digest();
    let tree = digest.replace(':', "-");
    let before = "mount -t tmpfs none $data; mkdir -p $data/.sha256-0.pullet/root/half $data/.mine.pullet";
    let line = format!("pullet.image={name} pullet.root={}", bench.home.arg("data"));
    let again = format!("ls -A $data; umount $root; \"$@\"; cat $root/etc/issue; echo; {MOUNTS}");
    let outcome = boot_between(&bench.home, before, &line, &[], &again).exits(0).says("the tree exists already");
    let root = bench.home.arg("newroot");
    let switch = format!("switch_root {root} /sbin/init\n");
    assert!(
        outcome.stdout.starts_with(&format!("{switch}.mine.pullet\n{tree}\n{switch}of the image\nnone {root} tmpfs ")),
        "{outcome}"
    );
    // The tag was resolved twice, and everything else was requested once.
    assert_eq!(bench.registry.requests_to("/manifests/latest"), 2, "{:?}", bench.registry.log());
    assert_eq!(bench.registry.calls().len(), 5, "{:?}", bench.registry.log());

    bench.registry.clear_log();
    let line = format!("{line} pullet.digest={digest}");
    let offline = "umount $root; exec 3>&1; \"$@\" --insecure-registry=x 2>&1; true";
    let outcome = boot_between(&bench.home, before, &line, &[], offline).exits(0);
    assert_eq!(outcome.stdout.matches(&switch).count(), 2, "{outcome}");
    assert_eq!(bench.registry.requests_to(&format!("/manifests/{digest}")), 1, "{:?}", bench.registry.log());
    assert_eq!(bench.registry.calls().len(), 4, "{:?}", bench.registry.log());
}

#[test]
fn boots_only_what_a_key_of_the_command_line_has_signed() {
    let (bench, image, name) = pushed();
    let [old, new, other] = [(); 3].map(|()| Signer::new("p256"));
    let line = |keys: &[&Signer]| {
        let keys: String = keys.iter().map(|key| format!(" pullet.key={}", key.key())).collect();
        format!("pullet.image={name} pullet.root={}{keys}", bench.home.arg("data"))
    };
    let boot = |line: &str| boot_between(&bench.home, "mount -t tmpfs none $data", line, &[], "ls -A $data");
    fails(boot(&line(&[&old])), 8).says("the image is not signed");
    bench.assert_no_layer_requested("unsigned", &image);
    sign_simply(&bench.registry, "app", &image.digest(), &[&new]);
    fails(boot(&line(&[&old, &other])), 8).says("by no given key");
    boot(&line(&[&old, &new])).exits(0);
    fails(boot(&format!("{} pullet.key=/missing", line(&[&new]))), 2).says("read /missing");
    // A tree that a boot without a key has made is not used for a tag without a proof.
    let again = format!("umount $root; \"$@\" --verify-key {}", other.key());
    let outcome = boot_between(&bench.home, "mount -t tmpfs none $data", &line(&[]), &[], &again);
    assert_eq!(outcome.stdout.matches("switch_root").count(), 1, "{outcome}");
    outcome.exits(0).says("by no given key");
}

#[test]
fn names_a_tree_from_an_index_by_its_platform() {
    let bench = Bench::new();
    let image = system();
    let platform = format!("linux/{}", architecture());
    let name = push_index(&bench.registry, "app", "latest", &[(&platform, &image)]);
    let digest = sha256(index(&[image.entry(&platform)]).to_string().as_bytes());
    let line = format!("pullet.image={name} pullet.root={} pullet.digest={digest}", bench.home.arg("data"));
    let again = "ls -A $data; umount $root; \"$@\"";
    let outcome = boot_between(&bench.home, "mount -t tmpfs none $data", &line, &[], again).exits(0);
    let tree = format!("{}-{}", digest.replace(':', "-"), platform.replace('/', "-"));
    // The variant of the machine may follow if the index has none.
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(lines.len() == 3 && lines[1].starts_with(&tree), "{outcome}");
    assert_eq!(bench.registry.calls().len(), 5, "{:?}", bench.registry.log());
}

#[test]
fn writes_to_an_overlay_stay_in_memory() {
    for (case, place) in [("folder", "$data"), ("memory", "tmpfs")] {
        let (bench, image, name) = pushed();
        let place = place.replace("$data", &bench.home.arg("data"));
        let line = format!("pullet.image={name} pullet.root={place} pullet.overlay=tmpfs:4m");
        let tree = image.digest().replace(':', "-");
        let script = format!(
            "echo new > $root/etc/issue; rm $root/noise; cat $root/etc/issue; ls $root; stat -c %a $root; {MOUNTS}; \
             umount $root; test ! -d $data/{tree} || cat $data/{tree}/etc/issue"
        );
        let outcome = boot_between(&bench.home, "mount -t tmpfs none $data", &line, &[], &script).exits_in(case, 0);
        let root = bench.home.arg("newroot");
        let lines: Vec<&str> = outcome.stdout.lines().collect();
        let expected = [&format!("switch_root {root} /sbin/init"), "new", "etc", "sbin", "usr", "711"];
        assert_eq!(lines[..6], expected, "{case} {outcome}");
        assert!(lines[6].starts_with(&format!("overlay {root} overlay ")), "{case} {outcome}");
        let rest = if case == "folder" { &["of the image"][..] } else { &[] };
        assert_eq!(&lines[7..], rest, "{case} {outcome}");
    }
}

#[test]
fn failures_leave_nothing_mounted() {
    let (bench, image, name) = pushed();
    let hostile = Image::new(vec![Layer::of(&[file("../escaped", "x")])]).push(&bench.registry, "hostile", "latest");
    let empty = Image::small("empty").push(&bench.registry, "empty", "latest");
    let other = "sha256:".to_owned() + &"0".repeat(64);
    let data = bench.home.arg("data");
    for (line, code, message) in [
        (format!("pullet.image={hostile}"), 11, "unsafe"),
        (format!("pullet.image={empty}"), 3, "the image has none of /sbin/init"),
        (format!("pullet.image={name} init=/sbin/other"), 3, "no program /sbin/other"),
        (format!("pullet.image={name} init=/etc/issue"), 3, "no program /etc/issue"),
        (format!("pullet.image={name} pullet.root=tmpfs:128k"), 9, "space"),
        (format!("pullet.image={name} pullet.digest={other}"), 3, &other),
        (format!("pullet.image={name}x"), 3, "latestx"),
        (format!("pullet.image={name} pullet.root={data}/missing"), 9, "missing"),
        (format!("pullet.image={name} pullet.root=/dev/null pullet.wait=1"), 9, "/dev/null is not a block device"),
        (format!("pullet.image={name}@{} pullet.digest={other}", image.digest()), 2, "pullet.digest is"),
        ("quiet".to_owned(), 2, "pullet.image is missing"),
        ("pullet.image=A".to_owned(), 2, "lower-case"),
        (format!("pullet.image={name} pullet.digset={other}"), 2, "unknown parameter pullet.digset"),
        (format!("pullet.image={name} pullet.ca=/missing"), 2, "read /missing"),
    ] {
        let before = "mount -t tmpfs none $data";
        let outcome = boot_between(&bench.home, before, &line, &["--retries=0"], MOUNTS);
        fails(outcome.exits_in(&line, code), code).says(message);
    }
    assert!(!bench.home.path("newroot/escaped").exists());
    let (flipped, digest) = (image.layers[1].digest(), image.digest());
    bench.registry.fault(on(flipped).flip(1000));
    fails(boot(&bench.home, &format!("pullet.image={name} pullet.digest={digest}"), &["--retries=0"]), 8);
}

#[test]
fn refuses_a_folder_of_the_initramfs() {
    let (bench, _, name) = pushed();
    let line = format!("pullet.image={name} pullet.root=/etc");
    fails(boot(&bench.home, &line, &[]), 9).says("nothing is mounted at /etc").says("hint: ");
    assert!(bench.registry.log().is_empty());
}

/// `/` is read-only here, so the test looks for the path in the error message.
#[test]
fn the_default_root_is_sysroot() {
    let (bench, _, name) = pushed();
    let cmdline = bench.home.write("cmdline", format!("pullet.image={name}"));
    let script = "mount -t tmpfs none /run; mount -o remount,bind,ro /; exec \"$@\"";
    let outcome = bench.home.pullet(&["boot", "--cmdline", &cmdline]).in_mount_namespace(script).run();
    assert!(format!("{}{}", outcome.stdout, outcome.stderr).contains("/sysroot"), "{outcome}");
}

#[test]
fn prints_the_init_of_the_command_line() {
    let (bench, _, name) = pushed();
    let outcome = boot_then(&bench.home, &format!("pullet.image={name} init=/usr/bin/real"), &[], ":").exits(0);
    outcome.prints(&format!("switch_root {} /usr/bin/real\n", bench.home.arg("newroot")));
}

#[test]
fn waits_for_the_network() {
    let (bench, _, name) = pushed();
    bench.registry.fault(on("/manifests/").nth(1).raw(""));
    bench.registry.fault(on("/manifests/").nth(2).raw(""));
    let outcome = boot_then(&bench.home, &format!("pullet.image={name}"), &["--retries=0"], ":").exits(0);
    assert_eq!(outcome.stderr.matches("waiting up to 60 s for the network: ").count(), 1, "{outcome}");
    assert_eq!(bench.registry.requests_to("/manifests/"), 3, "{:?}", bench.registry.log());
}

#[test]
fn gives_up_waiting_for_the_network() {
    let home = Home::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for image in [format!("{closed}/app"), "registry.invalid/app".to_owned()] {
        let outcome = fails(boot(&home, &format!("pullet.image={image} pullet.wait=1s"), &[]), 5);
        let outcome = outcome.says("the network did not come up within 1 s: ").says("hint: pullet.wait");
        assert_eq!(outcome.stderr.matches("waiting up to 1 s for the network: ").count(), 1, "{outcome}");
    }
    let line = format!("pullet.image={closed}/app");
    fails(boot(&home, &line, &["--timeout=1"]), 5).says("out of time");
}

/// An attempt can take long: packets to a host that does not respond may be lost without an error.
#[test]
fn reports_the_wait_while_the_first_attempt_has_no_response() {
    let (bench, _, name) = pushed();
    // The response is never sent, so only the report can end this run.
    let latch = Latch::default();
    bench.registry.fault(on("/manifests/").held(&latch));
    let cmdline = bench.home.write("cmdline", format!("pullet.image={name}"));
    fails(end_at_the_wait(&bench.home, &cmdline), 143);
    latch.open();
}

#[test]
fn waits_for_the_network_again_when_it_fails_during_the_download() {
    let (bench, image, name) = pushed();
    let (config, layer) = (image.config_digest(), image.layers[1].digest());
    bench.registry.fault(on(&config).nth(1).raw(""));
    bench.registry.fault(on(&layer).nth(1).cut(200_000));
    bench.registry.fault(on(&layer).nth(2).raw(""));
    let outcome = boot_then(&bench.home, &format!("pullet.image={name}"), &["--retries=0"], ":").exits(0);
    assert_eq!(outcome.stderr.matches("waiting up to 60 s for the network: ").count(), 2, "{outcome}");

    // The time is limited, and a response that refuses the download shows that the network works.
    let (bench, image, name) = pushed();
    bench.registry.fault(on(image.layers[1].digest()).raw(""));
    let outcome = fails(boot(&bench.home, &format!("pullet.image={name} pullet.wait=1"), &["--retries=0"]), 5);
    assert_eq!(outcome.stderr.matches("waiting up to 1 s for the network: ").count(), 1, "{outcome}");
    let (bench, image, name) = pushed();
    bench.registry.fault(on(image.layers[1].digest()).status(503).body(""));
    fails(boot(&bench.home, &format!("pullet.image={name}"), &["--retries=0"]), 5).hides("waiting up to");
}

/// Any response shows that the network is up, even an error or a bad certificate.
#[test]
fn does_not_wait_after_any_response() {
    let (bench, _, name) = pushed();
    bench.registry.fault(on("/manifests/").status(503).body("{}"));
    let outcome = fails(boot(&bench.home, &format!("pullet.image={name}"), &["--retries=0"]), 5);
    outcome.says("503").hides("waiting up to");
    let authority = Authority::new();
    let registry = Registry::tls(&authority);
    let name = system().push(&registry, "app", "latest");
    let other_ca = bench.home.write("other.pem", Authority::new().pem());
    let ca = bench.home.write("ca.pem", authority.pem());
    let outcome =
        fails(boot(&bench.home, &format!("pullet.image={name} pullet.ca={other_ca}"), &["--ca-file", &ca]), 7);
    outcome.says("TLS: ").hides("waiting up to");
    boot(&bench.home, &format!("pullet.image={name} pullet.ca={ca}"), &["--ca-file", &other_ca]).exits(0);
}

/// The clock of a booting machine is often not set. The certificate is from the future here, because the clock is right.
#[test]
fn boots_a_pinned_image_although_the_clock_is_behind() {
    let (authority, home, image) = (Authority::new(), Home::new(), system());
    let leaf = authority.issue_for(&["localhost", "127.0.0.1"], 3001, 3002);
    let registry = Registry::tls_with(leaf.server(None));
    let name = image.push(&registry, "app", "latest");
    let ca = home.write("ca.pem", authority.pem());
    let tagged = format!("pullet.image={name} pullet.ca={ca}");
    let pinned = format!("{tagged} pullet.digest={}", image.digest());
    fails(boot(&home, &tagged, &["-v"]), 7).says("clock is behind").says("pullet.digest=");
    fails(boot(&home, &pinned, &["--clock", "strict"]), 7).says("not valid before 3001-01-01");
    assert_eq!(registry.requests_to("/blobs/"), 0, "{:?}", registry.log());
    boot(&home, &pinned, &["-v"]).exits(0).says("time for certificates 3001-01-01T00:00:00Z");
}

#[test]
fn a_signal_ends_the_wait_and_leaves_nothing_mounted() {
    let home = Home::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cmdline = home.write("cmdline", format!("pullet.image={closed}/app"));
    fails(end_at_the_wait(&home, &cmdline), 143);
}

/// Boots, and sends SIGTERM when it is reported that the boot waits.
fn end_at_the_wait(home: &Home, cmdline: &str) -> Finished {
    let script = format!(
        "mount -t tmpfs none /run; mkfifo messages; \"$@\" 2> messages & pid=$!; \
         while read -r line; do case $line in waiting*) kill $pid;; esac; done < messages; wait $pid; code=$?; {MOUNTS}; exit $code"
    );
    home.pullet(&["boot", "--cmdline", cmdline, &home.arg("newroot")]).in_mount_namespace(&script).run()
}

#[test]
fn reports_that_proc_is_not_mounted() {
    let home = Home::new();
    let outcome =
        home.pullet(&["boot", &home.arg("newroot")]).in_mount_namespace("mount -t tmpfs none /proc; \"$@\"").run();
    outcome.exits(9).fails_in_one_line().says("/proc is not mounted").says("hint: mount it");
}

#[test]
fn refuses_a_root_that_a_shell_would_split() {
    let (bench, _, name) = pushed();
    let cmdline = bench.home.write("cmdline", format!("pullet.image={name}"));
    for root in ["new root", "new*root", "new\nroot"] {
        let outcome = bench.home.run(&["boot", "--cmdline", &cmdline, root]).exits_in(root, 2);
        outcome.fails_in_one_line().says("a shell");
    }
    assert!(bench.registry.log().is_empty());
}

#[test]
fn limits_the_length_of_the_command_line() {
    let home = Home::new();
    let long = home.write("cmdline", "x".repeat(65537));
    home.run(&["boot", "--cmdline", &long, "root"]).exits(2).fails_in_one_line().says("more than 65536 bytes");
    home.run(&["boot", "--cmdline", "missing", "root"]).exits(9).fails_in_one_line();
    home.run(&["boot", "--cmdline", "/dev/zero", "root"]).exits(2).fails_in_one_line();
    home.run(&["boot", "a", "b"]).exits(2).fails_in_one_line().says("unexpected argument \"b\"");
}

/// The process mounts file systems itself, so only the part that reads untrusted data can be sandboxed.
#[test]
fn reads_untrusted_data_in_a_sandbox() {
    let (bench, _, name) = pushed();
    let outcome = boot(&bench.home, &format!("pullet.image={name}"), &["-v"]).exits(0);
    let messages = ["sandbox: nothing can be written except in /run/pullet/root\n", "no sandbox: "];
    assert!(messages.iter().any(|message| outcome.stderr.contains(message)), "{outcome}");
}

/// A script that makes a disk image and attaches it to a loop device.
const LOOP: &str = "truncate -s 64M disk; mkfs.ext4 -q disk; dev=$(losetup -f --show disk); minor=${dev#/dev/loop}";

#[test]
fn waits_for_a_disk() {
    let (bench, image, name) = pushed();
    let tree = image.digest().replace(':', "-");
    for overlay in ["", "pullet.overlay=tmpfs"] {
        let cmdline = bench.home.write("cmdline", format!("pullet.image={name} pullet.root=/dev/late {overlay}"));
        let script = format!(
            "mount -t tmpfs none /run; {LOOP}; mount -t tmpfs none /dev; mknod /dev/null c 1 3; rm -f messages; mkfifo messages; \"$@\" 2> messages & pid=$!; \
             while read -r line; do echo \"$line\" >&2; case $line in waiting*) mknod /dev/late b 7 $minor;; esac; done < messages; \
             wait $pid; code=$?; cat newroot/etc/issue; echo; echo new > newroot/etc/issue; {MOUNTS}; \
             mkdir -p disk.d; mount /dev/late disk.d && touch disk.d/x && rm disk.d/x && echo writable; umount disk.d; umount newroot; \
             umount /dev; mount $dev disk.d; ls disk.d; cat disk.d/{tree}/etc/issue; umount disk.d; \
             losetup -d $dev; exit $code"
        );
        let root = bench.home.arg("newroot");
        let outcome = bench
            .home
            .pullet(&["boot", "--cmdline", &cmdline, &root])
            .in_mount_namespace(&script)
            .run()
            .exits_in(overlay, 0);
        let outcome = outcome.says("waiting up to 60 s for /dev/late");
        let lines: Vec<&str> = outcome.stdout.lines().collect();
        assert_eq!(lines[..2], [&format!("switch_root {root} /sbin/init"), "of the image"], "{outcome}");
        // A disk below an overlay is read-only because nothing unmounts it at shutdown.
        let (mount, rest) = match overlay {
            "" => (format!("/dev/late {root} ext"), &["writable", "lost+found", &tree, "new"][..]),
            _ => (format!("overlay {root} overlay "), &["lost+found", &tree, "of the image"][..]),
        };
        assert!(lines[2].starts_with(&mount), "{overlay} {outcome}");
        assert_eq!(lines[3..], *rest, "{overlay} {outcome}");
        fs::remove_file(bench.home.path("disk")).unwrap();
    }
}

#[test]
fn refuses_a_disk_without_a_known_file_system() {
    let (bench, _, name) = pushed();
    let script = "mount -t tmpfs none /run; truncate -s 1M disk; dev=$(losetup -f --show disk); \
                  printf 'pullet.root=%s pullet.image=%s' $dev $NAME > cmdline; \"$@\"; code=$?; losetup -d $dev; exit $code";
    let script = script.replace("$NAME", &name);
    let outcome = bench.home.pullet(&["boot", "--cmdline", "cmdline", "newroot"]).in_mount_namespace(&script).run();
    outcome.exits(9).fails_in_one_line().says("the kernel knows no file system on it (tried: ");
    assert!(bench.registry.log().is_empty());
}
