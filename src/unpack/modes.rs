//! Modes of directories that have to wait until all layers are applied, because an ordinary user cannot fill a
//! directory whose mode denies it to its owner.
//!
//! They are kept by inode, in a few bytes each, and set in one walk, the deepest first.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{self, AtFlags, Dir, Mode};

use super::directory::{DIRECTORY_FLAGS, is_listed_directory};
use crate::cancel::Cancel;

/// The deferred modes, by the inode of the directory.
#[derive(Default)]
pub(super) struct DeferredModes(HashMap<u64, u32>);

/// A directory on the stack of the walk.
struct Frame {
    /// The name in the parent; empty for the top.
    name: Vec<u8>,
    mode: Option<Mode>,
    /// Subdirectories that are not visited yet.
    subdirectories: Vec<Vec<u8>>,
}

impl DeferredModes {
    /// Defers the mode of a directory.
    pub(super) fn set(&mut self, inode: u64, mode: u32) {
        self.0.insert(inode, mode);
    }

    /// Forgets a directory's deferred mode, because it has the right mode now.
    pub(super) fn remove(&mut self, inode: u64) {
        self.0.remove(&inode);
    }

    /// Sets the modes of all directories below `top`, and returns the one of `top` itself.
    pub(super) fn apply(&self, top: OwnedFd, cancel: &Cancel) -> io::Result<Option<Mode>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let mut directory = top;
        let mut frame = self.scan(&directory, Vec::new(), cancel)?;
        let mut parents: Vec<Frame> = Vec::new();
        loop {
            if let Some(name) = frame.subdirectories.pop() {
                directory = fs::openat(&directory, name.as_slice(), DIRECTORY_FLAGS, Mode::empty())?;
                let next = self.scan(&directory, name, cancel)?;
                parents.push(std::mem::replace(&mut frame, next));
                continue;
            }
            let Some(parent) = parents.pop() else { return Ok(frame.mode) };
            directory = fs::openat(&directory, "..", DIRECTORY_FLAGS, Mode::empty())?;
            if let Some(mode) = frame.mode {
                fs::chmodat(&directory, frame.name.as_slice(), mode, AtFlags::empty())?;
            }
            frame = parent;
        }
    }

    /// Looks up the mode of a directory and lists its subdirectories.
    fn scan(&self, directory: &OwnedFd, name: Vec<u8>, cancel: &Cancel) -> io::Result<Frame> {
        let mode = self.0.get(&fs::fstat(directory)?.st_ino).copied().map(Mode::from_raw_mode);
        let mut subdirectories = Vec::new();
        for entry in Dir::read_from(directory)? {
            cancel.check()?;
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") && is_listed_directory(directory, name, entry.file_type())? {
                subdirectories.push(name.to_vec());
            }
        }
        Ok(Frame { name, mode, subdirectories })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    #[test]
    fn setting_the_modes_ends_at_the_cancel_flag() {
        let top = fs::open(std::env::temp_dir(), DIRECTORY_FLAGS, Mode::empty()).unwrap_or_else(|e| panic!("{e}"));
        let mut modes = DeferredModes::default();
        modes.set(0, 0);
        let cancel = Cancel::default();
        cancel.cancel();
        let error = modes.apply(top, &cancel).map(drop).map_err(|e| Error::through_read(e, |e| panic!("{e}")).kind());
        assert_eq!(error, Err(ErrorKind::Interrupted));
    }
}
