//! What differs between the merged root filesystems of two images.

use std::collections::hash_map::RandomState;

use super::options::ReadOptions;
use super::table::NONE;
use super::tree::{Attributes, NodeKind, ROOT};
use super::view::{Content, View, copy_content, entry_name};
use crate::digest::Hasher;
use crate::error::{Error, ErrorKind, Result};
use crate::images::image::Image;
use crate::layer::{EntryKind, TarEntry};

/// A path that differs between two images.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Change {
    /// The absolute path.
    pub path: Vec<u8>,
    /// How it differs.
    pub kind: ChangeKind,
}

/// How a path differs between two images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// Only the new image has it.
    Added,
    /// Both have it, with another type, content or metadata.
    Changed,
    /// Only the old image has it.
    Deleted,
}

/// The first bytes of a SHA-256 digest of all that is compared.
type Fingerprint = [u8; 16];

impl Image {
    /// Compares the merged root filesystem with that of a newer image, and returns the paths that differ, sorted. As in
    /// `docker diff`, compared are type, mode, owner, link target, device number, extended attributes, and for anything but
    /// directories size, content and modification time; of a deleted directory only the directory itself is listed; and a
    /// directory counts as changed if something in it was added, changed or deleted. The root itself is not listed.
    ///
    /// Layers that both images have at the bottom are read once, and their files are not compared. The list is in memory as
    /// a whole, and so are both merged trees.
    ///
    /// ```no_run
    /// use pullet::{ReadOptions, Store};
    ///
    /// let store = Store::open("/var/lib/pullet");
    /// let (old, new) = (store.image(&"app:1".parse()?)?, store.image(&"app:2".parse()?)?);
    /// println!("{} paths differ", old.changes_to(&new, &ReadOptions::new())?.len());
    /// # Ok::<(), pullet::Error>(())
    /// ```
    pub fn changes_to(&self, new: &Image, options: &ReadOptions) -> Result<Vec<Change>> {
        let context = |e: Error| e.context(format!("compare {} with {}", self.name(), new.name()));
        // The names may be moved to other images meanwhile.
        let _kept = (self.store().keep(), new.store().keep());
        Comparison::new(self, new, options).and_then(Comparison::changes).map_err(context)
    }
}

struct Comparison<'a> {
    old: View<'a>,
    new: View<'a>,
    /// The number of entries in the layers that both have at the bottom.
    shared: u32,
    /// For each node of the new tree, the node of the same path in the old one.
    partners: Vec<u32>,
    /// For each node of the old tree, the node of the same path in the new one.
    successors: Vec<u32>,
    changes: Vec<Change>,
}

/// The fingerprints of nodes, sorted by node.
struct Fingerprints(Vec<(u32, Fingerprint)>);

impl<'a> Comparison<'a> {
    fn new(old: &'a Image, new: &'a Image, options: &'a ReadOptions) -> Result<Self> {
        let hasher = RandomState::new();
        let (mut old, mut new) = (View::new(old, options, hasher.clone()), View::new(new, options, hasher));
        let pairs = old.layers.iter().zip(&new.layers);
        let common = pairs.take_while(|(old, new)| old.diff_id == new.diff_id && old.is_blob_of(new)).count();
        old.merge(common)?;
        new.merger = old.merger.clone();
        new.numbers = old.numbers.clone();
        new.source.continue_after(&old.source);
        let shared = old.source.entries;
        old.merge(old.layers.len())?;
        new.merge(new.layers.len())?;
        old.settle()?;
        new.settle()?;
        let (partners, successors) = (vec![NONE; new.tree().len()], vec![NONE; old.tree().len()]);
        Ok(Self { old, new, shared, partners, successors, changes: Vec::new() })
    }

    fn changes(mut self) -> Result<Vec<Change>> {
        self.pair()?;
        let old = self.fingerprints_of_old()?;
        self.compare(&old)?;
        self.add_parents();
        Ok(self.changes)
    }

    /// Finds the nodes of the same path.
    fn pair(&mut self) -> Result<()> {
        let Self { old, new, partners, successors, .. } = self;
        for node in new.tree().alive() {
            let partner = if node == ROOT {
                Some(ROOT)
            } else {
                let parent = new.tree().parent(node)?;
                match partners.get(parent as usize).copied().filter(|partner| *partner != NONE) {
                    Some(parent) => old.tree().namesake(parent, new.tree(), node)?,
                    None => None,
                }
            };
            if let Some(partner) = partner {
                *partners.get_mut(node as usize).ok_or_else(lost)? = partner;
                *successors.get_mut(partner as usize).ok_or_else(lost)? = node;
            }
        }
        Ok(())
    }

