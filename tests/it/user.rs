//! pullet as an ordinary user, who is bound by the modes of folders: it fills, empties and removes folders of any mode, and
//! sets the modes of the image only at the end.
//!
//! When the tests run as root, pullet runs as `nobody`; otherwise it runs as the user of the tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kit::archive::{Entry, dir, file, opaque, whiteout};
use kit::bench::Bench;
use kit::digest::sha256;
use kit::image::{Image, Layer};
use kit::listing::assert_same;
use kit::process::{Finished, is_root, ordinary_user};

/// Folders whose modes restrict their owner, with files and other such folders in them.
fn locked() -> Vec<Entry> {
    vec![
        dir("none").mode(0),
        file("none/f", "1"),
        dir("none/deep").mode(0o100),
        file("none/deep/g", "2"),
        dir("read").mode(0o555),
        file("read/f", "3").mode(0o400),
        dir("read/none").mode(0),
        file("read/none/g", "4").mode(0),
        dir("sticky").mode(0o1555),
        dir("write").mode(0o200),
        file("write/f", "5"),
    ]
}

const LOCKED: &str = r#"
    0000 none
    0100 none/deep
    0644 none/deep/g "2"
    0644 none/f "1"
    0555 read
    0400 read/f "3"
    0000 read/none
    0000 read/none/g "4"
    1555 sticky
    0200 write
    0644 write/f "5""#;

fn image(layers: &[&[Entry]]) -> Image {
    Image::new(layers.iter().map(|entries| Layer::of(entries)).collect())
}

/// Pushes an image and unpacks it as the ordinary user.
fn unpack(bench: &Bench, image: &Image, target: &str) -> Finished {
    let name = image.push(&bench.registry, "app", "latest");
    let target = bench.home.arg(target);
    bench.home.pullet(&["unpack", "--pull", "always", &name, &target]).user(ordinary_user()).run()
}

#[track_caller]
fn check(case: &str, layers: &[&[Entry]], expected: &str) {
    let bench = Bench::new();
    unpack(&bench, &image(layers), "root").exits_in(case, 0).prints("");
    assert_tree(case, expected, &bench.home.path("root"));
}

/// Compares modes and contents. This makes every entry accessible, so that the tree has other modes afterwards.
#[track_caller]
fn assert_tree(case: &str, expected: &str, tree: &Path) {
    let mut lines = Vec::new();
    list_and_unlock(tree, tree, &mut lines);
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_same(case, &expected.join("\n"), &lines.join("\n"));
}

