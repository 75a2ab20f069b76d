//! The merged tree of an image's layers in memory: which names exist, of which kind they are, and which entry of which layer
//! has their content. It never has a layer's bytes.
//!
//! A name takes 20 bytes and a slot of the table. The text of a name is kept only where the archive cannot supply it later:
//! for directories, which entries refer to, and for files with several hard links.
//!
//! Removal is lazy, so that neither a whiteout nor a replaced directory needs a list of what is below it. A node that was
//! removed is marked. Opaque whiteouts mark the directory with the number of the layer; what older layers have in it does
//! not count from then on. [`child`](MergedTree::child) and [`settle`](MergedTree::settle) apply these marks.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use super::table::{NONE, Table, index_of, joined, mixed};
use super::text::Texts;
use crate::advice::Limit;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::{TarEntry, Time};
use crate::limits::Limits;

/// The node of the root.
pub(super) const ROOT: u32 = 0;

/// The kinds of nodes that differ in how paths and layers treat them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    Directory,
    Symlink,
    /// Regular files, FIFOs and devices.
    Other,
}

/// A name in a directory. Names are never reused: a name that is replaced gets a new node.
#[derive(Clone, Copy)]
struct Node {
    /// The halves of the hash of its name. In two, because an alignment of eight would cost four bytes.
    hash: [u32; 2],
    parent: u32,
    /// The index of the directory or symlink; for others, the number of the entry that has their content. Hard links have
    /// the same.
    data: u32,
    /// The last layer that has an entry for it; 0 for an implied directory.
    layer: u16,
    kind: NodeKind,
    is_dead: bool,
    has_text: bool,
}

#[derive(Clone)]
struct Directory {
    /// The position of the name in the text.
    name: u32,
    /// The number of the last entry for it; `NONE` if it is implied.
    source: u32,
    /// The index of its attributes, if they are kept.
    attributes: u32,
    /// The last layer with an entry below it.
    touched: u16,
    /// The last layer that removed what lower layers have in it; 0 for none, because the first layer removes nothing.
    cleared: u16,
}

#[derive(Clone)]
struct Symlink {
    source: u32,
    /// The position of its target in the text.
    target: u32,
}

/// The attributes of a directory whose last entry does not come before all entries in it.
#[derive(Clone)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The merged tree.
#[derive(Clone)]
pub(super) struct MergedTree {
    nodes: Vec<Node>,
    table: Table,
    /// The key of the hash is random, because names are untrusted.
    hasher: RandomState,
    directories: Vec<Directory>,
    symlinks: Vec<Symlink>,
    attributes: Vec<Attributes>,
    /// Names of files with several links: the node and the position in the text.
    names: Vec<(u32, u32)>,
    text: Texts,
    node_limit: u64,
}

impl MergedTree {
    /// A tree with an empty root, which no entry describes yet.
    pub(super) fn new(hasher: RandomState, limits: &Limits) -> Self {
        let root = Node {
            hash: [0; 2],
            parent: ROOT,
            data: 0,
            layer: 0,
            kind: NodeKind::Directory,
            is_dead: false,
            has_text: false,
        };
        Self {
            nodes: vec![root],
            table: Table::new(),
            hasher,
            directories: vec![Directory { name: NONE, source: NONE, attributes: NONE, touched: 0, cleared: 0 }],
            symlinks: Vec::new(),
            attributes: Vec::new(),
            names: Vec::new(),
            text: Texts::new(limits),
            node_limit: limits.entries.min(u64::from(NONE) - 1),
        }
    }

    /// Returns the node of `name` in the directory `parent`, if it exists.
    pub(super) fn child(&mut self, parent: u32, name: &[u8]) -> Result<Option<u32>> {
        let hash = self.hasher.hash_one(name);
        match self.find(parent, hash) {
            Some(node) => Ok(self.refresh(node)?.then_some(node)),
            None => Ok(None),
        }
    }

    /// Returns the node in the directory `parent` that has the same name as `node` of another tree with the same hasher.
    pub(super) fn namesake(&self, parent: u32, other: &Self, node: u32) -> Result<Option<u32>> {
        let found = self.find(parent, joined(other.node(node)?.hash));
        Ok(found.filter(|found| self.is_alive(*found)))
    }

