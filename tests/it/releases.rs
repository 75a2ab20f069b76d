//! `unpack --replace`, `releases` and `rollback`: a tree takes the place of another one in one atomic step, and older ones
//! are kept.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, RenameFlags, flock, renameat_with};

use kit::archive::{dir, file};
use kit::bench::Bench;
use kit::debian;
use kit::home::Home;
use kit::image::{Image, Layer};
use kit::process::{Finished, ordinary_user};

/// Pushes a version of an image: a folder and a file, both with the version in them.
fn push(bench: &Bench, version: &str) -> String {
    let entries = [dir(version), file(format!("{version}/f"), version), file("version", version)];
    Image::new(vec![Layer::of(&entries)]).push(&bench.registry, "os", version)
}

fn replace(bench: &Bench, version: &str, options: &[&str]) -> Finished {
    let name = push(bench, version);
    bench.home.run(&[&["unpack", "--stream", "--replace"], options, &[&name, "root"]].concat())
}

/// The version that the target is, whole.
#[track_caller]
fn version(home: &Home) -> String {
    let root = home.path("root");
    let version = fs::read_to_string(root.join("version")).unwrap();
    assert_eq!(fs::read_to_string(root.join(&version).join("f")).unwrap(), version);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 2);
    version
}

fn kept(home: &Home) -> PathBuf {
    home.path(".root.releases")
}

/// The numbers of the releases, with a star after the current one.
fn releases(home: &Home) -> Vec<String> {
    let out = home.run(&["releases", "root"]).exits(0).stdout;
    let number = |line: &str| {
        let (mark, rest) = line.split_at(1);
        format!("{}{}", rest.split_whitespace().next().unwrap(), mark.trim())
    };
    out.lines().map(number).collect()
}

#[test]
fn replaces_a_tree_and_puts_it_back() {
    for options in [&[][..], &["--symlink"]] {
        let bench = Bench::new();
        for expected in ["one", "two"] {
            replace(&bench, expected, options).exits(0).prints("");
            assert_eq!(version(&bench.home), expected, "{options:?}");
        }
        assert_eq!(releases(&bench.home), ["1", "2*"], "{options:?}");
        bench.home.run(&["rollback", "root"]).exits(0);
        assert_eq!((version(&bench.home).as_str(), releases(&bench.home)), ("one", vec!["1*".into(), "2".into()]));
        bench.home.run(&["rollback", "--to", "2", "root"]).exits(0);
        assert_eq!((version(&bench.home).as_str(), releases(&bench.home)), ("two", vec!["1".into(), "2*".into()]));
        assert_eq!(bench.home.path("root").is_symlink(), !options.is_empty());
    }
}

