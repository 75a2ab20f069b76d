//! Bounds on what a small layer can cost: the depth of paths, links on a path, and loops that end when they are told to.

use std::fs;

use rustix::process::Signal;

use kit::archive::{Entry, dir, file, hardlink, opaque, symlink, whiteout};
use kit::bench::{Bench, unpack, unpack_image};
use kit::image::{Image, Layer};
use kit::process::Finished;

use crate::signals::until;

fn deep(components: usize) -> String {
    vec!["d"; components].join("/")
}

#[test]
fn a_path_has_at_most_as_many_components_as_the_limit() {
    let check = |case: &str, entries: &[&[Entry]], options: &[&str], is_good: bool| {
        let image = Image::new(entries.iter().map(|entries| Layer::of(entries)).collect());
        let unpacked = unpack_image(&image, options);
        if is_good {
            unpacked.done(case);
        } else {
            let outcome = unpacked.refused(case, 11).outcome;
            outcome.says("components of a path").says("hint: --max-depth raises this limit");
        }
    };
    check("the default", &[&[file(deep(1024), "1")]], &[], true);
    check("above the default", &[&[file(deep(1025), "1")]], &[], false);
    check("above the default, with the option", &[&[file(deep(1025), "1")]], &["--max-depth", "1025"], true);
    let four = ["--max-depth", "4"];
    for (case, entry) in [
        ("a file", file("d/d/d/d/x", "1")),
        ("a folder", dir("d/d/d/d/x")),
        ("a link", symlink("d/d/d/d/x", "y")),
        ("a whiteout", whiteout("d/d/d/d/x")),
        ("an opaque folder", opaque("d/d/d/d")),
        ("the target of a hard link", hardlink("x", "d/d/d/d/x")),
    ] {
        check(case, &[&[file("d/f", "1")], &[entry]], &four, false);
    }
    let link = [file("d/d/d/f", "1"), symlink("l", "d/d/d"), symlink("m", "l/../../d/d")];
    for (path, is_good) in [("l/x", true), ("l/x/y", false), ("m/x", true), ("m/x/y", false), ("l/../x/y", false)] {
        for entry in [file(path, "1"), dir(path)] {
            let is_good = is_good && !path.contains("..");
            let entries = [&link[..], &[entry]].concat();
            let unpacked = unpack_image(&Image::new(vec![Layer::of(&entries)]), &four);
            unpacked.outcome.exits_in(path, if is_good { 0 } else { 11 });
        }
    }
}

#[test]
fn links_that_lead_ever_deeper_are_refused() {
    let mut entries = vec![file(format!("{}/f", deep(600)), "1"), symlink("l0", deep(600))];
    for n in 1..8 {
        entries.push(file(format!("l{}/{}/f", n - 1, deep(600)), "1"));
        entries.push(symlink(format!("l{n}"), format!("l{}/{}", n - 1, deep(600))));
    }
    unpack(&[&entries]).refused("links", 11).outcome.says("more than 1024 components of a path");
}

#[test]
fn links_cost_no_more_than_the_archive_pays_for() {
    let costly = |count: usize| {
        let mut entries = vec![dir("a"), dir("b"), symlink("l", format!("{}a", "a/../".repeat(800)))];
        for n in 0..count {
            entries.extend([file(format!("l/{n}"), "1"), file(format!("b/{n}"), "1")]);
        }
        entries
    };
    unpack(&[&costly(2)]).done("two paths");
    unpack(&[&costly(1000)]).refused("a thousand paths", 11).outcome.says("its links have too many components");
    // A tree of links, as Nix has it.
    let mut entries = vec![file("nix/store/aaa/lib/x/f", "1"), symlink("run", "nix/store/aaa"), dir("b")];
    entries.push(symlink("lib", "/run/lib/x"));
    for n in 0..2000 {
        entries.extend([file(format!("lib/{n}"), "1"), file(format!("b/{n}"), "1")]);
    }
    unpack(&[&entries]).done("a tree of links");
}

/// Each call takes a while; the process is still the shell's.
fn slow(call: &str) -> String {
    format!("exec strace -D -qq -o /dev/null -e inject={call}:delay_enter=50000 \"$@\"")
}

/// More removals than the kit waits for, if each takes its time.
const MANY: usize = 5000;

fn many(directory: &str) -> Vec<Entry> {
    (0..MANY).map(|n| file(format!("{directory}/{n}"), "")).collect()
}

