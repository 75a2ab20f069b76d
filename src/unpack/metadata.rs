//! Sets the owner, xattrs, mode and times of a file, in this order: chown clears setuid and capabilities, and an
//! ordinary user cannot set xattrs on a read-only file.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::acl::{DEFAULT_ACL, is_acl, path_of};
use super::directory::{CREATE_FLAGS, OpenDirectory};
use super::tally::Tally;
use crate::error::{Error, ErrorKind};
use crate::layer::{EntryKind, TarEntry, Time};

/// The capabilities to give files away, and to enter and change them afterwards.
const OWNER_CAPABILITIES: CapabilitySet =
    CapabilitySet::CHOWN.union(CapabilitySet::DAC_OVERRIDE).union(CapabilitySet::FOWNER);

/// The name of the file that is created, and removed at once, to learn which mode new files get.
const PROBE: &str = "probe";

/// The changes that this process may make to files.
#[derive(Clone, Copy)]
pub(super) struct Policy {
    /// True if owners are set, and modes do not deny access. Root without these capabilities is as an ordinary user.
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
            owners: is_privileged()?,
            devices: devices && uid.is_root(),
            uid: uid.as_raw(),
            gid: gid.as_raw(),
            granted: granted_mode(root)?,
        })
    }

    /// Returns the mode with which the file of an entry is created. It is the final one if possible, because most files
    /// are small, and then each system call counts.
    pub(super) fn creation_mode(&self, directory: &OpenDirectory, entry: &TarEntry) -> CreationMode {
        let mode = Mode::from_raw_mode(entry.mode);
        if self.granted.contains(mode) && entry.xattrs.is_empty() && !directory.has_default_acl() {
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
    let is_owner_set = set_owner(entry, origin, policy, tally, |uid, gid| fs::fchown(fd, uid, gid))?;
    if origin == Origin::Existing {
        remove_xattrs(fd, &entry.xattrs)?;
    }
    set_xattrs(entry, tally, |name, value| fs::fsetxattr(fd, name, value, XattrFlags::empty()))?;
    if let Some(mode) = mode {
        let mode = Mode::from_raw_mode(mode);
        let is_file = matches!(entry.kind, EntryKind::Regular(_));
        // The setuid file of another user must not become root's.
        let must_clear = is_file && !is_owner_set && policy.uid == 0;
        fs::fchmod(fd, if must_clear { mode.difference(Mode::SUID | Mode::SGID) } else { mode })?;
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
    set_owner(entry, Origin::created_in(directory), policy, tally, |uid, gid| {
        fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
    })?;
    set_xattrs_by_name(directory, name, entry, tally)?;
    if !matches!(entry.kind, EntryKind::Symlink(_)) {
        // chmodat follows links. The name is not one, because it was just created in a directory that no other user can
        // enter.
        fs::chmodat(directory, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    Ok(fs::utimensat(directory, name, &timestamps(entry), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets the metadata of a directory that no entry describes: mode 0755, the owner of this process, no xattrs, and the epoch
/// as its times, so that the same image always makes the same tree.
pub(super) fn set_implied_metadata(directory: &OwnedFd) -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let stat = fs::fstat(directory)?;
    if (stat.st_uid, stat.st_gid) != (uid.as_raw(), gid.as_raw()) {
        fs::fchown(directory, Some(uid), Some(gid))?;
    }
    remove_xattrs(directory.as_fd(), &[])?;
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

/// Sets the owner with `chown`, if it must be set and this process may do so. Returns false, and counts it, if the file
/// has another owner than the entry.
fn set_owner(
    entry: &TarEntry,
    origin: Origin,
    policy: &Policy,
    tally: &mut Tally,
    chown: impl Fn(Option<Uid>, Option<Gid>) -> rustix::io::Result<()>,
) -> io::Result<bool> {
    let differs = (entry.uid, entry.gid) != (policy.uid, policy.gid);
    let refused = if policy.owners && (differs || origin != Origin::Created) {
        match chown(Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))) {
            // The user namespace has no such user or group.
            Err(Errno::INVAL) => true,
            other => {
                other?;
                false
            }
        }
    } else {
        differs && !policy.owners
    };
    tally.owners += u64::from(refused);
    Ok(!refused)
}

/// Returns true if this process is root with the capabilities that make modes and owners no obstacle.
pub(super) fn is_privileged() -> io::Result<bool> {
    if !rustix::process::geteuid().is_root() {
        return Ok(false);
    }
    Ok(rustix::thread::capabilities(None)?.effective.contains(OWNER_CAPABILITIES))
}

/// Returns true for the xattrs that an image may set: those of users, POSIX ACLs, capabilities, IMA and SELinux. Others,
/// such as `trusted.overlay.*`, would be instructions to this machine's kernel, or to fuse-overlayfs and podman.
pub(crate) fn is_allowed(name: &[u8]) -> bool {
    const INSTRUCTIONS: [&[u8]; 3] = [b"user.overlay.", b"user.fuseoverlayfs.", b"user.containers."];
    let is_users = name.starts_with(b"user.") && !INSTRUCTIONS.iter().any(|prefix| name.starts_with(prefix));
    is_users || is_acl(name) || matches!(name, b"security.capability" | b"security.ima" | b"security.selinux")
}

/// Returns true if the entry gives its directory a default ACL, which new files in it inherit.
pub(super) fn has_default_acl(entry: &TarEntry) -> bool {
    entry.xattrs.iter().any(|(name, _)| name == DEFAULT_ACL.to_bytes())
}

/// Counts an xattr that the filesystem does not support, or that this process may not set. Other errors are returned.
fn count_refused(name: &[u8], result: rustix::io::Result<()>, tally: &mut Tally) -> io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM) => tally.xattrs += 1,
        // An ACL may name users that the user namespace does not have.
        Err(Errno::INVAL) if name.starts_with(b"security.") || is_acl(name) => tally.xattrs += 1,
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
fn remove_xattrs(fd: BorrowedFd<'_>, new: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
    let mut names = match fs::flistxattr_query(fd) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
        Ok(length) => vec![0; length],
        Err(e) => return Err(e.into()),
    };
    let length = fs::flistxattr(fd, names.as_mut_slice())?;
    names.truncate(length);
    let new: HashSet<&[u8]> = new.iter().map(|(name, _)| name.as_slice()).collect();
    for name in names.split(|&b| b == 0) {
        let is_kept = new.contains(name) || name == b"security.selinux";
        if is_allowed(name) && !is_kept {
            fs::fremovexattr(fd, name)?;
        }
    }
    Ok(())
}

/// Sets the xattrs of a file that cannot be opened.
fn set_xattrs_by_name(directory: &OpenDirectory, name: &[u8], entry: &TarEntry, tally: &mut Tally) -> io::Result<()> {
    if entry.xattrs.is_empty() {
        return Ok(());
    }
    let fd = fs::openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let path = path_of(&fd);
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
