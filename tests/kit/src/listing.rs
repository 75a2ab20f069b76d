//! A folder as text to compare with an expected one: a line for each path, sorted by name.
//!
//! The lines are `d 0755 etc`, `f 0644 etc/a "text"`, `l etc/b -> a`, `p 0644 pipe`, `c 0600 1,3 null` and
//! `b 0600 7,0 loop`. A hard link to an earlier path is `h etc/c = etc/a`. For owners, times and extended attributes see
//! [`crate::tree`].

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Returns the lines for the paths below `root`, or one line that says that `root` is no folder.
pub fn listing(root: &Path) -> String {
    if !root.is_dir() {
        return format!("{} is not a folder", root.display());
    }
    let mut lines = Vec::new();
    walk(root, root, &mut BTreeMap::new(), &mut lines);
    lines.join("\n")
}

/// Asserts that two texts are the same, and shows both if they are not.
#[track_caller]
pub fn assert_same(what: &str, expected: &str, got: &str) {
    let (expected, got) = (expected.trim(), got.trim());
    assert!(
        expected == got,
        "\n{what}\n===== expected =====\n{expected}\n===== got =====\n{got}\n====================\n"
    );
}

fn walk(root: &Path, folder: &Path, inodes: &mut BTreeMap<u64, String>, lines: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
        let meta = fs::symlink_metadata(&path).unwrap();
        if !meta.is_dir()
            && meta.nlink() > 1
            && let Some(first) = inodes.get(&meta.ino())
        {
            lines.push(format!("h {name} = {first}"));
            continue;
        }
        inodes.insert(meta.ino(), name.clone());
        lines.push(line(&path, &name, &meta));
        if meta.is_dir() {
            walk(root, &path, inodes, lines);
        }
    }
}

fn line(path: &Path, name: &str, meta: &fs::Metadata) -> String {
    let (kind, mode) = (meta.file_type(), meta.mode() & 0o7777);
    let device = format!("{},{}", rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    if kind.is_dir() {
        format!("d {mode:04o} {name}")
    } else if kind.is_symlink() {
        let target = fs::read_link(path).unwrap();
        format!("l {name} -> {}", target.as_os_str().as_bytes().escape_ascii())
    } else if kind.is_fifo() {
        format!("p {mode:04o} {name}")
    } else if kind.is_char_device() {
        format!("c {mode:04o} {device} {name}")
    } else if kind.is_block_device() {
        format!("b {mode:04o} {device} {name}")
    } else {
        let body = fs::read(path).unwrap();
        match body.len() {
            0..=60 => format!("f {mode:04o} {name} \"{}\"", body.escape_ascii()),
            size => format!("f {mode:04o} {name} {size} bytes"),
        }
    }
}
