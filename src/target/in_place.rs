//! Fills a folder that a rename cannot replace, such as a mount point.
//!
//! The tree grows in the folder [`STAGING`] in the target, so it is on the target's filesystem, and no entry of an image can
//! reach what is next to it. When the tree is verified and durable, its entries are moved to the target one by one. Before
//! that, the file [`LIST`] gets their names, so that after a crash exactly these are removed. It is the last to be removed.
//!
//! A target with one of the two is incomplete. A target without them is empty, because nothing was begun or a later run
//! cleared it, or it is complete.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::unpack::{DIRECTORY_FLAGS, copy_metadata, remove_tree, times_of};

/// The staging folder in the target.
pub(super) const STAGING: &str = ".pullet-incomplete";
/// The file with the names of the entries that are moved.
const LIST: &str = ".pullet-incomplete.moved";
/// Its name while it is written, in the staging folder.
const NEW_LIST: &str = "moved";
/// The folder that mke2fs creates in a new filesystem.
const LOST_FOUND: &[u8] = b"lost+found";
/// The most bytes of the list.
const LIST_LIMIT: usize = 16 << 20;

/// A target that is filled in place.
pub(super) struct InPlace<'a> {
    /// The target itself.
    pub(super) target: &'a OwnedFd,
    /// The staging folder in it.
    pub(super) staging: &'a OwnedFd,
    /// The target, for errors.
    pub(super) path: &'a Path,
    pub(super) cancel: &'a Cancel,
}

/// Opens and locks the target, which must be a folder. It may be a link to one.
pub(super) fn open(target: &Path) -> Result<OwnedFd> {
    let flags = DIRECTORY_FLAGS.difference(OFlags::NOFOLLOW);
    let folder = fs::open(target, flags, Mode::empty()).map_err(|e| {
        let error = Error::disk("open", target, e);
        if matches!(e, Errno::NOENT | Errno::NOTDIR) {
            return error.with_hint("name a folder that exists");
        }
        error
    })?;
    match fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let text = format!("unpack to {}: another process is unpacking to the same target", target.display());
            return Err(Error::new(ErrorKind::Disk, text));
        }
        Err(e) => return Err(Error::disk("lock", target, e)),
    }
    if !is_begun(&folder) {
        expect_empty(&folder, target)?;
    }
    Ok(folder)
}

/// Returns true if a process has begun to fill the target and has not ended.
fn is_begun(target: &OwnedFd) -> bool {
    [STAGING, LIST].iter().any(|name| fs::statat(target, *name, AtFlags::SYMLINK_NOFOLLOW).is_ok())
}

/// Fails unless the target has nothing but the staging folder, and `lost+found` of a new filesystem.
fn expect_empty(target: &OwnedFd, path: &Path) -> Result<()> {
    for name in names(target).map_err(|e| Error::through_read(e, |e| Error::disk("read", path, e)))? {
        if name == STAGING.as_bytes() || (name == LOST_FOUND && is_empty_folder(target, &name)) {
            continue;
        }
        let text = format!("unpack to {}: the folder is not empty", path.display());
        return Err(Error::new(ErrorKind::Disk, text).with_hint("only lost+found of a new filesystem may be in it"));
    }
    Ok(())
}

