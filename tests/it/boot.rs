//! `pullet boot`: a new root as the kernel's command line says, in mount namespaces that end with each run. What it
//! mounts stays if it succeeds, and is gone if it fails.

use std::fs;
use std::net::TcpListener;

use kit::archive::{dir, file, symlink};
use kit::authority::Authority;
use kit::bench::Bench;
use kit::digest::sha256;
use kit::fault::on;
use kit::home::Home;
use kit::image::{Image, Layer, architecture, index, push_index};
use kit::noise::noise;
use kit::process::Finished;
use kit::registry::Registry;

/// What was mounted, for `after`.
const MOUNTS: &str = "grep -e /newroot -e /run/pullet /proc/self/mounts || true";

/// A system with a file that nobody else has, and its init behind links that lead to its own places.
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

/// A pushed system and its name.
fn pushed() -> (Bench, Image, String) {
    let (bench, image) = (Bench::new(), system());
    let name = image.push(&bench.registry, "app", "latest");
    (bench, image, name)
}

/// Boots with this command line, in a namespace with a `/run` of its own. Then the script `after` runs in the same one, its
/// arguments still those of the boot; its words on standard output are behind those of pullet.
fn boot_then(home: &Home, line: &str, options: &[&str], after: &str) -> Finished {
    boot_between(home, ":", line, options, after)
}

/// As [`boot_then`], with a script before it too.
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

/// It failed, and nothing is mounted any more; `case` has the code that it should end with.
#[track_caller]
fn fails(outcome: Finished, code: i32) -> Finished {
    outcome.exits(code).prints("")
}

#[test]
fn a_root_in_memory() {
    let (bench, _, name) = pushed();
    let script = format!("cat $root/etc/issue; echo; stat -c %a $root; {MOUNTS}; ls -A /run/pullet/root");
    let outcome = boot_then(&bench.home, &format!("pullet.image={name} pullet.root=tmpfs:8m"), &[], &script).exits(0);
    let root = bench.home.arg("newroot");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[..3], [&format!("switch_root {root} /sbin/init"), "of the image", "711"], "{outcome}");
    // One mount, and nothing below it that would hide what it holds.
    assert_eq!(lines.len(), 4, "{outcome}");
    assert!(lines[3].starts_with(&format!("tmpfs {root} tmpfs rw,")), "{outcome}");
    assert!(lines[3].contains("size=8192k"), "{outcome}");
    assert_eq!(bench.registry.calls().len(), 4, "{:?}", bench.registry.log());
    assert!(!bench.home.store().exists(), "there is a store");
}

#[test]
fn a_tree_in_a_folder_is_fetched_once() {
    let (bench, image, name) = pushed();
    let digest = image.digest();
    let tree = digest.replace(':', "-");
    let before = "mount -t tmpfs none $data; mkdir -p $data/.sha256-0.pullet/root/half $data/.mine.pullet";
    let line = format!("pullet.image={name} pullet.root={}", bench.home.arg("data"));
    let again = format!("ls -A $data; umount $root; \"$@\"; cat $root/etc/issue; echo; {MOUNTS}");
    let outcome = boot_between(&bench.home, before, &line, &[], &again).exits(0).says("the tree exists already");
    let root = bench.home.arg("newroot");
    let said = format!("switch_root {root} /sbin/init\n");
    assert!(
        outcome.stdout.starts_with(&format!("{said}.mine.pullet\n{tree}\n{said}of the image\nnone {root} tmpfs ")),
        "{outcome}"
    );
    // What the tag means was asked twice, and once for the rest.
    assert_eq!(bench.registry.requests_to("/manifests/latest"), 2, "{:?}", bench.registry.log());
    assert_eq!(bench.registry.calls().len(), 5, "{:?}", bench.registry.log());

    bench.registry.clear_log();
    let line = format!("{line} pullet.digest={digest}");
    let offline = "umount $root; exec 3>&1; \"$@\" --insecure-registry=x 2>&1; true";
    let outcome = boot_between(&bench.home, before, &line, &[], offline).exits(0);
    assert_eq!(outcome.stdout.matches(&said).count(), 2, "{outcome}");
    assert_eq!(bench.registry.requests_to(&format!("/manifests/{digest}")), 1, "{:?}", bench.registry.log());
    assert_eq!(bench.registry.calls().len(), 4, "{:?}", bench.registry.log());
}

