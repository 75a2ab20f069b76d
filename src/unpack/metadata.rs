//! Sets the owner, xattrs, mode and times of a file, in this order: chown clears setuid and capabilities, and an
//! ordinary user cannot set xattrs on a read-only file.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::directory::{CREATE_FLAGS, OpenDirectory};
use super::tally::Tally;
use crate::error::{Error, ErrorKind};
use crate::layer::{EntryKind, TarEntry, Time};

/// The name of the file that is created, and removed at once, to learn which mode new files get.
const PROBE: &str = "probe";

/// The changes that this process may make to files.
#[derive(Clone, Copy)]
pub(super) struct Policy {
    /// True if owners are set. Only root can give files away.
    pub(super) owners: bool,
    /// True if device nodes are created.
    pub(super) devices: bool,
    uid: u32,
    gid: u32,
    /// The permission bits that a new file gets if it is created with all of them.
    granted: Mode,
}

/// The mode with which a regular file is created.
pub(super) struct CreationMode {
    pub(super) mode: Mode,
    /// True if this is the mode of the entry, so that it need not be set later.
    pub(super) is_final: bool,
}

/// How a file came into being, as far as its owner depends on it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Origin {
    /// It was just created, with the owner and group of this process.
    Created,
    /// It was just created in a setgid directory, with the group of that directory.
    CreatedInSetgid,
    /// It is from an earlier entry, and its owner is unknown.
    Existing,
}

impl Policy {
    /// Returns the policy of this process for the tree in the empty directory `root`. Devices are created only if
    /// `devices` is true and the process is root.
    pub(super) fn of_process(root: &OwnedFd, devices: bool) -> io::Result<Self> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Ok(Self {
            owners: uid.is_root(),
            devices: devices && uid.is_root(),
            uid: uid.as_raw(),
            gid: gid.as_raw(),
            granted: granted_mode(root)?,
        })
    }

    /// Returns the mode with which the file of an entry is created. It is the final one if possible, because most files
    /// are small, and then each system call counts.
    pub(super) fn creation_mode(&self, entry: &TarEntry) -> CreationMode {
        let mode = Mode::from_raw_mode(entry.mode);
        if self.granted.contains(mode) && entry.xattrs.is_empty() {
            return CreationMode { mode, is_final: true };
        }
        CreationMode { mode: Mode::RUSR | Mode::WUSR, is_final: false }
    }
}

impl Origin {
    /// Returns the origin of a file that was just created in `directory`.
    pub(super) fn created_in(directory: &OpenDirectory) -> Self {
        if directory.is_setgid() { Self::CreatedInSetgid } else { Self::Created }
    }
}

/// Sets the metadata of a regular file or directory. `mode` may differ from the entry's; `None` leaves it.
pub(super) fn set_by_fd(
    fd: BorrowedFd<'_>,
    entry: &TarEntry,
    mode: Option<u32>,
    origin: Origin,
    policy: &Policy,
    tally: &mut Tally,
) -> io::Result<()> {
    if needs_chown(entry, origin, policy, tally) {
        fs::fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    }
    if origin == Origin::Existing {
        remove_xattrs(fd, entry)?;
    }
    set_xattrs(entry, tally, |name, value| fs::fsetxattr(fd, name, value, XattrFlags::empty()))?;
    if let Some(mode) = mode {
        fs::fchmod(fd, Mode::from_raw_mode(mode))?;
    }
    Ok(fs::futimens(fd, &timestamps(entry))?)
}

