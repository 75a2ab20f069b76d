//! Who may use and change the files of the store: only root and the caller can write to it, and only the caller can open
//! lock files and partial blobs.

use std::fs::{self, File, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::process::{getegid, geteuid};

use crate::error::{Error, ErrorKind, Result};

/// Fails if another user than root or the caller can write to the store. Such a user could replace a verified blob, or
/// give a name to another image.
pub(super) fn check_owner(root: &Path) -> Result<()> {
    check_folder(root, root)?;
    for folder in ["blobs", "blobs/sha256", "blobs/sha512", "ingest", "layers", "versions", "watch"] {
        check_folder(root, &root.join(folder))?;
    }
    Ok(())
}

fn check_folder(root: &Path, folder: &Path) -> Result<()> {
    check(root, folder).map_err(|e| e.context(format!("use the store {}", folder.display())))
}

/// Fails if another user than root or the caller can write to the file at `path`. A missing one will be created.
#[cfg(feature = "manage")]
pub(super) fn check_file(path: &Path) -> Result<()> {
    check(path, path).map_err(|e| e.context(format!("use {}", path.display())))
}

/// Checks what is at `path`, in the folder `root`, whose owner the hint changes.
fn check(root: &Path, path: &Path) -> Result<()> {
    // A missing folder will be created. One that cannot be read fails with its own reason when it is used.
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    let uid = metadata.uid();
    if uid != 0 && uid != geteuid().as_raw() {
        let hint = format!("if you trust its content: chown -R {} {}", geteuid().as_raw(), root.display());
        return Err(Error::new(ErrorKind::Disk, format!("it belongs to another user (UID {uid})")).with_hint(hint));
    }
    if is_writable_by_others(&metadata) {
        let hint = format!("if you trust its content: chmod -R go-w {}", root.display());
        return Err(Error::new(ErrorKind::Disk, "other users can write to it").with_hint(hint));
    }
    Ok(())
}

/// Many systems have a group for each user and the umask 002, so the caller's own group may write.
fn is_writable_by_others(metadata: &Metadata) -> bool {
    let is_own_group = [0, getegid().as_raw()].contains(&metadata.gid());
    metadata.mode() & 0o002 != 0 || (metadata.mode() & 0o020 != 0 && !is_own_group)
}

/// Takes the rights of others away from a file or folder of this user. A second hard link may be a file of another
/// program, so its mode stays.
pub(super) fn make_private(path: &Path, file: &File, mode: u32) -> Result<()> {
    let metadata = file.metadata().map_err(|e| Error::disk("read", path, e))?;
    let is_single = metadata.is_dir() || metadata.nlink() == 1;
    if metadata.mode() & 0o077 == 0 || metadata.uid() != geteuid().as_raw() || !is_single {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(mode)).map_err(|e| Error::disk("change the mode of", path, e))
}

/// Returns true if nobody else can have the file open for writing, or write to it by another name.
pub(super) fn is_exclusive(path: &Path, file: &File) -> Result<bool> {
    let metadata = file.metadata().map_err(|e| Error::disk("read", path, e))?;
    Ok(metadata.nlink() <= 1 && metadata.uid() == geteuid().as_raw())
}

/// Returns true for a file of another user, which root without capabilities may not be able to open.
pub(super) fn is_of_another(path: &Path) -> bool {
    let is_of_another = |metadata: Metadata| metadata.is_file() && metadata.uid() != geteuid().as_raw();
    fs::symlink_metadata(path).is_ok_and(is_of_another)
}

/// Gives a verified blob the mode of a file that everyone may read who may read its folder.
pub(super) fn publish_mode(path: &Path, file: &File, folder: &Path) -> Result<()> {
    let folder_mode = fs::metadata(folder).map_err(|e| Error::disk("read", folder, e))?.mode();
    let mode = Permissions::from_mode(0o600 | (folder_mode & 0o044));
    file.set_permissions(mode).map_err(|e| Error::disk("change the mode of", path, e))
}
