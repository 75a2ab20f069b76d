//! Unpacks layers into a directory tree: applies entries and whiteouts in order, confined to the root of the tree, and
//! verifies each layer's diff_id.
//!
//! Where the tree grows and how it appears at its target is up to the caller (`target`).

mod acl;
mod create;
mod directory;
mod layer_writer;
mod metadata;
mod modes;
#[cfg_attr(not(feature = "manage"), path = "no_overlay.rs")]
mod overlay;
mod remove;
mod root;
mod tally;
mod whiteout;
mod written;

use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::Mode;

pub(crate) use self::acl::remove_acls;
#[cfg(feature = "manage")]
pub(crate) use self::create::check_symlink;
pub(crate) use self::directory::DIRECTORY_FLAGS;
#[cfg(feature = "manage")]
pub(crate) use self::directory::{open_directory, times_of};
#[cfg(feature = "manage")]
pub(crate) use self::metadata::is_allowed;
pub(crate) use self::overlay::Overlay;
#[cfg(feature = "manage")]
pub(crate) use self::overlay::{OverlayForm, copy_metadata};
#[cfg(feature = "manage")]
pub(crate) use self::remove::remove_counted;
pub(crate) use self::remove::remove_tree;
#[cfg(feature = "manage")]
pub(crate) use self::root::{LINK_COMPONENTS, LINK_COMPONENTS_AHEAD, LINK_LIMIT};
pub(crate) use self::root::{Root, failed};
pub use self::tally::Tally;

use self::create::create_entry;
use self::layer_writer::{LayerWriter, SkippedDevices};
use self::metadata::{Policy, set_implied_metadata};
use self::modes::DeferredModes;
use self::whiteout::{apply_opaque, apply_whiteout};
use self::written::Written;
use crate::advice::Limit;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::{Entries, EntryKind, NameKind, SafePath, TarEntry, malformed};
use crate::limits::Limits;
use crate::verify::{Size, Verified};

/// Options for unpacking.
#[derive(Clone, Debug)]
pub(crate) struct UnpackConfig {
    /// Create device nodes if this process is root.
    pub(crate) devices: bool,
    /// For a tree that overlayfs mounts together with others.
    pub(crate) overlay: Option<Overlay>,
    pub(crate) limits: Limits,
    pub(crate) cancel: Cancel,
}

/// A tree to which layers are applied.
pub(crate) struct Tree {
    root: Root,
    config: UnpackConfig,
    policy: Policy,
    tally: Tally,
    deferred_modes: DeferredModes,
    skipped_devices: SkippedDevices,
    /// The number of layers that were applied.
    layers: usize,
    /// True if a layer has an entry for the root.
    has_root_entry: bool,
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
    /// Starts a tree in the empty directory `root`.
    pub(crate) fn new(root: OwnedFd, config: UnpackConfig) -> Result<Self> {
        let devices = config.devices && config.overlay.is_none_or(Overlay::may_have_devices);
        let policy = Policy::of_process(&root, devices).map_err(|e| Error::disk("create a file in", "the tree", e))?;
        // An image may have no entry for its root. Then the root is an implied directory.
        set_implied_metadata(&root).map_err(|e| Error::disk("set attributes of", "the tree", e))?;
        let mut root = Root::new(root, &config.limits, &config.cancel);
        if config.overlay.is_some_and(Overlay::is_apart) {
            root.set_apart();
        }
        Ok(Self {
            root,
            config,
            policy,
            tally: Tally::default(),
            deferred_modes: DeferredModes::default(),
            skipped_devices: SkippedDevices::default(),
            layers: 0,
            has_root_entry: false,
            holes: 0,
        })
    }

    /// Applies the next layer from its uncompressed bytes, as a [`Decoder`](crate::layer::Decoder) returns them. After
    /// a failure the tree must be discarded.
    pub(crate) fn apply(&mut self, tar: &mut dyn Read, diff_id: Digest) -> Result<()> {
        let left = self.config.limits.unpacked.saturating_sub(self.tally.bytes + self.holes);
        let what = if self.layers == 0 { "bytes of unpacked layers" } else { "further bytes of unpacked layers" };
        let size = Size::AtMost(left, what);
        let mut tar = Verified::new(tar, diff_id, size, self.config.cancel.clone());
        let written = (self.layers > 0).then(Written::default);
        self.apply_entries(&mut Entries::new(&mut tar, &self.config.limits), written)?;
        self.root.leave()?;
        self.layers += 1;
        self.verify_layer(tar, diff_id)
    }

