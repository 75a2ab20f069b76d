//! Small configuration files, some with secrets: bounded reads, and atomic replacement by a file that only its owner may
//! read.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::read_capped;

/// Maximum size of a file in bytes; real ones have a few thousand.
pub(super) const FILE_LIMIT: usize = 1 << 20;

/// Reads a whole file. Returns `None` if it does not exist. Follows symbolic links, because secrets are mounted as links,
/// and does not block on a FIFO.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let file = match file {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(Error::disk("open", path, e)),
    };
    match read_capped(file, FILE_LIMIT).map_err(|e| Error::disk("read", path, e))? {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(Error::new(ErrorKind::Usage, format!("read {}: more than {FILE_LIMIT} bytes", path.display()))),
    }
}

/// Replaces a file atomically; only its owner may read the new one. Writes a temporary file next to it, syncs it,
/// renames it, and syncs the folder. Where `path` is a symbolic link, its target is replaced. Missing folders are created
/// with mode 0700.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    create_folders(folder)?;
    remove_stale_files(folder, path);
    let temporary = temporary_path(path);
    let replaced = write_and_rename(&temporary, path, folder, bytes);
    if replaced.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

/// Creates a folder and its missing parents, and makes each durable.
fn create_folders(folder: &Path) -> Result<()> {
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let missing: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
    let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    created.map_err(|e| Error::disk("create folder", folder, e))?;
    for folder in missing {
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

fn write_and_rename(temporary: &Path, path: &Path, folder: &Path, bytes: &[u8]) -> Result<()> {
    // The lock of this file lasts until it has its final name.
    let _file = write_temporary(temporary, path, bytes).map_err(|e| Error::disk("write", temporary, e))?;
    fs::rename(temporary, path).map_err(|e| Error::disk("rename to", path, e))?;
    sync(folder)
}

fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| Error::disk("sync", folder, e))
}

fn write_temporary(temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<File> {
    // A file with this process's number is left over from a dead process. Removing it does not follow a link.
    let _ = fs::remove_file(temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    // The lock shows other processes that this one is alive. Where locking fails, they remove no stale files either.
    let _ = file.try_lock();
    file.set_permissions(Permissions::from_mode(0o600))?;
    if let Ok(replaced) = fs::metadata(path) {
        // If root replaces another user's file, that user must still own it. For anyone else this changes nothing.
        let _ = fchown(&file, Some(replaced.uid()), Some(replaced.gid()));
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

/// Removes temporary files of processes that died while writing, because they contain credentials.
fn remove_stale_files(folder: &Path, path: &Path) {
    let file_name = path.file_name().unwrap_or_default().as_bytes();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_temporary_name(entry.file_name().as_bytes(), file_name) && is_unlocked(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

/// Returns true for a name that [`temporary_path`] gives in any process.
fn is_temporary_name(name: &[u8], file_name: &[u8]) -> bool {
    let number = name.strip_prefix(file_name).and_then(|name| name.strip_prefix(b".")?.strip_suffix(b".new"));
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// Returns true if the file can be opened without following a link, and no process holds its lock.
fn is_unlocked(path: &Path) -> bool {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    file.is_ok_and(|file| file.try_lock().is_ok())
}
