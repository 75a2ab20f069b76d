//! One open directory of the tree, and the operations on the names in it. No operation follows a link, because a name
//! is one component and every call passes `NOFOLLOW`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat, Timestamps};
use rustix::io::Errno;

use super::acl::{DEFAULT_ACL, remove_acls, remove_acls_by_name};
use crate::layer::DeviceNumber;

/// The flags with which directories are opened.
pub(crate) const DIRECTORY_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// The flags with which files are created.
pub(super) const CREATE_FLAGS: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open directory. Changes in it change its times; [`leave`](OpenDirectory::leave) restores them, so that no list of
/// directories has to be kept until the end.
pub(crate) struct OpenDirectory {
    fd: OwnedFd,
    inode: u64,
    is_setgid: bool,
    has_default_acl: bool,
    times: Timestamps,
}

impl OpenDirectory {
    /// `may_have_acl` is true if an image set default ACLs in the tree. The directory is asked for one only then.
    pub(crate) fn new(fd: OwnedFd, may_have_acl: bool) -> io::Result<Self> {
        let stat = fs::fstat(&fd)?;
        let is_setgid = Mode::from_raw_mode(stat.st_mode).contains(Mode::SGID);
        let has_default_acl = may_have_acl && fs::fgetxattr(&fd, DEFAULT_ACL, &mut [0_u8; 0][..]).is_ok();
        Ok(Self { inode: stat.st_ino, is_setgid, has_default_acl, times: times_of(&stat), fd })
    }

    /// Returns true if new files in it would inherit an ACL.
    pub(crate) fn has_default_acl(&self) -> bool {
        self.has_default_acl
    }

    /// Returns the inode, which identifies the directory within its filesystem regardless of the path that led to it.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    /// Returns true if new files in it inherit its group.
    pub(crate) fn is_setgid(&self) -> bool {
        self.is_setgid
    }

    /// Restores the times that the directory had when it was opened.
    pub(crate) fn leave(self) -> io::Result<()> {
        Ok(fs::futimens(&self.fd, &self.times)?)
    }

    /// Opens a directory in it.
    pub(crate) fn open(&self, name: &[u8]) -> io::Result<OwnedFd> {
        Ok(fs::openat(&self.fd, name, DIRECTORY_FLAGS, Mode::empty())?)
    }

    /// Returns the attributes of a file; `None` if it does not exist.
    pub(crate) fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Creates a regular file and opens it for writing.
    pub(crate) fn create_file(&self, name: &[u8], mode: Mode) -> io::Result<OwnedFd> {
        let file = fs::openat(&self.fd, name, CREATE_FLAGS, mode)?;
        if self.has_default_acl {
            remove_acls(file.as_fd())?;
        }
        Ok(file)
    }

    pub(crate) fn create_directory(&self, name: &[u8]) -> io::Result<()> {
        fs::mkdirat(&self.fd, name, Mode::RWXU)?;
        if self.has_default_acl {
            // The ACL may deny access to the owner.
            fs::chmodat(&self.fd, name, Mode::RWXU, AtFlags::empty())?;
            remove_acls(self.open(name)?.as_fd())?;
        }
        Ok(())
    }

    pub(crate) fn create_symlink(&self, name: &[u8], target: &[u8]) -> io::Result<()> {
        Ok(fs::symlinkat(target, &self.fd, name)?)
    }

    pub(crate) fn create_fifo(&self, name: &[u8]) -> io::Result<()> {
        self.create_node(name, FileType::Fifo, 0)
    }

    /// Creates a device node. `kind` is a block or a character device.
    pub(crate) fn create_device(&self, name: &[u8], kind: FileType, number: DeviceNumber) -> io::Result<()> {
        self.create_node(name, kind, fs::makedev(number.major, number.minor))
    }

    fn create_node(&self, name: &[u8], kind: FileType, device: fs::Dev) -> io::Result<()> {
        fs::mknodat(&self.fd, name, kind, Mode::RUSR | Mode::WUSR, device)?;
        if self.has_default_acl {
            remove_acls_by_name(self, name)?;
        }
        Ok(())
    }

    /// Creates a hard link to the file `target` in `source`. A symlink there is linked itself.
    pub(crate) fn create_hard_link(&self, name: &[u8], source: &Self, target: &[u8]) -> io::Result<()> {
        Ok(fs::linkat(&source.fd, target, &self.fd, name, AtFlags::empty())?)
    }

    /// Removes a file that is not a directory.
    pub(crate) fn unlink(&self, name: &[u8]) -> io::Result<()> {
        Ok(fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }
}

impl AsFd for OpenDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens a directory by its path. Links on the way are followed, but it is not one.
#[cfg(feature = "manage")]
pub(crate) fn open_directory(path: &std::path::Path) -> crate::error::Result<OwnedFd> {
    fs::open(path, DIRECTORY_FLAGS, Mode::empty()).map_err(|e| crate::error::Error::disk("open", path, e))
}

/// Returns the access and modification time.
#[allow(clippy::unnecessary_cast, reason = "the fields have other types on 32-bit targets")]
pub(crate) fn times_of(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds as fs::Nsecs };
    Timestamps {
        last_access: time(stat.st_atime as i64, stat.st_atime_nsec as u64),
        last_modification: time(stat.st_mtime as i64, stat.st_mtime_nsec as u64),
    }
}

/// Returns true if the attributes are those of a directory.
pub(super) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_dir()
}

/// Returns true if an entry of a directory listing is a directory. Some filesystems do not list the type; then this
/// costs a system call.
pub(super) fn is_listed_directory(parent: &OwnedFd, name: &[u8], listed: FileType) -> io::Result<bool> {
    if listed != FileType::Unknown {
        return Ok(listed.is_dir());
    }
    Ok(is_directory(&fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?))
}
