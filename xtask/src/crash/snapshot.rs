//! The content of a folder, to compare, and the documents in it.

use std::collections::BTreeMap;
use std::path::Path;

use kit::tree::{Kind, Node, Tree};

use super::images::TIME;
use crate::{Result, disk};

/// Everything below a folder, and the folder itself.
#[derive(Default)]
pub struct Snapshot {
    tree: Tree,
    /// The content of some files.
    documents: BTreeMap<&'static str, Vec<u8>>,
}

impl Snapshot {
    /// A snapshot with all metadata, for an unpacked tree. Links into `place` are as if that were the root.
    pub fn exact(folder: &Path, place: &Path) -> Self {
        let tree = Tree::read(folder).map(|_, node| {
            if let Kind::Symlink(target) = &mut node.kind
                && let Some(rest) = target.strip_prefix(place.as_os_str().as_encoded_bytes())
            {
                *target = rest.to_vec();
            }
            // A time that no archive sets is that of the run, so it is replaced by one for all.
            let is_set = node.mtime.is_some_and(|(seconds, _)| seconds == TIME);
            node.mtime = Some(if is_set { (TIME, 0) } else { (0, 0) });
            true
        });
        Self { tree, documents: BTreeMap::new() }
    }

    /// A snapshot of the content and the mode of a file in this folder. The times of archives differ.
    pub fn file(folder: &Path, name: &str) -> Self {
        let tree = Tree::read(folder).map(|path, node| {
            node.mtime = None;
            path == name.as_bytes()
        });
        Self { tree, documents: BTreeMap::new() }
    }

    /// A snapshot of types, modes and content, so that stores filled at different times are equal. It has these
    /// documents if they exist.
    pub fn plain(folder: &Path, documents: &[&'static str]) -> Result<Self> {
        let tree = Tree::read(folder).map(|_, node| {
            let (kind, mode) = (node.kind.clone(), node.mode);
            let xattrs = BTreeMap::new();
            *node = Node { kind, mode, uid: 0, gid: 0, mtime: None, xattrs, nlink: 1, same_as: None };
            true
        });
        let mut snapshot = Self { tree, documents: BTreeMap::new() };
        for name in documents {
            let path = folder.join(name);
            if path.exists() {
                snapshot.documents.insert(name, disk::read_bytes(&path)?);
            }
        }
        Ok(snapshot)
    }

    /// The content of a document; `None` if it does not exist.
    pub fn document(&self, name: &str) -> Option<&[u8]> {
        self.documents.get(name).map(Vec::as_slice)
    }

    /// The blobs of a store: their names, and the SHA-256 of their content in hex.
    pub fn blobs(&self) -> impl Iterator<Item = (String, &str)> {
        self.tree.0.iter().filter_map(|(path, node)| {
            let name = path.strip_prefix(b"blobs/sha256/")?;
            let Kind::File { sha256, .. } = &node.kind else { return None };
            Some((String::from_utf8_lossy(name).into_owned(), sha256.as_str()))
        })
    }

    /// The trees of layers in a store, by name, without those that have not got their name or have lost it.
    pub fn layer_trees(&self) -> BTreeMap<String, Self> {
        let mut trees: BTreeMap<String, Self> = BTreeMap::new();
        for (path, node) in &self.tree.0 {
            let path_text = String::from_utf8_lossy(path);
            let mut names = path_text.splitn(4, '/');
            let (Some("layers"), Some(_), Some(name)) = (names.next(), names.next(), names.next()) else { continue };
            if !name.starts_with(['.', 'r']) {
                trees.entry(name.to_owned()).or_default().tree.0.insert(path.clone(), node.clone());
            }
        }
        trees
    }

    /// The differences, if there are any.
    pub fn difference(&self, got: &Self) -> Option<String> {
        let lines = self.tree.differences(&got.tree);
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}