impl InPlace<'_> {
    /// Removes what a process that was killed has moved already. Fails if there is anything else.
    pub(super) fn clear(&self) -> Result<()> {
        let list = self.read_list();
        let list = list.map_err(|e| Error::through_read(e, |e| Error::disk("read the list in", self.path, e)))?;
        let moved: Vec<Vec<u8>> = list.split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
        self.remove(&moved).map_err(|e| Error::through_read(e, |e| Error::disk("clear", self.path, e)))?;
        expect_empty(self.target, self.path)
    }

    /// Reads the list, which is empty if the file is missing.
    fn read_list(&self) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut list = Vec::new();
        let fd = match fs::openat(self.target, LIST, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(list),
            fd => fd?,
        };
        // In a folder like /tmp, another user could have entries removed that only this user may remove.
        if fs::fstat(&fd)?.st_uid != rustix::process::geteuid().as_raw() {
            let text = format!("unpack to {}: {LIST} belongs to another user", self.path.display());
            return Err(Error::new(ErrorKind::Disk, text).into());
        }
        File::from(fd).take(LIST_LIMIT as u64).read_to_end(&mut list)?;
        Ok(list)
    }

    /// Removes these entries of the target, and then the list, which must not be gone while one of them is still there.
    fn remove(&self, moved: &[Vec<u8>]) -> io::Result<()> {
        // The list may be damaged, or made by whoever made the filesystem.
        let is_entry = |name: &&Vec<u8>| !name.contains(&b'/') && name.as_slice() != b"." && name.as_slice() != b"..";
        for name in moved.iter().filter(is_entry) {
            remove_tree(self.target, name, self.cancel)?;
        }
        sync(self.target)?;
        match fs::unlinkat(self.target, LIST, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => sync(self.target),
            Err(e) => Err(e.into()),
        }
    }

    /// Moves the entries of the complete tree to the target, which gets the metadata of the tree. `mode` is that of the root, if
    /// the tree does not have it yet. `remove_staging` removes the staging folder. If anything fails, what was moved is removed.
    pub(super) fn publish(
        &self,
        tree: &OwnedFd,
        mode: Option<Mode>,
        remove_staging: &dyn Fn() -> io::Result<()>,
    ) -> Result<()> {
        let names =
            names(tree).map_err(|e| Error::through_read(e, |e| Error::disk("read the tree in", self.path, e)))?;
        if let Some(name) = names.iter().find(|name| name.starts_with(STAGING.as_bytes())) {
            let text = format!("unsafe entry \"{}\": unpacking in place uses the name", String::from_utf8_lossy(name));
            return Err(Error::new(ErrorKind::Unsafe, text));
        }
        let stat = fs::fstat(tree).map_err(|e| Error::disk("read the tree in", self.path, e))?;
        let mode = mode.unwrap_or(Mode::from_raw_mode(stat.st_mode));
        let publish = || {
            self.write_list(&names)?;
            self.move_all(tree, &names)?;
            copy_metadata(Some(tree), self.target)?;
            let is_writable = rustix::process::geteuid().is_root() || mode.contains(Mode::WUSR | Mode::XUSR);
            if is_writable {
                fs::fchmod(self.target, mode)?;
            }
            // All of the tree is durable before the marks are removed.
            remove_staging()?;
            retry_on_intr(|| fs::syncfs(self.target))?;
            fs::unlinkat(self.target, LIST, AtFlags::empty())?;
            if !is_writable {
                fs::fchmod(self.target, mode)?;
            }
            fs::futimens(self.target, &times_of(&stat))?;
            sync(self.target)
        };
        publish().map_err(|e| {
            // If this fails too, the list stays.
            let _ = self.remove(&names);
            Error::disk("fill", self.path, e)
        })
    }

    fn write_list(&self, names: &[Vec<u8>]) -> io::Result<()> {
        retry_on_intr(|| fs::syncfs(self.target))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut list = File::from(fs::openat(self.staging, NEW_LIST, flags, Mode::RUSR | Mode::WUSR)?);
        list.write_all(&names.join(&0))?;
        list.sync_all()?;
        fs::renameat(self.staging, NEW_LIST, self.target, LIST)?;
        sync(self.target)
    }

    fn move_all(&self, tree: &OwnedFd, names: &[Vec<u8>]) -> io::Result<()> {
        // Its own mode may forbid it.
        fs::fchmod(tree, Mode::from_raw_mode(fs::fstat(tree)?.st_mode) | Mode::RWXU)?;
        for name in names {
            // The one that the filesystem has is better than an empty one of the image.
            let has_both = name == LOST_FOUND && is_empty_folder(self.target, name) && is_empty_folder(tree, name);
            if !has_both {
                self.move_entry(tree, name)?;
            }
        }
        Ok(())
    }

    fn move_entry(&self, tree: &OwnedFd, name: &[u8]) -> io::Result<()> {
        match fs::renameat(tree, name, self.target, name) {
            // An ordinary user may move a folder to another parent only if it is writable.
            Err(Errno::ACCESS) if !rustix::process::geteuid().is_root() => {}
            moved => return Ok(moved?),
        }
        let folder = fs::openat(tree, name, DIRECTORY_FLAGS, Mode::empty())?;
        let mode = Mode::from_raw_mode(fs::fstat(&folder)?.st_mode);
        fs::fchmod(&folder, mode | Mode::WUSR)?;
        fs::renameat(tree, name, self.target, name)?;
        Ok(fs::fchmod(&folder, mode)?)
    }
}

fn names(folder: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let (mut names, mut size) = (Vec::new(), 0);
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name == b"." || name == b".." {
            continue;
        }
        size += name.len() + 1;
        if size > LIST_LIMIT {
            return Err(Limits::exceeded("bytes of names in the root", LIST_LIMIT).into());
        }
        names.push(name);
    }
    Ok(names)
}

fn is_empty_folder(parent: &OwnedFd, name: &[u8]) -> bool {
    let folder = fs::openat(parent, name, DIRECTORY_FLAGS, Mode::empty());
    folder.map_err(io::Error::from).and_then(|folder| names(&folder)).is_ok_and(|names| names.is_empty())
}

/// Makes the names in a folder durable.
fn sync(folder: impl AsFd) -> io::Result<()> {
    Ok(retry_on_intr(|| fs::fsync(&folder))?)
}
