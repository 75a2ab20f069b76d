//! Modes of directories that must wait for the end: an ordinary user cannot fill a directory that denies it to its owner.
//! They are kept by inode, a few bytes each, and set in one walk, the deepest first.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode};

use super::folder::DIRECTORY;

/// The modes that wait.
#[derive(Default)]
pub(super) struct WaitingModes(HashMap<u64, u32>);

/// A directory on the way down: its name in the one above, its mode if it waits, and what is in it.
struct Level {
    name: Vec<u8>,
    mode: Option<u32>,
    ahead: Vec<Vec<u8>>,
}

impl WaitingModes {
    /// The directory `inode` gets `mode` at the end; with `None`, it keeps the one it has.
    pub(super) fn set(&mut self, inode: u64, mode: Option<u32>) {
        match mode {
            Some(mode) => drop(self.0.insert(inode, mode)),
            None => drop(self.0.remove(&inode)),
        }
    }

    /// Sets the modes of all directories below `top`, and gives `top`'s own.
    pub(super) fn apply(&self, top: OwnedFd) -> io::Result<Option<Mode>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let mut at = top;
        let mut way = vec![self.look_into(&at, Vec::new())?];
        loop {
            let Some(level) = way.last_mut() else { return Ok(None) };
            if let Some(name) = level.ahead.pop() {
                at = fs::openat(&at, name.as_slice(), DIRECTORY, Mode::empty())?;
                way.push(self.look_into(&at, name)?);
                continue;
            }
            let Some(done) = way.pop() else { return Ok(None) };
            let mode = done.mode.map(Mode::from_raw_mode);
            if way.is_empty() {
                return Ok(mode);
            }
            at = fs::openat(&at, "..", DIRECTORY, Mode::empty())?;
            if let Some(mode) = mode {
                fs::chmodat(&at, done.name.as_slice(), mode, AtFlags::empty())?;
            }
        }
    }

    fn look_into(&self, directory: &OwnedFd, name: Vec<u8>) -> io::Result<Level> {
        let mode = self.0.get(&fs::fstat(directory)?.st_ino).copied();
        let mut ahead = Vec::new();
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") && is_directory(directory, name, entry.file_type())? {
                ahead.push(name.to_vec());
            }
        }
        Ok(Level { name, mode, ahead })
    }
}

/// What a directory listing says, asked anew where the filesystem does not say.
pub(super) fn is_directory(around: &OwnedFd, name: &[u8], listed: FileType) -> io::Result<bool> {
    match listed {
        FileType::Unknown => {
            let stat = fs::statat(around, name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(FileType::from_raw_mode(stat.st_mode).is_dir())
        }
        known => Ok(known.is_dir()),
    }
}
