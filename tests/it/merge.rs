//! Merging layers: entries that replace others, symbolic and hard links, parents that are links or missing.

use std::os::unix::fs::MetadataExt;

use kit::archive::{Entry, char_device, dir, fifo, file, hardlink, symlink};
use kit::bench::{check_tree, unpack};
use kit::process::is_root;

#[test]
fn an_entry_of_any_kind_replaces_one_of_any_kind() {
    type Make = fn(&str) -> Vec<Entry>;
    type Expect = fn(&str) -> String;
    let kinds: Vec<(&str, Make, Expect)> = vec![
        ("a file", |n| vec![file(n, "new")], |n| format!("f 0644 {n} \"new\"")),
        ("an empty folder", |n| vec![dir(n)], |n| format!("d 0755 {n}")),
        (
            "a full folder",
            |n| vec![dir(n), file(format!("{n}/in"), "side")],
            |n| format!("d 0755 {n}\nf 0644 {n}/in \"side\""),
        ),
        ("a link", |n| vec![symlink(n, "keep")], |n| format!("l {n} -> keep")),
        ("a dangling link", |n| vec![symlink(n, "nowhere")], |n| format!("l {n} -> nowhere")),
        ("a FIFO", |n| vec![fifo(n)], |n| format!("p 0644 {n}")),
    ];
    for (old, lower, _) in &kinds {
        for (new, upper, expected) in &kinds {
            let lower = [vec![dir("keep"), file("keep/safe", "safe")], lower("x")].concat();
            let mut lines = format!("d 0755 keep\nf 0644 keep/safe \"safe\"\n{}", expected("x"));
            if *old == "a full folder" && *new == "an empty folder" {
                lines.push_str("\nf 0644 x/in \"side\"");
            }
            check_tree(&format!("{new} over {old}"), &[&lower, &upper("x")], &lines);
            let together = [lower, upper("x")].concat();
            check_tree(&format!("{new} over {old} in one layer"), &[&together], &lines);
        }
    }
}

#[test]
fn a_folder_over_a_folder_keeps_the_children_and_takes_the_new_metadata() {
    check_tree(
        "modes",
        &[&[dir("d").mode(0o700), file("d/old", "1")], &[dir("d").mode(0o1777), file("d/new", "2")]],
        "d 1777 d\nf 0644 d/new \"2\"\nf 0644 d/old \"1\"",
    );
    check_tree(
        "in one layer",
        &[&[file("d/x", "1"), dir("d").mode(0o500), dir("d").mode(0o750)]],
        "d 0750 d\nf 0644 d/x \"1\"",
    );
}

#[test]
fn writes_into_folders_without_write_permission() {
    check_tree(
        "in the same layer",
        &[&[dir("d").mode(0o555), file("d/a", "1"), dir("d/e").mode(0o500), file("d/e/b", "2")]],
        "d 0555 d\nf 0644 d/a \"1\"\nd 0500 d/e\nf 0644 d/e/b \"2\"",
    );
    check_tree("in the next layer", &[&[dir("d").mode(0o555)], &[file("d/a", "1")]], "d 0555 d\nf 0644 d/a \"1\"");
}

#[test]
fn creates_parents_that_have_no_entry() {
    check_tree(
        "implied",
        &[&[file("a/b/c", "1"), dir("x/y")]],
        "d 0755 a\nd 0755 a/b\nf 0644 a/b/c \"1\"\nd 0755 x\nd 0755 x/y",
    );
    check_tree("implied, then listed", &[&[file("a/b", "1"), dir("a").mode(0o700)]], "d 0700 a\nf 0644 a/b \"1\"");
    // Peers fail where an implied parent meets a file of a lower layer. Replacing the file is as good.
    let unpacked = unpack(&[&[file("a", "file")], &[file("a/b", "1")]]);
    if unpacked.outcome.code == 0 {
        assert_eq!(std::fs::read(unpacked.root.join("a/b")).unwrap(), b"1");
    } else {
        unpacked.refused("implied over a file", 11);
    }
}

#[test]
fn parents_that_are_links_resolve_inside_the_tree() {
    let real = [dir("usr"), dir("usr/bin")];
    for target in ["usr/bin", "/usr/bin", "./usr/../usr/bin", "../../usr/bin", "/../usr/bin", "hop"] {
        let mut lower = [&real[..], &[symlink("bin", target)]].concat();
        let mut expected = format!("l bin -> {target}\n");
        if target == "hop" {
            lower.push(symlink("hop", "/usr/bin"));
            expected.push_str("l hop -> /usr/bin\n");
        }
        expected.push_str("d 0755 usr\nd 0755 usr/bin\nf 0644 usr/bin/sh \"1\"");
        check_tree(&format!("a link to {target}, next layer"), &[&lower, &[file("bin/sh", "1")]], &expected);
        let together = [lower, vec![file("bin/sh", "1")]].concat();
        check_tree(&format!("a link to {target}, same layer"), &[&together], &expected);
    }
}

#[test]
fn parents_that_are_dangling_links_resolve_inside_the_tree() {
    for target in ["nowhere", "/nowhere", "../../nowhere", "deep/er/nowhere"] {
        let unpacked = unpack(&[&[symlink("x", target)], &[file("x/f", "1")]]).done(target);
        // The unpacker may choose where a dangling link leads, as long as the file ends up in the tree.
        let candidates = ["x/f".to_string(), format!("{}/f", target.trim_start_matches(['.', '/']))];
        let found =
            candidates.iter().any(|path| std::fs::read(unpacked.root.join(path)).is_ok_and(|body| body == b"1"));
        assert!(found, "{target}: {}", kit::listing::listing(&unpacked.root));
    }
}

