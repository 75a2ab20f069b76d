//! Whiteouts and opaque folders by the OCI layer specification: they remove entries of lower layers and nothing of their
//! layer, in any order of the entries.

use kit::archive::{Entry, dir, fifo, file, hardlink, opaque, symlink, whiteout};
use kit::bench::check_tree;

/// A base layer: a folder with three files, a file next to it, and a link.
fn base() -> Vec<Entry> {
    vec![
        dir("d"),
        file("d/a", "1"),
        file("d/b", "2"),
        dir("d/sub"),
        file("d/sub/c", "3"),
        file("e", "4"),
        symlink("l", "d"),
    ]
}

/// Applies an upper layer, and the same entries backwards, to the base; both must give this tree.
#[track_caller]
fn check_both_ways(case: &str, upper: &[Entry], expected: &str) {
    let backwards: Vec<Entry> = upper.iter().rev().cloned().collect();
    check_tree(case, &[&base(), upper], expected);
    check_tree(&format!("{case}, backwards"), &[&base(), &backwards], expected);
}

#[test]
fn a_whiteout_removes_a_file() {
    check_both_ways(
        "a file",
        &[whiteout("d/a"), whiteout("e")],
        "d 0755 d
         f 0644 d/b \"2\"
         d 0755 d/sub
         f 0644 d/sub/c \"3\"
         l l -> d",
    );
}

#[test]
fn a_whiteout_removes_a_folder_and_its_content() {
    check_both_ways("a folder", &[whiteout("d")], "f 0644 e \"4\"\nl l -> d");
    check_both_ways(
        "a folder inside",
        &[whiteout("d/sub")],
        "d 0755 d\nf 0644 d/a \"1\"\nf 0644 d/b \"2\"\nf 0644 e \"4\"\nl l -> d",
    );
}

#[test]
fn a_whiteout_of_a_missing_name_has_no_effect() {
    let all =
        "d 0755 d\nf 0644 d/a \"1\"\nf 0644 d/b \"2\"\nd 0755 d/sub\nf 0644 d/sub/c \"3\"\nf 0644 e \"4\"\nl l -> d";
    check_both_ways("a missing name", &[whiteout("nobody"), whiteout("d/nobody"), whiteout("d/sub/nobody")], all);
    check_both_ways("a name below a file", &[whiteout("e/below")], all);
    check_tree("in the lowest layer", &[&[whiteout("x"), file("f", "1")]], "f 0644 f \"1\"");
    let outcome =
        kit::bench::unpack(&[&[opaque("missing"), whiteout("no/where"), file("f", "1")]]).done("a missing folder");
    assert_eq!(std::fs::read(outcome.root.join("f")).unwrap(), b"1");
    assert!(!outcome.root.join("missing/.wh..wh..opq").exists());
}

#[test]
fn a_whiteout_keeps_entries_of_its_layer() {
    check_both_ways(
        "a file of the same name",
        &[file("e", "new"), whiteout("e"), whiteout("d")],
        "f 0644 e \"new\"\nl l -> d",
    );
    check_both_ways(
        "a folder of the same name",
        &[whiteout("d"), file("d/new", "5")],
        "d 0755 d\nf 0644 d/new \"5\"\nf 0644 e \"4\"\nl l -> d",
    );
    check_both_ways(
        "a folder that stays, with deep children",
        &[whiteout("d"), file("d/sub/new", "5")],
        "d 0755 d\nd 0755 d/sub\nf 0644 d/sub/new \"5\"\nf 0644 e \"4\"\nl l -> d",
    );
    check_both_ways(
        "other kinds",
        &[whiteout("e"), fifo("e"), whiteout("l"), symlink("l", "elsewhere"), whiteout("d")],
        "p 0644 e\nl l -> elsewhere",
    );
}

#[test]
fn an_opaque_folder_keeps_only_entries_of_its_layer() {
    check_both_ways(
        "with a new file",
        &[opaque("d"), file("d/new", "5")],
        "d 0755 d\nf 0644 d/new \"5\"\nf 0644 e \"4\"\nl l -> d",
    );
    check_both_ways("alone", &[opaque("d")], "d 0755 d\nf 0644 e \"4\"\nl l -> d");
    check_both_ways(
        "with a file of an old name",
        &[opaque("d"), file("d/a", "new")],
        "d 0755 d\nf 0644 d/a \"new\"\nf 0644 e \"4\"\nl l -> d",
    );
    check_both_ways(
        "with a new file in an old folder",
        &[opaque("d"), file("d/sub/new", "5")],
        "d 0755 d\nd 0755 d/sub\nf 0644 d/sub/new \"5\"\nf 0644 e \"4\"\nl l -> d",
    );
    check_both_ways("of the root", &[file(".wh..wh..opq", ""), file("new", "5")], "f 0644 new \"5\"");
}

