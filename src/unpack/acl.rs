//! POSIX ACLs, which Linux keeps in two xattrs. A new file inherits the default ACL of its directory.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

pub(super) const DEFAULT_ACL: &CStr = c"system.posix_acl_default";
const ACLS: [&CStr; 2] = [c"system.posix_acl_access", DEFAULT_ACL];

/// Returns true if the xattr with this name is an ACL.
pub(super) fn is_acl(name: &[u8]) -> bool {
    ACLS.iter().any(|acl| acl.to_bytes() == name)
}

/// Removes the ACLs that a new file or directory inherited.
pub(crate) fn remove_acls(fd: BorrowedFd<'_>) -> io::Result<()> {
    remove_each_acl(|name| fs::fremovexattr(fd, name))
}

/// Removes the ACLs that a new FIFO or device node in `directory` inherited.
pub(super) fn remove_acls_by_name(directory: impl AsFd, name: &[u8]) -> io::Result<()> {
    let fd = fs::openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let path = path_of(&fd);
    remove_each_acl(|name| fs::removexattr(path.as_str(), name))
}

fn remove_each_acl(remove: impl Fn(&CStr) -> rustix::io::Result<()>) -> io::Result<()> {
    for name in ACLS {
        match remove(name) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Returns a path to an open file. Not all kernels have a system call for the xattrs of a file that cannot be opened,
/// but this path leads to exactly this inode.
pub(super) fn path_of(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
