//! The metadata of entries: mode, owner, times, extended attributes and device numbers.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use kit::archive::{Entry, block_device, char_device, dir, fifo, file, hardlink, opaque, symlink, whiteout};
use kit::bench::{Unpacked, check_refused, unpack, unpack_image};
use kit::home::Home;
use kit::image::{Image, Layer};
use kit::listing::{assert_same, listing};
use kit::process::{is_root, ordinary_user};
use kit::registry::Registry;

fn meta(unpacked: &Unpacked, name: &str) -> fs::Metadata {
    fs::symlink_metadata(unpacked.root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 70_000];
    let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn keeps_all_mode_bits() {
    let modes = [0o644, 0o600, 0o000, 0o777, 0o4755, 0o2755, 0o6711, 0o1644, 0o444];
    let mut entries: Vec<Entry> = modes.iter().map(|mode| file(format!("f{mode:o}"), "x").mode(*mode)).collect();
    entries.extend([0o755, 0o700, 0o1777, 0o2775, 0o555].map(|mode| dir(format!("d{mode:o}")).mode(mode)));
    entries.push(fifo("p").mode(0o4622));
    // Some archivers put the type bits into the mode. They are ignored.
    entries.push(file("typed", "x").mode(0o100_640));
    entries.push(dir("typed-dir").mode(0o040_750));
    let unpacked = unpack(&[&entries]).done("modes");
    for mode in modes {
        assert_eq!(meta(&unpacked, &format!("f{mode:o}")).mode() & 0o7777, mode, "file {mode:o}");
    }
    for mode in [0o755, 0o700, 0o1777, 0o2775, 0o555] {
        assert_eq!(meta(&unpacked, &format!("d{mode:o}")).mode() & 0o7777, mode, "folder {mode:o}");
    }
    assert_eq!(meta(&unpacked, "p").mode() & 0o7777, 0o4622);
    assert_eq!(meta(&unpacked, "typed").mode() & 0o7777, 0o640);
    assert_eq!(meta(&unpacked, "typed-dir").mode() & 0o7777, 0o750);
}

#[test]
fn keeps_the_metadata_of_the_root() {
    for name in [".", "./", "/"] {
        let unpacked = unpack(&[&[dir(name).mode(0o711).mtime(1234), file("f", "1")]]).done(name);
        assert_eq!((meta(&unpacked, "").mode() & 0o7777, meta(&unpacked, "").mtime()), (0o711, 1234), "{name:?}");
    }
    let unpacked = unpack(&[&[file("f", "1")]]).done("no entry for the root");
    assert_eq!(meta(&unpacked, "").mode() & 0o7777, 0o755);
}

#[test]
fn root_keeps_owners() {
    let big = [
        (0, 0),
        (1000, 100),
        (65534, 65534),
        (2_097_151, 2_097_151),
        (2_097_152, 3_000_000),
        (4_294_967_294, 4_294_967_294),
    ];
    let mut entries: Vec<Entry> = big.iter().map(|(uid, gid)| file(format!("f{uid}"), "x").owner(*uid, *gid)).collect();
    entries.push(dir("d").owner(12, 34));
    entries.push(symlink("l", "f0").owner(56, 78));
    entries.push(fifo("p").owner(9, 10));
    entries.push(file("setuid", "x").owner(1000, 1000).mode(0o6755));
    entries.push(file("pax", "x").owner(1, 1).pax("uid", "3000000000").pax("gid", "4000000000"));
    let unpacked = unpack(&[&entries]).done("owners");
    let owner = |name: &str| (i64::from(meta(&unpacked, name).uid()), i64::from(meta(&unpacked, name).gid()));
    let ours = (i64::from(rustix::process::getuid().as_raw()), i64::from(rustix::process::getgid().as_raw()));
    let expect = |owner| if is_root() { owner } else { ours };
    for (uid, gid) in big {
        assert_eq!(owner(&format!("f{uid}")), expect((uid, gid)), "{uid}:{gid}");
    }
    for (name, expected) in [
        ("d", (12, 34)),
        ("l", (56, 78)),
        ("p", (9, 10)),
        ("setuid", (1000, 1000)),
        ("pax", (3_000_000_000, 4_000_000_000)),
    ] {
        assert_eq!(owner(name), expect(expected), "{name}");
    }
    assert_eq!(meta(&unpacked, "setuid").mode() & 0o7777, 0o6755, "changing the owner cleared the setuid bit");
}

#[test]
fn rejects_impossible_owners() {
    for entry in [
        file("f", "x").owner(4_294_967_295, 0),
        file("f", "x").owner(0, 4_294_967_295),
        file("f", "x").owner(-1, 0),
        file("f", "x").owner(1 << 40, 0),
        file("f", "x").pax("uid", "4294967295"),
        file("f", "x").pax("gid", "4294967296"),
        file("f", "x").pax("uid", "-1"),
        file("f", "x").pax("uid", "root"),
        file("f", "x").pax("gid", "99999999999999999999"),
    ] {
        check_refused(&format!("{entry:?}"), &[&[entry]], 11);
    }
}

#[test]
fn keeps_times_to_the_nanosecond() {
    let cases: [(&str, Entry, i64, i64); 10] = [
        ("octal", file("f", "x").mtime(1_234_567_890), 1_234_567_890, 0),
        ("pax", file("f", "x").pax("mtime", "1234567890.123456789"), 1_234_567_890, 123_456_789),
        ("pax with a short fraction", file("f", "x").pax("mtime", "1.5"), 1, 500_000_000),
        ("pax with a long fraction", file("f", "x").pax("mtime", "1.1234567899999"), 1, 123_456_789),
        ("pax with an empty fraction", file("f", "x").pax("mtime", "7."), 7, 0),
        ("zero", file("f", "x").mtime(0), 0, 0),
        ("before the epoch", file("f", "x").mtime(-86_400), -86_400, 0),
        ("before the epoch, with a fraction", file("f", "x").pax("mtime", "-1.25"), -2, 750_000_000),
        ("a folder", dir("f").pax("mtime", "99.000000001"), 99, 1),
        ("a link", symlink("f", "nowhere").pax("mtime", "98.000000002"), 98, 2),
    ];
    for (case, entry, seconds, nanoseconds) in cases {
        let unpacked = unpack(&[&[entry]]).done(case);
        assert_eq!((meta(&unpacked, "f").mtime(), meta(&unpacked, "f").mtime_nsec()), (seconds, nanoseconds), "{case}");
    }
}

#[test]
fn impossible_times_are_not_errors() {
    for entry in [
        file("f", "x").mtime(1 << 60),
        file("f", "x").mtime(-(1 << 60)),
        file("f", "x").pax("mtime", "9223372036854775807"),
    ] {
        unpack(&[std::slice::from_ref(&entry)]).done(&format!("{entry:?}"));
    }
}

#[test]
fn restores_folder_times_after_their_children() {
    let unpacked = unpack(&[&[
        dir("d").mtime(1000),
        dir("d/e").mtime(2000),
        file("d/e/f", "1"),
        file("d/g", "2"),
        file("late/f", "3"),
        dir("late").mtime(3000),
        dir("d/h").mtime(4000),
    ]])
    .done("folder times");
    for (name, seconds) in [("d", 1000), ("d/e", 2000), ("late", 3000), ("d/h", 4000)] {
        assert_eq!(meta(&unpacked, name).mtime(), seconds, "{name}");
    }
    let again = unpack(&[&[dir("d").mtime(1000), file("d/old", "1")], &[dir("d").mtime(5000), file("d/new", "2")]])
        .done("two layers");
    assert_eq!(meta(&again, "d").mtime(), 5000);
}

#[test]
fn keeps_folder_times_when_whiteouts_remove_children() {
    let lower = [
        dir("a").mtime(1000),
        file("a/x", "1"),
        dir("a/deep").mtime(1001),
        file("a/deep/y", "2"),
        dir("p").mtime(1002),
        dir("p/q").mtime(1003),
        file("p/q/z", "3"),
        dir("r").mtime(1004),
        file("r/gone", "4"),
        file("r/stays", "5"),
    ];
    struct Case {
        name: &'static str,
        upper: Vec<Entry>,
        /// The expected times of folders.
        times: Vec<(&'static str, i64)>,
        removed: &'static str,
    }
    let cases = [
        Case {
            name: "a folder, then its whiteout",
            upper: vec![dir("a").mtime(5000), whiteout("a")],
            times: vec![("a", 5000)],
            removed: "a/x",
        },
        Case {
            name: "a whiteout, then the folder",
            upper: vec![whiteout("a"), dir("a").mtime(5000)],
            times: vec![("a", 5000)],
            removed: "a/x",
        },
        Case {
            name: "a folder and its subfolder, then the whiteout of the folder",
            upper: vec![dir("a").mtime(5000), dir("a/deep").mtime(5001), whiteout("a")],
            times: vec![("a", 5000), ("a/deep", 5001)],
            removed: "a/deep/y",
        },
        Case {
            name: "a folder, then the opaque mark of its parent",
            upper: vec![dir("p/q").mtime(5000), opaque("p")],
            times: vec![("p", 1002), ("p/q", 5000)],
            removed: "p/q/z",
        },
        Case {
            name: "a folder and its subfolder, then the opaque mark of the folder",
            upper: vec![dir("p").mtime(5000), dir("p/q").mtime(5001), opaque("p")],
            times: vec![("p", 5000), ("p/q", 5001)],
            removed: "p/q/z",
        },
        Case { name: "only an opaque mark", upper: vec![opaque("p")], times: vec![("p", 1002)], removed: "p/q" },
        Case {
            name: "the whiteout of a file in a folder",
            upper: vec![whiteout("r/gone")],
            times: vec![("r", 1004)],
            removed: "r/gone",
        },
    ];
    for Case { name: case, upper, times, removed } in cases {
        let unpacked = unpack(&[&lower, &upper]).done(case);
        for (name, seconds) in times {
            assert_eq!(meta(&unpacked, name).mtime(), seconds, "{case}: {name}");
        }
        assert!(unpacked.root.join(removed).symlink_metadata().is_err(), "{case}: {removed} still exists");
    }
}

#[test]
fn keeps_user_attributes() {
    let long = vec![b'v'; 1000];
    let unpacked = unpack(&[&[
        file("f", "x").pax("SCHILY.xattr.user.plain", "value").pax("SCHILY.xattr.user.binary", b"\x00\xff\n=\x01"),
        file("empty", "").pax("SCHILY.xattr.user.none", ""),
        file("libarchive", "").pax("LIBARCHIVE.xattr.user.b64", "dmFsdWU="),
        dir("d").pax("SCHILY.xattr.user.folder", &long),
        file("readonly", "x").mode(0o400).pax("SCHILY.xattr.user.plain", "1"),
    ]])
    .done("user attributes");
    let of = |file: &str, name: &str| xattr(&unpacked.root.join(file), name);
    assert_eq!(of("f", "user.plain").as_deref(), Some(&b"value"[..]));
    assert_eq!(of("f", "user.binary").as_deref(), Some(&b"\x00\xff\n=\x01"[..]));
    assert_eq!(of("d", "user.folder").as_deref(), Some(&long[..]));
    assert_eq!(of("readonly", "user.plain").as_deref(), Some(&b"1"[..]));
}

#[test]
fn keeps_security_attributes_and_drops_others() {
    // cap_net_bind_service=ep, version 2.
    let capability = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let unpacked = unpack(&[&[
        file("ping", "x").owner(0, 0).mode(0o4755).pax("SCHILY.xattr.security.capability", capability),
        file("overlay", "x").pax("SCHILY.xattr.trusted.overlay.opaque", "y").pax("SCHILY.xattr.trusted.other", "1"),
        file("odd", "x").pax("SCHILY.xattr.nonsense", "1").pax("SCHILY.xattr.system.posix_acl_access", "bad"),
    ]])
    .done("other attributes");
    let of = |file: &str, name: &str| xattr(&unpacked.root.join(file), name);
    assert_eq!(of("overlay", "trusted.overlay.opaque"), None);
    assert_eq!(of("overlay", "trusted.other"), None);
    assert_eq!(of("odd", "nonsense"), None);
    let kept = is_root().then(|| capability.to_vec());
    assert_eq!(of("ping", "security.capability"), kept, "{}", unpacked.outcome);
}

#[test]
fn rejects_impossible_attributes() {
    let long = format!("SCHILY.xattr.user.{}", "n".repeat(300));
    let big = vec![b'v'; 70 << 10];
    for (case, key, value) in [
        ("nothing after the dot", "SCHILY.xattr.user.", &b"1"[..]),
        ("an empty name", "SCHILY.xattr.", b"1"),
        ("a name of 300 bytes", &long, b"1"),
        ("a value of 70 KB", "SCHILY.xattr.user.big", &big),
    ] {
        check_refused(&format!("{case}, a file"), &[&[file("f", "x").pax(key, value)]], 11);
        check_refused(&format!("{case}, a folder"), &[&[dir("d").pax(key, value)]], 11);
        let layers: [&[Entry]; 2] = [&[dir("d")], &[dir("d").pax(key, value)]];
        check_refused(&format!("{case}, an existing folder"), &layers, 11);
    }
}

#[test]
fn a_replaced_file_loses_its_old_metadata() {
    let unpacked = unpack(&[
        &[file("f", "1").mode(0o4755).pax("SCHILY.xattr.user.old", "1"), dir("d").pax("SCHILY.xattr.user.old", "1")],
        &[file("f", "2").mode(0o600), dir("d").pax("SCHILY.xattr.user.new", "2")],
    ])
    .done("a replaced file");
    assert_eq!(meta(&unpacked, "f").mode() & 0o7777, 0o600);
    assert_eq!(xattr(&unpacked.root.join("f"), "user.old"), None);
    assert_eq!(xattr(&unpacked.root.join("d"), "user.new").as_deref(), Some(&b"2"[..]));
}

#[test]
fn root_makes_devices_unless_disabled() {
    let entries = [
        char_device("null", 1, 3).mode(0o666),
        block_device("loop", 7, 300),
        // The minor is below 2^19 because qemu-user for 32-bit machines takes a greater one for negative.
        char_device("big", 4000, 500_000),
        fifo("pipe"),
        file("f", "1"),
        hardlink("g", "f"),
    ];
    let image = Image::new(vec![Layer::of(&entries)]);
    let made = unpack_image(&image, &[]).done("devices");
    if is_root() {
        let device =
            |name: &str| (rustix::fs::major(meta(&made, name).rdev()), rustix::fs::minor(meta(&made, name).rdev()));
        assert!(meta(&made, "null").file_type().is_char_device());
        assert!(meta(&made, "loop").file_type().is_block_device());
        assert_eq!((device("null"), device("loop"), device("big")), ((1, 3), (7, 300), (4000, 500_000)));
        assert_eq!(meta(&made, "null").mode() & 0o7777, 0o666);
    } else {
        assert!(!made.root.join("null").exists() && !made.root.join("loop").exists());
    }
    let without = unpack_image(&image, &["--no-devices"]).done("--no-devices");
    for name in ["null", "loop", "big"] {
        assert!(without.root.join(name).symlink_metadata().is_err(), "{name} exists");
    }
    assert!(meta(&without, "pipe").file_type().is_fifo());
    assert_eq!(meta(&without, "g").nlink(), 2);
}

#[test]
fn the_whiteout_device_fails_on_overlayfs_only() {
    const OVERLAYFS: i64 = 0x794c_7630;
    let image = Image::new(vec![Layer::of(&[char_device("whiteout", 0, 0)])]);
    let on_overlayfs = rustix::fs::statfs(std::env::temp_dir()).unwrap().f_type as i64 == OVERLAYFS;
    let unpacked = unpack_image(&image, &[]);
    if on_overlayfs && is_root() {
        unpacked.refused("on overlayfs", 9);
    } else {
        unpacked.done("on another file system");
    }
    unpack_image(&image, &["--no-devices"]).done("--no-devices");
}

#[test]
fn a_skipped_device_removes_its_hard_links_and_the_file_it_replaces() {
    let check = |case: &str, layers: &[&[Entry]], expected: &str| {
        let image = Image::new(layers.iter().map(|entries| Layer::of(entries)).collect());
        let unpacked = unpack_image(&image, &["--no-devices"]).done(case);
        assert_same(case, expected, &listing(&unpacked.root));
    };
    let null = || char_device("null", 1, 3);
    let f = || file("f", "1");
    check("a hard link to it", &[&[null(), hardlink("zero", "null"), f()]], "f 0644 f \"1\"");
    check("a hard link to the hard link", &[&[null(), hardlink("b", "null"), hardlink("c", "./b")]], "");
    check("a hard link in the next layer", &[&[null(), f()], &[hardlink("zero", "/null")]], "f 0644 f \"1\"");
    check("a hard link over a file", &[&[f()], &[null(), hardlink("f", "null")]], "");
    check("a file of the lower layer", &[&[file("null", "old"), f()], &[null()]], "f 0644 f \"1\"");
    check("a file of the same layer", &[&[file("null", "old"), null(), f()]], "f 0644 f \"1\"");
    check("a folder", &[&[dir("null"), file("null/in", "old"), f()], &[null()]], "f 0644 f \"1\"");
    check("a block device", &[&[file("loop", "old"), f()], &[block_device("loop", 7, 0)]], "f 0644 f \"1\"");
    check("a file that comes later", &[&[null()], &[file("null", "new")]], "f 0644 null \"new\"");
    check(
        "a hard link to the file that came later",
        &[&[null()], &[file("null", "new"), hardlink("zero", "null")]],
        "f 0644 null \"new\"\nh zero = null",
    );
    for (case, entries) in [
        ("next to a device", vec![null(), hardlink("zero", "nowhere")]),
        ("to a prefix of the device's name", vec![null(), hardlink("zero", "nul")]),
        ("to a name below the device", vec![null(), hardlink("zero", "null/x")]),
        ("before the device", vec![hardlink("zero", "null"), null()]),
    ] {
        let image = Image::new(vec![Layer::of(&entries)]);
        unpack_image(&image, &["--no-devices"]).refused(&format!("a dangling hard link {case}"), 11);
    }
}

#[test]
fn rejects_impossible_device_numbers() {
    if !is_root() {
        // Ordinary users cannot make devices, so the entry may be skipped or rejected.
        unpack(&[&[char_device("c", 1 << 40, 0)]]).outcome.exits_among("left out or refused", &[0, 11]);
        return;
    }
    for (major, minor) in [(1 << 40, 0), (0, 1 << 40), (-1, 0), (0, -1)] {
        check_refused(&format!("{major}:{minor}"), &[&[char_device("c", major, minor)]], 11);
    }
}

#[test]
fn an_ordinary_user_skips_devices_and_owners_and_reports_it_once() {
    let entries: Vec<Entry> = (0..3)
        .flat_map(|n| {
            [
                char_device(format!("c{n}"), 1, 3),
                file(format!("f{n}"), "x").owner(1000 + n, 1000),
                file(format!("s{n}"), "x").mode(0o4755),
            ]
        })
        .chain([dir("d").mode(0o500), file("d/in", "y"), dir("locked").mode(0o000), fifo("p")])
        .collect();
    let (registry, home) = (Registry::plain(), Home::new());
    let name = Image::new(vec![Layer::of(&entries)]).push(&registry, "app", "latest");
    let user = ordinary_user();
    let outcome = home.pullet(&["unpack", &name, &home.arg("root")]).user(user).run().exits(0).prints("");
    let uid = user.unwrap_or_else(|| rustix::process::getuid().as_raw());
    let tree = home.path("root");
    for n in 0..3 {
        assert!(tree.join(format!("c{n}")).symlink_metadata().is_err(), "a device was made");
        assert_eq!(fs::metadata(tree.join(format!("f{n}"))).unwrap().uid(), uid);
    }
    assert_eq!(fs::metadata(tree.join("d")).unwrap().mode() & 0o7777, 0o500);
    assert!(fs::symlink_metadata(tree.join("p")).unwrap().file_type().is_fifo());
    let reports: Vec<&str> =
        outcome.stderr.lines().filter(|line| line.contains("owner") || line.contains("device")).collect();
    assert!((1..=2).contains(&reports.len()), "not one report for all: {reports:?}\n{outcome}");
    assert!(reports.iter().any(|line| line.contains('3')), "the three devices are not counted: {reports:?}");
}
