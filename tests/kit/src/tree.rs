//! Reads all metadata of a folder, and compares it with that of another.
//!
//! A tree has everything that a layer can say about a path: type, mode with the setuid bits, owner, time to the nanosecond,
//! content, link target, device number, extended attributes, and which paths are one inode. It does not have what the file
//! system decides: inode numbers, block counts, and the sizes and link counts of folders.

use rustix::fs::{lgetxattr, llistxattr, major, minor};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use crate::digest::hex;

/// The number of differing lines that a failed assertion shows.
const SHOWN: usize = 20;

/// The paths of a tree, as in an archive, without a leading slash. The root is `.`.
#[derive(Clone, Debug, Default)]
pub struct Tree(pub BTreeMap<Vec<u8>, Node>);

/// One path of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The type.
    pub kind: Kind,
    /// The twelve permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Seconds and nanoseconds; `None` if the time is not known and is not to be compared.
    pub mtime: Option<(i64, u32)>,
    /// The extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The number of names of the inode; 1 for every folder.
    pub nlink: u64,
    /// The first path of the same inode in the order of bytes, unless it is this one.
    pub same_as: Option<Vec<u8>>,
}

/// The type of a path, with the properties of that type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A block device with its numbers.
    Block(u32, u32),
    /// A character device with its numbers.
    Char(u32, u32),
    /// A folder.
    Dir,
    /// A named pipe.
    Fifo,
    /// A regular file.
    File {
        /// The size in bytes.
        size: u64,
        /// The SHA-256 digest of the content in hex.
        sha256: String,
    },
    /// A socket.
    Socket,
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
}

impl Tree {
    /// Reads a folder. Follows no link.
    pub fn read(root: &Path) -> Tree {
        let mut tree = Tree::default();
        let mut first_names: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
        let mut pending = vec![b".".to_vec()];
        while let Some(path) = pending.pop() {
            let at = root.join(std::ffi::OsStr::from_bytes(&path));
            let meta = at.symlink_metadata().unwrap_or_else(|e| panic!("stat {}: {e}", at.display()));
            if meta.is_dir() {
                pending.extend(children(&at, &path));
            } else if meta.nlink() > 1 {
                let first = first_names.entry((meta.dev(), meta.ino())).or_insert_with(|| path.clone());
                if path < *first {
                    first.clone_from(&path);
                }
            }
            tree.0.insert(path, node(&at, &meta));
        }
        tree.name_link_groups(root, &first_names);
        tree
    }

    /// Returns the tree after `change` on every node, without the nodes for which it returns false.
    pub fn map(&self, mut change: impl FnMut(&[u8], &mut Node) -> bool) -> Tree {
        let mut nodes = self.0.clone();
        nodes.retain(|path, node| change(path, node));
        Tree(nodes)
    }

    /// Returns a line `- …` for each path of this tree that differs, and a line `+ …` for each of the other tree.
    ///
    /// A time that is `None` on one side is not compared.
    pub fn differences(&self, found: &Tree) -> Vec<String> {
        let paths: BTreeSet<&Vec<u8>> = self.0.keys().chain(found.0.keys()).collect();
        let mut lines = Vec::new();
        for path in paths {
            let (old, new) = (self.0.get(path), found.0.get(path));
            if !same(old, new) {
                lines.extend(old.map(|node| format!("- {}", line(path, node))));
                lines.extend(new.map(|node| format!("+ {}", line(path, node))));
            }
        }
        lines
    }

    /// Asserts that there are no [differences](Tree::differences), and shows the first ones if there are.
    #[track_caller]
    pub fn assert_same(&self, found: &Tree, what: &str) {
        let differing = self.differences(found);
        if differing.is_empty() {
            return;
        }
        let ruler = "-".repeat(100);
        let shown = differing.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n");
        let (lines, expected, found) = (differing.len(), self.0.len(), found.0.len());
        panic!("{what}: {lines} differing lines ({expected} paths expected, {found} found)\n{ruler}\n{shown}\n{ruler}");
    }

    fn name_link_groups(&mut self, root: &Path, first_names: &HashMap<(u64, u64), Vec<u8>>) {
        for (path, node) in &mut self.0 {
            if node.nlink < 2 {
                continue;
            }
            let at = root.join(std::ffi::OsStr::from_bytes(path));
            let meta = at.symlink_metadata().unwrap();
            let first = &first_names[&(meta.dev(), meta.ino())];
            node.same_as = (first != path).then(|| first.clone());
        }
    }
}

/// Returns bytes as printable text. All but visible ASCII characters become `\xNN`, so that spaces are seen.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'!'..=b'~' => text.push(char::from(byte)),
            _ => write!(text, "\\x{byte:02x}").unwrap(),
        }
    }
    text
}

fn children(folder: &Path, path: &[u8]) -> Vec<Vec<u8>> {
    let prefix = if path == b"." { Vec::new() } else { [path, b"/"].concat() };
    std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("list {}: {e}", folder.display()))
        .map(|entry| [prefix.clone(), entry.unwrap().file_name().into_vec()].concat())
        .collect()
}

