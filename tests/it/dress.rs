//! What an entry wears besides its content: mode, owner, times, extended attributes, device numbers.

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
fn modes_are_kept_to_the_last_bit() {
    let modes = [0o644, 0o600, 0o000, 0o777, 0o4755, 0o2755, 0o6711, 0o1644, 0o444];
    let mut entries: Vec<Entry> = modes.iter().map(|mode| file(format!("f{mode:o}"), "x").mode(*mode)).collect();
    entries.extend([0o755, 0o700, 0o1777, 0o2775, 0o555].map(|mode| dir(format!("d{mode:o}")).mode(mode)));
    entries.push(fifo("p").mode(0o4622));
    // Some archivers leave the type's bits in the mode: they are not the mode's.
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
fn the_root_has_a_dress_of_its_own() {
    for name in [".", "./", "/"] {
        let unpacked = unpack(&[&[dir(name).mode(0o711).mtime(1234), file("f", "1")]]).done(name);
        assert_eq!((meta(&unpacked, "").mode() & 0o7777, meta(&unpacked, "").mtime()), (0o711, 1234), "{name:?}");
    }
    let unpacked = unpack(&[&[file("f", "1")]]).done("no entry for the root");
    assert_eq!(meta(&unpacked, "").mode() & 0o7777, 0o755);
}

#[test]
fn owners_are_kept_by_root() {
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
    let expect = |right| if is_root() { right } else { ours };
    for (uid, gid) in big {
        assert_eq!(owner(&format!("f{uid}")), expect((uid, gid)), "{uid}:{gid}");
    }
    for (name, right) in [
        ("d", (12, 34)),
        ("l", (56, 78)),
        ("p", (9, 10)),
        ("setuid", (1000, 1000)),
        ("pax", (3_000_000_000, 4_000_000_000)),
    ] {
        assert_eq!(owner(name), expect(right), "{name}");
    }
    assert_eq!(meta(&unpacked, "setuid").mode() & 0o7777, 0o6755, "the owner's change took the setuid bit");
}

#[test]
fn owners_that_cannot_be_are_refused() {
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
fn times_are_kept_to_the_nanosecond() {
    let cases: [(&str, Entry, i64, i64); 10] = [
        ("octal", file("f", "x").mtime(1_234_567_890), 1_234_567_890, 0),
        ("pax", file("f", "x").pax("mtime", "1234567890.123456789"), 1_234_567_890, 123_456_789),
        ("pax with a short fraction", file("f", "x").pax("mtime", "1.5"), 1, 500_000_000),
        ("pax with a long fraction", file("f", "x").pax("mtime", "1.1234567899999"), 1, 123_456_789),
        ("pax with nothing behind the point", file("f", "x").pax("mtime", "7."), 7, 0),
        ("zero", file("f", "x").mtime(0), 0, 0),
        ("before the epoch", file("f", "x").mtime(-86_400), -86_400, 0),
        ("before the epoch, in parts", file("f", "x").pax("mtime", "-1.25"), -2, 750_000_000),
        ("a folder", dir("f").pax("mtime", "99.000000001"), 99, 1),
        ("a link", symlink("f", "nowhere").pax("mtime", "98.000000002"), 98, 2),
    ];
    for (case, entry, seconds, nanoseconds) in cases {
        let unpacked = unpack(&[&[entry]]).done(case);
        assert_eq!((meta(&unpacked, "f").mtime(), meta(&unpacked, "f").mtime_nsec()), (seconds, nanoseconds), "{case}");
    }
}

#[test]
fn impossible_times_do_not_stop_anybody() {
    for entry in [
        file("f", "x").mtime(1 << 60),
        file("f", "x").mtime(-(1 << 60)),
        file("f", "x").pax("mtime", "9223372036854775807"),
    ] {
        unpack(&[std::slice::from_ref(&entry)]).done(&format!("{entry:?}"));
    }
}

#[test]
fn folders_get_their_times_back_after_their_children() {
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
fn folders_keep_their_times_when_whiteouts_clear_them() {
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
    // The upper layer, the folders' times by then, and what must be gone.
    type Case = (&'static str, Vec<Entry>, Vec<(&'static str, i64)>, &'static str);
    let cases: [Case; 7] = [
        ("a folder, then its whiteout", vec![dir("a").mtime(5000), whiteout("a")], vec![("a", 5000)], "a/x"),
        ("a whiteout, then the folder", vec![whiteout("a"), dir("a").mtime(5000)], vec![("a", 5000)], "a/x"),
        (
            "a folder and one in it, then the outer one's whiteout",
            vec![dir("a").mtime(5000), dir("a/deep").mtime(5001), whiteout("a")],
            vec![("a", 5000), ("a/deep", 5001)],
            "a/deep/y",
        ),
        (
            "a folder, then the outer one's opaque mark",
            vec![dir("p/q").mtime(5000), opaque("p")],
            vec![("p", 1002), ("p/q", 5000)],
            "p/q/z",
        ),
        (
            "a folder and one in it, then the outer one's opaque mark",
            vec![dir("p").mtime(5000), dir("p/q").mtime(5001), opaque("p")],
            vec![("p", 5000), ("p/q", 5001)],
            "p/q/z",
        ),
        ("an opaque mark alone", vec![opaque("p")], vec![("p", 1002)], "p/q"),
        ("the whiteout of a file in it", vec![whiteout("r/gone")], vec![("r", 1004)], "r/gone"),
    ];
    for (case, upper, times, gone) in cases {
        let unpacked = unpack(&[&lower, &upper]).done(case);
        for (name, seconds) in times {
            assert_eq!(meta(&unpacked, name).mtime(), seconds, "{case}: {name}");
        }
        assert!(unpacked.root.join(gone).symlink_metadata().is_err(), "{case}: {gone} is still there");
    }
}

#[test]
fn user_attributes_are_kept() {
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
fn security_attributes_are_kept_and_others_are_not() {
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
fn attributes_that_cannot_be_are_refused() {
    let long = format!("SCHILY.xattr.user.{}", "n".repeat(300));
    let big = vec![b'v'; 70 << 10];
    for (case, key, value) in [
        ("no name behind the dot", "SCHILY.xattr.user.", &b"1"[..]),
        ("no name at all", "SCHILY.xattr.", b"1"),
        ("a name of 300 bytes", &long, b"1"),
        ("a value of 70 KB", "SCHILY.xattr.user.big", &big),
    ] {
        check_refused(&format!("{case}, a file"), &[&[file("f", "x").pax(key, value)]], 11);
        check_refused(&format!("{case}, a folder"), &[&[dir("d").pax(key, value)]], 11);
        let layers: [&[Entry]; 2] = [&[dir("d")], &[dir("d").pax(key, value)]];
        check_refused(&format!("{case}, a folder that is there"), &layers, 11);
    }
}

#[test]
fn a_replaced_file_loses_the_dress_of_the_old_one() {
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
fn devices_are_made_by_root_unless_told_otherwise() {
    let entries = [
        char_device("null", 1, 3).mode(0o666),
        block_device("loop", 7, 300),
        // The 20th bit of a minor is the sign to qemu-user, which refuses it for machines of 32 bits.
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
        assert!(without.root.join(name).symlink_metadata().is_err(), "{name} is there");
    }
    assert!(meta(&without, "pipe").file_type().is_fifo());
    assert_eq!(meta(&without, "g").nlink(), 2);
}

#[test]
fn the_device_that_overlayfs_keeps_for_itself_is_made_elsewhere() {
    const OVERLAYFS: i64 = 0x794c_7630;
    let image = Image::new(vec![Layer::of(&[char_device("whiteout", 0, 0)])]);
    let on_overlayfs = rustix::fs::statfs(std::env::temp_dir()).unwrap().f_type as i64 == OVERLAYFS;
    match on_overlayfs && is_root() {
        true => drop(unpack_image(&image, &[]).refused("on overlayfs", 9)),
        false => drop(unpack_image(&image, &[]).done("elsewhere")),
    }
    unpack_image(&image, &["--no-devices"]).done("--no-devices");
}

#[test]
fn a_device_that_is_left_out_takes_with_it_what_hangs_on_it() {
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
    check("a file of its own layer", &[&[file("null", "old"), null(), f()]], "f 0644 f \"1\"");
    check("a folder", &[&[dir("null"), file("null/in", "old"), f()], &[null()]], "f 0644 f \"1\"");
    check("a block device", &[&[file("loop", "old"), f()], &[block_device("loop", 7, 0)]], "f 0644 f \"1\"");
    check("a file that comes later", &[&[null()], &[file("null", "new")]], "f 0644 null \"new\"");
    check(
        "a hard link to the file that came later",
        &[&[null()], &[file("null", "new"), hardlink("zero", "null")]],
        "f 0644 null \"new\"\nh zero = null",
    );
    for (case, entries) in [
        ("beside a device", vec![null(), hardlink("zero", "nowhere")]),
        ("to a name that begins like the device's", vec![null(), hardlink("zero", "nul")]),
        ("to a name below the device", vec![null(), hardlink("zero", "null/x")]),
        ("before the device", vec![hardlink("zero", "null"), null()]),
    ] {
        let image = Image::new(vec![Layer::of(&entries)]);
        unpack_image(&image, &["--no-devices"]).refused(&format!("a dangling hard link {case}"), 11);
    }
}

#[test]
fn device_numbers_that_cannot_be_are_refused() {
    if !is_root() {
        // Ordinary users make no devices: there is nothing to refuse.
        unpack(&[&[char_device("c", 1 << 40, 0)]]).outcome.exits_among("left out or refused", &[0, 11]);
        return;
    }
    for (major, minor) in [(1 << 40, 0), (0, 1 << 40), (-1, 0), (0, -1)] {
        check_refused(&format!("{major}:{minor}"), &[&[char_device("c", major, minor)]], 11);
    }
}

#[test]
fn an_ordinary_user_leaves_out_what_it_may_not_do_and_says_so_once() {
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
    let said: Vec<&str> =
        outcome.stderr.lines().filter(|line| line.contains("owner") || line.contains("device")).collect();
    assert!((1..=2).contains(&said.len()), "once, not for each: {said:?}\n{outcome}");
    assert!(said.iter().any(|line| line.contains('3')), "the three devices are counted: {said:?}");
}
