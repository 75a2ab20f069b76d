//! `unpack --layered`: the trees of the layers, mounted by overlayfs, are the tree that `unpack` makes.
//!
//! Mounting needs root, and CI runs as root. Without it, the tests do everything else.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use kit::archive::{Entry, block_device, char_device, dir, fifo, file, hardlink, opaque, symlink, whiteout};
use kit::bench::Bench;
use kit::debian::{command, run};
use kit::home::Home;
use kit::image::{Image, Layer};
use kit::process::{is_root, ordinary_user};
use kit::tree::Tree;

fn image(layers: &[&[Entry]]) -> Image {
    Image::new(layers.iter().map(|entries| Layer::of(entries)).collect())
}

/// The content of overlayfs, until it is dropped.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Mounted {
    pub(crate) fn new(home: &Home, target: &str, options: &str) -> Mounted {
        let at = home.path("mounted");
        fs::create_dir_all(&at).unwrap();
        let mut mount = command("mount");
        mount.args(["-t", "overlay", "-o", options.trim_end(), "overlay"]).arg(&at);
        // The options may be relative to it.
        run(mount.current_dir(target)).expect(0);
        Mounted(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run(command("umount").args(["-l"]).arg(&self.0));
    }
}

/// The names of all trees in the store.
pub(crate) fn trees(home: &Home) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for form in fs::read_dir(home.store().join("layers")).into_iter().flatten() {
        let form = form.unwrap().path();
        if form.ends_with("folders") {
            continue;
        }
        for tree in fs::read_dir(form).unwrap() {
            names.insert(tree.unwrap().file_name().into_string().unwrap());
        }
    }
    names
}

pub(crate) fn name_of(layer: &Layer) -> String {
    layer.diff_id.replace(':', "-")
}

/// Unpacks an image in layers and merged. If possible, mounts the first and compares. Returns the names of the trees, in
/// the order of the links.
#[track_caller]
pub(crate) fn check(case: &str, layers: &[&[Entry]]) -> Vec<String> {
    check_image(case, &image(layers))
}

#[track_caller]
fn check_image(case: &str, image: &Image) -> Vec<String> {
    let bench = Bench::new();
    let name = image.push(&bench.registry, "app", "latest");
    let home = &bench.home;
    home.run(&["unpack", &name, &home.arg("merged")]).exits_in(case, 0);
    let ran = home.run(&["unpack", "--layered", &name, &home.arg("layered")]).exits_in(case, 0);
    if is_root() {
        let mounted = Mounted::new(home, &home.arg("layered"), &ran.stdout);
        compare(case, &home.path("merged"), &mounted.0);
    }
    let linked = |at: &Path| Some(fs::read_link(at).ok()?.parent()?.file_name()?.to_str()?.to_owned());
    (0..).map_while(|index| linked(&home.path("layered").join(index.to_string()))).collect()
}

/// Compares everything but the number of names of a file. overlayfs shows the number of the layer's tree, also if another
/// layer removed one of them.
#[track_caller]
pub(crate) fn compare(case: &str, merged: &Path, mounted: &Path) {
    let comparable = |root: &Path| {
        Tree::read(root).map(|_, node| {
            node.nlink = 1;
            true
        })
    };
    comparable(merged).assert_same(&comparable(mounted), case);
}

/// A base layer with everything that an upper layer may change.
pub(crate) fn base() -> Vec<Entry> {
    vec![
        dir(".").mode(0o751).mtime(5),
        dir("d").mode(0o700).owner(3, 4).mtime(7),
        file("d/a", "1"),
        file("d/b", "2").mode(0o4755).owner(1, 2),
        dir("d/sub").mode(0o1777).mtime(9),
        file("d/sub/c", "3"),
        file("e", "4"),
        hardlink("e2", "e"),
        symlink("l", "d"),
        dir("m"),
        file("m/x", "5"),
    ]
}

