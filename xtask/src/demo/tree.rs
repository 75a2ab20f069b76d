//! The expected tree of the demo: the folders of the layers, merged by a simple second implementation. It shares no code
//! with pullet, because it verifies pullet.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kit::tree::{Kind, Node, Tree};

use crate::show;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Reads a folder without extended attributes, which the demo does not compare.
pub fn read(folder: &Path) -> Tree {
    Tree::read(folder).map(|_, node| {
        // A merge can remove names of a hard link, so their number is not compared. Their first name is.
        node.nlink = 1;
        node.xattrs = BTreeMap::new();
        true
    })
}

/// True if the path is a regular file and has no links on its way.
pub fn has_file(tree: &Tree, path: &Path) -> bool {
    tree.0.get(path.as_os_str().as_bytes()).is_some_and(|node| matches!(node.kind, Kind::File { .. }))
}

/// Merges the upper tree over the lower one. Its whiteouts apply to lower layers only, never to its own files.
pub fn merge(mut lower: Tree, upper: Tree) -> Tree {
    for path in upper.0.keys() {
        let (parent, name) = parent_and_name(path);
        if name == OPAQUE {
            lower.0.retain(|below, _| !is_below(below, parent));
        } else if let Some(name) = name.strip_prefix(WHITEOUT) {
            let removed = [parent, name].concat();
            lower.0.retain(|below, _| *below != removed && !is_below(below, &removed));
        }
    }
    for (path, node) in upper.0 {
        if !parent_and_name(&path).1.starts_with(WHITEOUT) {
            put(&mut lower, path, node);
        }
    }
    lower
}

fn put(tree: &mut Tree, path: Vec<u8>, node: Node) {
    if node.kind != Kind::Dir {
        tree.0.retain(|below, _| !is_below(below, &path));
    }
    tree.0.insert(path, node);
}

/// The folder of a path with its slash, which is empty for names in the root, and the name.
fn parent_and_name(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1))
}

/// True if the path is below the folder, which may end in a slash, and in the root if that is empty.
fn is_below(path: &[u8], folder: &[u8]) -> bool {
    if folder.is_empty() {
        return path != b".";
    }
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/"))
}

/// `3 files, 1 folder, 2 links and 1 pipe: 1.20 MiB`
pub fn summary(tree: &Tree) -> String {
    let kinds = || tree.0.values().map(|node| &node.kind);
    let words: Vec<String> = ["file", "folder", "link", "pipe", "device"]
        .into_iter()
        .map(|noun| (kinds().filter(|kind| self::noun(kind) == noun).count(), noun))
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| show::count(number, noun))
        .collect();
    let without_links = tree.0.values().filter(|node| node.same_as.is_none());
    let size = without_links.map(|node| if let Kind::File { size, .. } = node.kind { size } else { 0 }).sum();
    format!("{} of {}", words.join(", "), show::bytes(size))
}

fn noun(kind: &Kind) -> &'static str {
    match kind {
        Kind::Block(..) | Kind::Char(..) => "device",
        Kind::Dir => "folder",
        Kind::Fifo => "pipe",
        Kind::File { .. } => "file",
        Kind::Socket => "socket",
        Kind::Symlink(_) => "link",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk;
    use crate::disk::Temporary;

    /// Merges folders made of words, `path` or `path=text`, and compares the paths of the result.
    fn check(layers: &[&str], expected: &str) {
        let folder = folder(expected);
        let trees = layers.iter().enumerate().map(|(number, words)| {
            let layer = folder.path().join(number.to_string());
            lay_out(&layer, words);
            read(&layer)
        });
        let merged = trees.fold(Tree::default(), merge);
        let paths: Vec<&str> = merged.0.keys().skip(1).map(|path| std::str::from_utf8(path).unwrap()).collect();
        assert_eq!(paths.join(" "), expected);
    }

    fn folder(key: &str) -> Temporary {
        let key: String = key.chars().filter(|c| c.is_alphanumeric()).collect();
        let name = format!("pullet-xtask-merge-{key}-{}", std::process::id());
        Temporary::new(std::env::temp_dir().join(name)).unwrap()
    }

    fn lay_out(folder: &Path, words: &str) {
        disk::create_folder(folder).unwrap();
        for word in words.split(' ') {
            let (path, text) = word.split_once('=').unwrap_or((word, ""));
            let path = folder.join(path);
            disk::create_folder(path.parent().unwrap()).unwrap();
            disk::write(&path, text).unwrap();
        }
    }

    #[test]
    fn merges_layers_by_the_specification() {
        check(&["a/x a/y", "b"], "a a/x a/y b");
        check(&["a/x a/y", "a/.wh.x"], "a a/y");
        check(&["a/x/1 a/y", "a/.wh.x a/x/2"], "a a/x a/x/2 a/y");
        check(&["a/x/1 ab", "a/.wh..wh..opq a/z"], "a a/z ab");
        check(&["a/x a/y", "a"], "a");
        check(&["a", "a/x"], "a a/x");
    }
}