#[test]
fn lists_names_digests_and_times() {
    let bench = Bench::new();
    replace(&bench, "one", &[]).exits(0);
    let line = bench.home.run(&["releases", "root"]).exits(0).stdout;
    let digest = fs::read_to_string(kept(&bench.home).join("1/release.json")).unwrap();
    let digest = digest.split('"').find(|word| word.starts_with("sha256:")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert!(words[2].ends_with("/os:one") && words[3] == digest && words[4].ends_with('Z'), "{line}");
    bench.home.run(&["releases", "-q", "root"]).exits(0).prints("1\n");
    bench.home.run(&["releases", "other"]).exits(3).says("no releases of");
    bench.home.run(&["rollback", "other"]).exits(3).says("no releases of");
    bench.home.run(&["rollback", "root"]).exits(3).says("an older release of");
    bench.home.run(&["rollback", "--to", "7", "root"]).exits(3).says("release 7 of");
}

#[test]
fn a_folder_that_something_else_made_is_kept_too() {
    for options in [&[][..], &["--symlink"]] {
        let bench = Bench::new();
        fs::create_dir_all(bench.home.path("root/old")).unwrap();
        replace(&bench, "one", options).exits(0);
        assert_eq!(version(&bench.home), "one", "{options:?}");
        let out = bench.home.run(&["releases", "root"]).exits(0).stdout;
        assert!(out.contains("2  <unknown>") && releases(&bench.home) == ["1*", "2"], "{out}");
        bench.home.run(&["rollback", "root"]).exits(0);
        assert!(bench.home.path("root/old").is_dir(), "{options:?}");
    }
}

#[test]
fn keeps_as_many_as_were_asked_for_and_the_replaced_one_first() {
    let bench = Bench::new();
    for version in ["one", "two", "three"] {
        replace(&bench, version, &["--keep", "2"]).exits(0);
    }
    assert_eq!(releases(&bench.home), ["1", "2", "3*"]);
    bench.home.run(&["rollback", "--to", "1", "root"]).exits(0);
    // Release 3 was given up, so the one in use is worth more.
    replace(&bench, "four", &[]).exits(0);
    assert_eq!(releases(&bench.home), ["1", "4*"]);
    bench.home.run(&["rollback", "root"]).exits(0);
    assert_eq!(version(&bench.home), "one");
    replace(&bench, "five", &["--keep", "0"]).exits(0);
    assert_eq!(releases(&bench.home), ["5*"]);
}

#[test]
fn a_failure_leaves_the_old_tree_and_nothing_else() {
    let bench = Bench::new();
    replace(&bench, "one", &[]).exits(0);
    let names = || fs::read_dir(kept(&bench.home)).unwrap().count();
    bench.home.run(&["unpack", "--stream", "--replace", &bench.registry.name("os:missing"), "root"]).exits(3);
    let bad = Image::new(vec![Layer::plain(b"no archive")]).push(&bench.registry, "os", "bad");
    bench.home.run(&["unpack", "--stream", "--replace", &bad, "root"]).exits(11);
    assert_eq!(version(&bench.home), "one");
    // The next command removes what is left of them.
    bench.home.run(&["rollback", "root"]).exits(3);
    assert_eq!(names(), 1);
}

#[test]
fn refuses_what_it_cannot_replace_before_the_first_request() {
    let refused = |bench: &Bench, options: &[&str], code: i32, text: &str| {
        replace(bench, "one", options).exits(code).says(text);
        assert!(bench.registry.log().is_empty(), "{text}");
    };
    let bench = Bench::new();
    refused(&bench, &["--keep", "x"], 2, "invalid value");
    bench.home.run(&["unpack", "--symlink", "x", "root"]).exits(2).says("need --replace");
    bench.home.write("root", "a file");
    refused(&bench, &[], 9, "it exists and is no folder");
    fs::remove_file(bench.home.path("root")).unwrap();
    symlink("elsewhere", bench.home.path("root")).unwrap();
    refused(&bench, &[], 9, "no link to a release");
    fs::remove_file(bench.home.path("root")).unwrap();
    fs::create_dir_all(kept(&bench.home)).unwrap();
    let lock = fs::File::open(kept(&bench.home)).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    refused(&bench, &[], 9, "another process");
}

#[test]
fn a_mount_point_is_not_replaced() {
    let bench = Bench::new();
    let name = push(&bench, "one");
    fs::create_dir(bench.home.path("root")).unwrap();
    let mount = format!("mount -t tmpfs none {} && exec \"$@\"", bench.home.arg("root"));
    let pullet = bench.home.pullet(&["unpack", "--stream", "--replace", &name, "root"]);
    pullet.in_mount_namespace(&mount).run().exits(9).says("it is a mount point");
}

#[test]
fn a_folder_that_cannot_be_moved_is_refused_before_the_first_request() {
    let bench = Bench::new();
    let name = push(&bench, "one");
    let (home, root) = (bench.home.arg("m"), bench.home.arg("m/o/root"));
    fs::create_dir(bench.home.path("m")).unwrap();
    let overlay = format!(
        "mount -t tmpfs none {home} && cd {home} && mkdir -p low/root/old up work o && \
         mount -t overlay overlay -o lowerdir=low,upperdir=up,workdir=work,redirect_dir=off o"
    );
    let bind = format!("mkdir -p {root} && mount --bind {root} {root}");
    for (prepare, code, text) in [(&overlay, 10, "of a lower layer"), (&bind, 9, "it is a mount point")] {
        for options in [&[][..], &["--symlink"]] {
            let args = [&["unpack", "--stream", "--replace"], options, &[&name, &root]].concat();
            let run = bench.home.pullet(&args).in_mount_namespace(&format!("{prepare} && \"$@\"")).run();
            run.exits(code).says(text).fails_in_one_line();
            assert!(bench.registry.log().is_empty());
        }
    }
    // As the hint says, a copy can be replaced.
    let copied =
        format!("{overlay} && cp -a o/root o/copy && rm -r o/root && mv o/copy o/root && \"$@\" && cat o/root/version");
    let args = ["unpack", "--stream", "--replace", &name, &root];
    bench.home.pullet(&args).in_mount_namespace(&copied).run().exits(0).prints("one");
}

#[test]
fn a_filesystem_that_cannot_exchange_is_refused_before_the_first_request() {
    debian::command("strace");
    let bench = Bench::new();
    let name = push(&bench, "one");
    let unpack = |options: &[&str]| {
        let inject = ["strace", "-f", "-o", "/dev/null", "-e", "inject=renameat2:error=EINVAL"];
        let args = [&["unpack", "--stream", "--replace"], options, &[&name, "root"]].concat();
        bench.home.pullet(&args).under(&inject).run()
    };
    unpack(&[]).exits(10).says("cannot exchange two folders").says("--symlink");
    assert!(bench.registry.log().is_empty());
    unpack(&["--symlink"]).exits(0);
    assert_eq!(version(&bench.home), "one");
}

/// The calls that change names, and those that make changes durable.
const CALLS: [&str; 7] = ["mkdirat", "symlinkat", "renameat", "renameat2", "fsync", "syncfs", "unlinkat"];

/// Kills a command at each of these calls, and checks what is left.
fn kill_everywhere(words: &[&str], prepare: &dyn Fn(&Bench) -> Vec<String>) {
    debian::command("strace");
    let mut kills = 0;
    for name in CALLS {
        let count = (1..).take_while(|call| is_killed(words, prepare, name, *call)).count();
        kills += count;
    }
    assert!(kills > 5, "only {kills} calls");
}

/// Kills the command at this call, if it comes so far.
fn is_killed(words: &[&str], prepare: &dyn Fn(&Bench) -> Vec<String>, name: &str, call: usize) -> bool {
    let bench = Bench::new();
    let arguments = prepare(&bench);
    let inject = format!("inject={name}:signal=KILL:when={call}");
    let under = ["strace", "-o", "/dev/null", "-e", &inject];
    let arguments: Vec<&str> = words.iter().copied().chain(arguments.iter().map(String::as_str)).collect();
    let is_complete = bench.home.pullet(&arguments).under(&under).run().code == 0;
    let left = version(&bench.home);
    assert!(["one", "two"].contains(&left.as_str()), "{name} {call}");
    // Whatever is left, the tree can be replaced, and put back.
    replace(&bench, "three", &["--keep", "9"]).exits(0);
    assert_eq!(version(&bench.home), "three", "{name} {call}");
    let out = bench.home.run(&["releases", "root"]).exits(0).stdout;
    let count = out.lines().count();
    assert!(count == 3 || (count == 2 && left == "one"), "{name} {call}: {out}");
    bench.home.run(&["rollback", "root"]).exits(0);
    assert_eq!(version(&bench.home), left, "{name} {call}");
    let folders = fs::read_dir(kept(&bench.home)).unwrap().count();
    assert_eq!(folders, count, "{name} {call}");
    !is_complete
}

#[test]
fn a_kill_at_any_point_leaves_the_old_tree_or_the_new_one() {
    for options in [&["unpack", "--stream", "--replace"][..], &["unpack", "--stream", "--replace", "--symlink"]] {
        kill_everywhere(options, &|bench| {
            replace(bench, "one", &options[3..]).exits(0);
            vec![push(bench, "two"), bench.home.arg("root")]
        });
    }
    // A folder makes room for a symlink.
    kill_everywhere(&["unpack", "--stream", "--replace", "--symlink"], &|bench| {
        replace(bench, "one", &[]).exits(0);
        vec![push(bench, "two"), bench.home.arg("root")]
    });
    kill_everywhere(&["rollback"], &|bench| {
        replace(bench, "one", &[]).exits(0);
        replace(bench, "two", &[]).exits(0);
        vec![bench.home.arg("root")]
    });
}

/// The states that a kill can leave between two steps.
#[test]
fn the_next_command_completes_or_undoes_what_a_kill_left() {
    let exchange = |one: &Path, two: &Path| {
        let here = rustix::fs::CWD;
        renameat_with(here, one, here, two, RenameFlags::EXCHANGE).unwrap();
    };
    let with_two = || {
        let bench = Bench::new();
        replace(&bench, "one", &[]).exits(0);
        replace(&bench, "two", &[]).exits(0);
        bench
    };
    // After the exchange of a rollback.
    let bench = with_two();
    exchange(&kept(&bench.home).join("1/root"), &bench.home.path("root"));
    assert_eq!(version(&bench.home), "one");
    bench.home.run(&["rollback", "--to", "2", "root"]).exits(0);
    assert_eq!((version(&bench.home).as_str(), releases(&bench.home)), ("two", vec!["1".into(), "2*".into()]));
    // After the exchange of a replacement, and before it.
    for is_exchanged in [true, false] {
        let bench = with_two();
        let slot = kept(&bench.home).join("2");
        fs::rename(slot.join("release.json"), slot.join("pending.json")).unwrap();
        if !is_exchanged {
            exchange(&kept(&bench.home).join("1/root"), &bench.home.path("root"));
            fs::rename(kept(&bench.home).join("1/root"), slot.join("root")).unwrap();
        } else {
            fs::rename(kept(&bench.home).join("1/root"), slot.join("root")).unwrap();
        }
        let before = version(&bench.home);
        bench.home.run(&["rollback", "--to", "9", "root"]).exits(3);
        let expected: &[&str] = if is_exchanged { &["1", "2*"] } else { &["1*"] };
        assert_eq!(
            (version(&bench.home), releases(&bench.home)),
            (before, expected.iter().map(ToString::to_string).collect())
        );
    }
    // In the middle of an unpacking, of a probe, of a removal, and of making a link.
    let bench = with_two();
    for folder in ["3/.root.pullet/root/x", "4/root/x", "probe.0", "1.removed/root/x"] {
        fs::create_dir_all(kept(&bench.home).join(folder)).unwrap();
    }
    fs::write(kept(&bench.home).join("4/pending.json"), "{\"inode\":").unwrap();
    symlink("x", kept(&bench.home).join("link")).unwrap();
    bench.home.run(&["rollback", "root"]).exits(0);
    assert_eq!((version(&bench.home).as_str(), releases(&bench.home)), ("one", vec!["1*".into(), "2".into()]));
    assert_eq!(fs::read_dir(kept(&bench.home)).unwrap().count(), 2);
}

#[test]
fn other_users_enter_only_the_trees_of_a_link() {
    let bench = Bench::new();
    replace(&bench, "one", &[]).exits(0);
    replace(&bench, "two", &[]).exits(0);
    let mode = |path: &str| kept(&bench.home).join(path).metadata().unwrap().mode() & 0o777;
    assert_eq!((mode("."), mode("1")), (0o700, 0o700));
    let bench = Bench::new();
    replace(&bench, "one", &["--symlink"]).exits(0);
    let mode = |path: &str| kept(&bench.home).join(path).metadata().unwrap().mode() & 0o777;
    assert_eq!((mode("."), mode("1"), mode("1/root")), (0o711, 0o711, 0o755));
}

/// An ordinary user may move a folder only if it is writable.
#[test]
fn an_ordinary_user_replaces_a_tree_whose_root_is_read_only() {
    let bench = Bench::new();
    for version in ["one", "two"] {
        let entries =
            [dir(".").mode(0o555), dir(version), file(format!("{version}/f"), version), file("version", version)];
        let name = Image::new(vec![Layer::of(&entries)]).push(&bench.registry, "os", version);
        let args = ["unpack", "--stream", "--replace", &name, &bench.home.arg("root")];
        bench.home.pullet(&args).user(ordinary_user()).run().exits(0);
        assert_eq!(bench.home.path("root").metadata().unwrap().mode() & 0o777, 0o555);
    }
    assert_eq!(version(&bench.home), "two");
    bench.home.pullet(&["rollback", &bench.home.arg("root")]).user(ordinary_user()).run().exits(0);
    assert_eq!(version(&bench.home), "one");
    for path in [bench.home.path("root"), kept(&bench.home).join("2/root")] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o555);
    }
}
