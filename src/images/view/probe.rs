//! Finds one file of the merged root filesystem by reading the layers from the top, and no more of them than it takes to be
//! sure of the answer.
//!
//! An entry is certainly at the path in its header if its layer has an entry for each directory on that path before. Any
//! other entry may be elsewhere, through a symlink of a lower layer, so only its name is certain. A lookup that could meet
//! such a name is not sure, and neither is one after an odd layer. Then all layers have to be merged.
//!
//! In memory are some 25 bytes for each entry of the layers that were read, and the targets of symlinks.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use super::merge::push_components;
use super::options::ReadOptions;
use super::source::{Found, LayerSource};
use super::table::{Table, index_of};
use super::text::Texts;
use super::view::Content;
use crate::error::{Error, ErrorKind, Result};
use crate::images::image::Image;
use crate::images::layers::{ImageLayer, image_layers};
use crate::layer::{EntryKind, NameKind, SafePath, TarEntry};
use crate::unpack::{LINK_LIMIT, check_symlink};

/// The result of a lookup.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Directory,
    /// A file that is neither a directory nor a symlink.
    File(Position),
    Absent,
    /// These layers do not decide it: all layers are needed.
    Unsure,
}

/// An entry of the image.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The index of its layer.
    pub(super) layer: usize,
    /// The number of the entry in its layer.
    pub(super) number: u32,
}

/// Reads layers from the top, as lookups need them.
pub(super) struct Probe<'a> {
    pub(super) layers: Vec<ImageLayer<'a>>,
    source: LayerSource<'a>,
    /// The index of the lowest layer that was read.
    lowest: usize,
    known: Known,
}

/// What a lookup of one path found.
enum Sight {
    At(usize, What),
    Absent,
    Unsure,
}

impl<'a> Probe<'a> {
    pub(super) fn new(image: &'a Image, options: &'a ReadOptions) -> Self {
        let layers = image_layers(image.manifest(), image.config());
        Self {
            lowest: layers.len(),
            layers,
            source: LayerSource::new(image.store(), &options.limits, &options.cancel),
            known: Known {
                records: Vec::new(),
                table: Table::new(),
                hasher: RandomState::new(),
                targets: Texts::new(&options.limits),
                depth_limit: options.limits.depth,
                has_stray: false,
                is_odd: false,
            },
        }
    }

    /// Finds the file to which a path leads, through all symlinks.
    pub(super) fn find(&mut self, path: &[u8]) -> Result<Answer> {
        let (mut place, mut pending) = (Vec::new(), Vec::new());
        push_components(&mut pending, path);
        let (mut answer, mut links) = (Answer::Directory, 0);
        while let Some(component) = pending.pop() {
            if answer != Answer::Directory {
                return Ok(Answer::Absent);
            }
            if component == b".." {
                place.pop();
                continue;
            }
            place.push(component);
            match self.look(&place)? {
                Sight::At(_, What::Directory) => {}
                Sight::At(layer, What::File(number)) => answer = Answer::File(Position { layer, number }),
                Sight::At(_, What::Symlink(target)) if links < LINK_LIMIT => {
                    links += 1;
                    place.pop();
                    let target = self.known.targets.at(target)?;
                    if target.starts_with(b"/") {
                        place.clear();
                    }
                    push_components(&mut pending, target);
                }
                Sight::Absent if !self.known.has_stray => return Ok(Answer::Absent),
                _ => return Ok(Answer::Unsure),
            }
        }
        Ok(answer)
    }

    /// Reads an entry that [`find`](Self::find) returned.
    pub(super) fn visit(
        &mut self,
        position: Position,
        take: &mut dyn FnMut(Content<'_, '_>) -> Result<()>,
    ) -> Result<()> {
        let lost = || Error::new(ErrorKind::Internal, "read file: no such layer");
        let layer = self.layers.get(position.layer).ok_or_else(lost)?;
        self.source.restart();
        self.source.read(layer, &mut |Found { number, entry, archive }| {
            if number == position.number { take(Content { nodes: &[], entry, archive }) } else { Ok(()) }
        })?;
        Ok(())
    }

    /// Looks for a path in a directory that exists.
    fn look(&mut self, components: &[Vec<u8>]) -> Result<Sight> {
        let path = components.join(&b'/');
        for index in (0..self.layers.len()).rev() {
            self.read(index)?;
            let known = &self.known;
            if known.is_odd || components.iter().any(|name| known.has(index, Role::Stray, name)) {
                return Ok(Sight::Unsure);
            }
            if let Some(what) = known.get(index, Role::Entry, &path) {
                return Ok(Sight::At(index, what));
            }
            if known.hides_lower(index, &path) {
                return Ok(Sight::Absent);
            }
        }
        Ok(Sight::Absent)
    }

    /// Reads a layer, if that was not done yet. The layers above were read before.
    fn read(&mut self, index: usize) -> Result<()> {
        let Self { layers, source, lowest, known } = self;
        let Some(layer) = layers.get(index).filter(|_| index < *lowest) else { return Ok(()) };
        let first = source.entries;
        source.read(layer, &mut |found| known.add(index, &found.entry, found.number - first))?;
        *lowest = index;
        Ok(())
    }
}

