//! Makes trees: one layer after the other into a staging tree beside the target, and at the end the target by one
//! rename. It takes bytes whose blob was proven, proves each layer's diff_id itself, and fetches nothing.

mod clear;
mod decoder;
mod dress;
mod entries;
mod files;
mod folder;
#[cfg(fuzzing)]
mod fuzzing;
mod identify;
mod layer;
mod modes;
mod path;
mod place;
mod records;
mod root;
mod staging;
mod tally;
mod whiteout;

use std::io::Read;
use std::path::Path;

pub(crate) use self::decoder::Decoder;
pub(crate) use self::files::Files;
#[cfg(fuzzing)]
pub use self::fuzzing::{Format, archive, decode, numbers, pax, sparse};
pub(crate) use self::identify::{Content, identify};
pub use self::tally::Tally;

use self::clear::Written;
use self::dress::Policy;
use self::entries::{Entries, Entry, Kind};
use self::layer::Layer;
use self::modes::WaitingModes;
use self::path::{Request, SafePath};
use self::root::Root;
use self::staging::Staging;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::verify::{Size, Verified};

/// What this room needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) devices: bool,
    pub(crate) limits: Limits,
    pub(crate) cancel: Cancel,
}

/// Removes what unpackings that died have left in a folder, for targets that `is_target` knows by their names.
#[cfg(feature = "boot")]
pub(crate) fn sweep(folder: &Path, is_target: &dyn Fn(&str) -> bool) {
    Staging::sweep(folder, is_target);
}

/// A tree that grows.
pub(crate) struct Tree {
    root: Root,
    staging: Staging,
    config: Config,
    policy: Policy,
    tally: Tally,
    waiting: WaitingModes,
    left_out: Written,
    layers: usize,
    /// Bytes of holes in sparse files, which the archive does not have but the limit counts.
    holes: u64,
}

impl Tree {
    /// Begins a tree for `target`, which must not exist or be an empty folder.
    pub(crate) fn begin(target: &Path, config: Config) -> Result<Self> {
        let staging = Staging::create(target)?;
        let root = Root::new(staging.open_tree()?);
        let policy = Policy::of_process(config.devices, staging.granted()?);
        let mut tree = Self {
            root,
            staging,
            config,
            policy,
            tally: Tally::default(),
            waiting: WaitingModes::default(),
            left_out: Written::default(),
            layers: 0,
            holes: 0,
        };
        tree.dress_root()?;
        Ok(tree)
    }

    /// Applies the next layer, out of its uncompressed bytes as a [`Decoder`] gives them. On failure the tree is worthless.
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

    /// Gives the tree its place.
    pub(crate) fn publish(mut self) -> Result<Tally> {
        self.root.leave()?;
        let tree = self.staging.open_tree()?;
        let waited = self
            .staging
            .open_tree()
            .and_then(|top| self.waiting.apply(top).map_err(|e| Error::disk("set modes in", "the tree", e)))?;
        self.staging.publish()?;
        if let Some(mode) = waited {
            // Moving a directory to another parent needs the right to write it.
            rustix::fs::fchmod(&tree, mode).map_err(|e| Error::disk("set mode of", "the target", e))?;
        }
        Ok(self.tally)
    }

    fn each_entry<R: Read>(&mut self, entries: &mut Entries<R>, written: Option<Written>) -> Result<()> {
        let limits = &self.config.limits;
        let mut layer = Layer {
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
                return Err(Limits::exceeded("archive entries", limits.entries));
            }
            self.holes = self.holes.saturating_add(holes(&entry));
            if self.holes.saturating_add(layer.tally.bytes) > limits.unpacked {
                return Err(Limits::exceeded("bytes of unpacked layers", limits.unpacked));
            }
            apply(&mut layer, &entry, entries)?;
        }
        Ok(())
    }

    /// What follows the archive's end is no part of the tree, but the diff_id covers it.
    fn prove<R: Read>(&mut self, mut tar: Verified<R>, diff_id: Digest) -> Result<()> {
        tar.drain(&mut [0; 16 << 10]).map_err(|e| Error::through_read(e, |e| records::malformed(&e.to_string())))?;
        self.tally.bytes += tar.count();
        tar.finish().map(drop).map_err(|e| e.context(format!("diff_id {diff_id}")))
    }

    /// An image need not name its root; then it is as any folder that is only implied.
    fn dress_root(&mut self) -> Result<()> {
        let tree = self.staging.open_tree()?;
        folder::dress_as_implied(&tree).map_err(|e| Error::disk("set attributes of", "the tree", e))
    }
}

fn apply<R: Read>(layer: &mut Layer<'_>, entry: &Entry, entries: &mut Entries<R>) -> Result<()> {
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

fn holes(entry: &Entry) -> u64 {
    match &entry.kind {
        Kind::Regular(content) => match &content.sparse {
            Some(map) => content.size - map.iter().map(|(_, length)| length).sum::<u64>(),
            None => 0,
        },
        _ => 0,
    }
}
