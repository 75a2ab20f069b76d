//! The state of applying one layer: the tree, what this process may do, and what the layer wrote so far.

use super::directory::OpenDirectory;
use super::metadata::Policy;
use super::modes::DeferredModes;
use super::root::Root;
use super::tally::Tally;
use super::written::{NameSet, Written};
use crate::error::Result;
use crate::layer::SafePath;

/// Applies one layer to the tree.
pub(super) struct LayerWriter<'a> {
    pub(super) root: &'a mut Root,
    pub(super) policy: Policy,
    pub(super) tally: &'a mut Tally,
    pub(super) deferred_modes: &'a mut DeferredModes,
    pub(super) skipped_devices: &'a mut SkippedDevices,
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
    /// Enters the directory of `path`. Creates it and its parents if they are missing.
    pub(super) fn enter(&mut self, path: &SafePath) -> Result<&OpenDirectory> {
        self.root.enter(path.parent())?;
        for inode in self.root.take_created() {
            self.deferred_modes.remove(inode);
        }
        self.root.current()
    }

    /// Records that this layer wrote `path`, whose directory is the current one.
    pub(super) fn record(&mut self, path: &SafePath) -> Result<()> {
        if let Some(written) = &mut self.written {
            written.add(self.root.current()?.inode(), path.name());
        }
        Ok(())
    }
}