    /// The root, for reading files of the tree.
    #[cfg(feature = "manage")]
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// Returns true if a layer has an entry for the root.
    #[cfg(feature = "manage")]
    pub(crate) fn has_root_entry(&self) -> bool {
        self.has_root_entry
    }

    /// Sets the deferred modes of directories. Call [`FinishedTree::set_root_mode`] after publishing.
    pub(crate) fn finish(mut self) -> Result<FinishedTree> {
        self.root.leave()?;
        let root_mode = self
            .deferred_modes
            .apply(self.root.reopen()?, &self.config.cancel)
            .map_err(|e| Error::through_read(e, |e| Error::disk("set modes in", "the tree", e)))?;
        Ok(FinishedTree { tally: self.tally, root: self.root.into_inner(), root_mode })
    }

    fn apply_entries(&mut self, entries: &mut Entries<'_>, written: Option<Written>) -> Result<()> {
        let limits = &self.config.limits;
        let mut layer = LayerWriter {
            root: &mut self.root,
            cancel: &self.config.cancel,
            policy: self.policy,
            tally: &mut self.tally,
            deferred_modes: &mut self.deferred_modes,
            skipped_devices: &mut self.skipped_devices,
            overlay: self.config.overlay,
            has_root_entry: &mut self.has_root_entry,
            has_aufs_links: false,
            written,
        };
        while let Some(entry) = entries.next()? {
            layer.cancel.check()?;
            layer.tally.entries += 1;
            if layer.tally.entries > limits.entries {
                return Err(Limits::exceeded_adjustable(Limit::Entries, "archive entries", limits.entries));
            }
            self.holes = self.holes.saturating_add(size_of_holes(&entry));
            if self.holes.saturating_add(layer.tally.bytes) > limits.unpacked {
                return Err(Limits::exceeded_adjustable(Limit::Unpacked, "bytes of unpacked layers", limits.unpacked));
            }
            apply_entry(&mut layer, &entry, entries)?;
        }
        layer.remove_aufs_links()
    }

    /// Reads to the end of the input and compares the diff_id, which also covers the bytes after the end of the
    /// archive.
    fn verify_layer<R: Read>(&mut self, mut tar: Verified<R>, diff_id: Digest) -> Result<()> {
        tar.drain(&mut [0; 16 << 10]).map_err(|e| Error::through_read(e, |e| malformed(&e.to_string())))?;
        self.tally.bytes += tar.count();
        tar.finish().map(drop).map_err(|e| e.context(format!("diff_id {diff_id}")))
    }
}

impl FinishedTree {
    /// The mode that the root itself has to get.
    #[cfg(feature = "manage")]
    pub(crate) fn root_mode(&self) -> Option<Mode> {
        self.root_mode
    }

    /// Sets the mode of the root itself. It has to wait for the publishing rename, because moving a directory to
    /// another parent requires write permission on it.
    pub(crate) fn set_root_mode(&self) -> Result<()> {
        let Some(mode) = self.root_mode else { return Ok(()) };
        rustix::fs::fchmod(&self.root, mode).map_err(|e| Error::disk("set mode of", "the target", e))
    }
}

fn apply_entry(layer: &mut LayerWriter<'_>, entry: &TarEntry, entries: &mut Entries<'_>) -> Result<()> {
    let path = SafePath::parse_entry(&entry.path)?;
    let kind = path.kind()?;
    let is_aufs_link = kind == NameKind::AufsLinkedFile && matches!(entry.kind, EntryKind::Regular(_));
    if kind == NameKind::Plain || is_aufs_link {
        layer.has_aufs_links |= is_aufs_link;
        return create_entry(layer, &path, entry, entries);
    }
    if let Some(overlay) = layer.apart() {
        return overlay.apply_whiteout(layer.root, &path, kind);
    }
    // In the first layer a whiteout has nothing to remove.
    let Some(written) = &mut layer.written else { return Ok(()) };
    match kind {
        NameKind::Whiteout(name) => apply_whiteout(layer.root, path.parent(), name, written, layer.cancel)?,
        NameKind::OpaqueWhiteout => apply_opaque(layer.root, path.parent(), written, layer.cancel)?,
        NameKind::Plain | NameKind::AufsMetadata | NameKind::AufsLinkedFile => {}
    }
    for inode in written.take_implied() {
        layer.deferred_modes.remove(inode);
    }
    Ok(())
}

/// Returns the bytes of a sparse file that the archive does not contain.
fn size_of_holes(entry: &TarEntry) -> u64 {
    let EntryKind::Regular(content) = &entry.kind else { return 0 };
    let Some(extents) = &content.extents else { return 0 };
    content.size - extents.iter().map(|extent| extent.length).sum::<u64>()
}
