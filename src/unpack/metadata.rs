//! Gives what was just made its owner, xattrs, mode and times, in this order: chown clears setuid and capabilities,
//! and a read-only file takes no xattrs from an ordinary user.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::folder::Folder;
use super::tally::Tally;
use crate::error::{Error, ErrorKind};
use crate::layer::Time;
use crate::layer::{EntryKind, TarEntry};

/// What this process may do to files.
#[derive(Clone, Copy)]
pub(super) struct Policy {
    /// Owners are set. An ordinary user cannot, and leaves them out.
    pub(super) owners: bool,
    /// Device nodes are made.
    pub(super) devices: bool,
    uid: u32,
    gid: u32,
    /// The permission bits that files have from their making on.
    granted: Mode,
}

impl Policy {
    /// That of this process; `devices` are made only if it is root. A file that is made has no more than the bits
    /// `granted`.
    pub(super) fn of_process(devices: bool, granted: Mode) -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let devices = devices && uid.is_root();
        Self { owners: uid.is_root(), devices, uid: uid.as_raw(), gid: gid.as_raw(), granted }
    }

    /// The mode that a file is made with, and whether that is what its entry says, so that nothing need be done about
    /// it any more. Most files are small, and then each system call counts.
    pub(super) fn first_mode(&self, entry: &TarEntry) -> (Mode, bool) {
        let wanted = Mode::from_raw_mode(entry.mode);
        match self.granted.contains(wanted) && entry.xattrs.is_empty() {
            true => (wanted, true),
            false => (Mode::RUSR | Mode::WUSR, false),
        }
    }
}

/// Dresses a regular file or directory through its descriptor. `mode` may differ from the entry's; `None` if it has it.
pub(super) fn by_fd(
    fd: BorrowedFd<'_>,
    entry: &TarEntry,
    mode: Option<u32>,
    made: Made,
    policy: &Policy,
    tally: &mut Tally,
) -> io::Result<()> {
    if is_owner_due(entry, made, policy, tally) {
        fs::fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    }
    if made == Made::Existed {
        strip_xattrs(fd, entry)?;
    }
    set_xattrs(entry, tally, |name, value| fs::fsetxattr(fd, name, value, XattrFlags::empty()))?;
    if let Some(mode) = mode {
        fs::fchmod(fd, Mode::from_raw_mode(mode))?;
    }
    Ok(fs::futimens(fd, &timestamps(entry))?)
}

/// Dresses a symlink, FIFO or device that was just made in `folder`.
pub(super) fn by_name(
    folder: &Folder,
    name: &[u8],
    entry: &TarEntry,
    policy: &Policy,
    tally: &mut Tally,
) -> io::Result<()> {
    if is_owner_due(entry, Made::in_folder(folder), policy, tally) {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        fs::chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    set_xattrs_by_name(folder, name, entry, tally)?;
    if !matches!(entry.kind, EntryKind::Symlink(_)) {
        // It is no link, for we have just made it, in a directory that nobody else can enter.
        fs::chmodat(folder, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    Ok(fs::utimensat(folder, name, &timestamps(entry), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// How a file came to be, as far as its owner depends on it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Made {
    /// With this process's owner and group.
    Ours,
    /// In a setgid directory, with that one's group.
    Inherited,
    /// By an earlier layer.
    Existed,
}

impl Made {
    pub(super) fn in_folder(folder: &Folder) -> Self {
        if folder.is_setgid() { Self::Inherited } else { Self::Ours }
    }
}

/// Whether chown has something to do and may do it; what it may not is counted.
fn is_owner_due(entry: &TarEntry, made: Made, policy: &Policy, tally: &mut Tally) -> bool {
    let differs = (entry.uid, entry.gid) != (policy.uid, policy.gid);
    if !policy.owners {
        tally.owners += u64::from(differs);
        return false;
    }
    differs || made != Made::Ours
}

/// Attributes that belong to an image: users' own, and those by which files are privileged, measured and labelled.
/// `trusted.overlay.*` and the like would speak to this machine's kernel instead.
fn is_taken(name: &[u8]) -> bool {
    name.starts_with(b"user.") || matches!(name, b"security.capability" | b"security.ima" | b"security.selinux")
}

/// Where the filesystem has no xattrs, or not for us, they are left out and counted.
fn tolerate(name: &[u8], result: rustix::io::Result<()>, tally: &mut Tally) -> io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM) => tally.xattrs += 1,
        Err(Errno::INVAL) if name.starts_with(b"security.") => tally.xattrs += 1,
        Err(Errno::INVAL | Errno::RANGE | Errno::TOOBIG) => {
            let text = format!("unsafe xattr \"{}\": its name or value is none", String::from_utf8_lossy(name));
            return Err(Error::new(ErrorKind::Unsafe, text).into());
        }
        other => other?,
    }
    Ok(())
}

/// A directory that is there already gets exactly its new entry's attributes. SELinux labels are never taken away:
/// without one of its own the entry keeps what the policy gave it.
fn strip_xattrs(fd: BorrowedFd<'_>, entry: &TarEntry) -> io::Result<()> {
    let mut names = match fs::flistxattr_query(fd) {
        Ok(length) => vec![0; length],
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let length = if names.is_empty() { 0 } else { fs::flistxattr(fd, names.as_mut_slice())? };
    let new: HashSet<&[u8]> = entry.xattrs.iter().map(|(name, _)| name.as_slice()).collect();
    for name in names.get(..length).unwrap_or_default().split(|&b| b == 0).filter(|name| !name.is_empty()) {
        let stays = new.contains(name) || name == b"security.selinux";
        if is_taken(name) && !stays {
            fs::fremovexattr(fd, name)?;
        }
    }
    Ok(())
}

/// There is no call to set an xattr by directory and name that all kernels have; `/proc` leads to the very inode.
fn set_xattrs_by_name(folder: &Folder, name: &[u8], entry: &TarEntry, tally: &mut Tally) -> io::Result<()> {
    if entry.xattrs.is_empty() {
        return Ok(());
    }
    let fd = fs::openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    set_xattrs(entry, tally, |name, value| match fs::setxattr(path.as_str(), name, value, XattrFlags::empty()) {
        // Without /proc it is as on a filesystem that has no xattrs.
        Err(Errno::NOENT) => Err(Errno::OPNOTSUPP),
        other => other,
    })
}

/// Sets those attributes that an image may set; the others are counted.
fn set_xattrs(
    entry: &TarEntry,
    tally: &mut Tally,
    set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>,
) -> io::Result<()> {
    for (name, value) in &entry.xattrs {
        match is_taken(name) {
            true => tolerate(name, set(name, value), tally)?,
            false => tally.xattrs += 1,
        }
    }
    Ok(())
}

fn timestamps(entry: &TarEntry) -> Timestamps {
    let spec = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds as fs::Nsecs };
    Timestamps { last_access: spec(entry.atime), last_modification: spec(entry.mtime) }
}