    /// Adds an implied directory.
    pub(super) fn add_implied(&mut self, parent: u32, name: &[u8], layer: u16) -> Result<u32> {
        // The table counts it as an entry of no layer; what is written below it keeps it.
        self.add_directory_node(parent, name, NONE, layer, 0)
    }

    /// Adds a directory with an entry.
    pub(super) fn add_directory(&mut self, parent: u32, name: &[u8], source: u32, layer: u16) -> Result<u32> {
        self.add_directory_node(parent, name, source, layer, layer)
    }

    fn add_directory_node(&mut self, parent: u32, name: &[u8], source: u32, touched: u16, layer: u16) -> Result<u32> {
        let position = self.text.add(name)?;
        let index = index_of(self.directories.len())?;
        self.directories.push(Directory { name: position, source, attributes: NONE, touched, cleared: 0 });
        self.add(parent, name, NodeKind::Directory, index, layer)
    }

    pub(super) fn add_symlink(
        &mut self,
        parent: u32,
        name: &[u8],
        target: &[u8],
        source: u32,
        layer: u16,
    ) -> Result<u32> {
        let target = self.text.add(target)?;
        let index = index_of(self.symlinks.len())?;
        self.symlinks.push(Symlink { source, target });
        self.add(parent, name, NodeKind::Symlink, index, layer)
    }

    /// Adds a regular file, FIFO or device.
    pub(super) fn add_other(&mut self, parent: u32, name: &[u8], source: u32, layer: u16) -> Result<u32> {
        self.add(parent, name, NodeKind::Other, source, layer)
    }

    /// Adds a hard link to `target`, whose own name is `target_name`.
    pub(super) fn add_link(
        &mut self,
        parent: u32,
        name: &[u8],
        target: u32,
        target_name: &[u8],
        layer: u16,
    ) -> Result<u32> {
        let Node { kind, data, .. } = *self.node(target)?;
        let link = self.add(parent, name, kind, data, layer)?;
        self.keep_name(target, target_name)?;
        self.keep_name(link, name)?;
        Ok(link)
    }

    /// Returns true if both nodes are hard links of one file.
    pub(super) fn is_same_file(&self, left: u32, right: u32) -> Result<bool> {
        let (left, right) = (self.node(left)?, self.node(right)?);
        Ok((left.kind, left.data) == (right.kind, right.data))
    }

    pub(super) fn kind(&self, node: u32) -> Result<NodeKind> {
        Ok(self.node(node)?.kind)
    }

    pub(super) fn parent(&self, node: u32) -> Result<u32> {
        Ok(self.node(node)?.parent)
    }

    /// Returns the target of a symlink.
    pub(super) fn target(&self, node: u32) -> Result<&[u8]> {
        self.text.at(self.symlink(node)?.target)
    }

    /// Marks a node as removed, and so everything below it.
    pub(super) fn remove(&mut self, node: u32) -> Result<()> {
        self.node_mut(node)?.is_dead = true;
        Ok(())
    }

    /// Records that `layer` has an entry for `node`.
    pub(super) fn record(&mut self, node: u32, layer: u16) -> Result<()> {
        self.node_mut(node)?.layer = layer;
        let mut at = node;
        while at != ROOT {
            at = self.parent(at)?;
            let directory = self.directory_mut(at)?;
            if directory.touched == layer {
                break;
            }
            directory.touched = layer;
        }
        Ok(())
    }

    /// Gives an existing directory the attributes of a new entry.
    pub(super) fn set_attributes(&mut self, node: u32, source: u32, entry: &TarEntry) -> Result<()> {
        let bytes = entry.xattrs.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum::<u64>();
        self.text.count(bytes)?;
        let (mode, uid, gid, mtime) = (entry.mode, entry.uid, entry.gid, entry.mtime);
        let attributes = Attributes { mode, uid, gid, mtime, xattrs: entry.xattrs.clone() };
        let mut index = self.directory(node)?.attributes;
        if index == NONE {
            index = index_of(self.attributes.len())?;
            self.attributes.push(attributes);
        } else {
            *self.attributes.get_mut(index as usize).ok_or_else(lost)? = attributes;
        }
        let directory = self.directory_mut(node)?;
        directory.attributes = index;
        directory.source = source;
        Ok(())
    }

