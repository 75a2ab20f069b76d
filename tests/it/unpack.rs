//! Unpacking: compressions and archive formats, names, sparse files, and the target.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use kit::archive::{Entry, archive, dir, extension, file, global, hardlink, symlink, unended, verbatim};
use kit::bench::{Bench, check_tree, unpack, unpack_image, unpack_tar};
use kit::image::{Image, Layer, gzip};
use kit::listing::{assert_same, listing};
use kit::sparse::{self, Piece};

const TREE: &str = "d 0755 d\nf 0644 d/f \"text\"\nl d/l -> f";

fn tar() -> Vec<u8> {
    archive(&[dir("d"), file("d/f", "text"), symlink("d/l", "f")])
}

#[track_caller]
fn check_layer(case: &str, layer: Layer, expected: &str) {
    let image = Image::new(vec![layer]);
    for (style, image) in [("OCI", image.clone()), ("Docker", image.docker())] {
        let unpacked = unpack_image(&image, &[]).done(&format!("{case}, {style}"));
        assert_same(&format!("{case}, {style}"), expected, &listing(&unpacked.root));
    }
}

#[track_caller]
fn check_tar(case: &str, tar: &[u8], expected: &str) {
    let unpacked = unpack_tar(tar).done(case);
    assert_same(case, expected, &listing(&unpacked.root));
}

