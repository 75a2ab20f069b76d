//! Unpacks layers into a directory tree: applies entries and whiteouts in order, confined to the root of the tree, and
//! verifies each layer's diff_id. Staging and publishing the tree is the caller's task.

mod folder;
mod layer_writer;
mod metadata;
mod modes;
mod place;
mod remove;
mod root;
mod tally;
mod whiteout;

use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::Mode;

pub(crate) use self::folder::DIRECTORY;
pub(crate) use self::remove::remove_tree;
pub(crate) use self::root::{Root, failed};
pub use self::tally::Tally;

use self::layer_writer::LayerWriter;
use self::metadata::Policy;
use self::modes::WaitingModes;
use self::remove::Written;
use crate::advice::Limit;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::{Entries, EntryKind, Request, SafePath, TarEntry, malformed};
use crate::limits::Limits;
use crate::verify::{Size, Verified};

/// The options of an unpacking.
#[derive(Clone, Debug)]
pub(crate) struct UnpackConfig {
    pub(crate) devices: bool,
    pub(crate) limits: Limits,
    pub(crate) cancel: Cancel,
}

/// A tree to which layers are applied.
pub(crate) struct Tree {
    root: Root,
    config: UnpackConfig,
    policy: Policy,
    tally: Tally,
    waiting: WaitingModes,
    left_out: Written,
    layers: usize,
    /// Bytes of holes in sparse files. The archive does not contain them, but the limit counts them.
    holes: u64,
}

/// A tree with all its layers, ready to be published.
pub(crate) struct FinishedTree {
    /// Counts of what was unpacked and left out.
    pub(crate) tally: Tally,
    root: OwnedFd,
    root_mode: Option<Mode>,
}

impl Tree {
    /// Starts a tree in the empty directory `root`. `granted` are the permission bits that a new file gets there when it
    /// is created with all of them.
    pub(crate) fn new(root: OwnedFd, granted: Mode, config: UnpackConfig) -> Result<Self> {
        // An image may have no entry for its root; then the root is like any implied directory.
        folder::dress_as_implied(&root).map_err(|e| Error::disk("set attributes of", "the tree", e))?;
        let policy = Policy::of_process(config.devices, granted);
        Ok(Self {
            root: Root::new(root),
            config,
            policy,
            tally: Tally::default(),
            waiting: WaitingModes::default(),
            left_out: Written::default(),
            layers: 0,
            holes: 0,
        })
    }

    /// Applies the next layer from its uncompressed bytes, as a [`Decoder`](crate::layer::Decoder) returns them. After a
    /// failure the tree must be discarded.
    pub(crate) fn apply(&mut self, tar: &mut dyn Read, diff_id: Digest) -> Result<()> {
        let left = self.config.limits.unpacked.saturating_sub(self.tally.bytes + self.holes);
        let what = if self.layers == 0 { "bytes of unpacked layers" } else { "further bytes of unpacked layers" };
        let size = Size::AtMost(left, what);
        let tar = Verified::new(tar, diff_id, size, self.config.cancel.clone());
        let mut entries = Entries::new(tar, &self.config.limits);
        let written = (self.layers > 0).then(Written::default);
        self.each_entry(&mut entries, written)?;
        self.root.leave()?;
        self.layers += 1;
        self.prove(entries.into_inner(), diff_id)
    }

    /// Sets the directory modes that had to wait. Call [`FinishedTree::set_root_mode`] after publishing.
    pub(crate) fn finish(mut self) -> Result<FinishedTree> {
        self.root.leave()?;
        let top = self.root.reopen()?;
        let root_mode = self.waiting.apply(top).map_err(|e| Error::disk("set modes in", "the tree", e))?;
        Ok(FinishedTree { tally: self.tally, root: self.root.into_inner(), root_mode })
    }

    fn each_entry<R: Read>(&mut self, entries: &mut Entries<R>, written: Option<Written>) -> Result<()> {
        let limits = &self.config.limits;
        let mut layer = LayerWriter {
            root: &mut self.root,
            policy: self.policy,
            tally: &mut self.tally,
            waiting: &mut self.waiting,
            left_out: &mut self.left_out,
            written,
        };
        while let Some(entry) = entries.next()? {
            layer.tally.entries += 1;
            if layer.tally.entries > limits.entries {
                return Err(Limits::exceeded_adjustable(Limit::Entries, "archive entries", limits.entries));
            }
            self.holes = self.holes.saturating_add(holes(&entry));
            if self.holes.saturating_add(layer.tally.bytes) > limits.unpacked {
                return Err(Limits::exceeded_adjustable(Limit::Unpacked, "bytes of unpacked layers", limits.unpacked));
            }
            apply(&mut layer, &entry, entries)?;
        }
        Ok(())
    }

    /// What follows the archive's end is no part of the tree, but the diff_id covers it.
    fn prove<R: Read>(&mut self, mut tar: Verified<R>, diff_id: Digest) -> Result<()> {
        tar.drain(&mut [0; 16 << 10]).map_err(|e| Error::through_read(e, |e| malformed(&e.to_string())))?;
        self.tally.bytes += tar.count();
        tar.finish().map(drop).map_err(|e| e.context(format!("diff_id {diff_id}")))
    }
}

impl FinishedTree {
    /// Sets the mode of the root itself. It has to wait for the publishing rename, because moving a directory to another
    /// parent requires write permission on it.
    pub(crate) fn set_root_mode(&self) -> Result<()> {
        let Some(mode) = self.root_mode else { return Ok(()) };
        rustix::fs::fchmod(&self.root, mode).map_err(|e| Error::disk("set mode of", "the target", e))
    }
}

fn apply<R: Read>(layer: &mut LayerWriter<'_>, entry: &TarEntry, entries: &mut Entries<R>) -> Result<()> {
    let path = SafePath::parse(&entry.path)?;
    let request = path.request()?;
    if request == Request::Create {
        return place::place(layer, &path, entry, entries);
    }
    // Nothing lies below the first layer that a whiteout could mean.
    let Some(written) = &mut layer.written else { return Ok(()) };
    match request {
        Request::Whiteout(name) => whiteout::whiteout(layer.root, path.parent(), name, written)?,
        Request::Opaque => whiteout::opaque(layer.root, path.parent(), written)?,
        Request::Create | Request::Metadata => {}
    }
    for inode in written.take_implied() {
        layer.waiting.set(inode, None);
    }
    Ok(())
}

fn holes(entry: &TarEntry) -> u64 {
    match &entry.kind {
        EntryKind::Regular(content) => match &content.sparse {
            Some(map) => content.size - map.iter().map(|(_, length)| length).sum::<u64>(),
            None => 0,
        },
        _ => 0,
    }
}