    /// Applies a whiteout of `layer` to a node. What this layer wrote stays.
    pub(super) fn white_out(&mut self, node: u32, layer: u16) -> Result<()> {
        let Node { kind, layer: written, .. } = *self.node(node)?;
        let is_touched = kind == NodeKind::Directory && self.directory(node)?.touched == layer;
        if written != layer && !is_touched {
            return self.remove(node);
        }
        if kind == NodeKind::Directory {
            if written != layer {
                self.imply(node)?;
            }
            self.clear(node, layer)?;
        }
        Ok(())
    }

    /// Removes what layers below `layer` have in a directory.
    pub(super) fn clear(&mut self, node: u32, layer: u16) -> Result<()> {
        let directory = self.directory_mut(node)?;
        directory.cleared = directory.cleared.max(layer);
        Ok(())
    }

    /// Applies all marks, after the last layer. From then on, [`is_alive`](Self::is_alive) is final.
    pub(super) fn settle(&mut self) -> Result<()> {
        // A parent has a smaller number than its children.
        for node in 1..index_of(self.nodes.len())? {
            let parent = self.parent(node)?;
            if self.node(parent)?.is_dead {
                self.remove(node)?;
            } else {
                self.refresh(node)?;
            }
        }
        self.names.sort_unstable();
        Ok(())
    }

    /// The number of nodes, including those that were removed.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the node itself if it is a directory, else the directory that it is in.
    pub(super) fn directory_of(&self, node: u32) -> Result<u32> {
        if self.kind(node)? == NodeKind::Directory { Ok(node) } else { self.parent(node) }
    }

    /// Frees the table. No name can be looked up from then on.
    pub(super) fn forget_table(&mut self) {
        self.table = Table::new();
    }

    /// Whether a node exists. Valid after [`settle`](Self::settle).
    pub(super) fn is_alive(&self, node: u32) -> bool {
        self.nodes.get(node as usize).is_some_and(|node| !node.is_dead)
    }

    /// All nodes that exist, parents before their children.
    pub(super) fn alive(&self) -> impl Iterator<Item = u32> {
        let nodes = self.nodes.iter().zip(0_u32..);
        nodes.filter(|(node, _)| !node.is_dead).map(|(_, number)| number)
    }

    /// Returns the number of the entry that describes a node. `None` if the tree itself has the attributes: see
    /// [`attributes`](Self::attributes).
    pub(super) fn source(&self, node: u32) -> Result<Option<u32>> {
        let Node { kind, data, .. } = *self.node(node)?;
        Ok(match kind {
            NodeKind::Directory => {
                let directory = self.directory(node)?;
                Some(directory.source).filter(|source| *source != NONE && directory.attributes == NONE)
            }
            NodeKind::Symlink => Some(self.symlink(node)?.source),
            NodeKind::Other => Some(data),
        })
    }

    /// Returns the number of the last entry for a node; `None` for an implied directory.
    pub(super) fn last_entry(&self, node: u32) -> Result<Option<u32>> {
        if self.kind(node)? == NodeKind::Directory {
            return Ok(Some(self.directory(node)?.source).filter(|source| *source != NONE));
        }
        self.source(node)
    }

    /// Returns the attributes of a directory that has no [`source`](Self::source). Those of an implied one are the same as
    /// in `unpack`, except that it belongs to root: mode 0755 and the epoch.
    pub(super) fn attributes(&self, node: u32) -> Result<Attributes> {
        let index = self.directory(node)?.attributes;
        if index == NONE {
            return Ok(Attributes { mode: 0o755, uid: 0, gid: 0, mtime: Time::default(), xattrs: Vec::new() });
        }
        self.attributes.get(index as usize).cloned().ok_or_else(lost)
    }

    /// Returns the name of a node, if its text is kept: that of a directory, or of a file with several links.
    pub(super) fn name(&self, node: u32) -> Result<Option<&[u8]>> {
        let Node { kind, has_text, .. } = *self.node(node)?;
        if kind == NodeKind::Directory {
            return self.text.at(self.directory(node)?.name).map(Some);
        }
        if !has_text {
            return Ok(None);
        }
        let at = self.names.binary_search_by_key(&node, |(node, _)| *node).map_err(|_| lost())?;
        let (_, position) = self.names.get(at).ok_or_else(lost)?;
        self.text.at(*position).map(Some)
    }

