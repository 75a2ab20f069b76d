//! Small files that nobody else may read: read with a bound and without waiting, replaced in one step.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::read_capped;

/// Bytes of a file of credentials; real ones have a few thousand.
pub(super) const FILE_LIMIT: usize = 1 << 20;

/// All of a file; `None` if it does not exist. Links are followed, as secrets are mounted so; a FIFO is not waited for.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let file = match file {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        other => other.map_err(|e| Error::disk("open", path, e))?,
    };
    match read_capped(file, FILE_LIMIT).map_err(|e| Error::disk("read", path, e))? {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(Error::new(ErrorKind::Usage, format!("read {}: more than {FILE_LIMIT} bytes", path.display()))),
    }
}

/// Replaces a file, which then only its owner may read: temporary file beside it, fsync, rename, fsync of the folder.
/// Where it is a link, what it leads to is replaced. Missing folders are made for the owner alone.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|e| Error::disk("create folder", folder, e))?;
    let temporary = temporary(path);
    sweep(folder, path);
    let written = write(&temporary, path, bytes);
    let replaced = written.map_err(|e| Error::disk("write", &temporary, e)).and_then(|()| {
        fs::rename(&temporary, path).map_err(|e| Error::disk("rename to", path, e))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| Error::disk("sync", folder, e))
    });
    if replaced.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

fn write(temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Of our own number it can only be a dead one's; a link is removed and not followed.
    let _ = fs::remove_file(temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    // It says that the file's process is alive; where nothing can be locked, nothing is swept.
    let _ = file.try_lock();
    file.set_permissions(Permissions::from_mode(0o600))?;
    if let Ok(before) = fs::metadata(path) {
        // Root, who writes to another's file, must not lock its owner out. For all others there is nothing to change.
        let _ = fchown(&file, Some(before.uid()), Some(before.gid()));
    }
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes the temporary files of processes that died over them: they hold credentials, and nobody else would.
fn sweep(folder: &Path, path: &Path) {
    let own = path.file_name().unwrap_or_default().as_bytes();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.as_bytes().strip_prefix(own).and_then(|name| name.strip_prefix(b".")?.strip_suffix(b".new"));
        if number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit)) {
            let is_dead = open_itself(&entry.path()).is_ok_and(|file| file.try_lock().is_ok());
            let _ = if is_dead { fs::remove_file(entry.path()) } else { Ok(()) };
        }
    }
}

fn open_itself(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}
