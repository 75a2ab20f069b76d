//! A model of the tree of an image: a map from path to metadata, computed from the layers by the rules of the specification.
//!
//! It is the second reference next to `umoci unpack`, and the only one where umoci 0.4.7 is known to be wrong. No file is written.
//!
//! The rules, from image-spec `layer.md`: a whiteout or an opaque marker hides what the layers *below* have, wherever it is in its
//! layer; an entry replaces what is at its path; a folder on a folder keeps the children and takes over every attribute.

use super::tar_reader::{self, Entry};
use kit::debian;
use kit::digest::hex;
use kit::tree::{Kind, Node, Tree};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The extended attributes that a layer may set; `trusted.overlay.*` and the like must not come out of an image.
const XATTRS: [&[u8]; 3] = [b"security.capability", b"security.ima", b"security.selinux"];

/// The merged tree of a tagged image in an OCI layout.
pub(crate) fn merged(layout: &Path, tag: &str) -> Tree {
    let mut model = Model::default();
    let manifest = manifest(layout, tag);
    for layer in manifest["layers"].as_array().unwrap() {
        model.apply(&tar_reader::entries(&uncompressed(layout, layer)));
    }
    model.tree()
}

/// The manifest that the layout's index gives for a tag.
pub(crate) fn manifest(layout: &Path, tag: &str) -> Value {
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let named = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
    let descriptor = index["manifests"].as_array().unwrap().iter().find(named);
    let descriptor = descriptor.unwrap_or_else(|| panic!("no {tag} in {index:#}"));
    serde_json::from_slice(&fs::read(blob(layout, descriptor)).unwrap()).unwrap()
}

/// The file of the blob that a descriptor names.
pub(crate) fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().unwrap();
    layout.join("blobs").join(digest.replace(':', "/"))
}

