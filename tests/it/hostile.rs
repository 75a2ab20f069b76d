//! Malicious and broken archives. Each one is rejected as a whole, or unpacked without a change outside the target.
//!
//! Each case unpacks next to a canary folder that must not change. A rejected archive leaves neither a target nor temporary
//! files.

use kit::archive::{Entry, dir, extension, fifo, file, hardlink, opaque, record, symlink, whiteout};
use kit::bench::{Bench, check_refused, check_tree, unpack};
use kit::image::{Image, Layer};
use kit::sparse;

#[track_caller]
fn assert_refused(case: &str, entries: &[Entry]) {
    check_refused(case, &[entries], 11);
    // Valid files before and after it must not change that.
    let between = [&[file("before", "1")], entries, &[file("after", "2")]].concat();
    check_refused(&format!("{case}, between valid files"), &[&between], 11);
}

/// Asserts that the layers are rejected or unpacked, without a change outside the target.
#[track_caller]
fn assert_contained(case: &str, layers: &[&[Entry]]) {
    let unpacked = unpack(layers);
    match unpacked.outcome.code {
        0 => drop(unpacked.done(case)),
        _ => drop(unpacked.refused(case, 11)),
    }
}

#[test]
fn rejects_names_that_leave_the_target() {
    for name in [
        "..",
        "../x",
        "../canary/secret",
        "a/../../x",
        "a/..",
        "a/../b",
        "./../x",
        "/../x",
        "/..",
        "a/b/../../../x",
        "../",
    ] {
        assert_refused(name, &[file(name, "evil")]);
        assert_refused(&format!("{name} as a folder"), &[dir(name)]);
        assert_refused(&format!("{name} as a link"), &[symlink(name, "x")]);
        assert_refused(&format!("{name} in a pax record"), &[file("x", "evil").pax("path", name)]);
        assert_refused(
            &format!("{name} in a GNU record"),
            &[extension(b'L', format!("{name}\0").as_bytes()), file("x", "evil")],
        );
    }
    assert_refused("a prefix with ..", &[file("x", "evil").patch(345, b"../canary")]);
    assert_refused("a whiteout with ..", &[whiteout("../canary/secret")]);
    assert_refused("an opaque mark with ..", &[opaque("../canary")]);
    assert_refused("a hard link with ..", &[hardlink("../x", "a")]);
    check_tree(
        "names that contain dots",
        &[&[file("..x", "1"), file("...", "2"), file("a/..b", "3")]],
        "f 0644 ... \"2\"\nf 0644 ..x \"1\"\nd 0755 a\nf 0644 a/..b \"3\"",
    );
}

#[test]
fn absolute_names_start_at_the_target() {
    check_tree(
        "absolute names",
        &[&[
            dir("/etc"),
            file("/etc/passwd", "1"),
            hardlink("/h", "/etc/passwd"),
            symlink("/s", "/etc/passwd"),
            fifo("//p"),
        ]],
        "d 0755 etc\nf 0644 etc/passwd \"1\"\nh h = etc/passwd\np 0644 p\nl s -> /etc/passwd",
    );
}

#[test]
fn rejects_invalid_names() {
    assert_refused("an empty name", &[file("", "x")]);
    assert_refused("an empty name in a pax record", &[file("x", "x").raw_pax(&record("path", b"\0"))]);
    for name in [".", "./", "/", "//", "/."] {
        assert_refused(&format!("a file called {name:?}"), &[file(name, "x")]);
        assert_refused(&format!("a link called {name:?}"), &[symlink(name, "/etc")]);
        assert_refused(&format!("a hard link called {name:?}"), &[file("f", "x"), hardlink(name, "f")]);
        assert_refused(&format!("a FIFO called {name:?}"), &[fifo(name)]);
    }
    assert_refused("a NUL in a pax path", &[file("x", "x").pax("path", b"a\0b")]);
    assert_refused("a NUL in a pax linkpath", &[symlink("x", "x").pax("linkpath", b"a\0b")]);
    assert_refused("a component of 256 bytes", &[file("n".repeat(256), "x")]);
    assert_refused("a component of 256 bytes in a GNU record", &[file("n".repeat(256), "x").gnu_names()]);
    assert_refused("a path of 4097 bytes", &[file(vec!["p".repeat(240); 17].join("/") + "q", "x")]);
    assert_refused("a path of 200,000 components", &[file("a/".repeat(200_000) + "f", "x")]);
    assert_refused("a link's target of 4097 bytes", &[symlink("l", "t".repeat(4097))]);
    assert_refused("a link with an empty target", &[symlink("l", "")]);
}

