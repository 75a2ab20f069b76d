//! The state of one layer on its way into the tree: where it goes, what this process may do, what it wrote.

use super::folder::Folder;
use super::metadata::Policy;
use super::modes::WaitingModes;
use super::remove::Written;
use super::root::Root;
use super::tally::Tally;
use crate::error::Result;
use crate::layer::SafePath;

/// One layer's way into the tree.
pub(super) struct LayerWriter<'a> {
    pub(super) root: &'a mut Root,
    pub(super) policy: Policy,
    pub(super) tally: &'a mut Tally,
    pub(super) waiting: &'a mut WaitingModes,
    /// Names of devices that were left out, of all layers: a hard link to one is left out too.
    pub(super) left_out: &'a mut Written,
    /// `None` on the first layer: there is nothing below it that a whiteout could mean.
    pub(super) written: Option<Written>,
}

impl LayerWriter<'_> {
    /// Enters the folder of `path`, made with its parents if it is missing.
    pub(super) fn enter(&mut self, path: &SafePath) -> Result<&Folder> {
        self.root.enter(path.parent())?;
        for inode in self.root.take_made() {
            self.waiting.set(inode, None);
        }
        self.root.current()
    }

    /// Remembers that this layer wrote `path`, whose folder is the current one.
    pub(super) fn remember(&mut self, path: &SafePath) -> Result<()> {
        if let Some(written) = &mut self.written {
            written.add(self.root.current()?.inode(), path.name());
        }
        Ok(())
    }
}
