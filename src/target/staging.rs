//! A directory tree that grows next to its target, in a staging directory that no other user can enter, and appears by
//! one rename.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
#[cfg(feature = "manage")]
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

#[cfg(feature = "manage")]
use super::in_place::{self, InPlace};
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::unpack::{DIRECTORY_FLAGS, remove_acls, remove_tree};

/// The name of the tree in the staging directory.
const TREE: &[u8] = b"root";
/// The name of a file that is not verified yet. It is next to the tree and not in it.
const PARTIAL: &[u8] = b"partial";
/// The maximum length of the target's name within the name of the staging directory, in bytes.
const NAME_LIMIT: usize = 240;
/// How long a cancelled process goes on removing its tree. It has to end within a second.
const GRACE: Duration = Duration::from_millis(500);

/// A tree in its staging directory. Dropping it without [`publish`](Staging::publish) removes both.
pub(crate) struct Staging {
    target: PathBuf,
    /// The name of the target in its parent.
    name: OsString,
    /// Open, so that it stays the same directory if its path changes.
    parent: OwnedFd,
    staging_name: OsString,
    /// Locked. The lock ends with the process, so an unlocked staging directory is a leftover.
    staging: OwnedFd,
    /// True if `parent` is the target itself, which is filled.
    #[cfg(feature = "manage")]
    is_in_place: bool,
    cancel: Cancel,
}

