//! One open directory of the tree, and what can be done in it by a single name. Nothing here follows a link: the name
//! is one component, and every call says NOFOLLOW.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags, Stat, Timestamps};
use rustix::io::Errno;

/// How directories are opened.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open directory. What happens in it changes its times; [`leave`](Folder::leave) puts them back, so that no list
/// of directories must be kept until the end.
pub(crate) struct Folder {
    fd: OwnedFd,
    inode: u64,
    is_setgid: bool,
    times: Timestamps,
}

impl Folder {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let stat = fs::fstat(&fd)?;
        let is_setgid = Mode::from_raw_mode(stat.st_mode).contains(Mode::SGID);
        Ok(Self { inode: stat.st_ino, is_setgid, times: times_of(&stat), fd })
    }

    /// Identifies the directory within its filesystem, whatever path led to it.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    /// Whether what is made in it inherits its group.
    pub(crate) fn is_setgid(&self) -> bool {
        self.is_setgid
    }

    /// Restores the times that the directory had before it was worked in.
    pub(crate) fn leave(self) -> io::Result<()> {
        Ok(fs::futimens(&self.fd, &self.times)?)
    }

    /// Opens a directory that is no link.
    pub(crate) fn open(&self, name: &[u8]) -> io::Result<OwnedFd> {
        Ok(fs::openat(&self.fd, name, DIRECTORY, Mode::empty())?)
    }

    /// What the name is, a link not followed; `None` if there is nothing.
    pub(crate) fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes a regular file that was not there, open for writing.
    pub(crate) fn create_file(&self, name: &[u8], mode: Mode) -> io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(fs::openat(&self.fd, name, flags, mode)?)
    }

    pub(crate) fn create_directory(&self, name: &[u8]) -> io::Result<()> {
        Ok(fs::mkdirat(&self.fd, name, Mode::RWXU)?)
    }

    pub(crate) fn create_symlink(&self, name: &[u8], target: &[u8]) -> io::Result<()> {
        Ok(fs::symlinkat(target, &self.fd, name)?)
    }

    /// A FIFO or a device.
    pub(crate) fn create_node(&self, name: &[u8], kind: fs::FileType, device: (u32, u32)) -> io::Result<()> {
        let (major, minor) = device;
        Ok(fs::mknodat(&self.fd, name, kind, Mode::RUSR | Mode::WUSR, fs::makedev(major, minor))?)
    }

    /// Gives what is `target` in `from` the name `name` here. A link as target is linked itself.
    pub(crate) fn create_hard_link(&self, name: &[u8], from: &Self, target: &[u8]) -> io::Result<()> {
        Ok(fs::linkat(&from.fd, target, &self.fd, name, AtFlags::empty())?)
    }

    /// Removes what is no directory.
    pub(crate) fn unlink(&self, name: &[u8]) -> io::Result<()> {
        Ok(fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[allow(clippy::unnecessary_cast, reason = "the fields have other types on 32-bit targets")]
pub(crate) fn times_of(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds as fs::Nsecs };
    Timestamps {
        last_access: time(stat.st_atime as i64, stat.st_atime_nsec as u64),
        last_modification: time(stat.st_mtime as i64, stat.st_mtime_nsec as u64),
    }
}

/// Gives a directory what one has that no entry describes: mode 0755, this process's owner, and the epoch as its time, so
/// that the same image gives the same tree.
pub(crate) fn dress_as_implied(directory: &OwnedFd) -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let stat = fs::fstat(directory)?;
    if (stat.st_uid, stat.st_gid) != (uid.as_raw(), gid.as_raw()) {
        fs::fchown(directory, Some(uid), Some(gid))?;
    }
    fs::fchmod(directory, Mode::from_raw_mode(0o755))?;
    let epoch = fs::Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(fs::futimens(directory, &Timestamps { last_access: epoch, last_modification: epoch })?)
}

pub(crate) fn is_directory(stat: &Stat) -> bool {
    fs::FileType::from_raw_mode(stat.st_mode).is_dir()
}
