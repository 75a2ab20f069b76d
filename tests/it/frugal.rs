//! What a file costs in system calls, and that a mode that is right from the start is right.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use rustix::fs::XattrFlags;

use kit::archive::{Entry, dir, file, symlink};
use kit::debian;
use kit::home::Home;
use kit::image::{Image, Layer};
use kit::process::program;
use kit::registry::Registry;

const FILES: usize = 40;

/// The system calls of unpacking an image whose only layer has these entries.
fn calls(entries: &[Entry]) -> BTreeMap<String, usize> {
    let (registry, home) = (Registry::plain(), Home::new());
    let name = Image::new(vec![Layer::of(entries)]).push(&registry, "app", "latest");
    home.run(&["pull", &name]).exits(0);
    let table = home.path("calls");
    let mut strace = debian::command("strace");
    strace.args(["--summary-only", "--summary-columns=calls,name", "-o"]).arg(&table).arg(program());
    strace.args(["unpack", "--quiet", "--pull=never", "--store"]).arg(home.store()).arg(&name).arg(home.path("tree"));
    debian::run(&mut strace).expect(0);
    let count = |line: &str| {
        let (count, name) = line.trim().split_once(' ')?;
        Some((name.trim().to_owned(), count.parse().ok()?))
    };
    // The fcntl is std's own, before each close of a debug build.
    let counted = |(name, _): &(String, usize)| !matches!(name.as_str(), "total" | "fcntl");
    fs::read_to_string(&table).unwrap().lines().filter_map(count).filter(counted).collect()
}

/// What so many more of an entry cost, for each of them.
#[track_caller]
fn check(case: &str, entry: impl Fn(usize) -> Vec<Entry>, expected: &[(&str, usize)]) {
    let entries = |count: usize| (0..count).flat_map(&entry).collect::<Vec<Entry>>();
    let (few, many) = (calls(&entries(FILES)), calls(&entries(3 * FILES)));
    let more = many.iter().map(|(name, count)| (name.as_str(), count - few.get(name).unwrap_or(&0)));
    // The size of the archive, and memory, cost a call now and then.
    let each: Vec<(&str, usize)> =
        more.map(|(name, more)| (name, more / (2 * FILES))).filter(|(_, n)| *n > 0).collect();
    assert_eq!(each, expected, "{case}");
}

#[test]
fn no_system_call_is_made_that_need_not_be() {
    let named = |kind: &str, number: usize| format!("{kind}-{number}");
    let file_calls = [("close", 1), ("openat", 1), ("utimensat", 1), ("write", 1)];
    check("a file", |n| vec![file(named("f", n), "content").mode(0o644)], &file_calls);
    check("a link", |n| vec![symlink(named("l", n), "target")], &[("symlinkat", 1), ("utimensat", 1)]);
    let folder_calls = [("close", 1), ("fchmod", 1), ("mkdirat", 1), ("openat", 1), ("utimensat", 1)];
    check("a folder", |n| vec![dir(named("d", n)).mode(0o755)], &folder_calls);
    // The folder around it is left, with its times put back, and entered again for the next one.
    let both =
        [("close", 3), ("fchmod", 1), ("fstat", 2), ("mkdirat", 1), ("openat", 3), ("utimensat", 4), ("write", 1)];
    let pair = |n| vec![dir(named("d", n)).mode(0o755), file(format!("d-{n}/f"), "content").mode(0o644)];
    check("a folder with a file", pair, &both);
}

/// A list with an entry for each class, as the kernel has it in an attribute.
fn default_acl(owner: u16, group: u16, others: u16) -> Vec<u8> {
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions) in [(0x01_u16, owner), (0x04, group), (0x20, others)] {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(u32::MAX.to_le_bytes());
    }
    list
}

#[test]
fn modes_are_right_whatever_the_umask_and_inherited_lists_say() {
    let modes = [0o644, 0o755, 0o600, 0o444, 0o666, 0o000, 0o4755];
    let entries: Vec<Entry> = modes.iter().map(|mode| file(format!("f{mode:o}"), "x").mode(*mode)).collect();
    let (registry, home) = (Registry::plain(), Home::new());
    let name = Image::new(vec![Layer::of(&entries)]).push(&registry, "app", "latest");
    for (umask, acl) in
        [("022", None), ("077", None), ("000", None), ("022", Some((7, 0, 0))), ("022", Some((7, 7, 7)))]
    {
        let case = format!("umask {umask}, list {acl:?}");
        let around = home.path(&format!("around-{umask}-{}", acl.map_or(8, |(_, group, _)| group)));
        fs::create_dir_all(&around).unwrap();
        if let Some((owner, group, others)) = acl {
            let list = default_acl(owner, group, others);
            rustix::fs::setxattr(&around, "system.posix_acl_default", &list, XattrFlags::empty()).expect(&case);
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask]).arg(program());
        shell.args(["unpack", "--quiet", "--store"]).arg(home.store()).arg(&name).arg(around.join("tree"));
        debian::run(&mut shell).expect(0);
        for mode in modes {
            let path = around.join(format!("tree/f{mode:o}"));
            assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o7777, mode, "{case}: {mode:o}");
        }
    }
}