fn uncompressed(layout: &Path, layer: &Value) -> Vec<u8> {
    let program = match layer["mediaType"].as_str().unwrap() {
        name if name.ends_with("gzip") => "gzip",
        name if name.ends_with("zstd") => "zstd",
        _ => return fs::read(blob(layout, layer)).unwrap(),
    };
    let blob = fs::File::open(blob(layout, layer)).unwrap();
    let output = debian::command(program).arg("-dc").stdin(blob).output().unwrap();
    assert!(output.status.success(), "{program} -dc: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Names and inodes are separate, so that hard links share an inode.
struct Model {
    names: BTreeMap<Vec<u8>, usize>,
    inodes: Vec<Node>,
}

impl Default for Model {
    /// A model with only the root, which exists before any layer.
    fn default() -> Model {
        Model { names: BTreeMap::from([(b".".to_vec(), 0)]), inodes: vec![implied_dir()] }
    }
}

impl Model {
    fn apply(&mut self, layer: &[Entry]) {
        let (whiteouts, entries): (Vec<_>, Vec<_>) =
            layer.iter().partition(|entry| base_name(&entry.path).starts_with(b".wh."));
        // All whiteouts first: they apply to the layers below, which are the current names.
        for entry in whiteouts {
            self.hide(entry);
        }
        for entry in entries {
            self.place(entry);
        }
    }

    fn hide(&mut self, entry: &Entry) {
        let path = clean(&entry.path);
        let folder = self.resolve(parent(&path));
        match base_name(&path) {
            b".wh..wh..opq" => self.remove_below(&folder),
            name => self.remove(&join(&folder, &name[b".wh.".len()..])),
        }
    }

    fn place(&mut self, entry: &Entry) {
        let path = self.name_of(&clean(&entry.path));
        self.make_folder(parent(&path));
        if entry.flag == b'1' {
            let target = self.name_of(&clean(&entry.link));
            let inode = self.names[&target];
            self.remove(&path);
            self.names.insert(path, inode);
            return;
        }
        let inode = node(entry);
        let over_folder = self.names.get(&path).is_some_and(|old| self.inodes[*old].kind == Kind::Dir);
        if !(over_folder && inode.kind == Kind::Dir) {
            self.remove(&path);
        }
        self.inodes.push(inode);
        self.names.insert(path, self.inodes.len() - 1);
    }

    fn make_folder(&mut self, path: &[u8]) {
        if !self.names.contains_key(path) {
            self.make_folder(parent(path));
            self.inodes.push(implied_dir());
            self.names.insert(path.to_vec(), self.inodes.len() - 1);
        }
    }

    /// The path with the links of its folders followed, but not the link at the path itself.
    fn name_of(&self, path: &[u8]) -> Vec<u8> {
        if path == b"." { path.to_vec() } else { join(&self.resolve(parent(path)), base_name(path)) }
    }

    /// Follows symbolic links as they are seen from inside the root.
    fn resolve(&self, path: &[u8]) -> Vec<u8> {
        let mut at = b".".to_vec();
        let mut pending: Vec<Vec<u8>> = parts(path);
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if part == b".." {
                at = parent(&at).to_vec();
                continue;
            }
            let next = join(&at, &part);
            match self.names.get(&next).map(|inode| &self.inodes[*inode].kind) {
                Some(Kind::Symlink(target)) => {
                    links += 1;
                    assert!(links <= 40, "a loop of links in a layer of the tests");
                    if target.starts_with(b"/") {
                        at = b".".to_vec();
                    }
                    pending.extend(parts(target));
                }
                _ => at = next,
            }
        }
        at
    }

    fn remove(&mut self, path: &[u8]) {
        self.names.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, path: &[u8]) {
        let prefix = if path == b"." { Vec::new() } else { [path, b"/"].concat() };
        self.names.retain(|name, _| name == b"." || !name.starts_with(&prefix));
    }

    /// The names as a tree, with the link counts that follow from them.
    fn tree(self) -> Tree {
        let mut groups: BTreeMap<usize, Vec<&Vec<u8>>> = BTreeMap::new();
        for (name, inode) in &self.names {
            groups.entry(*inode).or_default().push(name);
        }
        let mut tree = Tree::default();
        for (inode, names) in groups {
            for name in &names {
                let mut node = self.inodes[inode].clone();
                node.nlink = u64::try_from(names.len()).unwrap();
                node.same_as = (names[0] != *name).then(|| names[0].clone());
                tree.0.insert((*name).clone(), node);
            }
        }
        tree
    }
}

fn node(entry: &Entry) -> Node {
    let (major, minor) = entry.device;
    let kind = match entry.flag {
        b'0' => Kind::File { size: entry.content.len() as u64, sha256: hex(&Sha256::digest(&entry.content)) },
        b'2' => Kind::Symlink(entry.link.clone()),
        b'3' => Kind::Char(major, minor),
        b'4' => Kind::Block(major, minor),
        b'5' => Kind::Dir,
        b'6' => Kind::Fifo,
        other => panic!("entry of type {other} in a layer of the tests"),
    };
    // The mode of a symbolic link is the kernel's.
    let mode = if matches!(kind, Kind::Symlink(_)) { 0o777 } else { entry.mode };
    let kept = entry.xattrs.iter().filter(|(name, _)| name.starts_with(b"user.") || XATTRS.contains(&name.as_slice()));
    let xattrs = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    let (uid, gid, mtime) = (entry.uid, entry.gid, Some(entry.mtime));
    Node { kind, mode, uid, gid, mtime, xattrs, nlink: 1, same_as: None }
}

/// A folder without an entry: owned by root, mode 0755, and with time 0, so that an image always gives the same tree.
fn implied_dir() -> Node {
    let xattrs = BTreeMap::new();
    Node { kind: Kind::Dir, mode: 0o755, uid: 0, gid: 0, mtime: Some((0, 0)), xattrs, nlink: 1, same_as: None }
}

fn clean(path: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') }
}

/// The parts of a path, the first one last.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.rev().map(<[u8]>::to_vec).collect()
}

fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(b".", |slash| &path[..slash])
}

fn base_name(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    path.iter().rposition(|byte| *byte == b'/').map_or(path, |slash| &path[slash + 1..])
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder == b"." { name.to_vec() } else { [folder, b"/", name].concat() }
}
