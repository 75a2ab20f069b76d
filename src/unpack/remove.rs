//! Removes directory trees, or the part of a tree that lower layers left. However deep the tree is, one directory is
//! open at a time. No link is followed, and each directory is scanned once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, Mode, ResolveFlags, Timestamps};
use rustix::io::Errno;

use super::directory::{DIRECTORY_FLAGS, is_listed_directory, times_of};
use super::metadata::is_privileged;
use super::written::Written;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind};

/// A directory on the stack of the walk.
struct Frame {
    /// The name in the parent; empty for the top.
    name: Vec<u8>,
    inode: u64,
    times: Timestamps,
    /// Subdirectories that are not visited yet.
    subdirectories: Vec<Vec<u8>>,
    /// True if something in it is kept.
    is_kept: bool,
}

/// The result of scanning a directory.
enum Scan {
    Done(Frame),
    /// The directory was cleared before. `is_kept` is true if something in it was kept.
    ClearedBefore {
        is_kept: bool,
    },
}

/// Removes `name` and everything below it from `directory`. It is no error if the name does not exist. If something is
/// mounted below it, fails and leaves that.
pub(crate) fn remove_tree(directory: impl AsFd, name: &[u8], cancel: &Cancel) -> io::Result<()> {
    remove_with(directory.as_fd(), name, &mut Written::default(), cancel)
}

/// The same, and returns the bytes that the removed files took.
#[cfg(feature = "manage")]
pub(crate) fn remove_counted(directory: impl AsFd, name: &[u8], cancel: &Cancel) -> io::Result<u64> {
    let mut written = Written::counting();
    remove_with(directory.as_fd(), name, &mut written, cancel)?;
    Ok(written.freed())
}

fn remove_with(directory: BorrowedFd<'_>, name: &[u8], written: &mut Written, cancel: &Cancel) -> io::Result<()> {
    match fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // It is a directory. POSIX specifies EPERM for this, Linux returns EISDIR.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    let tree = open(directory, name)?;
    if fs::fstat(&tree)?.st_dev != fs::fstat(directory)?.st_dev {
        return Err(is_mount_point(name));
    }
    remove_unwritten(tree, written, cancel)?;
    Ok(fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?)
}

/// Removes everything below `top` that is not in `written`. Directories that contain such entries are kept with their
/// times. Returns true if anything is left.
pub(super) fn remove_unwritten(top: OwnedFd, written: &mut Written, cancel: &Cancel) -> io::Result<bool> {
    let mut directory = top;
    let device = fs::fstat(&directory)?.st_dev;
    let mut frame = match scan(&directory, Vec::new(), written, cancel)? {
        Scan::Done(frame) => frame,
        Scan::ClearedBefore { is_kept } => return Ok(is_kept),
    };
    let mut parents: Vec<Frame> = Vec::new();
    loop {
        if let Some(name) = frame.subdirectories.pop() {
            let child = open(&directory, &name)?;
            if fs::fstat(&child)?.st_dev != device {
                return Err(is_mount_point(&name));
            }
            match scan(&child, name.clone(), written, cancel)? {
                Scan::Done(next) => {
                    parents.push(std::mem::replace(&mut frame, next));
                    directory = child;
                }
                Scan::ClearedBefore { is_kept } => {
                    frame.is_kept |= is_kept || written.has(frame.inode, &name) || !remove_if_empty(&directory, &name)?;
                }
            }
            continue;
        }
        let is_written = parents.last().is_none_or(|parent| written.has(parent.inode, &frame.name));
        if frame.is_kept || is_written {
            // Only for directories that stay, because the inode of a removed one may be reused.
            written.set_cleared(frame.inode, frame.is_kept);
            fs::futimens(&directory, &frame.times)?;
        }
        if frame.is_kept && !is_written {
            written.imply(&directory)?;
        }
        let Some(mut parent) = parents.pop() else { return Ok(frame.is_kept) };
        directory = fs::openat(&directory, "..", DIRECTORY_FLAGS, Mode::empty())?;
        parent.is_kept |= frame.is_kept || is_written || !remove_if_empty(&directory, &frame.name)?;
        frame = parent;
    }
}

/// Removes a directory if it is empty. Returns false if it is not.
pub(super) fn remove_if_empty(parent: impl AsFd, name: &[u8]) -> io::Result<bool> {
    match fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Removes the files of a directory that are not in `written`, and lists its subdirectories.
fn scan(directory: &OwnedFd, name: Vec<u8>, written: &mut Written, cancel: &Cancel) -> io::Result<Scan> {
    let stat = fs::fstat(directory)?;
    let inode = stat.st_ino;
    if let Some(is_kept) = written.cleared(inode) {
        return Ok(Scan::ClearedBefore { is_kept });
    }
    let mut frame = Frame { name, inode, times: times_of(&stat), subdirectories: Vec::new(), is_kept: false };
    let mode = Mode::from_raw_mode(stat.st_mode);
    if !mode.contains(Mode::RWXU) && !is_privileged()? {
        // The mode denies access to this process, which owns the directory.
        fs::fchmod(directory, mode.union(Mode::RWXU))?;
    }
    for entry in Dir::read_from(directory)? {
        cancel.check()?;
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if is_listed_directory(directory, name, entry.file_type())? {
            frame.subdirectories.push(name.to_vec());
        } else if written.has(inode, name) {
            frame.is_kept = true;
        } else {
            #[cfg(feature = "manage")]
            written.count(directory, name)?;
            fs::unlinkat(directory, name, AtFlags::empty())?;
        }
    }
    Ok(Scan::Done(frame))
}

/// Opens a directory of this process's user. If its mode denies that, the mode is changed first. Fails for a mount point;
/// without `openat2`, the caller notices one by its device.
fn open(directory: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let open = || match fs::openat2(&directory, name, DIRECTORY_FLAGS, Mode::empty(), ResolveFlags::NO_XDEV) {
        // The kernel is old, or a seccomp filter denies the call.
        Err(Errno::NOSYS | Errno::PERM) => fs::openat(&directory, name, DIRECTORY_FLAGS, Mode::empty()),
        other => other,
    };
    match open() {
        Err(Errno::XDEV) => Err(is_mount_point(name)),
        Err(Errno::ACCESS) => {
            fs::chmodat(&directory, name, Mode::RWXU, AtFlags::empty())?;
            Ok(open()?)
        }
        other => Ok(other?),
    }
}

fn is_mount_point(name: &[u8]) -> io::Error {
    let text = format!("remove \"{}\": it is a mount point", String::from_utf8_lossy(name));
    Error::new(ErrorKind::Disk, text).into()
}