#[test]
fn a_mounted_image_is_the_merged_tree() {
    let cases: &[(&str, &[Entry])] = &[
        ("nothing", &[]),
        ("a file in a folder", &[dir("d").mode(0o711).mtime(11), file("d/n", "6").mtime(12)]),
        ("whiteouts", &[dir("d"), whiteout("d/a"), whiteout("d/sub"), whiteout("e"), whiteout("l")]),
        ("a whiteout of nothing", &[dir("d"), whiteout("d/nothing"), whiteout("nothing")]),
        ("an opaque folder", &[dir("d"), opaque("d"), file("d/n", "6"), file("d/a", "7")]),
        ("an opaque folder, its entry last", &[dir("d"), file("d/n", "6"), opaque("d"), dir("d").mode(0o500)]),
        ("an opaque root", &[opaque("."), file("n", "6")]),
        ("an opaque root with an entry", &[dir(".").mode(0o711).mtime(3), opaque("."), dir("d"), file("d/n", "6")]),
        ("a whiteout, then a folder", &[whiteout("d"), dir("d").mtime(1), file("d/n", "6")]),
        ("a folder, then its whiteout", &[dir("d").mtime(1), file("d/n", "6"), whiteout("d")]),
        ("a file and its whiteout", &[file("e", "new"), whiteout("e"), whiteout("e2"), file("e2", "new")]),
        ("other kinds", &[file("d", "x"), dir("e"), file("e/n", "6"), fifo("l"), symlink("m", "e")]),
        ("a folder, a file, a folder", &[dir("d"), file("d/n", "6"), file("d", "x"), dir("d"), file("d/o", "7")]),
        ("a link, then a folder", &[symlink("d", "m"), dir("d"), file("d/o", "7")]),
        ("hard links", &[dir("d"), file("d/n", "6"), hardlink("d/o", "d/n"), hardlink("a", "d/o")]),
        ("a hard link over a whiteout", &[file("n", "6"), whiteout("e"), hardlink("e", "n")]),
        ("xattrs", &[dir("d").pax("SCHILY.xattr.user.k", "v").pax("SCHILY.xattr.user.overlay.opaque", "y")]),
        ("names", &[file("back\\slash", "1"), file("co,mma:colon", "2"), file([0xff, b'x'], "3")]),
    ];
    for (case, upper) in cases {
        let found = check(case, &[&base(), upper]);
        let layers = image(&[&base(), upper]).layers;
        let expected: Vec<String> = layers.iter().map(name_of).collect();
        let is_opaque = case.starts_with("an opaque root");
        assert_eq!(found, expected[usize::from(is_opaque)..], "{case}");
    }
}

/// Upper layers that need what is below them. They are merged with it, so that the tree is right.
#[test]
fn layers_that_need_lower_layers_are_merged() {
    let cases: &[(&str, &[Entry])] = &[
        ("a file in a folder below", &[file("d/n", "6")]),
        ("a file in a folder that no layer has", &[file("new/deep/n", "6")]),
        ("a file through a link below", &[file("l/n", "6")]),
        ("a file before its folder", &[file("l/n", "6"), dir("l")]),
        ("a whiteout in a folder below", &[whiteout("d/a")]),
        ("a whiteout through a link below", &[whiteout("l/sub")]),
        ("a whiteout in a folder that no layer has", &[whiteout("new/deep/n")]),
        ("an opaque folder below", &[opaque("d")]),
        ("an opaque folder that no layer has", &[opaque("new")]),
        ("a hard link to a file below", &[hardlink("n", "e")]),
        ("a hard link to a file in a folder below", &[dir("d"), hardlink("d/n", "d/a")]),
        ("a file in a removed folder", &[whiteout("d"), file("d/n", "6")]),
    ];
    for (case, upper) in cases {
        let top: &[Entry] = &[file("top", "1"), whiteout("m")];
        let found = check(case, &[&base(), upper, top]);
        assert_eq!(found.len(), 2, "{case}: {found:?}");
        assert!(found[0].starts_with("chain-"), "{case}: {found:?}");
        assert_eq!(found[1], name_of(&Layer::of(top)), "{case}");
    }
    let found = check("a base without folders", &[&[file("a/b/c", "1"), whiteout("a/x")]]);
    assert!(found.len() == 1 && found[0].starts_with("chain-"), "{found:?}");
}