/// What the entries of the layers say by themselves.
struct Known {
    records: Vec<Record>,
    table: Table,
    /// The key of the hash is random, because names are untrusted.
    hasher: RandomState,
    /// The targets of symlinks.
    targets: Texts,
    depth_limit: usize,
    /// The place of some entry is not certain.
    has_stray: bool,
    /// Some layer has what only merging treats right.
    is_odd: bool,
}

/// What one layer has at a path.
struct Record {
    /// The hash of the layer, the role and the path.
    hash: u64,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Directory,
    /// The position of its target in the texts.
    Symlink(u32),
    /// The number of the entry in its layer.
    File(u32),
    /// A hard link to a file that this layer does not have.
    HardLink,
    /// A whiteout or the name of a stray entry.
    Mark,
}

/// The sets of records.
#[derive(Clone, Copy, Hash)]
enum Role {
    Entry,
    Whiteout,
    Opaque,
    /// The name of an entry whose place is not certain.
    Stray,
}

impl Known {
    fn get(&self, layer: usize, role: Role, path: &[u8]) -> Option<What> {
        let hash = self.hasher.hash_one((layer, role, path));
        self.records.get(self.find(hash)?).map(|record| record.what)
    }

    fn has(&self, layer: usize, role: Role, path: &[u8]) -> bool {
        self.get(layer, role, path).is_some()
    }

    fn find(&self, hash: u64) -> Option<usize> {
        let is_same = |index: u32| self.records.get(index as usize).is_some_and(|record| record.hash == hash);
        self.table.find(hash, is_same).map(|index| index as usize)
    }

    fn put(&mut self, layer: usize, role: Role, path: &[u8], what: What) -> Result<()> {
        let hash = self.hasher.hash_one((layer, role, path));
        if let Some(record) = self.find(hash).and_then(|index| self.records.get_mut(index)) {
            // The path was a directory with something in it, or other entries replaced what it was.
            self.is_odd |= (record.what == What::Directory) != (what == What::Directory);
            record.what = what;
            return Ok(());
        }
        let index = index_of(self.records.len())?;
        self.records.push(Record { hash, what });
        let Self { records, table, .. } = self;
        table.insert(index, hash, None, |index| records.get(index as usize).map_or(0, |record| record.hash))
    }

    /// Returns true if lower layers have nothing visible at a path, because of what this layer has at it or above it.
    fn hides_lower(&self, layer: usize, path: &[u8]) -> bool {
        if self.has(layer, Role::Whiteout, path) {
            return true;
        }
        let mut above = path;
        while !above.is_empty() {
            let slash = above.iter().rposition(|&b| b == b'/');
            above = above.split_at(slash.unwrap_or(0)).0;
            let is_replaced = self.get(layer, Role::Entry, above).is_some_and(|what| what != What::Directory);
            if is_replaced || self.has(layer, Role::Whiteout, above) || self.has(layer, Role::Opaque, above) {
                return true;
            }
        }
        false
    }

    /// Adds an entry of the layer that is read now.
    fn add(&mut self, layer: usize, entry: &TarEntry, number: u32) -> Result<()> {
        let path = SafePath::parse_entry(&entry.path)?;
        let (kind, parent) = (path.kind()?, path.parent());
        if path.is_root() {
            self.is_odd |= !matches!(entry.kind, EntryKind::Directory);
            return Ok(());
        }
        let is_too_deep = path.as_bytes().split(|&b| b == b'/').count() > self.depth_limit;
        let is_placed = parent.is_empty() || self.get(layer, Role::Entry, parent) == Some(What::Directory);
        self.is_odd |=
            is_too_deep || kind == NameKind::AufsLinkedFile || (kind == NameKind::OpaqueWhiteout && !is_placed);
        match kind {
            NameKind::Plain if is_placed => {
                let what = self.what(layer, &path, entry, number)?;
                self.put(layer, Role::Entry, path.as_bytes(), what)
            }
            NameKind::Whiteout(name) if is_placed => {
                let hidden = [parent, name].join(&b'/');
                let hidden = hidden.strip_prefix(b"/").unwrap_or(&hidden);
                self.put(layer, Role::Whiteout, hidden, What::Mark)
            }
            NameKind::OpaqueWhiteout => self.put(layer, Role::Opaque, parent, What::Mark),
            NameKind::AufsMetadata | NameKind::AufsLinkedFile => Ok(()),
            NameKind::Plain => self.add_stray(layer, path.name()),
            NameKind::Whiteout(name) => self.add_stray(layer, name),
        }
    }

    fn add_stray(&mut self, layer: usize, name: &[u8]) -> Result<()> {
        self.has_stray = true;
        self.put(layer, Role::Stray, name, What::Mark)
    }

    fn what(&mut self, layer: usize, path: &SafePath, entry: &TarEntry, number: u32) -> Result<What> {
        Ok(match &entry.kind {
            EntryKind::Directory => What::Directory,
            EntryKind::Symlink(target) => {
                check_symlink(path, target)?;
                What::Symlink(self.targets.add(target)?)
            }
            EntryKind::HardLink(target) => {
                let target = self.get(layer, Role::Entry, SafePath::parse(target)?.as_bytes());
                target.filter(|what| *what != What::Directory).unwrap_or(What::HardLink)
            }
            _ => What::File(number),
        })
    }
}