impl Staging {
    /// Starts a tree for `target`, which must not exist or be an empty directory.
    pub(crate) fn begin(target: &Path, cancel: &Cancel) -> Result<Self> {
        let absolute = std::path::absolute(target).map_err(|e| Error::disk("find", target, e))?;
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            let text =
                format!("unpack to {}: the path does not name a directory that can be created", target.display());
            return Err(Error::new(ErrorKind::Usage, text));
        };
        let staging_name = staging_name(name.as_bytes());
        if let Err(error) = expect_free(&absolute, parent) {
            // If a process was killed right after its rename, the target exists and an empty staging directory is left.
            // No later process would remove it.
            if parent.join(&staging_name).is_dir() {
                drop(Self::claim(target, parent, name, staging_name, cancel));
            }
            return Err(error);
        }
        let staging = Self::claim(target, parent, name, staging_name, cancel)?;
        staging.create_tree()?;
        Ok(staging)
    }

    /// Starts a tree in `target`, which must be an empty folder. What a killed process left there is removed.
    #[cfg(feature = "manage")]
    pub(crate) fn begin_in_place(target: &Path, cancel: &Cancel) -> Result<Self> {
        let parent = in_place::open(target)?;
        let staging_name = OsString::from(in_place::STAGING);
        let staging =
            lock_staging(&parent, &staging_name).map_err(|e| e.context(format!("unpack to {}", target.display())))?;
        let (target, name, cancel) = (target.to_owned(), OsString::new(), cancel.clone());
        let staging = Self { target, name, parent, staging_name, staging, is_in_place: true, cancel };
        staging.in_place().clear()?;
        staging.create_tree()?;
        Ok(staging)
    }

    #[cfg(feature = "manage")]
    fn in_place(&self) -> InPlace<'_> {
        InPlace { target: &self.parent, staging: &self.staging, path: &self.target, cancel: &self.cancel }
    }

    fn create_tree(&self) -> Result<()> {
        remove_tree(&self.staging, TREE, &self.cancel)
            .and_then(|()| create_private(&self.staging, TREE))
            .map_err(|e| Error::through_read(e, |e| Error::disk("create a tree next to", &self.target, e)))
    }

    /// Removes the staging directories that killed processes left in `parent`. `is_target` returns true for the names
    /// of targets whose leftovers are removed.
    #[cfg(any(feature = "boot", feature = "manage"))]
    pub(crate) fn sweep(parent: &Path, is_target: &dyn Fn(&str) -> bool, cancel: &Cancel) {
        let Ok(entries) = parent.read_dir() else { return };
        for entry in entries.flatten() {
            let staging_name = entry.file_name();
            let target = staging_name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(".pullet"));
            if let Some(target) = target.filter(|target| is_target(target)) {
                let target = target.to_owned();
                // Fails if another process is working in it, because it is locked then.
                drop(Self::claim(&parent.join(&target), parent, OsStr::new(&target), staging_name, cancel));
            }
        }
    }

    /// Opens the parent of the target, and creates or takes over the staging directory.
    fn claim(target: &Path, parent: &Path, name: &OsStr, staging_name: OsString, cancel: &Cancel) -> Result<Self> {
        let flags = DIRECTORY_FLAGS.difference(OFlags::NOFOLLOW);
        let parent = fs::open(parent, flags, Mode::empty()).map_err(|e| Error::disk("open", parent, e))?;
        let staging =
            lock_staging(&parent, &staging_name).map_err(|e| e.context(format!("unpack to {}", target.display())))?;
        let (target, name, cancel) = (target.to_owned(), name.to_owned(), cancel.clone());
        Ok(Self {
            target,
            name,
            parent,
            staging_name,
            staging,
            #[cfg(feature = "manage")]
            is_in_place: false,
            cancel,
        })
    }

    /// Opens the tree.
    pub(crate) fn open_tree(&self) -> Result<OwnedFd> {
        fs::openat(&self.staging, TREE, DIRECTORY_FLAGS, Mode::empty())
            .map_err(|e| Error::disk("open the tree next to", &self.target, e))
    }

    /// Creates a folder in the tree, and lets others enter the tree when it is published.
    #[cfg(feature = "manage")]
    pub(crate) fn create_inside(&self, folder: &str) -> Result<OwnedFd> {
        let failed = |e: io::Error| Error::disk("create a folder next to", &self.target, e);
        let tree = self.open_tree()?;
        fs::fchmod(&tree, Mode::from_raw_mode(0o755)).map_err(|e| failed(e.into()))?;
        create_private(&tree, folder.as_bytes()).map_err(failed)?;
        fs::openat(&tree, folder, DIRECTORY_FLAGS, Mode::empty()).map_err(|e| failed(e.into()))
    }

    /// Adds a symlink to the tree.
    #[cfg(feature = "manage")]
    pub(crate) fn add_link(&self, name: &str, target: &Path) -> Result<()> {
        fs::symlinkat(target, self.open_tree()?, name)
            .map_err(|e| Error::disk("create a link next to", &self.target, e))
    }

    /// Adds a small file to the tree. Publishing syncs it.
    #[cfg(feature = "manage")]
    pub(crate) fn add_file(&self, name: &str, content: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let written = fs::openat(self.open_tree()?, name, flags, Mode::from_raw_mode(0o644))
            .map_err(io::Error::from)
            .and_then(|fd| File::from(fd).write_all(content));
        written.map_err(|e| Error::disk("write a file next to", &self.target, e))
    }

    /// Creates a file next to the tree. It moves into the tree when it is verified. A file of a failed attempt is removed
    /// first, because only a file that was just created may be opened for writing: another one could have a second name.
    pub(super) fn create_partial(&self) -> Result<File> {
        let failed = |e: Errno| Error::disk("create a file next to", &self.target, e);
        match fs::unlinkat(&self.staging, PARTIAL, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(failed(e)),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(&self.staging, PARTIAL, flags, Mode::RUSR | Mode::WUSR).map(File::from).map_err(failed)
    }

    /// Moves the partial file to `name` in a directory of the tree.
    pub(super) fn move_partial(&self, directory: impl AsFd, name: &[u8]) -> io::Result<()> {
        Ok(fs::renameat(&self.staging, PARTIAL, directory, name)?)
    }

    /// Returns true if the target itself is filled. Then [`publish_in_place`](Self::publish_in_place) publishes it.
    #[cfg(feature = "manage")]
    pub(crate) fn is_in_place(&self) -> bool {
        self.is_in_place
    }

    /// Syncs the tree to disk, moves its entries to the target, and removes the marks of an incomplete target. `mode` is that
    /// of the root, if the tree does not have it yet.
    #[cfg(feature = "manage")]
    pub(crate) fn publish_in_place(self, mode: Option<Mode>) -> Result<()> {
        let tree = self.open_tree()?;
        self.in_place().publish(&tree, mode, &|| {
            remove_tree(&self.staging, TREE, &self.cancel)?;
            Ok(fs::unlinkat(&self.parent, &self.staging_name, AtFlags::REMOVEDIR)?)
        })
    }

    /// Syncs the tree to disk, then renames it to the target.
    pub(crate) fn publish(self) -> Result<()> {
        retry_on_intr(|| fs::syncfs(&self.staging))
            .map_err(|e| Error::disk("sync the tree next to", &self.target, e))?;
        // A rename replaces a directory only if it is empty, and fails for anything else.
        fs::renameat(&self.staging, TREE, &self.parent, &self.name)
            .map_err(|e| Error::disk("rename the tree to", &self.target, e))?;
        retry_on_intr(|| fs::fsync(&self.parent)).map_err(|e| {
            // The rename may not survive a crash. Undo it, so that the next run finds the target free.
            let _ = fs::renameat(&self.parent, &self.name, &self.staging, TREE);
            Error::disk("sync the parent of", &self.target, e)
        })
    }
}