#[test]
fn errors_are_those_of_a_merged_unpack() {
    let refused: &[(&str, &[Entry], i32)] = &[
        ("a path out of the root", &[file("../a", "1")], 11),
        ("a file below a file", &[dir("d"), file("d/a/b", "1")], 11),
        ("a hard link to nothing", &[hardlink("a", "nothing")], 11),
        ("a hard link to a whiteout", &[whiteout("e"), hardlink("a", "e")], 11),
        ("a loop of links", &[symlink("x", "y"), symlink("y", "x"), file("x/a", "1")], 11),
    ];
    for (case, upper, code) in refused {
        let bench = Bench::new();
        let name = image(&[&base(), upper]).push(&bench.registry, "app", "latest");
        let home = &bench.home;
        home.run(&["unpack", &name, &home.arg("merged")]).exits_in(case, *code).fails_in_one_line();
        let ran = home.run(&["unpack", "--layered", &name, &home.arg("layered")]).exits_in(case, *code);
        ran.fails_in_one_line();
        assert!(!home.path("layered").exists(), "{case}");
        let left: Vec<String> = trees(home).into_iter().filter(|name| name.ends_with(".pullet")).collect();
        assert!(left.is_empty(), "{case}: {left:?}");
    }
}

#[test]
fn images_of_few_and_of_equal_layers_can_be_mounted() {
    let (one, two): (&[Entry], &[Entry]) =
        (&[dir("a"), file("a/b", "1")], &[dir("a"), whiteout("a/b"), file("c", "2")]);
    assert_eq!(check("no layer", &[]), Vec::<String>::new());
    assert_eq!(check("one layer", &[one]).len(), 1);
    assert_eq!(check("the same layer twice", &[one, one]).len(), 1);
    assert_eq!(check("the same layer around another", &[one, two, one]).len(), 2);
    assert_eq!(check("the same layer around another, above", &[two, one, two]).len(), 2);
}

#[test]
fn a_deep_stack_is_mounted_by_short_names() {
    let layers: Vec<Layer> =
        (0..120).map(|n| Layer::of(&[file(format!("f{n}"), "1"), file("last", n.to_string())])).collect();
    let bench = Bench::new();
    let name = Image::new(layers).push(&bench.registry, "app", "latest");
    let home = &bench.home;
    let target = format!("{}/{}", home.arg("a"), "x".repeat(100));
    fs::create_dir(home.path("a")).unwrap();
    let ran = home.run(&["unpack", "--layered", "-j", "2", &name, &target]).exits(0);
    let ran = ran.says("The mount options are relative to DIR");
    assert!(ran.stdout.starts_with("lowerdir=root:119:118:") && ran.stdout.ends_with(":0\n"), "{}", ran.stdout);
    if is_root() {
        let mounted = Mounted::new(home, &target, &ran.stdout);
        assert_eq!(fs::read(mounted.0.join("last")).unwrap(), b"119");
        assert_eq!(fs::read_dir(&mounted.0).unwrap().count(), 121);
    }
    let layers: Vec<Layer> = (0..500).map(|n| Layer::of(&[file("f", n.to_string())])).collect();
    let name = Image::new(layers).push(&bench.registry, "app", "deep");
    let ran = home.run(&["unpack", "--layered", &name, &home.arg("deep")]).exits(10);
    ran.says("500 different layers, and overlayfs mounts at most 500 folders");
}

#[test]
fn the_target_may_have_any_name() {
    let bench = Bench::new();
    let name = image(&[&base(), &[file("n", "6")]]).push(&bench.registry, "app", "latest");
    let target = bench.home.arg("a:b,c\\d");
    let ran = bench.home.run(&["unpack", "--layered", &name, &target]).exits(0);
    let escaped = target.replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,");
    assert_eq!(ran.stdout.split("/root:").next(), Some(format!("lowerdir={escaped}").as_str()));
    if is_root() {
        let mounted = Mounted::new(&bench.home, &target, &ran.stdout);
        assert_eq!(fs::read(mounted.0.join("n")).unwrap(), b"6");
    }
}