fn list_and_unlock(tree: &Path, folder: &Path, lines: &mut Vec<String>) {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let meta = path.symlink_metadata().unwrap();
        let (mode, name) = (meta.permissions().mode() & 0o7777, path.strip_prefix(tree).unwrap().display());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        if meta.is_dir() {
            lines.push(format!("{mode:04o} {name}"));
            list_and_unlock(tree, &path, lines);
        } else {
            lines.push(format!("{mode:04o} {name} \"{}\"", fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn fills_locked_folders_and_locks_them_at_the_end() {
    check("one layer", &[&locked()], LOCKED);
    check("the same layer twice", &[&locked(), &locked()], LOCKED);
    let backwards: Vec<Entry> = locked().into_iter().rev().collect();
    check("children first", &[&backwards], LOCKED);
    check(
        "filled by a later layer",
        &[&locked(), &[file("read/new", "6"), file("none/deep/er/new", "7")]],
        &LOCKED
            .replace("0644 none/deep/g", "0755 none/deep/er\n0644 none/deep/er/new \"7\"\n0644 none/deep/g")
            .replace("0000 read/none\n", "0644 read/new \"6\"\n0000 read/none\n"),
    );
    for mode in [0o555, 0, 0o311] {
        let bench = Bench::new();
        unpack(&bench, &image(&[&[dir(".").mode(mode), file("f", "1")]]), "root").exits(0);
        let actual = bench.home.path("root").metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(actual, mode, "the mode of the root");
    }
}

#[test]
fn empties_and_removes_locked_folders() {
    let kept = [file("kept", "8")];
    let all = ["none", "read", "sticky", "write"];
    let whiteouts: Vec<Entry> = all.map(whiteout).to_vec();
    check("whiteouts", &[&locked(), &[&whiteouts[..], &kept].concat()], "0644 kept \"8\"");
    check("an opaque root", &[&locked(), &[&[file(".wh..wh..opq", "")][..], &kept].concat()], "0644 kept \"8\"");
    check(
        "opaque folders",
        &[&locked(), &[opaque("none"), opaque("read"), opaque("write")]],
        "0000 none\n0555 read\n1555 sticky\n0200 write",
    );
    let files: Vec<Entry> = all.map(|name| file(name, "8")).to_vec();
    check(
        "files instead",
        &[&locked(), &files],
        "0644 none \"8\"\n0644 read \"8\"\n0644 sticky \"8\"\n0644 write \"8\"",
    );
}

#[test]
fn forgets_the_mode_of_a_removed_folder() {
    let implied = "0755 read\n0644 read/new \"6\"";
    let lower = [dir("read").mode(0o555), file("read/f", "3")];
    let new = [file("read/new", "6")];
    check("removed and implied again", &[&lower, &[&[whiteout("read")][..], &new].concat()], implied);
    check("removed, and implied by the next layer", &[&lower, &[whiteout("read")], &new], implied);
    check(
        "replaced by a file, and that by an implied folder",
        &[&lower, &[file("read", "x")], &[whiteout("read")], &new],
        implied,
    );
    check(
        "removed and listed again",
        &[&lower, &[whiteout("read")], &[dir("read").mode(0o700), new[0].clone()]],
        "0700 read\n0644 read/new \"6\"",
    );
    check(
        "another folder in its place on the disk",
        &[&lower, &[whiteout("read")], &[file("a/f", "1"), dir("b"), file("c/f", "2")]],
        "0755 a\n0644 a/f \"1\"\n0755 b\n0755 c\n0644 c/f \"2\"",
    );
    check("listed with another mode later", &[&lower, &[dir("read").mode(0o755)]], "0755 read\n0644 read/f \"3\"");
    check("listed twice in one layer", &[&[dir("d").mode(0o755), dir("d").mode(0o500), dir("d").mode(0)]], "0000 d");
}

#[test]
fn after_a_failed_unpack_the_next_one_works() {
    let (good, mut lying) =
        (image(&[&locked(), &[file("kept", "8")]]), image(&[&locked(), &[file("kept", "8")]]).layers);
    lying[1].diff_id = sha256(b"something else");
    let bench = Bench::new();
    unpack(&bench, &Image::new(lying), "root").exits_in("a wrong diff_id", 8).fails_in_one_line();
    assert!(bench.home.path("root").symlink_metadata().is_err());
    unpack(&bench, &good, "root").exits_in("after a wrong diff_id", 0).prints("");
    assert_tree(
        "after a wrong diff_id",
        &format!("0644 kept \"8\"\n{}", LOCKED.trim_start()),
        &bench.home.path("root"),
    );
}

/// The last step can fail after all modes are set: in a folder like `/tmp` a user cannot replace an empty folder of root.
/// When the tests do not run as root, the empty folder belongs to the user and is replaced.
#[test]
fn after_a_failed_rename_the_next_unpack_works() {
    let (bench, image) = (Bench::new(), image(&[&locked()]));
    let tmp = bench.home.path("tmp");
    let left = || -> Vec<_> { fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().file_name()).collect() };
    fs::create_dir_all(tmp.join("root")).unwrap();
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)).unwrap();
    if is_root() {
        unpack(&bench, &image, "tmp/root").exits_in("root's own folder", 9).fails_in_one_line();
        assert_eq!(left(), ["root"], "leftovers of the failed unpack");
        fs::remove_dir(tmp.join("root")).unwrap();
    }
    unpack(&bench, &image, "tmp/root").exits_in("after a failed rename", 0).prints("");
    assert_eq!(left(), ["root"], "leftovers of the unpack");
    assert_tree("after a failed rename", LOCKED, &tmp.join("root"));
}