impl Drop for Staging {
    /// Removes the staging directory, with the tree if it was not published. Of a large tree, a cancelled process removes
    /// what it can within [`GRACE`], and the next run removes the rest.
    fn drop(&mut self) {
        let removed = remove_tree(&self.staging, TREE, &self.cancel);
        if removed.is_err() && self.cancel.check().is_err() {
            let _ = remove_tree(&self.staging, TREE, &Cancel::with_deadline(Instant::now() + GRACE));
        }
        let _ = fs::unlinkat(&self.staging, PARTIAL, AtFlags::empty());
        let _ = fs::unlinkat(&self.parent, &self.staging_name, AtFlags::REMOVEDIR);
    }
}

/// Fails unless `target` does not exist or is an empty directory that a rename can replace.
fn expect_free(target: &Path, parent: &Path) -> Result<()> {
    let taken = |why: &str| {
        let text = format!("unpack to {}: {why}", target.display());
        Err(Error::new(ErrorKind::Disk, text).with_hint("name a directory that does not exist, or an empty one"))
    };
    let unreadable = |e| Error::disk("read", target, e);
    let existing = match target.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(unreadable)?,
    };
    if !existing.is_dir() {
        return taken("it exists and is not a directory");
    }
    if target.read_dir().map_err(unreadable)?.next().is_some() {
        return taken("the directory is not empty");
    }
    if parent.metadata().is_ok_and(|parent| parent.dev() != existing.dev()) {
        return taken("it is a mount point, which a rename cannot replace");
    }
    Ok(())
}

/// Creates or takes over a staging directory and locks it. One that belongs to another user is rejected, because that
/// user could change the tree before it is published.
fn lock_staging(parent: &OwnedFd, name: &OsString) -> Result<OwnedFd> {
    let path = Path::new(name);
    let is_new = match create_private(parent, name.as_bytes()) {
        Ok(()) => true,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
        Err(e) => return Err(Error::disk("create", path, e)),
    };
    let failed_open = |e: Errno| Error::disk("open", path, e);
    let staging = fs::openat(parent, name, DIRECTORY_FLAGS, Mode::empty()).map_err(failed_open)?;
    let locked = match fs::flock(&staging, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            return Err(Error::new(ErrorKind::Disk, "another process is unpacking to the same target"));
        }
        other => other.map_err(|e| Error::disk("lock", path, e)),
    };
    let prepared = locked.and_then(|()| prepare_staging(&staging, path));
    if prepared.is_err() && is_new {
        let _ = fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
    }
    prepared.map(|()| staging)
}

/// Checks the owner of a locked staging directory, and lets no other user in.
fn prepare_staging(staging: &OwnedFd, path: &Path) -> Result<()> {
    let stat = fs::fstat(staging).map_err(|e| Error::disk("read", path, e))?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Error::new(ErrorKind::Disk, format!("{} belongs to another user", path.display())));
    }
    // The tree must not inherit the default ACL of the directory around the target.
    remove_acls(staging.as_fd()).map_err(|e| Error::disk("remove the ACL of", path, e))?;
    fs::fchmod(staging, Mode::RWXU).map_err(|e| Error::disk("set mode of", path, e))
}

/// Creates a directory that only its owner can enter, regardless of the umask.
fn create_private(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    fs::mkdirat(parent, name, Mode::RWXU)?;
    Ok(fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?)
}

/// Returns `.NAME.pullet`, with a long name cut to what a filesystem accepts.
fn staging_name(name: &[u8]) -> OsString {
    let name = name.get(..NAME_LIMIT).unwrap_or(name);
    OsString::from_vec([b".", name, b".pullet"].concat())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_partial_file_of_a_failed_attempt_is_removed_and_not_opened() {
        let folder = std::env::temp_dir().join(format!("pullet-partial-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let staging = Staging::begin(&folder.join("tree"), &Cancel::default()).unwrap();
        let canary = folder.join("canary");
        std::fs::write(&canary, "canary").unwrap();
        let partial = folder.join(&staging.staging_name).join("partial");
        // Both are other names of a file outside.
        for second_name in [std::fs::hard_link::<&Path, &Path>, std::os::unix::fs::symlink::<&Path, &Path>] {
            second_name(&canary, &partial).unwrap();
            let mut file = staging.create_partial().unwrap();
            file.write_all(b"new").unwrap();
            assert_eq!(std::fs::read(&canary).unwrap(), b"canary");
            assert_eq!(std::fs::read(&partial).unwrap(), b"new");
            std::fs::remove_file(&partial).unwrap();
        }
        drop(staging);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