#[test]
fn an_opaque_folder_may_have_its_entry_in_any_order() {
    let expected = "d 0700 d\nf 0644 d/new \"5\"\nf 0644 e \"4\"\nl l -> d";
    let entries = [dir("d").mode(0o700), opaque("d"), file("d/new", "5")];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let upper: Vec<Entry> = order.iter().map(|n| entries[*n].clone()).collect();
        check_tree(&format!("order {order:?}"), &[&base(), &upper], expected);
    }
}

#[test]
fn a_whiteout_of_an_opaque_folder_removes_it() {
    let rest = "f 0644 e \"4\"\nl l -> d";
    check_both_ways("both marks", &[opaque("d"), whiteout("d")], rest);
    check_both_ways("an opaque folder inside", &[opaque("d/sub"), whiteout("d")], rest);
    check_both_ways("all marks", &[opaque("d/sub"), opaque("d"), whiteout("d/sub"), whiteout("d")], rest);
    check_both_ways(
        "only the folder inside",
        &[opaque("d/sub"), whiteout("d/sub")],
        "d 0755 d\nf 0644 d/a \"1\"\nf 0644 d/b \"2\"\nf 0644 e \"4\"\nl l -> d",
    );
    check_both_ways(
        "marks inside and a mark around",
        &[opaque("d/sub"), whiteout("d/sub"), opaque("d")],
        "d 0755 d\nf 0644 e \"4\"\nl l -> d",
    );
}

#[test]
fn markers_keep_empty_folders_of_their_layer() {
    let rest = "f 0644 e \"4\"\nl l -> d";
    let stays = format!("d 0755 d\nd 0755 d/sub\n{rest}");
    check_both_ways("an opaque mark around", &[dir("d/sub"), opaque("d")], &stays);
    check_both_ways("a whiteout around", &[dir("d/sub"), whiteout("d")], &stays);
    check_both_ways("opaque marks in it and around", &[dir("d/sub"), opaque("d/sub"), opaque("d")], &stays);
    check_both_ways("an opaque mark in it, a whiteout around", &[dir("d/sub"), opaque("d/sub"), whiteout("d")], &stays);
    check_both_ways("its own whiteout, and one around", &[dir("d/sub"), whiteout("d/sub"), whiteout("d")], &stays);
    // A new folder may get the inode of one that was just removed.
    for around in [opaque("d"), whiteout("d")] {
        for inside in [vec![whiteout("d/sub")], vec![opaque("d/sub"), whiteout("d/sub")]] {
            let news = ["d/new1", "d/new2"].map(dir).to_vec();
            let upper = [inside, news, vec![around.clone()]].concat();
            check_tree(
                "a folder in place of a removed one",
                &[&base(), &upper],
                &format!("d 0755 d\nd 0755 d/new1\nd 0755 d/new2\n{rest}"),
            );
        }
    }
}

#[test]
fn hard_links_survive_a_whiteout_of_their_first_name() {
    check_tree(
        "a hard link to a lower file, then its whiteout",
        &[&base(), &[hardlink("kept", "e"), whiteout("e"), whiteout("d"), whiteout("l")]],
        "f 0644 kept \"4\"",
    );
    check_tree(
        "both names in the upper layer",
        &[&base(), &[whiteout("d"), whiteout("l"), file("e", "new"), hardlink("g", "e"), whiteout("e")]],
        "f 0644 e \"new\"\nh g = e",
    );
}

#[test]
fn each_layer_applies_its_whiteouts() {
    check_tree(
        "removed, made again, removed again",
        &[&base(), &[whiteout("d")], &[file("d/a", "again")], &[whiteout("d/a"), whiteout("e")]],
        "d 0755 d\nl l -> d",
    );
    check_tree(
        "kept by one layer, removed by the next",
        &[&base(), &[whiteout("e"), file("e", "mine")], &[whiteout("e"), whiteout("l"), opaque("d")]],
        "d 0755 d",
    );
}