/// Attempts to leave the target through links: a name, the entries of the lower layer, and the entries of the upper layer.
fn breakouts(canary: &str) -> Vec<(&'static str, Vec<Entry>, Vec<Entry>)> {
    vec![
        ("a file through an absolute link", vec![symlink("x", canary)], vec![file("x/evil", "1")]),
        ("over a file through an absolute link", vec![symlink("x", canary)], vec![file("x/secret", "1").mode(0o777)]),
        ("a file through ../canary", vec![symlink("x", "../canary")], vec![file("x/evil", "1")]),
        ("a file through ../../canary", vec![symlink("x", "../../canary")], vec![file("x/evil", "1")]),
        ("a file through two links", vec![symlink("x", "y"), symlink("y", canary)], vec![file("x/evil", "1")]),
        (
            "a file through a link in a folder",
            vec![dir("d"), symlink("d/x", "../../canary")],
            vec![file("d/x/evil", "1")],
        ),
        ("a file through the root", vec![symlink("x", "/")], vec![file(format!("x{canary}/evil"), "1")]),
        ("a file through ..", vec![symlink("x", "..")], vec![file("x/canary/evil", "1")]),
        ("a folder through a link", vec![symlink("x", canary)], vec![dir("x/evil"), dir("x/cage").mode(0o777)]),
        ("a link through a link", vec![symlink("x", canary)], vec![symlink("x/evil", "y")]),
        ("a FIFO through a link", vec![symlink("x", canary)], vec![fifo("x/evil")]),
        ("a hard link through a link", vec![symlink("x", canary), file("f", "1")], vec![hardlink("x/evil", "f")]),
        (
            "a file over a link to a file",
            vec![symlink("x", format!("{canary}/secret"))],
            vec![file("x", "evil").mode(0o777)],
        ),
        (
            "a folder over a link to a folder",
            vec![symlink("x", canary)],
            vec![dir("x").mode(0o777), file("x/evil", "1")],
        ),
        (
            "a folder over a link, twice",
            vec![symlink("x", canary), dir("x").mode(0o777)],
            vec![symlink("x", canary), dir("x").mode(0o700)],
        ),
        (
            "a hard link to a link, then a mode",
            vec![symlink("s", format!("{canary}/secret"))],
            vec![hardlink("h", "s").mode(0o777), file("h", "evil").mode(0o777)],
        ),
        (
            "a hard link to a link, with metadata",
            vec![symlink("s", format!("{canary}/secret"))],
            vec![hardlink("h", "s").mode(0o777).mtime(1).pax("SCHILY.xattr.user.evil", "1")],
        ),
        (
            "a link with a file's metadata",
            vec![],
            vec![symlink("s", format!("{canary}/secret")).mode(0o777).mtime(1).pax("SCHILY.xattr.user.evil", "1")],
        ),
        ("a whiteout through a link", vec![symlink("x", canary)], vec![whiteout("x/secret"), whiteout("x/cage")]),
        ("a whiteout through ../canary", vec![symlink("x", "../canary")], vec![whiteout("x/secret")]),
        ("a whiteout of a link", vec![symlink("x", canary)], vec![whiteout("x")]),
        (
            "a whiteout of a folder with links",
            vec![dir("d"), symlink("d/x", canary), symlink("d/y", "../../canary/cage")],
            vec![whiteout("d")],
        ),
        ("an opaque mark through a link", vec![symlink("x", canary)], vec![opaque("x")]),
        ("an opaque mark through ../canary", vec![symlink("x", "../canary")], vec![opaque("x"), file("x/new", "1")]),
        ("an opaque folder with links", vec![dir("d"), symlink("d/x", canary)], vec![opaque("d")]),
        (
            "a link made between two files",
            vec![],
            vec![dir("x"), file("x/a", "1"), symlink("x", canary), file("x/b", "2")],
        ),
        (
            "a link made from a folder and back",
            vec![dir("x")],
            vec![symlink("x", canary), file("x/a", "1"), dir("x"), file("x/b", "2")],
        ),
        ("an implied parent through a link", vec![symlink("x", canary)], vec![file("x/cage/deep/er/evil", "1")]),
        (
            "a sparse file through a link",
            vec![symlink("x", canary)],
            vec![sparse::pax_1_0("x/evil", &[(4096, b"evil")], 8192)],
        ),
        (
            "a long name through a link",
            vec![symlink("x", canary)],
            vec![file(format!("x/{}", "n".repeat(200)), "1").gnu_names()],
        ),
        (
            "times of a folder that became a link",
            vec![dir("d").mtime(5)],
            vec![dir("d").mtime(6).mode(0o777), symlink("d", canary)],
        ),
        (
            "a link to the process's root",
            vec![symlink("x", "/proc/self/root")],
            vec![file(format!("x{canary}/evil"), "1")],
        ),
        ("a link to the process's folder", vec![symlink("x", "/proc/self/cwd")], vec![file("x/canary/evil", "1")]),
    ]
}