    /// Returns the path of a directory; empty for the root.
    pub(super) fn directory_path(&self, node: u32) -> Result<Vec<u8>> {
        let mut names = Vec::new();
        let mut at = node;
        while at != ROOT {
            names.push(self.name(at)?.ok_or_else(lost)?);
            at = self.parent(at)?;
        }
        names.reverse();
        Ok(names.join(&b'/'))
    }

    /// Returns the path of a node. `name` is its last component, for a node whose text is not kept.
    pub(super) fn path(&self, node: u32, name: &[u8]) -> Result<Vec<u8>> {
        if node == ROOT {
            return Ok(Vec::new());
        }
        let mut path = self.directory_path(self.parent(node)?)?;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(self.name(node)?.unwrap_or(name));
        Ok(path)
    }

    /// Adds a node, in the place of another of its name.
    fn add(&mut self, parent: u32, name: &[u8], kind: NodeKind, data: u32, layer: u16) -> Result<u32> {
        if self.nodes.len() as u64 > self.node_limit {
            let what = "archive entries and implied directories";
            return Err(Limits::exceeded_adjustable(Limit::Entries, what, self.node_limit));
        }
        let hash = self.hasher.hash_one(name);
        let old = self.find(parent, hash);
        if let Some(old) = old {
            self.remove(old)?;
        }
        let number = index_of(self.nodes.len())?;
        let halves = [hash as u32, (hash >> 32) as u32];
        self.nodes.push(Node { hash: halves, parent, data, layer, kind, is_dead: false, has_text: false });
        let Self { table, nodes, .. } = self;
        let hash_of = |node: u32| nodes.get(node as usize).map_or(0, |node| mixed(node.parent, joined(node.hash)));
        table.insert(number, mixed(parent, hash), old, hash_of)?;
        Ok(number)
    }

    fn find(&self, parent: u32, hash: u64) -> Option<u32> {
        self.table.find(mixed(parent, hash), |node| {
            self.nodes.get(node as usize).is_some_and(|node| node.parent == parent && joined(node.hash) == hash)
        })
    }

    /// Applies the mark of the parent to a node. Returns false if the node does not exist any more.
    fn refresh(&mut self, node: u32) -> Result<bool> {
        let Node { parent, layer, kind, is_dead, .. } = *self.node(node)?;
        if is_dead {
            return Ok(false);
        }
        let cleared = self.directory(parent)?.cleared;
        if cleared == 0 {
            return Ok(true);
        }
        let is_touched = kind == NodeKind::Directory && self.directory(node)?.touched >= cleared;
        if layer < cleared && !is_touched {
            self.remove(node)?;
            return Ok(false);
        }
        if kind == NodeKind::Directory {
            if layer < cleared {
                self.imply(node)?;
            }
            self.clear(node, cleared)?;
        }
        Ok(true)
    }

    /// Makes a directory an implied one: it exists only because something is in it.
    fn imply(&mut self, node: u32) -> Result<()> {
        self.node_mut(node)?.layer = 0;
        let directory = self.directory_mut(node)?;
        directory.source = NONE;
        directory.attributes = NONE;
        Ok(())
    }

    fn keep_name(&mut self, node: u32, name: &[u8]) -> Result<()> {
        if !self.node(node)?.has_text {
            let position = self.text.add(name)?;
            self.names.push((node, position));
            self.node_mut(node)?.has_text = true;
        }
        Ok(())
    }

    fn node(&self, node: u32) -> Result<&Node> {
        self.nodes.get(node as usize).ok_or_else(lost)
    }

    fn node_mut(&mut self, node: u32) -> Result<&mut Node> {
        self.nodes.get_mut(node as usize).ok_or_else(lost)
    }

    fn directory(&self, node: u32) -> Result<&Directory> {
        let Node { data, .. } = self.node(node)?;
        self.directories.get(*data as usize).ok_or_else(lost)
    }

    fn directory_mut(&mut self, node: u32) -> Result<&mut Directory> {
        let Node { data, .. } = *self.node(node)?;
        self.directories.get_mut(data as usize).ok_or_else(lost)
    }

    fn symlink(&self, node: u32) -> Result<&Symlink> {
        let Node { data, .. } = self.node(node)?;
        self.symlinks.get(*data as usize).ok_or_else(lost)
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Internal, "merge layers: the tree has no such node")
}
