//! The state of one layer on its way into the tree: where it goes, what this process may do, what it wrote.

use super::clear::Written;
use super::dress::Policy;
use super::path::SafePath;
use super::root::Root;
use super::tally::Tally;
use crate::error::Result;

/// One layer's way into the tree.
pub(super) struct Layer<'a> {
    pub(super) root: &'a mut Root,
    pub(super) policy: Policy,
    pub(super) tally: &'a mut Tally,
    pub(super) deferred: &'a mut Vec<Deferred>,
    /// `None` on the first layer: there is nothing below it that a whiteout could mean.
    pub(super) written: Option<Written>,
}

/// A directory's mode that comes at the end.
pub(super) struct Deferred {
    pub(super) path: Vec<u8>,
    pub(super) mode: u32,
}

impl Layer<'_> {
    /// Remembers that this layer wrote `path`, whose folder is the current one.
    pub(super) fn remember(&mut self, path: &SafePath) -> Result<()> {
        if let Some(written) = &mut self.written {
            written.add(self.root.current()?.inode(), path.name());
        }
        Ok(())
    }
}
