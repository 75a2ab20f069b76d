//! The tree grows beside its target, in a folder that nobody else can enter, and appears by one rename: the target is
//! as before or whole, never between.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode};

use super::clear::remove_tree;
use super::folder::DIRECTORY;
use crate::error::{Error, ErrorKind, Result};

/// The name of the tree within the staging folder.
const TREE: &str = "root";

/// A staging folder. Dropped without [`publish`](Staging::publish), it is removed.
pub(super) struct Staging {
    target: PathBuf,
    folder: PathBuf,
    parent: OwnedFd,
    /// Locked: it dies with the process, and what a dead one left behind is taken for rubbish.
    lock: OwnedFd,
    is_published: bool,
}

impl Staging {
    /// Makes the staging folder of `target`, which must not exist or be an empty folder.
    pub(super) fn create(target: &Path) -> Result<Self> {
        let target = std::path::absolute(target).map_err(|e| Error::disk("find", target, e))?;
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            let text = format!("unpack to {}: it is no folder that could be made", target.display());
            return Err(Error::new(ErrorKind::Usage, text));
        };
        expect_free(&target)?;
        let parent_fd = open(parent)?;
        let folder = parent.join(staging_name(name.as_bytes()));
        let lock = claim(&folder)?;
        let staging = Self { folder, parent: parent_fd, lock, is_published: false, target };
        staging.sweep()?;
        fs::create_dir(staging.tree()).map_err(|e| Error::disk("create", staging.tree(), e))?;
        Ok(staging)
    }

    /// Opens the tree.
    pub(super) fn open_tree(&self) -> Result<OwnedFd> {
        open(&self.tree())
    }

    /// Makes all of the tree durable, then gives it its place.
    pub(super) fn publish(mut self) -> Result<()> {
        let sync = |e: rustix::io::Errno| Error::disk("sync", &self.folder, e);
        rustix::fs::syncfs(&self.lock).map_err(sync)?;
        // Renaming onto a folder replaces it only if it is empty, and fails on anything else.
        fs::rename(self.tree(), &self.target).map_err(|e| Error::disk("rename to", &self.target, e))?;
        self.is_published = true;
        rustix::fs::fsync(&self.parent).map_err(sync)
    }

    fn tree(&self) -> PathBuf {
        self.folder.join(TREE)
    }

    fn sweep(&self) -> Result<()> {
        remove_tree(&self.lock, TREE.as_bytes()).map_err(|e| Error::disk("remove", self.tree(), e))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_published {
            let _ = remove_tree(&self.lock, TREE.as_bytes());
        }
        let _ = fs::remove_dir(&self.folder);
    }
}

fn expect_free(target: &Path) -> Result<()> {
    let taken = |what: &str| {
        let text = format!("unpack to {}: {what}", target.display());
        Err(Error::new(ErrorKind::Disk, text).with_hint("name a folder that does not exist, or an empty one"))
    };
    match fs::symlink_metadata(target) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::disk("read", target, e)),
        Ok(there) if !there.is_dir() => taken("there is something that is not a folder"),
        Ok(_) => match fs::read_dir(target).map_err(|e| Error::disk("read", target, e))?.next() {
            Some(_) => taken("the folder is not empty"),
            None => Ok(()),
        },
    }
}

/// Makes or takes over the staging folder and locks it.
fn claim(folder: &Path) -> Result<OwnedFd> {
    use std::os::unix::fs::DirBuilderExt as _;
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(Error::disk("create", folder, e)),
    }
    let fd = open(folder)?;
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let text = format!("lock {}: another process unpacks to the same target", folder.display());
            return Err(Error::new(ErrorKind::Disk, text));
        }
        Err(e) => return Err(Error::disk("lock", folder, e)),
    }
    let file = File::from(fd);
    check_owner(folder, &file)?;
    Ok(file.into())
}

/// A folder of somebody else's would let him into the tree before it is published.
fn check_owner(folder: &Path, file: &File) -> Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let metadata = file.metadata().map_err(|e| Error::disk("read", folder, e))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(Error::new(ErrorKind::Disk, format!("use {}: it belongs to another user", folder.display())));
    }
    file.set_permissions(fs::Permissions::from_mode(0o700)).map_err(|e| Error::disk("set mode of", folder, e))
}

fn open(folder: &Path) -> Result<OwnedFd> {
    rustix::fs::open(folder, DIRECTORY, Mode::empty()).map_err(|e| Error::disk("open", folder, e))
}

/// `.NAME.pullet`, cut to what a name may have.
fn staging_name(name: &[u8]) -> OsString {
    let name = name.get(..name.len().min(240)).unwrap_or(name);
    OsString::from_vec([b".", name, b".pullet"].concat())
}