#[test]
fn versions_share_their_layers_until_none_uses_them() {
    let bench = Bench::new();
    let home = &bench.home;
    let shared = Layer::of(&base());
    let (old, new) = (Layer::of(&[file("v", "1")]), Layer::of(&[file("v", "2")]));
    let odd = Layer::of(&[file("d/odd", "3")]);
    let one = Image::new(vec![shared.clone(), old.clone()]).push(&bench.registry, "app", "1");
    let two = Image::new(vec![shared.clone(), new.clone()]).push(&bench.registry, "app", "2");
    let three = Image::new(vec![shared.clone(), odd]).push(&bench.registry, "app", "3");
    let unpack = |name: &str, folder: &str| home.run(&["unpack", "--layered", name, &home.arg(folder)]).exits(0);
    unpack(&one, "one").says("2 new trees");
    let inode = |folder: &str| fs::metadata(home.path(folder).join("0/d/a")).unwrap().ino();
    unpack(&two, "two").says("1 new trees");
    assert_eq!(inode("one"), inode("two"));
    unpack(&two, "again").says("0 new trees");
    unpack(&three, "three").says("1 new trees");
    unpack(&three, "three-again").says("0 new trees");
    let chain = trees(home).into_iter().find(|name| name.starts_with("chain-")).unwrap();
    let names = |layers: &[&Layer]| layers.iter().map(|layer| name_of(layer)).collect::<BTreeSet<_>>();
    let mut expected = names(&[&shared, &old, &new]);
    expected.insert(chain.clone());
    assert_eq!(trees(home), expected);
    // What killed processes left goes too.
    let form = fs::read_link(home.path("one/0")).unwrap().ancestors().nth(2).unwrap().to_owned();
    for leftover in [".sha256-0.pullet/root/tree/d", "removed-sha256-1/tree/d", "sha256-2/tree/d"] {
        fs::create_dir_all(form.join(leftover)).unwrap();
    }
    home.run(&["prune", "-f"]).exits(0);
    assert_eq!(trees(home), expected);
    for folder in ["one", "two", "again", "three", "three-again"] {
        fs::remove_dir_all(home.path(folder)).unwrap();
    }
    home.run(&["rmi", &three]).exits(0);
    expected.remove(&chain);
    assert_eq!(trees(home), expected);
    home.run(&["rmi", &one]).exits(0);
    assert_eq!(trees(home), names(&[&shared, &new]));
    home.run(&["verify"]).exits(0);
    home.run(&["prune", "-af"]).exits(0);
    assert_eq!(trees(home), BTreeSet::new());
}

/// A folder and a mount of it need trees as an image does, although no image has them any more.
#[test]
fn trees_stay_while_a_folder_links_to_them() {
    let bench = Bench::new();
    let home = &bench.home;
    let (shared, own) = (Layer::of(&base()), Layer::of(&[dir("own"), file("own/v", "x".repeat(70_000))]));
    let other = Image::new(vec![shared.clone()]).push(&bench.registry, "app", "other");
    let name = Image::new(vec![shared.clone(), own.clone()]).push(&bench.registry, "app", "1");
    home.run(&["unpack", "--layered", &other, &home.arg("other")]).exits(0);
    let ran = home.run(&["unpack", "--layered", &name, &home.arg("one")]).exits(0);
    home.run(&["unpack", "--layered", &name, &home.arg("two")]).exits(0);
    let mounted = is_root().then(|| Mounted::new(home, &home.arg("one"), &ran.stdout));
    let both: BTreeSet<String> = [&shared, &own].map(name_of).into();
    home.run(&["rmi", &name]).exits(0).says(&format!("{} needs 1 trees of layers", home.arg("one")));
    fs::remove_dir_all(home.path("two")).unwrap();
    let ran = home.run(&["prune", "-f"]).exits(0).prints("Total reclaimed space: 0B\n");
    ran.says(&format!("{} needs 1 trees of layers that no image has", home.arg("one"))).hides("two").hides("other");
    assert_eq!(trees(home), both);
    if let Some(mounted) = mounted {
        assert_eq!(fs::metadata(mounted.0.join("own/v")).unwrap().len(), 70_000);
        assert_eq!(fs::read(mounted.0.join("d/a")).unwrap(), b"1");
    }
    // If the path is used for something else, it keeps no trees.
    fs::remove_dir_all(home.path("one")).unwrap();
    fs::create_dir(home.path("one")).unwrap();
    fs::write(home.path("one/0"), "no link").unwrap();
    home.run(&["prune", "-f"]).exits(0).prints("Total reclaimed space: 70kB\n").hides("trees of layers");
    assert_eq!(trees(home), BTreeSet::from([name_of(&shared)]));
    assert_eq!(fs::read_dir(home.store().join("layers/folders")).unwrap().count(), 1);
}