#[test]
fn loops_of_links_end() {
    let unpacked =
        unpack(&[&[symlink("a", "b"), symlink("b", "a"), symlink("c", "c/c")], &[file("a/f", "1"), file("c/g", "2")]]);
    unpacked.outcome.exits_among("a loop of links", &[0, 11]);
}

#[test]
fn a_folder_replaces_a_link_to_a_folder() {
    check_tree(
        "a folder over a link",
        &[&[dir("real"), file("real/f", "1"), symlink("x", "real")], &[dir("x"), file("x/g", "2")]],
        "d 0755 real\nf 0644 real/f \"1\"\nd 0755 x\nf 0644 x/g \"2\"",
    );
    check_tree(
        "a file over a link",
        &[&[file("real", "1"), symlink("x", "real")], &[file("x", "2")]],
        "f 0644 real \"1\"\nf 0644 x \"2\"",
    );
}

#[test]
fn hard_links_find_their_target_in_lower_layers() {
    check_tree("the next layer", &[&[file("f", "1")], &[hardlink("g", "f")]], "f 0644 f \"1\"\nh g = f");
    check_tree(
        "two layers below, in folders",
        &[&[file("a/f", "1")], &[file("x", "2")], &[hardlink("b/c/g", "a/f")]],
        "d 0755 a\nf 0644 a/f \"1\"\nd 0755 b\nd 0755 b/c\nh b/c/g = a/f\nf 0644 x \"2\"",
    );
    for target in ["/f", "./f", "//f", "./././f"] {
        check_tree(target, &[&[file("f", "1")], &[hardlink("g", target)]], "f 0644 f \"1\"\nh g = f");
    }
    check_tree(
        "through a linked parent",
        &[&[dir("d"), file("d/f", "1"), symlink("l", "/d")], &[hardlink("g", "l/f")]],
        "d 0755 d\nf 0644 d/f \"1\"\nh g = d/f\nl l -> d".replace("l l -> d", "l l -> /d").as_str(),
    );
}

#[test]
fn hard_links_link_the_file_that_exists_at_their_entry() {
    check_tree(
        "replaced before",
        &[&[file("f", "old")], &[file("f", "new"), hardlink("g", "f")]],
        "f 0644 f \"new\"\nh g = f",
    );
    check_tree(
        "replaced after",
        &[&[file("f", "old")], &[hardlink("g", "f"), file("f", "new")]],
        "f 0644 f \"new\"\nf 0644 g \"old\"",
    );
    check_tree(
        "one of two is replaced",
        &[&[file("f", "1"), hardlink("g", "f")], &[file("g", "2")]],
        "f 0644 f \"1\"\nf 0644 g \"2\"",
    );
    check_tree("over a file", &[&[file("f", "1"), file("g", "2")], &[hardlink("g", "f")]], "f 0644 f \"1\"\nh g = f");
    check_tree(
        "over a folder",
        &[&[file("f", "1"), dir("g"), file("g/x", "2")], &[hardlink("g", "f")]],
        "f 0644 f \"1\"\nh g = f",
    );
    check_tree("made twice", &[&[file("f", "1"), hardlink("g", "f"), hardlink("g", "f")]], "f 0644 f \"1\"\nh g = f");
}

#[test]
fn a_hard_link_to_a_symbolic_link_links_the_link_itself() {
    check_tree(
        "a link",
        &[&[file("f", "1"), symlink("l", "f"), hardlink("g", "l")]],
        "f 0644 f \"1\"\nl g -> f\nh l = g",
    );
    check_tree("a FIFO", &[&[fifo("p"), hardlink("q", "p")]], "p 0644 p\nh q = p");
    if is_root() {
        check_tree("a device", &[&[char_device("c", 1, 3), hardlink("d", "c")]], "c 0600 1,3 c\nh d = c");
    }
}

#[test]
fn a_hard_link_takes_the_mode_of_its_file_or_of_its_header() {
    let unpacked = unpack(&[&[file("f", "1").mode(0o600).mtime(1000), hardlink("g", "f").mode(0o777).mtime(9999)]])
        .done("metadata");
    let meta = std::fs::metadata(unpacked.root.join("f")).unwrap();
    assert_eq!(meta.nlink(), 2);
    // GNU tar, umoci and containerd apply the hard link header's metadata; archivers write the file's metadata there.
    assert!([0o600, 0o777].contains(&(meta.mode() & 0o7777)), "mode {:o}", meta.mode());
}

#[test]
fn merges_sixty_layers_in_order() {
    let layers: Vec<Vec<Entry>> =
        (0..60).map(|n| vec![file("same", n.to_string()), file(format!("own/{n:02}"), n.to_string())]).collect();
    let slices: Vec<&[Entry]> = layers.iter().map(Vec::as_slice).collect();
    let unpacked = unpack(&slices).done("sixty layers");
    assert_eq!(std::fs::read_to_string(unpacked.root.join("same")).unwrap(), "59");
    assert_eq!(std::fs::read_dir(unpacked.root.join("own")).unwrap().count(), 60);
}
