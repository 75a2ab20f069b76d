//! Removes trees, or of a tree what lower layers left in it. One directory is open at a time however deep the tree is,
//! no link is ever followed, and every directory is looked through once.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, Mode, Timestamps};
use rustix::io::Errno;

use super::folder::{DIRECTORY, dress_as_implied, times_of};
use super::modes::is_directory;

/// What one layer wrote, so that its whiteouts, which are for lower layers, spare it in whatever order they come. A few
/// bytes per entry; the first layer, with nothing below it, keeps none.
#[derive(Default)]
pub(crate) struct Written {
    /// Hashes of a directory's inode and a name in it: where it is, whatever path led there.
    names: HashSet<u64>,
    /// Inodes of directories in which nothing of a lower layer is left, and whether anything was: they are not looked
    /// through again, so many opaque markers cost no more than the entries there are (GHSA-rp3h-jf77-q9p4).
    cleared: HashMap<u64, bool>,
    /// Inodes of directories that lower layers brought and that are now no more than implied by what this layer has in
    /// them.
    implied: Vec<u64>,
    hasher: RandomState,
}

impl Written {
    pub(crate) fn add(&mut self, directory: u64, name: &[u8]) {
        self.names.insert(self.hasher.hash_one((directory, name)));
    }

    /// Takes from a directory what a lower layer gave it.
    pub(crate) fn imply(&mut self, directory: &OwnedFd) -> io::Result<()> {
        self.implied.push(fs::fstat(directory)?.st_ino);
        dress_as_implied(directory)
    }

    /// The directories that became implied since the last call.
    pub(crate) fn take_implied(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.implied)
    }

    pub(crate) fn has(&self, directory: u64, name: &[u8]) -> bool {
        self.names.contains(&self.hasher.hash_one((directory, name)))
    }
}

/// A directory on the way down.
struct Level {
    /// Its name in the directory above; empty for the one where it began.
    name: Vec<u8>,
    inode: u64,
    times: Timestamps,
    /// Directories in it that are still to be looked through.
    ahead: Vec<Vec<u8>>,
    /// Whether something in it stays, and so it does itself.
    stays: bool,
}

/// Removes `name` and all below it from `directory`.
pub(crate) fn remove_tree(directory: impl AsFd, name: &[u8]) -> io::Result<()> {
    match fs::unlinkat(&directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // A directory; EPERM is POSIX's word for it.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    clear(open(&directory, name)?, &mut Written::default())?;
    Ok(fs::unlinkat(&directory, name, AtFlags::REMOVEDIR)?)
}

/// Removes from the tree below `top` what `written` does not have. Directories that hold something it has stay, and
/// keep their times. Tells whether anything is left.
pub(crate) fn clear(top: OwnedFd, written: &mut Written) -> io::Result<bool> {
    let mut at = top;
    let first = match look_through(&at, Vec::new(), written)? {
        Looked::Now(level) => level,
        Looked::Before(stays) => return Ok(stays),
    };
    let mut way = vec![first];
    loop {
        let Some(level) = way.last_mut() else { return Ok(true) };
        if let Some(name) = level.ahead.pop() {
            let inside = open(&at, &name)?;
            match look_through(&inside, name.clone(), written)? {
                Looked::Now(next) => {
                    way.push(next);
                    at = inside;
                }
                Looked::Before(stays) => {
                    let stays = stays || written.has(level.inode, &name);
                    level.stays |= !remove_unless(&at, &name, stays)?;
                }
            }
            continue;
        }
        let Some(done) = way.pop() else { return Ok(true) };
        let is_ours = way.last().is_none_or(|above| written.has(above.inode, &done.name));
        if done.stays || is_ours {
            // Only of one that stays: the inode of a removed directory may be the next one's.
            written.cleared.insert(done.inode, done.stays);
            fs::futimens(&at, &done.times)?;
        }
        if !is_ours && done.stays {
            written.imply(&at)?;
        }
        let Some(above) = way.last_mut() else { return Ok(done.stays) };
        at = fs::openat(&at, "..", DIRECTORY, Mode::empty())?;
        above.stays |= !remove_unless(&at, &done.name, done.stays || is_ours)?;
    }
}

/// Removes a directory unless it is to stay; tells whether it is gone. One that was filled meanwhile stays too.
pub(crate) fn remove_unless(around: impl AsFd, name: &[u8], stays: bool) -> io::Result<bool> {
    match stays {
        true => Ok(false),
        false => match fs::unlinkat(around, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(e) => Err(e.into()),
        },
    }
}

/// What was found of a directory.
enum Looked {
    Now(Level),
    /// It was looked through before, and something was left in it or not.
    Before(bool),
}

/// Unlinks what may go and is no directory, and lists the directories.
fn look_through(directory: &OwnedFd, name: Vec<u8>, written: &Written) -> io::Result<Looked> {
    let stat = fs::fstat(directory)?;
    let inode = stat.st_ino;
    if let Some(stays) = written.cleared.get(&inode) {
        return Ok(Looked::Before(*stays));
    }
    let mut level = Level { name, inode, times: times_of(&stat), ahead: Vec::new(), stays: false };
    let denied = Mode::RWXU.difference(Mode::from_raw_mode(stat.st_mode));
    if !denied.is_empty() && !rustix::process::geteuid().is_root() {
        // A directory of ours that denies it to its owner; root is denied nothing.
        fs::fchmod(directory, Mode::from_raw_mode(stat.st_mode).union(Mode::RWXU))?;
    }
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if is_directory(directory, name, entry.file_type())? {
            level.ahead.push(name.to_vec());
        } else if written.has(inode, name) {
            level.stays = true;
        } else {
            fs::unlinkat(directory, name, AtFlags::empty())?;
        }
    }
    Ok(Looked::Now(level))
}

/// Opens a directory of ours whose mode may deny it to its owner.
fn open(directory: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    match fs::openat(&directory, name, DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            fs::chmodat(&directory, name, Mode::RWXU, AtFlags::empty())?;
            Ok(fs::openat(&directory, name, DIRECTORY, Mode::empty())?)
        }
        other => Ok(other?),
    }
}
