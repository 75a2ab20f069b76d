//! The tree grows beside its target, in a folder that nobody else can enter, and appears by one rename: the target is
//! as before or whole, never between.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::error::{Error, ErrorKind, Result};
use crate::unpack::DIRECTORY;
use crate::unpack::remove_tree;

/// The name of the tree within the staging folder.
const TREE: &[u8] = b"root";
/// The name of a file that is not proven yet, outside of the tree.
const PARTIAL: &[u8] = b"partial";

/// A staging folder. Dropped without [`publish`](Staging::publish), it is removed.
pub(crate) struct Staging {
    target: PathBuf,
    /// The target's name in its parent, which is open and so stays the one it is.
    name: OsString,
    parent: OwnedFd,
    folder_name: OsString,
    /// Locked: it dies with the process, and what a dead one left behind is taken for rubbish.
    folder: OwnedFd,
}

impl Staging {
    /// Makes the staging folder of `target`, which must not exist or be an empty folder.
    pub(crate) fn begin(target: &Path) -> Result<Self> {
        let absolute = std::path::absolute(target).map_err(|e| Error::disk("find", target, e))?;
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            let text = format!("unpack to {}: it is no folder that could be made", target.display());
            return Err(Error::new(ErrorKind::Usage, text));
        };
        let folder_name = staging_name(name.as_bytes());
        if let Err(taken) = expect_free(&absolute, parent) {
            // A process that was killed just behind its rename left this, and nobody else will come by.
            if parent.join(&folder_name).is_dir() {
                drop(Self::claim(target, parent, name, folder_name));
            }
            return Err(taken);
        }
        let staging = Self::claim(target, parent, name, folder_name)?;
        let made = remove_tree(&staging.folder, TREE).and_then(|()| make_private(&staging.folder, TREE));
        made.map_err(|e| Error::disk("make a tree beside", &staging.target, e))?;
        Ok(staging)
    }

    /// Removes what unpackings that died have left in a folder, for targets that `is_target` knows by their names.
    #[cfg(feature = "boot")]
    pub(crate) fn sweep(parent: &Path, is_target: &dyn Fn(&str) -> bool) {
        for entry in parent.read_dir().into_iter().flatten().flatten() {
            let folder_name = entry.file_name();
            let target = folder_name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(".pullet"));
            if let Some(target) = target.filter(|target| is_target(target)) {
                let target = target.to_owned();
                // One that somebody is at is locked.
                drop(Self::claim(&parent.join(&target), parent, OsStr::new(&target), folder_name));
            }
        }
    }

    fn claim(target: &Path, parent: &Path, name: &OsStr, folder_name: OsString) -> Result<Self> {
        let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
        let parent = fs::open(parent, flags, Mode::empty()).map_err(|e| Error::disk("open", parent, e))?;
        let folder = claim(&parent, &folder_name).map_err(|e| e.context(format!("unpack to {}", target.display())))?;
        Ok(Self { target: target.to_owned(), name: name.to_owned(), parent, folder_name, folder })
    }

    /// Opens the tree.
    pub(crate) fn open_tree(&self) -> Result<OwnedFd> {
        let tree = fs::openat(&self.folder, TREE, DIRECTORY, Mode::empty());
        tree.map_err(|e| Error::disk("open the tree beside", &self.target, e))
    }

    /// The permission bits of a file that is made with all of them: what the umask and inherited ACLs leave, and what the
    /// filesystem knows of modes.
    pub(crate) fn granted(&self) -> Result<Mode> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let all = Mode::RWXU | Mode::RWXG | Mode::RWXO;
        let tried = fs::unlinkat(&self.folder, PARTIAL, AtFlags::empty()).or_else(|e| match e {
            Errno::NOENT => Ok(()),
            other => Err(other),
        });
        let stat = tried.and_then(|()| fs::openat(&self.folder, PARTIAL, flags, all)).and_then(fs::fstat);
        let stat = stat.map_err(|e| Error::disk("create a file beside", &self.target, e))?;
        Ok(Mode::from_raw_mode(stat.st_mode).intersection(all))
    }

    /// Makes the file, outside of the tree, that will be in it when it is proven.
    pub(crate) fn create_partial(&self) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.folder, PARTIAL, flags, Mode::RUSR | Mode::WUSR);
        file.map(File::from).map_err(|e| Error::disk("create a file beside", &self.target, e))
    }

    /// Gives the partial file its name in a folder of the tree.
    pub(crate) fn move_partial(&self, folder: impl AsFd, name: &[u8]) -> io::Result<()> {
        Ok(fs::renameat(&self.folder, PARTIAL, folder, name)?)
    }

    /// Makes all of the tree durable, then gives it its place.
    pub(crate) fn publish(self) -> Result<()> {
        let synced = retry_on_intr(|| fs::syncfs(&self.folder));
        synced.map_err(|e| Error::disk("sync the tree beside", &self.target, e))?;
        // Renaming onto a folder replaces it only if it is empty, and fails on anything else.
        let renamed = fs::renameat(&self.folder, TREE, &self.parent, &self.name);
        renamed.map_err(|e| Error::disk("rename the tree to", &self.target, e))?;
        retry_on_intr(|| fs::fsync(&self.parent)).map_err(|e| {
            // A name that may not last is none: the next run must find its way free.
            let _ = fs::renameat(&self.parent, &self.name, &self.folder, TREE);
            Error::disk("sync the parent of", &self.target, e)
        })
    }
}

