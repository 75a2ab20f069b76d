//! Removes trees, or of a tree what lower layers left in it. One directory is open at a time however deep the tree is,
//! no link is ever followed, and every directory is looked through once.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, Timestamps};
use rustix::io::Errno;

use super::folder::{DIRECTORY, times_of};

/// What one layer wrote, so that its whiteouts, which are for lower layers, spare it in whatever order they come. A few
/// bytes per entry; the first layer, with nothing below it, keeps none.
#[derive(Default)]
pub(super) struct Written {
    /// Hashes of a directory's inode and a name in it: where it is, whatever path led there.
    names: HashSet<u64>,
    /// Inodes of directories in which nothing of a lower layer is left: they are not looked through again, so many
    /// opaque markers cost no more than the entries there are (GHSA-rp3h-jf77-q9p4).
    cleared: HashSet<u64>,
    hasher: RandomState,
}

impl Written {
    pub(super) fn add(&mut self, directory: u64, name: &[u8]) {
        self.names.insert(self.hasher.hash_one((directory, name)));
    }

    pub(super) fn has(&self, directory: u64, name: &[u8]) -> bool {
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
pub(super) fn remove_tree(directory: impl AsFd, name: &[u8]) -> io::Result<()> {
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
pub(super) fn clear(top: OwnedFd, written: &mut Written) -> io::Result<bool> {
    let mut at = top;
    let Some(first) = look_through(&at, Vec::new(), written)? else { return Ok(true) };
    let mut way = vec![first];
    while let Some(level) = way.last_mut() {
        if let Some(name) = level.ahead.pop() {
            let inside = open(&at, &name)?;
            match look_through(&inside, name, written)? {
                Some(next) => {
                    way.push(next);
                    at = inside;
                }
                None => level.stays = true,
            }
            continue;
        }
        let Some(done) = way.pop() else { break };
        written.cleared.insert(done.inode);
        if done.stays {
            fs::futimens(&at, &done.times)?;
        }
        let Some(above) = way.last_mut() else { return Ok(done.stays) };
        at = fs::openat(&at, "..", DIRECTORY, Mode::empty())?;
        let is_ours = written.has(above.inode, &done.name);
        if done.stays || is_ours {
            above.stays = true;
        } else {
            fs::unlinkat(&at, &done.name, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(true)
}

/// Unlinks what may go and is no directory, and lists the directories. `None` if the directory was looked through before.
fn look_through(directory: &OwnedFd, name: Vec<u8>, written: &Written) -> io::Result<Option<Level>> {
    let stat = fs::fstat(directory)?;
    let inode = stat.st_ino;
    if written.cleared.contains(&inode) {
        return Ok(None);
    }
    let mut level = Level { name, inode, times: times_of(&stat), ahead: Vec::new(), stays: false };
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let is_directory = match entry.file_type() {
            FileType::Unknown => {
                let stat = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode).is_dir()
            }
            known => known.is_dir(),
        };
        if is_directory {
            level.ahead.push(name.to_vec());
        } else if written.has(inode, name) {
            level.stays = true;
        } else {
            fs::unlinkat(directory, name, AtFlags::empty())?;
        }
    }
    Ok(Some(level))
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