#[test]
fn a_tree_out_of_an_index_is_one_for_its_platform() {
    let bench = Bench::new();
    let image = system();
    let platform = format!("linux/{}", architecture());
    let name = push_index(&bench.registry, "app", "latest", &[(&platform, &image)]);
    let digest = sha256(index(&[image.entry(&platform)]).to_string().as_bytes());
    let line = format!("pullet.image={name} pullet.root={} pullet.digest={digest}", bench.home.arg("data"));
    let again = "ls -A $data; umount $root; \"$@\"";
    let outcome = boot_between(&bench.home, "mount -t tmpfs none $data", &line, &[], again).exits(0);
    let tree = format!("{}-{}", digest.replace(':', "-"), platform.replace('/', "-"));
    // The machine has a variant behind it where the index leaves that open.
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(lines.len() == 3 && lines[1].starts_with(&tree), "{outcome}");
    assert_eq!(bench.registry.calls().len(), 5, "{:?}", bench.registry.log());
}

#[test]
fn what_is_written_to_an_overlay_stays_in_memory() {
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
fn what_goes_wrong_leaves_nothing_mounted() {
    let (bench, image, name) = pushed();
    let hostile = Image::new(vec![Layer::of(&[file("../escaped", "x")])]).push(&bench.registry, "hostile", "latest");
    let empty = Image::small("empty").push(&bench.registry, "empty", "latest");
    let other = "sha256:".to_owned() + &"0".repeat(64);
    let data = bench.home.arg("data");
    for (line, code, said) in [
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
        fails(outcome.exits_in(&line, code), code).says(said);
    }
    assert!(!bench.home.path("newroot/escaped").exists());
    let (flipped, digest) = (image.layers[1].digest(), image.digest());
    bench.registry.fault(on(flipped).flip(1000));
    fails(boot(&bench.home, &format!("pullet.image={name} pullet.digest={digest}"), &["--retries=0"]), 8);
}

#[test]
fn a_folder_of_the_initramfs_is_refused() {
    let (bench, _, name) = pushed();
    let line = format!("pullet.image={name} pullet.root=/etc");
    fails(boot(&bench.home, &line, &[]), 9).says("nothing is mounted at /etc").says("hint: ");
    assert!(bench.registry.log().is_empty());
}

/// Nothing can be made in `/` here, so what is told is where it would have been.
#[test]
fn without_a_folder_the_root_is_at_sysroot() {
    let (bench, _, name) = pushed();
    let cmdline = bench.home.write("cmdline", format!("pullet.image={name}"));
    let script = "mount -t tmpfs none /run; mount -o remount,bind,ro /; exec \"$@\"";
    let outcome = bench.home.pullet(&["boot", "--cmdline", &cmdline]).in_mount_namespace(script).run();
    assert!(format!("{}{}", outcome.stdout, outcome.stderr).contains("/sysroot"), "{outcome}");
}

#[test]
fn a_named_init_is_gone_on_with() {
    let (bench, _, name) = pushed();
    let outcome = boot_then(&bench.home, &format!("pullet.image={name} init=/usr/bin/real"), &[], ":").exits(0);
    outcome.prints(&format!("switch_root {} /usr/bin/real\n", bench.home.arg("newroot")));
}

#[test]
fn a_network_that_comes_late_is_waited_for() {
    let (bench, _, name) = pushed();
    bench.registry.fault(on("/manifests/").nth(1).raw(""));
    bench.registry.fault(on("/manifests/").nth(2).raw(""));
    let outcome = boot_then(&bench.home, &format!("pullet.image={name}"), &["--retries=0"], ":").exits(0);
    assert_eq!(outcome.stderr.matches("waiting up to 60 s for the network: ").count(), 1, "{outcome}");
    assert_eq!(bench.registry.requests_to("/manifests/"), 3, "{:?}", bench.registry.log());
}

#[test]
fn a_network_that_never_comes_is_given_up() {
    let home = Home::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for image in [format!("{nobody}/app"), "registry.invalid/app".to_owned()] {
        let outcome = fails(boot(&home, &format!("pullet.image={image} pullet.wait=1"), &[]), 5);
        let outcome = outcome.says("the network did not come up within 1 s: ").says("hint: pullet.wait");
        assert_eq!(outcome.stderr.matches("waiting up to 1 s for the network: ").count(), 1, "{outcome}");
    }
    let line = format!("pullet.image={nobody}/app");
    fails(boot(&home, &line, &["--timeout=1"]), 5).says("out of time");
}

/// Who answers is there, whatever he says.
#[test]
fn a_registry_that_answers_is_not_waited_for() {
    let (bench, _, name) = pushed();
    bench.registry.fault(on("/manifests/").status(503).body("{}"));
    let outcome = fails(boot(&bench.home, &format!("pullet.image={name}"), &["--retries=0"]), 5);
    outcome.says("503").hides("waiting up to");
    let authority = Authority::new();
    let registry = Registry::tls(&authority);
    let name = system().push(&registry, "app", "latest");
    let stranger = bench.home.write("stranger.pem", Authority::new().pem());
    let ca = bench.home.write("ca.pem", authority.pem());
    let outcome =
        fails(boot(&bench.home, &format!("pullet.image={name} pullet.ca={stranger}"), &["--ca-file", &ca]), 7);
    outcome.says("TLS: ").hides("waiting up to");
    boot(&bench.home, &format!("pullet.image={name} pullet.ca={ca}"), &["--ca-file", &stranger]).exits(0);
}

#[test]
fn a_signal_ends_the_wait_and_leaves_nothing_mounted() {
    let home = Home::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cmdline = home.write("cmdline", format!("pullet.image={nobody}/app"));
    let script = format!(
        "mount -t tmpfs none /run; mkfifo told; \"$@\" 2> told & pid=$!; \
         while read -r line; do case $line in waiting*) kill $pid;; esac; done < told; wait $pid; code=$?; {MOUNTS}; exit $code"
    );
    let outcome = home.pullet(&["boot", "--cmdline", &cmdline, &home.arg("newroot")]).in_mount_namespace(&script).run();
    fails(outcome, 143);
}

#[test]
fn without_proc_it_says_so() {
    let home = Home::new();
    let outcome =
        home.pullet(&["boot", &home.arg("newroot")]).in_mount_namespace("mount -t tmpfs none /proc; \"$@\"").run();
    outcome.exits(9).fails_in_one_line().says("/proc is not mounted").says("hint: mount it");
}

#[test]
fn the_line_can_be_run_by_a_shell() {
    let (bench, _, name) = pushed();
    let cmdline = bench.home.write("cmdline", format!("pullet.image={name}"));
    for root in ["new root", "new*root", "new\nroot"] {
        let outcome = bench.home.run(&["boot", "--cmdline", &cmdline, root]).exits_in(root, 2);
        outcome.fails_in_one_line().says("a shell");
    }
    assert!(bench.registry.log().is_empty());
}

#[test]
fn a_command_line_is_read_with_a_bound() {
    let home = Home::new();
    let long = home.write("cmdline", "x".repeat(65537));
    home.run(&["boot", "--cmdline", &long, "root"]).exits(2).fails_in_one_line().says("more than 65536 bytes");
    home.run(&["boot", "--cmdline", "missing", "root"]).exits(9).fails_in_one_line();
    home.run(&["boot", "--cmdline", "/dev/zero", "root"]).exits(2).fails_in_one_line();
    home.run(&["boot", "a", "b"]).exits(2).fails_in_one_line().says("unexpected argument \"b\"");
}

/// Mounts are made by this process, so the sandbox can only be of a part of it.
#[test]
fn what_is_foreign_is_read_in_a_sandbox() {
    let (bench, _, name) = pushed();
    let outcome = boot(&bench.home, &format!("pullet.image={name}"), &["-v"]).exits(0);
    let said = ["sandbox: nothing can be written except in /run/pullet/root\n", "no sandbox: "];
    assert!(said.iter().any(|said| outcome.stderr.contains(said)), "{outcome}");
}

/// What a disk image is mounted by, and a `/dev` in which `late` is made when it is waited for.
const LOOP: &str = "truncate -s 64M disk; mkfs.ext4 -q disk; dev=$(losetup -f --show disk); minor=${dev#/dev/loop}";

#[test]
fn a_disk_that_appears_late() {
    let (bench, image, name) = pushed();
    let tree = image.digest().replace(':', "-");
    for overlay in ["", "pullet.overlay=tmpfs"] {
        let cmdline = bench.home.write("cmdline", format!("pullet.image={name} pullet.root=/dev/late {overlay}"));
        let script = format!(
            "mount -t tmpfs none /run; {LOOP}; mount -t tmpfs none /dev; mknod /dev/null c 1 3; rm -f told; mkfifo told; \"$@\" 2> told & pid=$!; \
             while read -r line; do echo \"$line\" >&2; case $line in waiting*) mknod /dev/late b 7 $minor;; esac; done < told; \
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
        // A disk below an overlay is at rest: nobody unmounts it when the machine goes down.
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
fn a_disk_that_nobody_can_read_is_refused() {
    let (bench, _, name) = pushed();
    let script = "mount -t tmpfs none /run; truncate -s 1M disk; dev=$(losetup -f --show disk); \
                  printf 'pullet.root=%s pullet.image=%s' $dev $NAME > cmdline; \"$@\"; code=$?; losetup -d $dev; exit $code";
    let script = script.replace("$NAME", &name);
    let outcome = bench.home.pullet(&["boot", "--cmdline", "cmdline", "newroot"]).in_mount_namespace(&script).run();
    outcome.exits(9).fails_in_one_line().says("the kernel knows no file system on it (tried: ");
    assert!(bench.registry.log().is_empty());
}