#[test]
fn prune_keeps_the_trees_of_images_that_it_cannot_read() {
    let bench = Bench::new();
    let home = &bench.home;
    let image = image(&[&base()]);
    let name = image.push(&bench.registry, "app", "latest");
    home.run(&["unpack", "--layered", &name, &home.arg("root")]).exits(0);
    fs::write(home.blob(&image.digest()), "damaged").unwrap();
    home.run(&["prune", "-f"]).exits(0).says("no blob was removed");
    assert_eq!(trees(home).len(), 1);
}

#[test]
fn several_jobs_make_the_same_trees() {
    let layers: Vec<Layer> = (0..12)
        .map(|n| Layer::of(&[dir("d").mode(0o700 + n), file(format!("d/{n}"), "x".repeat(50_000)), whiteout("d/3")]))
        .collect();
    check_image("one job", &Image::new(layers.clone()));
    let bench = Bench::new();
    let home = &bench.home;
    let name = Image::new(layers.clone()).push(&bench.registry, "app", "latest");
    home.run(&["unpack", "--layered", "-j", "4", &name, &home.arg("layered")]).exits(0);
    home.run(&["unpack", "--layered", &name, &home.arg("again")]).exits(0).says("0 new trees");
    assert_eq!(trees(home), layers.iter().map(name_of).collect());
    // One that needs lower layers is in the middle.
    let mut odd = layers;
    odd[6] = Layer::of(&[file("d/odd", "3")]);
    let name = Image::new(odd.clone()).push(&bench.registry, "app", "odd");
    home.run(&["unpack", "--layered", "-j", "4", &name, &home.arg("odd")]).exits(0);
    let first = fs::read_link(home.path("odd").join("0")).unwrap();
    assert!(first.to_str().unwrap().contains("/chain-"), "{first:?}");
    assert_eq!(fs::read_dir(home.path("odd")).unwrap().count(), 1 + 1 + 5);
    // A layer of the wrong diff_id has no tree, whatever the others do.
    let mut wrong = odd[7..].to_vec();
    wrong[2].diff_id = wrong[0].diff_id.clone();
    wrong[0] = Layer::of(&[file("other", "1")]);
    let name = Image::new(wrong).push(&bench.registry, "app", "wrong");
    home.run(&["unpack", "--layered", "-j", "4", &name, &home.arg("wrong")]).exits(0);
}

#[test]
fn a_layer_with_another_diff_id_is_refused() {
    for jobs in ["1", "3"] {
        let bench = Bench::new();
        let home = &bench.home;
        let mut layers = vec![Layer::of(&base()), Layer::of(&[file("a", "1")]), Layer::of(&[file("b", "2")])];
        layers[1].diff_id = format!("sha256:{}", "0".repeat(64));
        let name = Image::new(layers).push(&bench.registry, "app", "latest");
        home.run(&["unpack", "--layered", "-j", jobs, &name, &home.arg("root")]).exits(8).fails_in_one_line();
        assert!(!home.path("root").exists());
        assert!(!trees(home).iter().any(|name| name.contains("0000") || name.starts_with('.')), "{:?}", trees(home));
    }
}