#[test]
fn whiteouts_work_through_linked_parents() {
    let below = [dir("usr"), dir("usr/bin"), file("usr/bin/sh", "1"), file("usr/bin/ls", "2")];
    for target in ["usr/bin", "/usr/bin", "../usr/bin"] {
        let base = [&below[..], &[symlink("bin", target)]].concat();
        check_tree(
            &format!("a whiteout through a link to {target}"),
            &[&base, &[whiteout("bin/sh")]],
            &format!("l bin -> {target}\nd 0755 usr\nd 0755 usr/bin\nf 0644 usr/bin/ls \"2\""),
        );
        check_tree(
            &format!("an opaque mark through a link to {target}"),
            &[&base, &[opaque("bin"), file("bin/new", "3")]],
            &format!("l bin -> {target}\nd 0755 usr\nd 0755 usr/bin\nf 0644 usr/bin/new \"3\""),
        );
        check_tree(
            &format!("a whiteout of the link to {target}"),
            &[&base, &[whiteout("bin")]],
            "d 0755 usr\nd 0755 usr/bin\nf 0644 usr/bin/ls \"2\"\nf 0644 usr/bin/sh \"1\"",
        );
    }
}

#[test]
fn markers_are_not_unpacked() {
    check_tree(
        "other marks of AUFS",
        &[&[
            file(".wh..wh.aufs", ""),
            dir(".wh..wh.plnk"),
            file(".wh..wh.plnk/12.34", "x"),
            file(".wh..wh.orph", ""),
            file("f", "1"),
        ]],
        "f 0644 f \"1\"",
    );
    check_tree(
        "a mark with a body",
        &[&base(), &[file("d/.wh.a", "body"), whiteout("l"), whiteout("e"), opaque("d")]],
        "d 0755 d",
    );
    check_tree(
        "a name with the mark inside",
        &[&[file("a.wh.b", "1"), file("x.wh..wh..opq", "2"), file(".whale", "3")]],
        "f 0644 .whale \"3\"\nf 0644 a.wh.b \"1\"\nf 0644 x.wh..wh..opq \"2\"",
    );
}

#[test]
fn names_with_a_common_prefix_are_distinct() {
    check_tree(
        "prefixes",
        &[&[dir("a"), file("a/x", "1"), dir("ab"), file("ab/x", "2"), file("a.b", "3")], &[whiteout("a")]],
        "f 0644 a.b \"3\"\nd 0755 ab\nf 0644 ab/x \"2\"",
    );
    check_tree(
        "opaque next to a folder with the same prefix",
        &[&[dir("a"), file("a/x", "1"), dir("ab"), file("ab/x", "2")], &[opaque("a"), file("ab/y", "3")]],
        "d 0755 a\nd 0755 ab\nf 0644 ab/x \"2\"\nf 0644 ab/y \"3\"",
    );
    check_tree(
        "a name spelt in another way",
        &[
            &[dir("d"), file("d/x", "1")],
            &[file("./d//new", "2"), file("./d/.wh..wh..opq", ""), file("d/./other", "3")],
        ],
        "d 0755 d\nf 0644 d/new \"2\"\nf 0644 d/other \"3\"",
    );
}

#[test]
fn applies_many_markers_in_many_folders() {
    let lower: Vec<Entry> =
        (0..200).flat_map(|n| [file(format!("d{n}/old"), "x"), file(format!("d{n}/kept"), "y")]).collect();
    let upper: Vec<Entry> = (0..200)
        .flat_map(|n| {
            if n % 2 == 0 {
                vec![opaque(&format!("d{n}")), file(format!("d{n}/new"), "z")]
            } else {
                vec![whiteout(&format!("d{n}/old"))]
            }
        })
        .collect();
    let mut lines: Vec<String> = (0..200)
        .flat_map(|n| {
            [
                format!("d 0755 d{n}"),
                if n % 2 == 0 { format!("f 0644 d{n}/new \"z\"") } else { format!("f 0644 d{n}/kept \"y\"") },
            ]
        })
        .collect();
    lines.sort_by_key(|line| line.split(' ').nth(2).map(str::to_string));
    check_tree("two hundred folders", &[&lower, &upper], &lines.join("\n"));
}

#[test]
fn a_removed_folder_implied_again_has_default_metadata() {
    let lower = [dir("k").mode(0o500), dir("k/s").mode(0o700), file("k/s/old", "1")];
    let upper = [whiteout("k"), file("k/s/new", "2")];
    let reverse = [upper[1].clone(), upper[0].clone()];
    for (case, upper) in [("first", upper), ("last", reverse)] {
        check_tree(&format!("whiteout {case}"), &[&lower, &upper], "d 0755 k\nd 0755 k/s\nf 0644 k/s/new \"2\"");
    }
}