impl Drop for Staging {
    /// Removes what was not published; a published tree is not in the folder any more.
    fn drop(&mut self) {
        let _ = remove_tree(&self.folder, TREE);
        let _ = fs::unlinkat(&self.folder, PARTIAL, AtFlags::empty());
        let _ = fs::unlinkat(&self.parent, &self.folder_name, AtFlags::REMOVEDIR);
    }
}

fn expect_free(target: &Path, parent: &Path) -> Result<()> {
    let taken = |what: &str| {
        let text = format!("unpack to {}: {what}", target.display());
        Err(Error::new(ErrorKind::Disk, text).with_hint("name a folder that does not exist, or an empty one"))
    };
    let read = |e| Error::disk("read", target, e);
    let there = match target.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(read)?,
    };
    if !there.is_dir() {
        return taken("there is something that is not a folder");
    }
    if target.read_dir().map_err(read)?.next().is_some() {
        return taken("the folder is not empty");
    }
    match parent.metadata().is_ok_and(|parent| parent.dev() != there.dev()) {
        true => taken("it is a mount point, which no rename can replace"),
        false => Ok(()),
    }
}

/// Makes or takes over the staging folder and locks it. One of somebody else's would let him into the tree before it is
/// published.
fn claim(parent: &OwnedFd, name: &OsString) -> Result<OwnedFd> {
    let shown = Path::new(name);
    match make_private(parent, name.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(Error::disk("create", shown, e)),
        _ => {}
    }
    let open = |e: Errno| Error::disk("open", shown, e);
    let folder = fs::openat(parent, name, DIRECTORY, Mode::empty()).map_err(open)?;
    match fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(Error::new(ErrorKind::Disk, "another process unpacks to the same target"));
        }
        Err(e) => return Err(Error::disk("lock", shown, e)),
    }
    let stat = fs::fstat(&folder).map_err(open)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Error::new(ErrorKind::Disk, format!("{} belongs to another user", shown.display())));
    }
    fs::fchmod(&folder, Mode::RWXU).map_err(open)?;
    Ok(folder)
}

/// Makes a folder for its owner alone, whatever the umask says.
fn make_private(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    fs::mkdirat(parent, name, Mode::RWXU)?;
    Ok(fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?)
}

/// `.NAME.pullet`, cut to what a name may have.
fn staging_name(name: &[u8]) -> OsString {
    let name = name.get(..name.len().min(240)).unwrap_or(name);
    OsString::from_vec([b".", name, b".pullet"].concat())
}