#[test]
fn limits_are_for_all_layers_together() {
    let bench = Bench::new();
    let home = &bench.home;
    let name = image(&[&base(), &[file("n", "6"), file("o", "7")]]).push(&bench.registry, "app", "latest");
    for (option, limit) in [("--max-entries", "12"), ("--max-unpacked", "12000")] {
        home.run(&["unpack", "--layered", option, limit, &name, &home.arg("root")]).exits(11);
        assert!(!home.path("root").exists(), "{option}");
        fs::remove_dir_all(home.store().join("layers")).unwrap();
    }
    home.run(&["unpack", "--layered", "--max-entries", "13", &name, &home.arg("root")]).exits(0);
}

#[test]
fn devices_of_a_layer_never_hide_lower_layers_by_accident() {
    let upper =
        [char_device("zero", 0, 0), char_device("null", 1, 3), block_device("disk", 7, 9), char_device("e", 0, 0)];
    let bench = Bench::new();
    let home = &bench.home;
    let name = image(&[&base(), &upper]).push(&bench.registry, "app", "latest");
    let ran = home.run(&["unpack", "--layered", &name, &home.arg("layered")]).exits(0);
    ran.says(if is_root() { "2 device nodes left out" } else { "4 device nodes left out" });
    if is_root() {
        let ran = home.run(&["unpack", "--layered", &name, &home.arg("again")]).exits(0);
        let mounted = Mounted::new(home, &home.arg("again"), &ran.stdout);
        assert!(fs::symlink_metadata(mounted.0.join("null")).unwrap().file_type().is_char_device());
        assert!(mounted.0.join("disk").exists() && !mounted.0.join("zero").exists() && !mounted.0.join("e").exists());
    }
}

#[test]
fn options_that_it_would_ignore_are_refused() {
    let home = Home::new();
    for option in ["--bundle", "--stream", "--no-devices"] {
        home.run(&["unpack", "--layered", option, "app", &home.arg("root")]).exits(2).fails_in_one_line();
    }
}

/// When the tests run as root, pullet runs as `nobody`; otherwise it runs as the user of the tests. The mount is in a user
/// namespace of that user.
#[test]
fn an_ordinary_user_gets_trees_for_user_namespaces() {
    let bench = Bench::new();
    let home = &bench.home;
    let upper = [dir("d"), opaque("d"), file("d/n", "6"), whiteout("e"), whiteout("m")];
    let name = image(&[&base(), &upper]).push(&bench.registry, "app", "latest");
    let run_as_user = |words: &[&str]| home.pullet(words).user(ordinary_user()).run().exits(0);
    let ran = run_as_user(&["unpack", "--layered", &name, &home.arg("layered")]);
    assert!(ran.stdout.ends_with(",userxattr\n"), "{}", ran.stdout);
    run_as_user(&["unpack", &name, &home.arg("merged")]);
    let script = "mkdir \"$2\" && mount -t overlay -o \"$1\" overlay \"$2\" && cp -a \"$2\" \"$3\"";
    let mut unshare = command("unshare");
    if is_root() {
        unshare = command("setpriv");
        unshare.args(["--reuid=65534", "--regid=65534", "--clear-groups", "unshare"]);
    }
    unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", ran.stdout.trim_end()]);
    run(unshare.args([home.arg("at"), home.arg("copy")])).expect(0);
    compare("an ordinary user", &home.path("merged"), &home.path("copy"));
}

#[test]
fn two_processes_make_each_tree_once() {
    let bench = Bench::new();
    let home = &bench.home;
    let layers: Vec<Layer> = (0..6).map(|n| Layer::of(&[file(format!("f{n}"), "x".repeat(200_000))])).collect();
    let name = Image::new(layers.clone()).push(&bench.registry, "app", "latest");
    home.run(&["pull", &name]).exits(0);
    let start = |folder: &str| home.pullet(&["unpack", "--layered", &name, &home.arg(folder)]).start();
    let running: Vec<_> = ["one", "two", "three"].map(start).into_iter().collect();
    let made: usize = running
        .into_iter()
        .map(|running| {
            let ran = running.wait().exits(0);
            let words: Vec<&str> = ran.stderr.split_whitespace().collect();
            let at = words.iter().position(|word| *word == "new").unwrap();
            words[at - 1].parse::<usize>().unwrap()
        })
        .sum();
    assert_eq!(made, 6);
    assert_eq!(trees(home), layers.iter().map(name_of).collect());
}