#[test]
fn links_do_not_lead_out_of_the_target() {
    for case in 0..breakouts("").len() {
        for together in [false, true] {
            let bench = Bench::new();
            let canary = bench.home.arg("canary");
            let (name, lower, upper) = breakouts(&canary).swap_remove(case);
            let layers = if together { vec![[lower, upper].concat()] } else { vec![lower, upper] };
            let image = Image::new(layers.iter().map(|entries| Layer::of(entries)).collect());
            let unpacked = bench.unpack_beside_canary(&image, &[]);
            let name = format!("{name}{}", if together { ", in one layer" } else { "" });
            match unpacked.outcome.code {
                0 => drop(unpacked.done(&name)),
                _ => drop(unpacked.refused(&name, 11)),
            }
        }
    }
}

#[test]
fn rejects_hard_links_that_leave_the_target() {
    for target in [
        "../canary/secret",
        "../../etc/passwd",
        "a/../../canary/secret",
        "..",
        "/..",
        "",
        ".",
        "/",
        "missing",
        "missing/too",
        "/etc/passwd",
    ] {
        assert_refused(&format!("a hard link to {target:?}"), &[hardlink("h", target)]);
    }
    assert_refused("a hard link to a folder", &[dir("d"), hardlink("h", "d")]);
    let replaced = [dir("d"), file("d/f", "1"), symlink("s", "."), hardlink("s/d", "d/f")];
    assert_refused("a hard link in the place of the folder with its target", &replaced);
    assert_refused("a hard link to a later entry", &[hardlink("h", "f"), file("f", "1")]);
    let nest = [dir("a"), file("a/b", "1"), dir("a/c"), file("a/c/d", "2")];
    for target in ["a/b", "./a//b", "/a/b", "a/c/d"] {
        assert_refused(
            &format!("a hard link over a folder to {target} in it"),
            &[&nest[..], &[hardlink("a", target)]].concat(),
        );
        check_refused(&format!("{target} in the layer below"), &[&nest, &[hardlink("a", target)]], 11);
    }
    assert_refused("a hard link below a file", &[file("f", "1"), hardlink("h", "f/x")]);
    let bench = Bench::new();
    let secret = bench.home.arg("canary/secret");
    let entries = [symlink("l", bench.home.arg("canary")), hardlink("h", "l/secret")];
    bench.unpack_beside_canary(&Image::new(vec![Layer::of(&entries)]), &[]).refused("a hard link through a link", 11);
    let bench = Bench::new();
    bench
        .unpack_beside_canary(&Image::new(vec![Layer::of(&[hardlink("h", &secret)])]), &[])
        .refused("an absolute hard link", 11);
    assert_contained("a hard link to itself", &[&[file("f", "1")], &[hardlink("f", "f")]]);
}

#[test]
fn rejects_whiteouts_of_invalid_names() {
    for name in [".wh.", "d/.wh.", ".wh..", "d/.wh..", ".wh...", "d/.wh...", "d/e/.wh..."] {
        assert_refused(name, &[dir("d"), dir("d/e"), file("d/f", "1"), file(name, "")]);
        check_refused(&format!("{name}, next layer"), &[&[dir("d"), dir("d/e")], &[file(name, "")]], 11);
    }
}

#[test]
fn one_hostile_layer_fails_the_whole_image() {
    let good = [dir("d"), file("d/f", "1")];
    for place in 0..3 {
        let mut layers: Vec<&[Entry]> = vec![&good, &good, &good];
        let evil = [file("../evil", "1")];
        layers[place] = &evil;
        check_refused(&format!("layer {place}"), &layers, 11);
    }
}

#[test]
fn errors_name_the_entry_and_escape_it() {
    let unpacked = unpack(&[&[file("good", "1"), file("a\u{1b}]0;evil\u{7}\nb/../../x", "1")]]);
    let unpacked = unpacked.refused("a name with control characters", 11);
    unpacked.outcome.hides("\u{1b}").hides("\u{7}").says("evil");
}
