//! `cat` reads the layers from the top, and no more of them than it takes to be sure of the file.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use kit::archive::{Entry, dir, file, hardlink, opaque, symlink, whiteout};
use kit::bench::{Bench, unpack_image};
use kit::debian::program;
use kit::image::{Image, Layer};
use kit::noise::Noise;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

/// An image with these layers, from the bottom up.
fn image(layers: &[Vec<Entry>]) -> Image {
    Image::new(layers.iter().map(|entries| Layer::of(entries)).collect())
}

/// A case: the layers from the bottom up, how many of them at the bottom nothing needs, the path, and its content. `None` if
/// it has none.
type Case<'a> = (&'a str, Vec<Vec<Entry>>, usize, &'a str, Option<&'a str>);

fn etc(more: Vec<Entry>) -> Vec<Entry> {
    [vec![dir("etc"), dir("etc/d")], more].concat()
}

#[test]
fn cat_needs_no_layer_below_those_that_decide() {
    let f = |text: &str| etc(vec![file("etc/d/f", text)]);
    let other = |text: &str| etc(vec![file("etc/d/other", text)]);
    let cases: Vec<Case<'_>> = vec![
        ("the top layer has it", vec![f("1"), other("1"), f("2")], 2, "etc/d/f", Some("2")),
        ("in the root", vec![f("1"), vec![file("f", "2")]], 1, "/f", Some("2")),
        ("the layer in the middle has it", vec![f("1"), f("2"), other("2")], 1, "etc/d/../d/f", Some("2")),
        ("only the lowest layer has it", vec![f("1"), other("3"), other("4")], 0, "etc/d/f", Some("1")),
        ("a whiteout of the top layer", vec![f("1"), other("5"), etc(vec![whiteout("etc/d/f")])], 2, "etc/d/f", None),
        ("a whiteout of its folder", vec![f("1"), vec![dir("etc"), whiteout("etc/d")]], 1, "etc/d/f", None),
        ("an opaque folder", vec![f("1"), etc(vec![opaque("etc/d"), file("etc/d/g", "")])], 1, "etc/d/f", None),
        (
            "a new folder in the place of its folder",
            vec![f("1"), etc(vec![whiteout("etc/d"), file("etc/d/g", "")])],
            1,
            "etc/d/f",
            None,
        ),
        ("an opaque folder above", vec![f("1"), etc(vec![opaque("etc")])], 1, "etc/d/f", None),
        ("an opaque root", vec![f("1"), etc(vec![opaque(".")])], 1, "etc/d/f", None),
        ("a file for its folder", vec![f("1"), vec![dir("etc"), file("etc/d", "")], f("2")], 2, "etc/d/f", Some("2")),
        (
            "a file for its folder below",
            vec![f("1"), vec![dir("etc"), file("etc/d", "")], other("6")],
            1,
            "etc/d/f",
            None,
        ),
        (
            "a link for its folder below",
            vec![f("1"), vec![dir("etc"), symlink("etc/d", "/")], other("7")],
            1,
            "etc/d/f",
            None,
        ),
        ("a file above it", vec![f("1"), vec![file("etc", "")]], 1, "etc/d/f", None),
        (
            "a link of the top layer",
            vec![f("1"), other("8"), etc(vec![symlink("etc/l", "d/f"), file("etc/d/f", "2")])],
            2,
            "etc/l",
            Some("2"),
        ),
        (
            "a link to a file of the layer below",
            vec![f("1"), f("2"), etc(vec![symlink("etc/l", "/etc/d/f")])],
            1,
            "etc/l",
            Some("2"),
        ),
        ("a link to a folder", vec![f("1"), f("2"), vec![symlink("l", "etc/d/../../../etc")]], 1, "l/d/f", Some("2")),
        (
            "a hard link in the top layer",
            vec![f("1"), etc(vec![file("etc/d/f", "2"), hardlink("etc/g", "etc/d/f")])],
            1,
            "etc/g",
            Some("2"),
        ),
        (
            "a hard link to a file of a lower layer",
            vec![f("1"), etc(vec![hardlink("etc/g", "etc/d/f")])],
            0,
            "etc/g",
            Some("1"),
        ),
        (
            "an entry without its folders has another name",
            vec![f("1"), [vec![file("a/b/c", "")], f("2")].concat()],
            1,
            "etc/d/f",
            Some("2"),
        ),
        (
            "an entry through a link of a lower layer",
            vec![[f("1"), vec![symlink("l", "etc/d")]].concat(), f("2"), vec![file("l/f", "3")]],
            0,
            "etc/d/f",
            Some("3"),
        ),
        (
            "an entry through a link, after the file",
            vec![[f("1"), vec![symlink("l", "etc/d")]].concat(), [f("2"), vec![file("l/f", "3")]].concat()],
            0,
            "etc/d/f",
            Some("3"),
        ),
        (
            "an entry through a link replaces the folder below",
            vec![[f("1"), vec![symlink("l", "etc")]].concat(), vec![file("l/d", "")], other("9")],
            0,
            "etc/d/f",
            None,
        ),
        (
            "a whiteout through a link of a lower layer",
            vec![[f("1"), vec![symlink("l", "etc/d")]].concat(), vec![whiteout("l/f")]],
            0,
            "etc/d/f",
            None,
        ),
        (
            "an opaque folder through a link of a lower layer",
            vec![[f("1"), vec![symlink("l", "etc/d")]].concat(), vec![opaque("l")]],
            0,
            "etc/d/f",
            None,
        ),
        (
            "a folder through a link that had nothing",
            vec![vec![symlink("l", "etc/d")], vec![dir("etc"), whiteout("etc/d")], vec![file("l/f", "3")]],
            0,
            "etc/d/f",
            Some("3"),
        ),
        ("its folders have no entries", vec![f("1"), vec![file("etc/d/f", "2")]], 0, "etc/d/f", Some("2")),
        (
            "a folder comes after what is in it",
            vec![vec![dir("x"), symlink("l", "x")], vec![file("l/f", "2"), dir("l")]],
            0,
            "x/f",
            Some("2"),
        ),
        ("a folder, a file, a folder", vec![f("1"), etc(vec![file("etc/d", ""), dir("etc/d")])], 0, "etc/d/f", None),
    ];
    for (case, layers, unneeded, path, content) in cases {
        let image = image(&layers);
        let unpacked = unpack_image(&image, &[]).done(case);
        assert_eq!(read_in(&unpacked.root, path).as_deref(), content, "{case}: unpack");
        let home = &unpacked.bench.home;
        let name = unpacked.bench.registry.name("app:latest");
        let remove = |layer: &Layer| fs::remove_file(home.blob(&layer.digest())).unwrap();
        image.layers[..unneeded].iter().for_each(remove);
        let ran = home.run(&["cat", &name, path]);
        match content {
            Some(text) => ran.exits_in(case, 0).prints(text),
            None => ran.exits_in(case, 3).prints("").says("no such file"),
        };
        remove(&image.layers[unneeded]);
        let missing = home.run(&["cat", &name, path]);
        missing.exits_in(&format!("{case}: without a layer that is needed"), 3).says("missing from the store");
    }
}

