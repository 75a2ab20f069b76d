//! `unpack --in-place`: an existing folder is filled, and is marked until it is complete.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use kit::archive::{Entry, dir, file, hardlink, symlink};
use kit::bench::Bench;
use kit::debian;
use kit::image::{Image, Layer};
use kit::process::{Finished, is_root, ordinary_user};
use kit::tree::Tree;

fn entries() -> Vec<Entry> {
    vec![
        dir("."),
        dir("etc"),
        file("etc/f", "content"),
        dir("read-only").mode(0o555),
        file("read-only/f", "x"),
        symlink("link", "etc"),
        hardlink("other", "etc/f"),
    ]
}

fn push(bench: &Bench, entries: &[Entry]) -> String {
    Image::new(vec![Layer::of(entries)]).push(&bench.registry, "os", "1")
}

fn in_place(bench: &Bench, name: &str) -> Finished {
    bench.home.run(&["unpack", "--in-place", name, "root"])
}

/// The names in the target.
fn names(bench: &Bench) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(bench.home.path("root"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// True if the target is marked as incomplete.
fn is_marked(bench: &Bench) -> bool {
    names(bench).iter().any(|name| name.starts_with(".pullet-incomplete"))
}

#[track_caller]
fn assert_same(expected: &Path, got: &Path) {
    let differences = Tree::read(expected).differences(&Tree::read(got));
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn makes_the_same_tree_as_a_rename() {
    let root = dir(".").mode(0o2751).owner(7, 8).mtime(1_600_000_000);
    let images = [
        entries(),
        vec![file("f", "no root")],
        [vec![root.clone().pax("SCHILY.xattr.user.note", "a word")], entries()[1..].to_vec()].concat(),
        vec![dir(".").mode(0o555), file("f", "read-only")],
        vec![],
    ];
    for (number, entries) in images.iter().enumerate() {
        for options in [&[][..], &["--stream"], &["--bundle"], &["-j", "3"]] {
            let bench = Bench::new();
            let name = push(&bench, entries);
            bench.home.run(&[&["unpack", &name, "expected"], options].concat()).exits(0);
            fs::create_dir(bench.home.path("root")).unwrap();
            let inode = bench.home.path("root").metadata().unwrap().ino();
            bench.home.run(&[&["unpack", "--in-place", &name, "root"], options].concat()).exits(0);
            let (expected, root) = (bench.home.path("expected"), bench.home.path("root"));
            if number != 1 && options != ["--bundle"] {
                assert_same(&expected, &root);
            } else {
                // Some times are those of the run.
                assert!(!is_marked(&bench));
            }
            assert_eq!(root.metadata().unwrap().ino(), inode);
        }
    }
}

#[test]
fn fills_a_mount_point() {
    let bench = Bench::new();
    let name = push(&bench, &entries());
    fs::create_dir(bench.home.path("root")).unwrap();
    let root = bench.home.arg("root");
    let script = format!(
        "mount -t tmpfs none {root} && mkdir {root}/lost+found && \"$@\" && cd {root} && find . | sort && stat -c %h etc/f"
    );
    let run = bench.home.pullet(&["unpack", "--in-place", &name, &root]).in_mount_namespace(&script).run();
    let expected = [".", "./etc", "./etc/f", "./link", "./lost+found", "./other", "./read-only", "./read-only/f", "2"];
    run.exits(0).prints(&format!("{}\n", expected.join("\n")));
    // What is mounted below is not cleared, nor is it an empty folder.
    let script = format!("mkdir -p {root}/below && mount -t tmpfs none {root}/below && \"$@\"");
    let run = bench.home.pullet(&["unpack", "--in-place", &name, &root]).in_mount_namespace(&script).run();
    run.exits(9).says("the folder is not empty");
}

#[test]
fn an_image_may_have_the_folder_of_a_new_filesystem() {
    for (entries, is_kept) in
        [(vec![dir("lost+found")], true), (vec![dir("lost+found"), file("lost+found/f", "")], false)]
    {
        let bench = Bench::new();
        let name = push(&bench, &[entries, vec![file("f", "")]].concat());
        let folder = bench.home.path("root/lost+found");
        fs::create_dir_all(&folder).unwrap();
        let inode = folder.metadata().unwrap().ino();
        in_place(&bench, &name).exits(0);
        assert_eq!(names(&bench), ["f", "lost+found"]);
        assert_eq!(folder.metadata().unwrap().ino() == inode, is_kept);
    }
}

#[test]
fn refuses_what_is_no_empty_folder_and_leaves_it_as_it_is() {
    let bench = Bench::new();
    let name = push(&bench, &entries());
    let refused = |code: i32, text: &str| {
        in_place(&bench, &name).exits(code).says(text).fails_in_one_line();
        assert_eq!(bench.registry.requests_to("/blobs/"), bench.registry.requests_to("/blobs/sha256:0"));
    };
    bench.home.run(&["pull", &name]).exits(0);
    bench.registry.clear_log();
    refused(9, "name a folder that exists");
    bench.home.write("root", "a file");
    refused(9, "name a folder that exists");
    fs::remove_file(bench.home.path("root")).unwrap();
    for left in [&["f"][..], &["lost+found", "lost+found/f"], &["lost+found", "f"]] {
        fs::create_dir(bench.home.path("root")).unwrap();
        left.iter().for_each(|name| fs::create_dir(bench.home.path("root").join(name)).unwrap());
        refused(9, "the folder is not empty");
        assert_eq!(names(&bench).len(), left.iter().filter(|name| !name.contains('/')).count());
        fs::remove_dir_all(bench.home.path("root")).unwrap();
    }
    fs::create_dir(bench.home.path("root")).unwrap();
    let lock = fs::File::open(bench.home.path("root")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    refused(9, "another process");
    drop(lock);
    for options in [["--replace"], ["--layered"]] {
        bench.home.run(&[&["unpack", "--in-place", &name, "root"][..], &options].concat()).exits(2);
    }
    in_place(&bench, &name).exits(0);
    refused(9, "the folder is not empty");
}

#[test]
fn a_failure_leaves_an_empty_folder() {
    for (entries, code, text) in [
        (vec![file(".pullet-incomplete", "mine"), file("f", "")], 11, "unsafe entry"),
        (vec![dir(".pullet-incomplete.moved"), file("f", "")], 11, "unsafe entry"),
        (vec![file("f", ""), file("../g", "")], 11, "g"),
    ] {
        let bench = Bench::new();
        let name = push(&bench, &entries);
        fs::create_dir(bench.home.path("root")).unwrap();
        in_place(&bench, &name).exits(code).says(text);
        assert!(names(&bench).is_empty(), "{:?}", names(&bench));
    }
    // A later layer cannot remove the mark.
    let bench = Bench::new();
    let opaque = [file(".wh..pullet-incomplete", ""), file(".wh..wh..opq", ""), file("f", "")];
    let layers = vec![Layer::of(&entries()), Layer::of(&opaque), Layer::plain(b"no archive")];
    let name = Image::new(layers).push(&bench.registry, "os", "1");
    fs::create_dir(bench.home.path("root")).unwrap();
    in_place(&bench, &name).exits(11);
    assert!(names(&bench).is_empty());
}

/// The calls that change names, and those that make changes durable.
const CALLS: [&str; 8] = ["mkdirat", "renameat", "fsync", "syncfs", "unlinkat", "fchmod", "openat", "fchown"];

#[test]
fn a_kill_or_an_error_at_any_point_leaves_a_mark_or_nothing_or_all() {
    debian::command("strace");
    let bench = Bench::new();
    let name = push(&bench, &entries());
    bench.home.run(&["unpack", &name, "expected"]).exits(0);
    let (expected, root) = (bench.home.path("expected"), bench.home.path("root"));
    let (mut marked, mut complete, mut empty) = (0, 0, 0);
    for fault in ["signal=KILL", "error=EIO"] {
        for call in CALLS {
            for count in 1.. {
                fs::create_dir(&root).unwrap();
                let inject = format!("inject={call}:{fault}:when={count}");
                let under = ["strace", "-P", root.to_str().unwrap(), "-o", "/dev/null", "-e", &inject];
                let under = if call == "openat" { under.to_vec() } else { [&under[..1], &under[3..]].concat() };
                let run = bench.home.pullet(&["unpack", "--in-place", &name, "root"]).under(&under).run();
                let shown = format!("{fault} {call} {count}: {:?}\n{run}", names(&bench));
                match (is_marked(&bench), names(&bench).is_empty()) {
                    (true, _) => marked += 1,
                    (false, true) => empty += 1,
                    (false, false) => {
                        // The time of the root is set last, because removing the mark changes it.
                        let differences = Tree::read(&expected).differences(&Tree::read(&root));
                        assert!(differences.iter().all(|line| line.get(1..4) == Some(" . ")), "{shown}");
                        complete += 1;
                    }
                }
                // An error is told, and is no success over an incomplete target.
                assert!(run.code != 0 || !is_marked(&bench) && !names(&bench).is_empty(), "{shown}");
                if is_marked(&bench) || names(&bench).is_empty() {
                    in_place(&bench, &name).exits(0);
                    assert_same(&expected, &root);
                }
                fs::remove_dir_all(&root).unwrap();
                if run.code == 0 {
                    break;
                }
            }
        }
    }
    assert!(marked > 20 && complete > 5 && empty > 5, "{marked} {complete} {empty}");
}

#[test]
fn only_what_was_moved_is_cleared() {
    let bench = Bench::new();
    let name = push(&bench, &entries());
    let root = bench.home.path("root");
    fs::create_dir_all(root.join(".pullet-incomplete/root/x")).unwrap();
    fs::create_dir_all(root.join("etc/old")).unwrap();
    fs::write(root.join(".pullet-incomplete.moved"), "etc\0../root\0..\0.\0other").unwrap();
    fs::write(root.join("mine"), "").unwrap();
    fs::write(bench.home.path("beside"), "").unwrap();
    in_place(&bench, &name).exits(9).says("the folder is not empty");
    assert_eq!(names(&bench), ["mine"]);
    assert!(bench.home.path("beside").exists());
    fs::remove_file(root.join("mine")).unwrap();
    in_place(&bench, &name).exits(0);
    assert!(!is_marked(&bench) && !root.join("etc/old").exists());
}

/// In a folder like /tmp, only the owner of an entry and root may remove it.
#[test]
fn the_list_of_another_user_removes_nothing() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let name = push(&bench, &entries());
    let root = bench.home.path("root");
    fs::create_dir_all(root.join("precious")).unwrap();
    let list = root.join(".pullet-incomplete.moved");
    fs::write(&list, "precious").unwrap();
    chown(&list, Some(12345), None).unwrap();
    in_place(&bench, &name).exits(9).says("belongs to another user").fails_in_one_line();
    assert_eq!(names(&bench), [".pullet-incomplete.moved", "precious"]);
}

#[test]
fn an_ordinary_user_fills_a_folder() {
    let bench = Bench::new();
    let name = push(&bench, &[vec![dir(".").mode(0o555)], entries()[1..].to_vec()].concat());
    fs::create_dir(bench.home.path("root")).unwrap();
    if let Some(user) = ordinary_user() {
        std::os::unix::fs::chown(bench.home.path("root"), Some(user), Some(user)).unwrap();
    }
    let args = ["unpack", "--in-place", &name, &bench.home.arg("root")];
    bench.home.pullet(&args).user(ordinary_user()).run().exits(0);
    let mode = |path: &str| bench.home.path(path).metadata().unwrap().mode() & 0o777;
    assert_eq!((mode("root"), mode("root/read-only"), names(&bench).len()), (0o555, 0o555, 4));
}