fn node(at: &Path, meta: &Metadata) -> Node {
    Node {
        kind: kind(at, meta),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: Some((meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap())),
        xattrs: xattrs(at),
        nlink: if meta.is_dir() { 1 } else { meta.nlink() },
        same_as: None,
    }
}

fn kind(at: &Path, meta: &Metadata) -> Kind {
    let of = meta.file_type();
    let device = (major(meta.rdev()), minor(meta.rdev()));
    if of.is_dir() {
        Kind::Dir
    } else if of.is_file() {
        Kind::File { size: meta.len(), sha256: content(at) }
    } else if of.is_symlink() {
        Kind::Symlink(std::fs::read_link(at).unwrap().into_os_string().into_vec())
    } else if of.is_block_device() {
        Kind::Block(device.0, device.1)
    } else if of.is_char_device() {
        Kind::Char(device.0, device.1)
    } else if of.is_fifo() {
        Kind::Fifo
    } else {
        Kind::Socket
    }
}

fn content(at: &Path) -> String {
    let mut file = File::open(at).unwrap_or_else(|e| panic!("open {}: {e}", at.display()));
    let (mut sha, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).unwrap_or_else(|e| panic!("read {}: {e}", at.display())) {
            0 => return hex(&sha.finalize()),
            n => sha.update(&buffer[..n]),
        }
    }
}

fn xattrs(at: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let length = llistxattr(at, &mut names[..]).unwrap_or_else(|e| panic!("list xattrs of {}: {e}", at.display()));
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| (name.to_vec(), xattr(at, name))).collect()
}

fn xattr(at: &Path, name: &[u8]) -> Vec<u8> {
    let mut value = vec![0; 1 << 16];
    let length = lgetxattr(at, name, &mut value[..])
        .unwrap_or_else(|e| panic!("xattr {} of {}: {e}", escaped(name), at.display()));
    value.truncate(length);
    value
}

fn line(path: &[u8], node: &Node) -> String {
    let (letter, detail) = match &node.kind {
        Kind::Block(major, minor) => ('b', format!(" {major}:{minor}")),
        Kind::Char(major, minor) => ('c', format!(" {major}:{minor}")),
        Kind::Dir => ('d', String::new()),
        Kind::Fifo => ('p', String::new()),
        Kind::File { size, sha256 } => ('-', format!(" {size} {}", &sha256[..16])),
        Kind::Socket => ('s', String::new()),
        Kind::Symlink(target) => ('l', format!(" -> {}", escaped(target))),
    };
    let Node { mode, uid, gid, nlink, .. } = node;
    let time = node.mtime.map_or("any time".to_owned(), |(s, ns)| format!("{s}.{ns:09}"));
    let mut text = format!("{} {letter}{mode:04o} {uid}:{gid} {time}{detail}", escaped(path));
    if *nlink > 1 {
        write!(text, " links={nlink}").unwrap();
    }
    if let Some(first) = &node.same_as {
        write!(text, " same-as={}", escaped(first)).unwrap();
    }
    for (name, value) in &node.xattrs {
        write!(text, " {}={}", escaped(name), escaped(value)).unwrap();
    }
    text
}

fn same(old: Option<&Node>, new: Option<&Node>) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return false;
    };
    let mtime = old.mtime.and(new.mtime);
    let timed = |node: &Node| Node { mtime: mtime.and(node.mtime), ..node.clone() };
    timed(old) == timed(new)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::debian::{command, run};
    use crate::home::TempDir;

    /// Returns the paths that differ after the script has changed a copy of a small tree.
    fn differing_after(script: &str) -> String {
        let folder = TempDir::new();
        let (left, right) = (folder.path().join("left"), folder.path().join("right"));
        fs::create_dir_all(left.join("a")).unwrap();
        for (name, text) in [("a/x", "1"), ("b", "2"), ("c", "")] {
            fs::write(left.join(name), text).unwrap();
        }
        run(command("cp").arg("--archive").arg(&left).arg(&right)).expect(0);
        // A change below a folder changes its time too, which is restored.
        let restored = format!("{script}; touch -r ../left/a a; touch -r ../left .");
        run(command("sh").args(["-ec", &restored]).current_dir(&right)).expect(0);
        let lines = Tree::read(&left).differences(&Tree::read(&right));
        lines.iter().map(|line| line.split(' ').take(2).collect::<String>()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn finds_every_difference() {
        for (script, expected) in [
            (":", ""),
            ("printf 3 > a/x; touch -r ../left/a/x a/x", "-a/x +a/x"),
            ("chmod 4755 b", "-b +b"),
            ("touch -d @1.000000001 a/x", "-a/x +a/x"),
            ("rm a/x", "-a/x"),
            ("touch d", "+d"),
            ("ln -f b c", "-b +b -c +c"),
            ("rm c; ln -s b c", "-c +c"),
            ("rm c; mkfifo c", "-c +c"),
            ("rm c; mkdir c", "-c +c"),
            ("setfattr -n user.a -v 1 b", "-b +b"),
        ] {
            assert_eq!(differing_after(script), expected, "{script}");
        }
    }
}
