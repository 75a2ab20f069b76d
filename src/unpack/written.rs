//! The record of what one layer wrote. Its whiteouts apply to lower layers only and spare these entries, in whatever
//! order entries and whiteouts come.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs;
#[cfg(feature = "manage")]
use rustix::fs::{AtFlags, FileType};

use super::metadata::set_implied_metadata;

/// The unit of `st_blocks`, in bytes.
#[cfg(feature = "manage")]
const STAT_BLOCK: u64 = 512;

/// The names that one layer wrote, in a few bytes per entry. The first layer keeps no such record, because nothing is below it.
#[derive(Default)]
pub(super) struct Written {
    names: NameSet,
    /// Directories that are free of lower layers' entries, by inode, and whether anything is left in them. They are not
    /// scanned again, so many opaque whiteouts cost no more than the number of entries (GHSA-rp3h-jf77-q9p4).
    cleared: HashMap<u64, bool>,
    /// Inodes of directories that became implied since the last call of [`take_implied`](Written::take_implied).
    implied: Vec<u64>,
    /// The bytes that the removed files took so far; `None` if they are not counted.
    #[cfg(feature = "manage")]
    freed: Option<u64>,
}

impl Written {
    /// A record of nothing, which counts what is removed.
    #[cfg(feature = "manage")]
    pub(super) fn counting() -> Self {
        Self { freed: Some(0), ..Self::default() }
    }

    /// The bytes that the removed files took, as far as they were counted.
    #[cfg(feature = "manage")]
    pub(super) fn freed(&self) -> u64 {
        self.freed.unwrap_or(0)
    }

    /// Counts a file that is about to be removed, if files are counted. One with another name frees nothing, and a hole takes
    /// no space.
    #[cfg(feature = "manage")]
    pub(super) fn count(&mut self, directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
        let Some(freed) = &mut self.freed else { return Ok(()) };
        let stat = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1 {
            let stored = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(STAT_BLOCK);
            *freed = freed.saturating_add(u64::try_from(stat.st_size).unwrap_or(0).min(stored));
        }
        Ok(())
    }

    /// Records that the layer wrote `name` in the directory with this inode.
    pub(super) fn add(&mut self, directory: u64, name: &[u8]) {
        self.names.insert(directory, name);
    }

    /// Returns true if the layer wrote `name` in the directory with this inode.
    pub(super) fn has(&self, directory: u64, name: &[u8]) -> bool {
        self.names.contains(directory, name)
    }

    /// Records that lower layers' entries were removed from a directory, and whether anything is left in it.
    pub(super) fn set_cleared(&mut self, directory: u64, is_kept: bool) {
        self.cleared.insert(directory, is_kept);
    }

    /// Returns whether anything is left in a directory that was cleared before; `None` if it was not.
    pub(super) fn cleared(&self, directory: u64) -> Option<bool> {
        self.cleared.get(&directory).copied()
    }

    /// Removes the metadata that a lower layer gave to a directory. The directory now exists only because this layer
    /// wrote something in it.
    pub(super) fn imply(&mut self, directory: &OwnedFd) -> io::Result<()> {
        self.implied.push(fs::fstat(directory)?.st_ino);
        set_implied_metadata(directory)
    }

    /// Returns the inodes of the directories that became implied since the last call.
    pub(super) fn take_implied(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.implied)
    }
}

/// A set of names in directories, as hashes of 8 bytes. A directory is identified by its inode and not by its path,
/// because several paths may lead to it.
#[derive(Default)]
pub(super) struct NameSet {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl NameSet {
    pub(super) fn insert(&mut self, directory: u64, name: &[u8]) {
        self.hashes.insert(self.hasher.hash_one((directory, name)));
    }

    pub(super) fn contains(&self, directory: u64, name: &[u8]) -> bool {
        self.hashes.contains(&self.hasher.hash_one((directory, name)))
    }
}