/// Unpacks an image from the store with slow removals, and signals the process once files go missing from `directory`.
fn interrupt_removal(bench: &Bench, image: &Image, directory: &str) -> Finished {
    bench.pull(image).exits(0);
    let args = ["unpack", "--pull", "never", &bench.registry.name("app"), &bench.home.arg("root")];
    let running = bench.home.pullet(&args).through_shell(&slow("unlinkat")).start();
    let directory = bench.home.path(directory);
    let count = || fs::read_dir(&directory).map_or(0, Iterator::count);
    let mut most = 0;
    until("a removal", || {
        let now = count();
        most = most.max(now);
        most == MANY && now < MANY
    });
    running.signal(Signal::TERM);
    running.wait().exits(143)
}

#[test]
fn the_removal_of_many_files_ends_with_the_process_and_the_next_run_removes_the_rest() {
    for (case, upper) in [
        ("a whiteout", vec![whiteout("d")]),
        ("an opaque folder", vec![opaque("d")]),
        ("a file in the place of a folder", vec![file("d", "1")]),
    ] {
        let bench = Bench::new();
        let image = Image::new(vec![Layer::of(&many("d")), Layer::of(&upper)]);
        interrupt_removal(&bench, &image, ".root.pullet/root/d").fails_in_one_line().says("interrupted");
        // The final removal of the tree is bounded too.
        assert!(bench.home.path(".root.pullet").exists(), "{case}");
        assert!(!bench.home.path("root").exists(), "{case}");
        let again = ["unpack", "--pull", "never", &bench.registry.name("app"), &bench.home.arg("root")];
        bench.home.run(&again).exits_in(case, 0);
        assert!(!bench.home.path(".root.pullet").exists(), "{case}");
    }
}

#[test]
fn the_removal_of_a_leftover_ends_with_the_process() {
    let bench = Bench::new();
    let leftover = bench.home.path(".root.pullet/root/d");
    fs::create_dir_all(&leftover).unwrap();
    for n in 0..MANY {
        fs::write(leftover.join(n.to_string()), "").unwrap();
    }
    interrupt_removal(&bench, &Image::small("new"), ".root.pullet/root/d").fails_in_one_line().says("interrupted");
    assert!(leftover.exists());
    bench.home.run(&["unpack", "--pull", "never", &bench.registry.name("app"), &bench.home.arg("root")]).exits(0);
    assert!(!bench.home.path(".root.pullet").exists());
}

#[test]
fn the_removal_of_a_leftover_never_enters_a_mount() {
    for (case, script) in [
        ("another filesystem", "mkdir -p \"$1/root/m\"; mount -t tmpfs tmpfs \"$1/root/m\"; echo 1 >\"$1/root/m/f\""),
        (
            "a bind mount",
            "mkdir -p \"$1/root/m\" \"$1.mine\"; echo 1 >\"$1.mine/f\"; mount --bind \"$1.mine\" \"$1/root/m\"",
        ),
        (
            "the tree itself",
            "mkdir -p \"$1/root\" \"$1.mine\"; echo 1 >\"$1.mine/f\"; mount --bind \"$1.mine\" \"$1/root\"",
        ),
    ] {
        let bench = Bench::new();
        let name = Image::small("new").push(&bench.registry, "app", "latest");
        let place = if case == "the tree itself" { "root/f" } else { "root/m/f" };
        let script =
            format!("{script}; at=$1; shift; \"$@\"; code=$?; cat \"$at/{place}\" >/dev/null || exit 99; exit $code");
        let args = ["unpack", &name, &bench.home.arg("root")];
        let staging = bench.home.arg(".root.pullet");
        let outcome = bench.home.pullet(&args).in_mount_namespace(&script).under(&[&staging]).run();
        outcome.exits_in(case, 9).fails_in_one_line().says("mount point");
    }
}

#[test]
fn a_lock_that_cannot_be_had_leaves_nothing_behind() {
    let bench = Bench::new();
    bench.pull(&Image::small("new")).exits(0);
    let args = ["unpack", "--stream", "--pull", "always", &bench.registry.name("app"), &bench.home.arg("root")];
    let no_locks = "exec strace -D -qq -o /dev/null -e inject=flock:error=ENOLCK \"$@\"";
    bench.home.pullet(&args).through_shell(no_locks).run().exits(9).fails_in_one_line().says("lock");
    assert!(!bench.home.path(".root.pullet").exists());
}
