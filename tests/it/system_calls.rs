//! The number of system calls per entry, and the modes of files that are created with their final mode.

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

/// Counts the system calls of unpacking an image whose only layer has these entries.
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
    // The standard library calls fcntl before each close in a debug build.
    let counted = |(name, _): &(String, usize)| !matches!(name.as_str(), "total" | "fcntl");
    fs::read_to_string(&table).unwrap().lines().filter_map(count).filter(counted).collect()
}

/// Asserts which system calls each additional entry costs.
#[track_caller]
fn check(case: &str, entry: impl Fn(usize) -> Vec<Entry>, expected: &[(&str, usize)]) {
    let entries = |count: usize| (0..count).flat_map(&entry).collect::<Vec<Entry>>();
    let (few, many) = (calls(&entries(FILES)), calls(&entries(3 * FILES)));
    let more = many.iter().map(|(name, count)| (name.as_str(), count - few.get(name).unwrap_or(&0)));
    // Reading the archive and allocating memory cost less than one call per entry, which the division drops.
    let each: Vec<(&str, usize)> =
        more.map(|(name, more)| (name, more / (2 * FILES))).filter(|(_, n)| *n > 0).collect();
    assert_eq!(each, expected, "{case}");
}

#[test]
fn makes_only_the_necessary_system_calls() {
    let named = |kind: &str, number: usize| format!("{kind}-{number}");
    let file_calls = [("close", 1), ("openat", 1), ("utimensat", 1), ("write", 1)];
    check("a file", |n| vec![file(named("f", n), "content").mode(0o644)], &file_calls);
    check("a link", |n| vec![symlink(named("l", n), "target")], &[("symlinkat", 1), ("utimensat", 1)]);
    let folder_calls = [("close", 1), ("fchmod", 1), ("mkdirat", 1), ("openat", 1), ("utimensat", 1)];
    check("a folder", |n| vec![dir(named("d", n)).mode(0o755)], &folder_calls);
    // For each pair the root folder is left, its times are restored, and it is entered again.
    let both =
        [("close", 3), ("fchmod", 1), ("fstat", 2), ("mkdirat", 1), ("openat", 3), ("utimensat", 4), ("write", 1)];
    let pair = |n| vec![dir(named("d", n)).mode(0o755), file(format!("d-{n}/f"), "content").mode(0o644)];
    check("a folder with a file", pair, &both);
}

/// A default ACL with an entry for each class, in the format of the extended attribute.
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
fn modes_do_not_depend_on_the_umask_or_a_default_acl() {
    let modes = [0o644, 0o755, 0o600, 0o444, 0o666, 0o000, 0o4755];
    let entries: Vec<Entry> = modes.iter().map(|mode| file(format!("f{mode:o}"), "x").mode(*mode)).collect();
    let (registry, home) = (Registry::plain(), Home::new());
    let name = Image::new(vec![Layer::of(&entries)]).push(&registry, "app", "latest");
    for (umask, acl) in
        [("022", None), ("077", None), ("000", None), ("022", Some((7, 0, 0))), ("022", Some((7, 7, 7)))]
    {
        let case = format!("umask {umask}, ACL {acl:?}");
        let parent = home.path(&format!("parent-{umask}-{}", acl.map_or(8, |(_, group, _)| group)));
        fs::create_dir_all(&parent).unwrap();
        if let Some((owner, group, others)) = acl {
            let list = default_acl(owner, group, others);
            rustix::fs::setxattr(&parent, "system.posix_acl_default", &list, XattrFlags::empty()).expect(&case);
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask]).arg(program());
        shell.args(["unpack", "--quiet", "--store"]).arg(home.store()).arg(&name).arg(parent.join("tree"));
        debian::run(&mut shell).expect(0);
        for mode in modes {
            let path = parent.join(format!("tree/f{mode:o}"));
            assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o7777, mode, "{case}: {mode:o}");
        }
    }
}