    /// Whether the content of both nodes has to be compared. Nodes of other kinds differ anyway, and those that come from
    /// one entry of a shared layer are equal.
    fn must_compare(&self, old: u32, new: u32) -> Result<bool> {
        if self.old.tree().kind(old)? != self.new.tree().kind(new)? {
            return Ok(false);
        }
        let (old, new) = (self.old.tree().last_entry(old)?, self.new.tree().last_entry(new)?);
        Ok(old != new || old.is_some_and(|entry| entry >= self.shared))
    }

    /// Whether a node of the old tree is to be listed as deleted: it has no successor, and the directory it was in is still
    /// a directory.
    fn is_deleted(&self, node: u32) -> Result<bool> {
        if node == ROOT || self.successor(node).is_some() {
            return Ok(false);
        }
        match self.successor(self.old.tree().parent(node)?) {
            Some(parent) => Ok(self.new.tree().kind(parent)? == NodeKind::Directory),
            None => Ok(false),
        }
    }

    fn successor(&self, node: u32) -> Option<u32> {
        self.successors.get(node as usize).copied().filter(|node| *node != NONE)
    }

    fn partner(&self, node: u32) -> Option<u32> {
        self.partners.get(node as usize).copied().filter(|node| *node != NONE)
    }

    /// Lists what was deleted, and returns the fingerprints of what has to be compared.
    fn fingerprints_of_old(&mut self) -> Result<Fingerprints> {
        let mut wanted = vec![false; self.old.tree().len()];
        for node in self.old.tree().alive() {
            let must_compare = match self.successor(node) {
                Some(successor) => self.must_compare(node, successor)?,
                None => self.is_deleted(node)?,
            };
            *wanted.get_mut(node as usize).ok_or_else(lost)? = must_compare;
        }
        let mut changes = Vec::new();
        let mut take = |node: u32, name: &[u8], fingerprint: &dyn Fn() -> Fingerprint| {
            if self.successor(node).is_some() {
                return Ok(Some(fingerprint()));
            }
            changes.push(Change { path: absolute(self.old.tree().path(node, name)?), kind: ChangeKind::Deleted });
            Ok(None)
        };
        let fingerprints = read_fingerprints(&self.old, &wanted, &mut take)?;
        self.changes = changes;
        Ok(fingerprints)
    }

    /// Lists what was added or changed.
    fn compare(&mut self, old: &Fingerprints) -> Result<()> {
        let mut wanted = vec![false; self.new.tree().len()];
        for node in self.new.tree().alive().filter(|node| *node != ROOT) {
            let is_wanted = match self.partner(node) {
                Some(partner) if self.old.tree().kind(partner)? == self.new.tree().kind(node)? => {
                    self.must_compare(partner, node)?
                }
                _ => true,
            };
            *wanted.get_mut(node as usize).ok_or_else(lost)? = is_wanted;
        }
        let mut changes = Vec::new();
        let mut take = |node: u32, name: &[u8], fingerprint: &dyn Fn() -> Fingerprint| {
            let kind = match self.partner(node) {
                None => ChangeKind::Added,
                Some(partner) if old.of(partner) == Some(fingerprint()) => return Ok(None),
                Some(_) => ChangeKind::Changed,
            };
            changes.push(Change { path: absolute(self.new.tree().path(node, name)?), kind });
            Ok(None)
        };
        read_fingerprints(&self.new, &wanted, &mut take)?;
        self.changes.append(&mut changes);
        Ok(())
    }

    /// Adds the directories of all changes, and sorts.
    fn add_parents(&mut self) {
        self.changes.sort_unstable();
        let mut parents = Vec::new();
        for change in &self.changes {
            let mut path = change.path.as_slice();
            while let Some(slash) = path.iter().rposition(|&b| b == b'/').filter(|slash| *slash > 0) {
                path = path.split_at(slash).0;
                let is_listed = self.changes.binary_search_by(|other| other.path.as_slice().cmp(path)).is_ok();
                if is_listed || parents.last().is_some_and(|last: &Change| last.path == path) {
                    break;
                }
                parents.push(Change { path: path.to_vec(), kind: ChangeKind::Changed });
            }
        }
        self.changes.append(&mut parents);
        self.changes.sort_unstable();
        self.changes.dedup();
    }
}

