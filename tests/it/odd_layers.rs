//! Layers that are odd and harmless: other tools write them, and every other reader accepts them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use kit::archive::{Entry, char_device, dir, extension, file, global, hardlink, record, symlink, whiteout};
use kit::bench::{Bench, check_refused, check_tree};
use kit::image::{Image, Layer};
use kit::process::{Finished, is_root};

#[test]
fn the_whiteout_of_the_longest_name_removes_the_file() {
    for length in [251, 252, 255] {
        let path = format!("d/{}", "n".repeat(length));
        let lower = [dir("d"), file(&path, "1"), file("d/kept", "2")];
        check_tree(&format!("{length}"), &[&lower, &[whiteout(&path)]], "d 0755 d\nf 0644 d/kept \"2\"");
    }
    let too_long = whiteout(&format!("d/{}", "n".repeat(256)));
    check_refused("256", &[&[dir("d")], &[too_long]], 11);
    check_refused("in a whiteout", &[&[dir("d")], &[file(format!(".wh.{}/.wh.x", "n".repeat(252)), "")]], 11);
    // A path of 4,096 bytes is the longest one.
    let long = vec!["p".repeat(240); 17].join("/");
    check_tree("a long path", &[&[file("kept", "1")], &[whiteout(&long)]], "f 0644 kept \"1\"");
}

#[test]
fn hard_links_to_the_files_of_aufs_are_kept_and_its_folder_is_not() {
    let aufs = [
        file(".wh..wh.aufs", ""),
        dir(".wh..wh.orph"),
        dir(".wh..wh.plnk").mode(0o700),
        file(".wh..wh.plnk/91.2210", "#!/bin/sh").mode(0o755),
        symlink(".wh..wh.plnk/link", "target"),
    ];
    let links = [hardlink("bin/a", ".wh..wh.plnk/91.2210"), hardlink("bin/b", "./.wh..wh.plnk/91.2210")];
    let expected = "d 0755 bin\nf 0755 bin/a \"#!/bin/sh\"\nh bin/b = bin/a";
    let entries = [&[dir("bin")][..], &aufs, &links].concat();
    check_tree("one layer", &[&entries], expected);
    let lower = [dir("bin"), file("bin/a", "old"), file("bin/c", "old")];
    let opaque = [file(".wh..wh..opq", "")];
    check_tree("a later layer", &[&lower, &[&aufs[..], &links, &[whiteout("bin/c")]].concat()], expected);
    let cleared = [&[dir("bin")][..], &aufs, &links, &opaque].concat();
    check_tree("with an opaque root", &[&lower, &cleared], expected);
    check_refused("a file that is not in the layer", &[&entries, &links], 11);
}

#[test]
fn the_size_of_an_entry_without_content_is_ignored() {
    let with = |entry: Entry| vec![dir("d"), file("d/a", "1"), entry.size(6), file("d/z", "2")];
    for (entry, line) in
        [(hardlink("d/b", "d/a"), "h d/b = d/a\n"), (symlink("d/b", "a"), "l d/b -> a\n"), (dir("d/b"), "d 0755 d/b\n")]
    {
        check_tree(line, &[&with(entry)], &format!("d 0755 d\nf 0644 d/a \"1\"\n{line}f 0644 d/z \"2\""));
    }
}

#[test]
fn pairs_of_extension_headers_are_read_as_go_and_gnu_tar_agree() {
    let pax = |key: &str, value: &str| extension(b'x', &record(key, value.as_bytes()));
    let long = |name: &str| extension(b'L', format!("{name}\0").as_bytes());
    let link = |name: &str| extension(b'K', format!("{name}\0").as_bytes());
    let cases: [(&str, Vec<Entry>, &str); 8] = [
        ("L, x", vec![long("name"), pax("mtime", "7"), file("f", "1")], "f 0644 name \"1\""),
        ("x, L", vec![pax("mtime", "7"), long("name"), file("f", "1")], "f 0644 name \"1\""),
        ("the same name", vec![pax("path", "name"), long("name"), file("f", "1")], "f 0644 name \"1\""),
        ("x, K, L", vec![pax("mtime", "7"), link("to"), long("name"), symlink("f", "x")], "l name -> to"),
        ("x with a size, L", vec![pax("size", "1"), long("name"), file("f", "1")], "f 0644 name \"1\""),
        ("L, L", vec![long("a"), long("b"), file("f", "1")], "f 0644 b \"1\""),
        ("x, x", vec![pax("path", "a"), pax("path", "b"), file("f", "1")], "f 0644 b \"1\""),
        ("x, x without a path", vec![pax("path", "a"), pax("mtime", "7"), file("f", "1")], "f 0644 f \"1\""),
    ];
    for (case, entries, expected) in cases {
        check_tree(case, &[&entries], expected);
    }
    let comment = || global(&[("comment", "x")]);
    for (case, entries) in [
        ("x, L", vec![pax("path", "a"), long("b"), file("f", "1")]),
        ("L, x", vec![long("a"), pax("path", "b"), file("f", "1")]),
        ("x, K", vec![pax("linkpath", "a"), link("b"), symlink("f", "1")]),
        ("x, g", vec![pax("path", "a"), comment(), file("f", "1")]),
        ("L, g", vec![long("a"), comment(), file("f", "1")]),
    ] {
        check_refused(case, &[&entries], 11);
    }
}

/// Unpacks an image under a program that takes rights from root.
fn unpack_under(wrapper: &[&str], entries: &[Entry]) -> (Bench, Finished) {
    let bench = Bench::new();
    let name = Image::new(vec![Layer::of(entries)]).push(&bench.registry, "app", "latest");
    let args = ["unpack", &name, &bench.home.arg("root")];
    let outcome = bench.home.pullet(&args).under(wrapper).run();
    (bench, outcome)
}

#[test]
fn root_without_rights_unpacks_as_an_ordinary_user() {
    let drop = |capability: &'static str| vec!["setpriv", "--bounding-set", capability];
    let mut wrappers = vec![vec!["unshare", "--user", "--map-root-user"]];
    if is_root() {
        wrappers.extend(["-mknod", "-chown", "-dac_override", "-fowner", "-fowner,-dac_override", "-all"].map(drop));
    }
    let entries = [
        char_device("null", 1, 3),
        file("owned", "1").owner(1000, 1000).mode(0o6755),
        dir("read").mode(0o555).owner(1000, 1000),
        file("read/f", "2").mode(0o400),
        dir("none").mode(0),
        file("none/f", "3"),
    ];
    for wrapper in wrappers {
        let case = format!("{wrapper:?}");
        let (bench, outcome) = unpack_under(&wrapper, &entries);
        let outcome = outcome.exits_in(&case, 0);
        let meta = |name: &str| fs::symlink_metadata(bench.home.path("root").join(name)).expect(&case);
        for (name, mode) in [("read", 0o555), ("read/f", 0o400), ("none", 0)] {
            assert_eq!(meta(name).mode() & 0o7777, mode, "{case}: {name}");
        }
        if wrapper != ["setpriv", "--bounding-set", "-mknod"] {
            assert_eq!(outcome.stderr.matches("owners left out").count(), 1, "{case}\n{outcome}");
            // Otherwise another user's program would become one of root's.
            assert_eq!((meta("owned").uid(), meta("owned").mode() & 0o7777), (meta("none").uid(), 0o755), "{case}");
        }
        if matches!(wrapper.last(), Some(&"--map-root-user" | &"-mknod" | &"-all")) {
            assert_eq!(outcome.stderr.matches("device nodes left out").count(), 1, "{case}\n{outcome}");
        }
    }
}
