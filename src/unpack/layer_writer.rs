//! The state of applying one layer: the tree, what this process may do, and what the layer wrote so far.

use super::directory::OpenDirectory;
use super::metadata::Policy;
use super::modes::DeferredModes;
use super::overlay::Overlay;
use super::remove::remove_tree;
use super::root::{Root, failed};
use super::tally::Tally;
use super::written::{NameSet, Written};
use crate::cancel::Cancel;
use crate::error::Result;
use crate::layer::{AUFS_LINKS, SafePath};

/// Applies one layer to the tree.
pub(super) struct LayerWriter<'a> {
    pub(super) root: &'a mut Root,
    pub(super) cancel: &'a Cancel,
    pub(super) policy: Policy,
    pub(super) tally: &'a mut Tally,
    pub(super) deferred_modes: &'a mut DeferredModes,
    pub(super) skipped_devices: &'a mut SkippedDevices,
    /// For a tree that overlayfs mounts together with others.
    pub(super) overlay: Option<Overlay>,
    /// Set if the layer has an entry for the root.
    pub(super) has_root_entry: &'a mut bool,
    /// True if the tree has files in [`AUFS_LINKS`].
    pub(super) has_aufs_links: bool,
    /// `None` on the first layer, because no lower layer exists for a whiteout to apply to.
    pub(super) written: Option<Written>,
}

/// The paths of device nodes that were left out, of all layers. A hard link to one is left out too.
#[derive(Default)]
pub(super) struct SkippedDevices(NameSet);

impl SkippedDevices {
    pub(super) fn insert(&mut self, path: &SafePath) {
        self.0.insert(0, path.as_bytes());
    }

    pub(super) fn contains(&self, path: &SafePath) -> bool {
        self.0.contains(0, path.as_bytes())
    }
}

impl LayerWriter<'_> {
    /// How to tell overlayfs what the layer removes; `None` if layers are merged.
    pub(super) fn apart(&self) -> Option<Overlay> {
        self.overlay.filter(|overlay| overlay.is_apart())
    }

    /// Enters the directory of `path`. Creates it and its parents if they are missing.
    pub(super) fn enter(&mut self, path: &SafePath) -> Result<&OpenDirectory> {
        self.root.enter(path.parent())?;
        for inode in self.root.take_created() {
            self.deferred_modes.remove(inode);
        }
        self.root.current()
    }

    /// Removes the directory of AUFS that hard links of this layer referred to.
    pub(super) fn remove_aufs_links(&mut self) -> Result<()> {
        if !self.has_aufs_links {
            return Ok(());
        }
        let directory = self.root.enter(b"")?;
        remove_tree(directory, AUFS_LINKS, self.cancel).map_err(|e| failed("remove", AUFS_LINKS, e))
    }

    /// Records that this layer wrote `path`, whose directory is the current one.
    pub(super) fn record(&mut self, path: &SafePath) -> Result<()> {
        if let Some(written) = &mut self.written {
            written.add(self.root.current()?.inode(), path.name());
        }
        Ok(())
    }
}