/// Sets the metadata of a symlink, FIFO or device node that was just created in `directory`.
pub(super) fn set_by_name(
    directory: &OpenDirectory,
    name: &[u8],
    entry: &TarEntry,
    policy: &Policy,
    tally: &mut Tally,
) -> io::Result<()> {
    if needs_chown(entry, Origin::created_in(directory), policy, tally) {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    set_xattrs_by_name(directory, name, entry, tally)?;
    if !matches!(entry.kind, EntryKind::Symlink(_)) {
        // chmodat follows links. The name is not one, because it was just created in a directory that no other user can
        // enter.
        fs::chmodat(directory, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    Ok(fs::utimensat(directory, name, &timestamps(entry), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets the metadata of a directory that no entry describes: mode 0755, the owner of this process, and the epoch as its
/// times, so that the same image always makes the same tree.
pub(super) fn set_implied_metadata(directory: &OwnedFd) -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let stat = fs::fstat(directory)?;
    if (stat.st_uid, stat.st_gid) != (uid.as_raw(), gid.as_raw()) {
        fs::fchown(directory, Some(uid), Some(gid))?;
    }
    fs::fchmod(directory, Mode::from_raw_mode(0o755))?;
    let epoch = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(fs::futimens(directory, &Timestamps { last_access: epoch, last_modification: epoch })?)
}

/// Returns the permission bits that a new file gets if it is created with all of them. The umask, inherited ACLs and
/// filesystems without modes take bits away.
fn granted_mode(directory: &OwnedFd) -> io::Result<Mode> {
    let all = Mode::RWXU | Mode::RWXG | Mode::RWXO;
    let file = fs::openat(directory, PROBE, CREATE_FLAGS, all)?;
    let stat = fs::fstat(&file)?;
    // NFS renames an open file when it is removed.
    drop(file);
    fs::unlinkat(directory, PROBE, AtFlags::empty())?;
    Ok(Mode::from_raw_mode(stat.st_mode).intersection(all))
}

/// Returns true if the owner must be set and this process may do so. Counts owners that it may not set.
fn needs_chown(entry: &TarEntry, origin: Origin, policy: &Policy, tally: &mut Tally) -> bool {
    let differs = (entry.uid, entry.gid) != (policy.uid, policy.gid);
    if !policy.owners {
        tally.owners += u64::from(differs);
        return false;
    }
    differs || origin != Origin::Created
}

/// Returns true for the xattrs that an image may set: those of users, capabilities, IMA and SELinux. Others, such as
/// `trusted.overlay.*`, would be instructions to this machine's kernel.
fn is_allowed(name: &[u8]) -> bool {
    name.starts_with(b"user.") || matches!(name, b"security.capability" | b"security.ima" | b"security.selinux")
}

/// Counts an xattr that the filesystem does not support, or that this process may not set. Other errors are returned.
fn count_refused(name: &[u8], result: rustix::io::Result<()>, tally: &mut Tally) -> io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM) => tally.xattrs += 1,
        Err(Errno::INVAL) if name.starts_with(b"security.") => tally.xattrs += 1,
        Err(Errno::INVAL | Errno::RANGE | Errno::TOOBIG) => {
            let text = format!("unsafe xattr \"{}\": invalid name or value", String::from_utf8_lossy(name));
            return Err(Error::new(ErrorKind::Unsafe, text).into());
        }
        other => other?,
    }
    Ok(())
}

/// Removes the xattrs that an existing directory has and its new entry does not. SELinux labels are kept, because an
/// entry without a label has the one that the policy gave it.
fn remove_xattrs(fd: BorrowedFd<'_>, entry: &TarEntry) -> io::Result<()> {
    let mut names = match fs::flistxattr_query(fd) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
        Ok(length) => vec![0; length],
        Err(e) => return Err(e.into()),
    };
    let length = fs::flistxattr(fd, names.as_mut_slice())?;
    names.truncate(length);
    let new: HashSet<&[u8]> = entry.xattrs.iter().map(|(name, _)| name.as_slice()).collect();
    for name in names.split(|&b| b == 0) {
        let is_kept = new.contains(name) || name == b"security.selinux";
        if is_allowed(name) && !is_kept {
            fs::fremovexattr(fd, name)?;
        }
    }
    Ok(())
}

/// Sets the xattrs of a file that cannot be opened. Not all kernels have a system call for this, but the path in
/// `/proc` leads to exactly this inode.
fn set_xattrs_by_name(directory: &OpenDirectory, name: &[u8], entry: &TarEntry, tally: &mut Tally) -> io::Result<()> {
    if entry.xattrs.is_empty() {
        return Ok(());
    }
    let fd = fs::openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    set_xattrs(entry, tally, |name, value| match fs::setxattr(path.as_str(), name, value, XattrFlags::empty()) {
        // Without /proc, act as if the filesystem had no xattrs.
        Err(Errno::NOENT) => Err(Errno::OPNOTSUPP),
        other => other,
    })
}

/// Sets the xattrs that an image may set and counts the others.
fn set_xattrs(
    entry: &TarEntry,
    tally: &mut Tally,
    set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>,
) -> io::Result<()> {
    for (name, value) in &entry.xattrs {
        if is_allowed(name) {
            count_refused(name, set(name, value), tally)?;
        } else {
            tally.xattrs += 1;
        }
    }
    Ok(())
}

fn timestamps(entry: &TarEntry) -> Timestamps {
    let timespec = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds as fs::Nsecs };
    Timestamps { last_access: timespec(entry.atime), last_modification: timespec(entry.mtime) }
}