#[test]
fn every_compression_gives_the_same_tree() {
    check_layer("gzip", Layer::gzip(&tar()), TREE);
    check_layer("plain", Layer::plain(&tar()), TREE);
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_gives_the_same_tree() {
    use kit::image::zstd;
    check_layer("zstd", Layer::zstd(&tar()), TREE);
    let mut frames = Layer::zstd(&tar());
    frames.blob = tar().chunks(700).flat_map(zstd).collect();
    check_layer("zstd in several frames", frames, TREE);
    let mut skippable = Layer::zstd(&tar());
    skippable.blob = [&b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip"[..], &zstd(&tar())].concat();
    check_layer("zstd with a skippable frame", skippable, TREE);
}

#[test]
fn accepts_gzip_with_many_members_and_all_header_fields() {
    check_layer("members of 512 bytes", Layer::gzip_members(&tar(), 512), TREE);
    check_layer("members of 100 bytes", Layer::gzip_members(&tar(), 100), TREE);
    check_layer("an empty member at the end", Layer::with_blob(&tar(), [gzip(&tar()), gzip(b"")].concat()), TREE);
    check_layer("an empty member at the start", Layer::with_blob(&tar(), [gzip(b""), gzip(&tar())].concat()), TREE);
    let plain = gzip(&tar());
    let mut named = plain[..10].to_vec();
    named[3] = 0x1c; // FEXTRA, FNAME, FCOMMENT
    named.extend(b"\x05\x00extralayer.tar\0a comment\0");
    named.extend(&plain[10..]);
    check_layer("a name, a comment and an extra field", Layer::with_blob(&tar(), named), TREE);
}

#[test]
fn accepts_empty_layers() {
    for (case, tar) in [("two blocks", archive(&[])), ("ten kilobytes", vec![0; 10_240]), ("no bytes", Vec::new())] {
        for layer in [Layer::gzip(&tar), Layer::plain(&tar)] {
            let image = Image::new(vec![Layer::of(&[file("f", "1")]), layer]);
            let unpacked = unpack_image(&image, &[]).done(case);
            assert_same(case, "f 0644 f \"1\"", &listing(&unpacked.root));
        }
    }
    let unpacked = unpack_image(&Image::new(vec![]), &[]);
    // An image without layers is unusual but valid.
    unpacked.outcome.exits_among("no layers", &[0, 10]);
}

#[test]
fn accepts_several_ends_of_an_archive() {
    let entries = [dir("d"), file("d/f", "text"), symlink("d/l", "f")];
    let body = unended(&entries);
    check_tar("no end", &body, TREE);
    check_tar("one empty block", &[body.clone(), vec![0; 512]].concat(), TREE);
    check_tar("padded to a record", &[body.clone(), vec![0; 10_240]].concat(), TREE);
    let trailing = [body.clone(), vec![0; 1024], unended(&[file("trailing", "x")])].concat();
    check_tar("entries after the end", &trailing, TREE);
    let garbage = [body.clone(), vec![0; 1024], b"not a tar at all".repeat(100)].concat();
    check_tar("garbage after the end", &garbage, TREE);
    check_tar("an odd length after the end", &[body, vec![0; 1024 + 13]].concat(), TREE);
}

#[test]
fn reads_old_headers_and_unusual_types() {
    let old = |entry: Entry| entry.patch(257, [0; 8]);
    check_tree(
        "version 7",
        &[&[old(file("f", "1").kind(0)), old(dir("d/").kind(0)), old(file("g", "2"))]],
        "d 0755 d\nf 0644 f \"1\"\nf 0644 g \"2\"",
    );
    check_tree("GNU's magic", &[&[file("f", "1").patch(257, b"ustar  \0")]], "f 0644 f \"1\"");
    check_tree("a contiguous file", &[&[file("f", "1").kind(b'7')]], "f 0644 f \"1\"");
    check_tree("a prefix", &[&[file("f", "1").patch(345, b"a/b")]], "d 0755 a\nd 0755 a/b\nf 0644 a/b/f \"1\"");
    for version in [b"\0\0", b"  ", b"99"] {
        let case = format!("a prefix in version {:?}", version.escape_ascii().to_string());
        let entry = file("f", "1").patch(263, version).patch(345, b"a/b");
        check_tree(&case, &[&[entry]], "d 0755 a\nd 0755 a/b\nf 0644 a/b/f \"1\"");
    }
    check_tree(
        "numbers with spaces",
        &[&[file("f", "1").patch(100, b"   644 \0").patch(124, b"         1 \0")]],
        "f 0644 f \"1\"",
    );
    check_tree(
        "a global comment",
        &[&[global(&[("comment", "made by hand")]), file("f", "1"), global(&[("comment", "x")]), file("g", "2")]],
        "f 0644 f \"1\"\nf 0644 g \"2\"",
    );
    check_tree(
        "a size in base-256",
        &[&[file("f", "1").patch(124, b"\x80\0\0\0\0\0\0\0\0\0\0\x01")]],
        "f 0644 f \"1\"",
    );
}

#[test]
fn pax_records_override_the_header() {
    check_tree(
        "path and linkpath",
        &[&[file("wrong", "1").pax("path", "right/name"), symlink("l", "wrong").pax("linkpath", "right/name")]],
        "l l -> right/name\nd 0755 right\nf 0644 right/name \"1\"",
    );
    check_tree(
        "the last of two",
        &[&[file("f", "1").pax("path", "first").pax("path", "second")]],
        "f 0644 second \"1\"",
    );
    check_tree(
        "unknown keys",
        &[&[file("f", "1")
            .pax("VENDOR.key", "x")
            .pax("ctime", "1.5")
            .pax("atime", "2")
            .pax("charset", "BINARY")
            .pax("comment", "c")]],
        "f 0644 f \"1\"",
    );
    check_tree(
        "names of users",
        &[&[file("f", "1").pax("uname", "r\u{f6}\u{f6}t").pax("gname", "wheel")]],
        "f 0644 f \"1\"",
    );
    check_tree(
        "a value with newlines and equals signs",
        &[&[file("f", "1").pax("path", "a\nb=c\n")]],
        "f 0644 a\\nb=c\\n \"1\"",
    );
    check_tree(
        "for one entry only",
        &[&[file("f", "1").pax("path", "first"), file("g", "2")]],
        "f 0644 first \"1\"\nf 0644 g \"2\"",
    );
}

#[test]
fn the_pax_size_overrides_a_smaller_or_larger_size() {
    // The archive inside is content, not entries (CVE-2025-62518).
    let inner = unended(&[file("smuggled", "evil")]);
    let longer = file("outer", "").size(0).body(&inner).pax("size", inner.len().to_string());
    check_tree(
        "pax says more than the header",
        &[&[longer, file("after", "1")]],
        &format!("f 0644 after \"1\"\nf 0644 outer {} bytes", inner.len()),
    );
    // The inverse (CVE-2026-33055): what the header declares as content are entries.
    let shorter = file("outer", "").size(512).pax("size", "0");
    check_tree(
        "pax says less than the header",
        &[&[shorter, file("after", "1")]],
        "f 0644 after \"1\"\nf 0644 outer \"\"",
    );
}

#[test]
fn reads_long_names_of_pax_and_gnu() {
    let component = "n".repeat(255);
    let deep = vec!["p".repeat(200); 15].join("/");
    for (case, name) in [
        ("100 bytes", "a".repeat(100)),
        ("101 bytes", "a".repeat(101)),
        ("a component of 255", component.clone()),
        ("3000 bytes", deep),
    ] {
        for (style, entry) in [("pax", file(&name, "1")), ("GNU", file(&name, "1").gnu_names())] {
            let unpacked = unpack(&[&[entry]]).done(&format!("{case}, {style}"));
            assert_eq!(fs::read(unpacked.root.join(&name)).unwrap(), b"1", "{case}, {style}");
        }
    }
    let target = "t/".repeat(1500);
    for (style, entry) in [("pax", symlink("l", &target)), ("GNU", symlink("l", &target).gnu_names())] {
        let unpacked = unpack(&[&[entry]]).done(style);
        assert_eq!(fs::read_link(unpacked.root.join("l")).unwrap().as_os_str(), OsStr::new(&target), "{style}");
    }
    let both = symlink("s".repeat(150), "t".repeat(150)).gnu_names();
    check_tree("both at once", &[&[both]], &format!("l {} -> {}", "s".repeat(150), "t".repeat(150)));
    check_tree("without a NUL at the end", &[&[extension(b'L', b"long"), file("short", "1")]], "f 0644 long \"1\"");
}

#[test]
fn names_are_bytes() {
    let names: [&[u8]; 9] = [
        b"\xff\xfe",
        b"caf\xe9",
        "caf\u{e9}".as_bytes(),
        "cafe\u{301}".as_bytes(),
        b"new\nline",
        b"esc\x1b[31m",
        b" ",
        b"-rf",
        b"a\\b",
    ];
    let entries: Vec<Entry> = names.iter().map(|name| file(name, name)).collect();
    let unpacked = unpack(&[&entries]).done("names");
    for name in names {
        assert_eq!(fs::read(unpacked.root.join(OsStr::from_bytes(name))).unwrap(), name, "{}", name.escape_ascii());
    }
    let in_pax: Vec<Entry> = names.iter().map(|name| file("x", name).pax("path", name)).collect();
    let unpacked = unpack(&[&in_pax]).done("names in pax records");
    assert_eq!(fs::read_dir(&unpacked.root).unwrap().count(), names.len());
    check_tree("case matters", &[&[file("a", "1"), file("A", "2")]], "f 0644 A \"2\"\nf 0644 a \"1\"");
    let link = unpack(&[&[symlink("l", b"\xff\xfe/\xe9")]]).done("a link's target");
    assert_eq!(fs::read_link(link.root.join("l")).unwrap().as_os_str().as_bytes(), b"\xff\xfe/\xe9");
}

#[test]
fn removes_dots_and_extra_slashes_from_names() {
    for name in ["d/f", "./d/f", "/d/f", "//d//f", "d/./f", "././d/././f", "/./d/f"] {
        check_tree(name, &[&[file(name, "1")]], "d 0755 d\nf 0644 d/f \"1\"");
    }
    for name in ["d/", "./d/", "d//", "/d/."] {
        check_tree(name, &[&[dir(name)]], "d 0755 d");
    }
}

#[test]
fn writes_files_of_any_size() {
    for size in [0usize, 1, 511, 512, 513, 65_535, 65_536, 65_537, 3_000_000] {
        let body: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        let unpacked = unpack(&[&[file("f", &body), file("after", "1")]]).done(&size.to_string());
        assert!(fs::read(unpacked.root.join("f")).unwrap() == body, "{size} bytes");
        assert_eq!(fs::read(unpacked.root.join("after")).unwrap(), b"1", "{size} bytes");
    }
}

#[test]
fn writes_sparse_files_of_all_four_formats() {
    const MEGA: u64 = 1 << 20;
    let block = |byte: u8| vec![byte; 4096];
    let blocks: Vec<Vec<u8>> = (1..40).map(block).collect();
    let few: Vec<Piece> = vec![(0, &blocks[0]), (MEGA, &blocks[1]), (2 * MEGA, b"tail")];
    let hole_first: Vec<Piece> = vec![(MEGA, &blocks[2])];
    let many: Vec<Piece> = (0..39).map(|n| (n as u64 * 65_536, blocks[n].as_slice())).collect();
    let files: [(&str, &[Piece], u64); 5] = [
        ("three pieces", &few, 2 * MEGA + 4),
        ("a hole at the end", &few[..2], 4 * MEGA),
        ("a hole at the start", &hole_first, MEGA + 4096),
        ("more pieces than a header can hold", &many, 39 * 65_536),
        ("nothing but a hole", &[], 8 * MEGA),
    ];
    for (shape, make) in sparse::FORMATS {
        for (case, pieces, size) in files {
            let case = format!("{case}, {shape}");
            let unpacked = unpack(&[&[make("f", pieces, size), file("after", "1")]]).done(&case);
            let path = unpacked.root.join("f");
            assert!(fs::read(&path).unwrap() == sparse::expanded(pieces, size), "{case}: the content differs");
            assert_eq!(fs::read(unpacked.root.join("after")).unwrap(), b"1", "{case}");
            let meta = fs::metadata(&path).unwrap();
            assert!(
                meta.blocks() * 512 < size / 2,
                "{case}: {} blocks for {size} bytes, so there are no holes",
                meta.blocks()
            );
            assert_eq!(fs::read_dir(&unpacked.root).unwrap().count(), 2, "{case}: {}", listing(&unpacked.root));
        }
    }
}

#[test]
fn sparse_files_may_be_linked_and_replaced() {
    let body = [7u8; 4096];
    let pieces: [Piece; 1] = [(65_536, &body)];
    let unpacked =
        unpack(&[&[sparse::pax_1_0("d/f", &pieces, 1 << 20), hardlink("g", "d/f")], &[file("d/f", "small")]])
            .done("sparse, linked");
    assert_eq!(fs::metadata(unpacked.root.join("g")).unwrap().len(), 1 << 20);
    assert_eq!(fs::read(unpacked.root.join("d/f")).unwrap(), b"small");
}

#[test]
fn leaves_an_existing_target_alone() {
    let bench = Bench::new();
    let name = Image::small("target").push(&bench.registry, "app", "latest");
    let unpack = |target: &str| bench.home.run(&["unpack", &name, &bench.home.arg(target)]);
    fs::create_dir(bench.home.path("full")).unwrap();
    bench.home.write("full/mine", "mine");
    bench.home.write("file", "mine");
    fs::create_dir(bench.home.path("empty")).unwrap();
    std::os::unix::fs::symlink("empty", bench.home.path("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", bench.home.path("dangling")).unwrap();
    for target in ["full", "file", "dangling", "missing/parent"] {
        unpack(target).exits_in(target, 9).fails_in_one_line();
    }
    assert_same("full", "f 0644 mine \"mine\"", &listing(&bench.home.path("full")));
    assert_eq!(fs::read(bench.home.path("file")).unwrap(), b"mine");
    assert!(bench.home.path("dangling").symlink_metadata().unwrap().is_symlink());
    assert!(!bench.home.path("nowhere").exists() && !bench.home.path("missing").exists());
    // The unpacker may accept or refuse a link to an empty folder, but the link must stay.
    unpack("link").exits_among("a link to an empty folder", &[0, 9]);
    assert!(bench.home.path("link").symlink_metadata().unwrap().is_symlink());
    unpack("empty").exits_among("an empty folder", &[0, 9]);
    let fresh = Bench::new();
    let name = Image::small("target").push(&fresh.registry, "app", "latest");
    fs::create_dir(fresh.home.path("empty")).unwrap();
    fresh.home.run(&["unpack", &name, &fresh.home.arg("empty")]).exits(0);
    assert_same("empty", "f 0644 seed \"target\"", &listing(&fresh.home.path("empty")));
}

#[test]
fn removes_the_staging_folder_of_a_dead_process() {
    let bench = Bench::new();
    let (name, target) = (Image::small("target").push(&bench.registry, "app", "latest"), bench.home.arg("root"));
    let staging = bench.home.path(".root.pullet");
    // Killed in the middle of the tree, and after the rename, when the target is complete and must not change.
    for (inside, code) in [("root/etc/deep", 0), ("", 9), ("root/etc", 9)] {
        fs::create_dir_all(staging.join(inside)).unwrap();
        fs::write(staging.join("partial"), "").unwrap();
        bench.home.run(&["unpack", &name, &target]).exits_in(inside, code);
        assert_eq!(fs::read(bench.home.path("root/seed")).unwrap(), b"target", "{inside}");
        assert!(!staging.exists(), "{inside}");
    }
    // Another process holds the staging folder.
    fs::create_dir(&staging).unwrap();
    let held = fs::File::open(&staging).unwrap();
    held.lock().unwrap();
    bench.home.run(&["unpack", &name, &target]).exits(9).says("not empty");
    assert!(staging.exists());
}

#[test]
fn accepts_several_spellings_of_a_target() {
    let bench = Bench::new();
    let name = Image::small("target").push(&bench.registry, "app", "latest");
    for (target, place) in [
        ("relative", "relative"),
        ("./dotted", "dotted"),
        ("slashed/", "slashed"),
        ("home/../up", "up"),
        ("home/below", "home/below"),
    ] {
        bench.home.run(&["unpack", &name, target]).exits_in(target, 0).prints("");
        assert_eq!(fs::read(bench.home.path(place).join("seed")).unwrap(), b"target", "{target}");
    }
    bench.home.run(&["unpack", &name, ""]).exits_among("an empty target", &[2, 9]);
    bench.home.run(&["unpack", &name, "/"]).exits_among("the root folder", &[2, 9]);
}

#[test]
fn accepts_a_link_as_the_parent_of_a_target() {
    let bench = Bench::new();
    let name = Image::small("target").push(&bench.registry, "app", "latest");
    fs::create_dir(bench.home.path("real")).unwrap();
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, bench.home.path(name)).unwrap();
    link("real", "link");
    link(&bench.home.arg("real"), "absolute");
    link("link", "twice");
    link("real/nowhere", "dangling");
    bench.home.write("file", "mine");
    link("file", "to-file");
    for (target, place) in [
        ("link/relative", "real/relative"),
        ("absolute/root", "real/root"),
        ("twice/again", "real/again"),
        (&bench.home.arg("link/whole"), "real/whole"),
    ] {
        bench.home.run(&["unpack", &name, target]).exits_in(target, 0).prints("");
        assert_eq!(fs::read(bench.home.path(place).join("seed")).unwrap(), b"target", "{target}");
    }
    fs::create_dir(bench.home.path("real/empty")).unwrap();
    bench.home.run(&["unpack", &name, "link/empty"]).exits_in("an empty folder below a link", 0);
    for target in ["dangling/root", "to-file/root"] {
        bench.home.run(&["unpack", &name, target]).exits_in(target, 9).fails_in_one_line();
    }
    let mut left: Vec<_> = fs::read_dir(bench.home.path("real")).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["again", "empty", "relative", "root", "whole"]);
}

#[test]
fn refuses_garbage_between_entries() {
    let tar = [unended(&[file("f", "1")]), verbatim(vec![b'x'; 512]).bytes(), unended(&[file("g", "2")])].concat();
    unpack_tar(&tar).refused("a block of garbage between entries", 11);
}