impl Fingerprints {
    fn of(&self, node: u32) -> Option<Fingerprint> {
        let at = self.0.binary_search_by_key(&node, |(node, _)| *node).ok()?;
        self.0.get(at).map(|(_, fingerprint)| *fingerprint)
    }
}

/// Called with a node, its name and a function that returns its fingerprint. Returns the fingerprint if it is to be kept.
type Take<'a> = dyn FnMut(u32, &[u8], &dyn Fn() -> Fingerprint) -> Result<Option<Fingerprint>> + 'a;

fn read_fingerprints(view: &View<'_>, wanted: &[bool], take: &mut Take<'_>) -> Result<Fingerprints> {
    let is_wanted = |node: u32| wanted.get(node as usize).copied().unwrap_or_default();
    let mut kept = Vec::new();
    view.visit(&view.select(&is_wanted)?, &mut |Content { nodes, entry, archive }| {
        let name = entry_name(&entry)?;
        let mut hasher = Hasher::sha256();
        copy_content(&entry, archive, &mut |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        let fingerprint = fingerprint_of_entry(&entry, hasher);
        for selected in nodes {
            kept.extend(take(selected.node, &name, &|| fingerprint)?.map(|kept| (selected.node, kept)));
        }
        Ok(())
    })?;
    let tree = view.tree();
    for node in tree.alive().filter(|node| is_wanted(*node)) {
        if tree.source(node)?.is_none() {
            let attributes = tree.attributes(node)?;
            kept.extend(take(node, b"", &|| fingerprint_of_directory(&attributes))?.map(|kept| (node, kept)));
        }
    }
    kept.sort_unstable();
    Ok(Fingerprints(kept))
}

/// `content` has hashed the content.
fn fingerprint_of_entry(entry: &TarEntry, content: Hasher) -> Fingerprint {
    let TarEntry { kind, mode, uid, gid, mtime, xattrs, .. } = entry;
    if matches!(kind, EntryKind::Directory) {
        return fingerprint_of_directory(&Attributes {
            mode: *mode,
            uid: *uid,
            gid: *gid,
            mtime: *mtime,
            xattrs: xattrs.clone(),
        });
    }
    let mut hasher = content;
    let (number, target, letter): ([u64; 2], &[u8], u64) = match kind {
        EntryKind::Regular(content) => ([content.size, 0], b"", 1),
        EntryKind::Symlink(target) => ([0, 0], target, 2),
        EntryKind::HardLink(target) => ([0, 0], target, 3),
        EntryKind::BlockDevice(number) => ([number.major.into(), number.minor.into()], b"", 4),
        EntryKind::CharacterDevice(number) => ([number.major.into(), number.minor.into()], b"", 5),
        EntryKind::Fifo => ([0, 0], b"", 6),
        EntryKind::Directory => ([0, 0], b"", 7),
    };
    // A filesystem ignores the mode of a symlink.
    let mode = if matches!(kind, EntryKind::Symlink(_)) { 0 } else { u64::from(*mode) };
    let [first, second] = number;
    let seconds = mtime.seconds.cast_unsigned();
    let numbers = [letter, first, second, mode, (*uid).into(), (*gid).into(), seconds, mtime.nanoseconds.into()];
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    hash_text(&mut hasher, target);
    finish(hasher, xattrs)
}

fn fingerprint_of_directory(attributes: &Attributes) -> Fingerprint {
    let mut hasher = Hasher::sha256();
    for number in [attributes.mode, attributes.uid, attributes.gid] {
        hasher.update(&number.to_le_bytes());
    }
    finish(hasher, &attributes.xattrs)
}

fn finish(mut hasher: Hasher, xattrs: &[(Vec<u8>, Vec<u8>)]) -> Fingerprint {
    let mut sorted: Vec<_> = xattrs.iter().filter(|(name, _)| crate::unpack::is_allowed(name)).collect();
    sorted.sort_unstable();
    for (name, value) in sorted {
        hash_text(&mut hasher, name);
        hash_text(&mut hasher, value);
    }
    hasher.finish().start()
}

fn hash_text(hasher: &mut Hasher, text: &[u8]) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text);
}

fn absolute(path: Vec<u8>) -> Vec<u8> {
    [b"/", path.as_slice()].concat()
}

fn lost() -> Error {
    Error::new(ErrorKind::Internal, "compare images: no such node")
}