/// Reads a file as a program would whose root is this folder.
fn read_in(root: &Path, path: &str) -> Option<String> {
    let root = File::open(root).unwrap();
    let file = openat2(&root, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
    let mut text = String::new();
    File::from(file).read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn cat_of_random_images_prints_what_unpack_makes() {
    let folders = ["a", "b", "a/c", "b/c", "a/c/d", "l", "m"];
    let names = ["f", "f", "f", "c"];
    let mut noise = Noise::new(11);
    let (mut read, mut absent) = (0, 0);
    for round in 0..40 {
        let mut any = |count: usize| noise.below(count as u64) as usize;
        let mut layers = Vec::new();
        for _ in 0..1 + any(4) {
            // Most tools give each folder an entry before what is in it; some give none.
            let has_folders = any(4) > 0;
            let mut entries = Vec::new();
            for number in 0..any(8) {
                let folder = folders[any(7)];
                let path = format!("{folder}/{}", names[any(4)]);
                if has_folders {
                    let ends = folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]);
                    entries.extend(ends.map(|end| dir(&folder[..end])));
                }
                entries.push(match any(10) {
                    0..4 => file(&path, format!("{round} {number}")),
                    4 => symlink(&path, ["a", "/b", "../c", "f"][any(4)]),
                    5 => symlink(["l", "m", "b"][any(3)], ["a", "/b", "a/c", "b/../l"][any(4)]),
                    6 => hardlink("b/f", "a/f"),
                    7 => opaque(folder),
                    _ => whiteout(&path),
                });
            }
            layers.push(entries);
        }
        let unpacked = unpack_image(&image(&layers), &[]);
        if unpacked.outcome.code != 0 {
            continue;
        }
        let name = unpacked.bench.registry.name("app:latest");
        for path in folders.iter().flat_map(|folder| ["f", "l/f"].map(|name| format!("{folder}/{name}"))) {
            let expected = read_in(&unpacked.root, &path);
            let case = format!("round {round}: {path}");
            let ran = unpacked.bench.home.run(&["cat", &name, &path]);
            match expected {
                Some(text) => {
                    read += 1;
                    ran.exits_in(&case, 0).prints(&text);
                }
                None => {
                    absent += 1;
                    ran.exits_among(&case, &[2, 3, 11]).prints("");
                }
            }
        }
    }
    assert!(read > 25 && absent > 25, "{read} files were read, {absent} were absent");
}

#[test]
fn cat_opens_only_the_layers_that_it_needs() {
    let lower = Layer::of(&etc(vec![file("etc/d/f", "1")]));
    let image = Image::new(vec![lower.clone(), Layer::of(&etc(vec![file("etc/d/g", "2")]))]);
    let bench = Bench::new();
    bench.pull(&image).exits(0);
    let (name, trace) = (bench.registry.name("app:latest"), bench.home.arg("trace"));
    let shell = format!("exec strace -f -qq -o {trace} -e trace=open,openat,openat2 \"$@\"");
    let opened = |path: &str| {
        bench.home.pullet(&["cat", &name, path]).through_shell(&shell).run().exits(0);
        let digest = lower.digest();
        fs::read_to_string(&trace).unwrap().matches(digest.split_once(':').unwrap().1).count()
    };
    program("strace");
    assert_eq!(opened("etc/d/g"), 0);
    // Once to find the file, and once to print it.
    assert_eq!(opened("etc/d/f"), 2);
}
