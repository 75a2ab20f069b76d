//! The store's few operations on files, with the care that power cuts and strange folders ask for: what is no regular
//! file is never opened as one, and a name is durable only after its folder was synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Limits, read_capped};
use crate::oci::descriptor::Descriptor;

/// Bytes that are read and written at once.
pub(super) const BUFFER: usize = 64 << 10;

/// Where a blob lies in the store at `root`.
pub(super) fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs").join(digest.algorithm()).join(digest.hex())
}

/// Whether a blob is there, with the size that its descriptor says.
pub(super) fn has_blob(root: &Path, blob: &Descriptor) -> Result<bool> {
    let path = blob_path(root, &blob.digest);
    match open_regular(&path)? {
        None => Ok(false),
        Some(file) => Ok(file.metadata().map_err(|e| Error::disk("read", &path, e))?.len() == blob.size),
    }
}

/// Opens a regular file for reading; `None` if it does not exist. A link, FIFO or device in its place could block or
/// lead out of the store, so it is an error.
pub(super) fn open_regular(path: &Path) -> Result<Option<File>> {
    let file = match options().read(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| Error::disk("open", path, e))?,
    };
    require_regular(path, file).map(Some)
}

/// Opens a file for writing, made if it does not exist; its content stays.
pub(super) fn open_or_create(path: &Path) -> Result<File> {
    let file = options().read(true).write(true).create(true).truncate(false).open(path);
    require_regular(path, file.map_err(|e| Error::disk("create", path, e))?)
}

/// A whole small file; `None` if it does not exist.
pub(super) fn read_small(path: &Path, limit: usize) -> Result<Option<Vec<u8>>> {
    let Some(file) = open_regular(path)? else { return Ok(None) };
    match read_capped(file, limit).map_err(|e| Error::disk("read", path, e))? {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(Limits::exceeded("bytes", limit).context(path.display())),
    }
}

/// Replaces a small file in one step: temporary file, fsync, rename, fsync of the folder.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let written = options().write(true).create(true).truncate(true).open(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let replaced = written.map_err(|e| Error::disk("write", &temporary, e)).and_then(|()| rename(&temporary, path));
    replaced.inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Renames within the store and makes the new name durable.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| Error::disk("rename to", to, e))?;
    sync_parent(to)
}

/// Makes a folder and its missing parents durable, one after the other.
pub(super) fn create_folder(path: &Path) -> Result<()> {
    // An umask only takes away: under that of an init, 0, anybody could write otherwise.
    match DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => sync_parent(path),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            create_folder(path.parent().filter(|p| *p != path).ok_or_else(|| Error::disk("create", path, e))?)?;
            create_folder(path)
        }
        Err(e) => Err(Error::disk("create folder", path, e)),
    }
}

/// Removes what has a blob's name, a folder too, which cannot be one; if there is nothing, that is fine.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::IsADirectory => fs::remove_dir_all(path),
        other => other,
    };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::disk("remove", path, e)),
        _ => Ok(()),
    }
}

/// The digests of all blobs, sorted. Names that are no digest are none of ours.
pub(super) fn blobs(root: &Path) -> Result<Vec<Digest>> {
    let mut digests = Vec::new();
    for algorithm in ["sha256", "sha512"] {
        let folder = root.join("blobs").join(algorithm);
        let entries = match fs::read_dir(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(|e| Error::disk("read", &folder, e))?,
        };
        for entry in entries {
            let name = entry.map_err(|e| Error::disk("read", &folder, e))?.file_name();
            digests.extend(name.to_str().and_then(|hex| format!("{algorithm}:{hex}").parse::<Digest>().ok()));
        }
    }
    digests.sort_unstable();
    Ok(digests)
}

/// Makes the names of blobs durable, whoever gave them.
pub(super) fn sync_folders(root: &Path) -> Result<()> {
    let blobs = root.join("blobs");
    for folder in [blobs.join("sha256"), blobs.join("sha512"), blobs, root.to_owned()] {
        if folder.is_dir() {
            sync(&folder)?;
        }
    }
    Ok(())
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.mode(0o644).custom_flags(flags.bits().cast_signed());
    options
}

fn require_regular(path: &Path, file: File) -> Result<File> {
    match file.metadata().map_err(|e| Error::disk("read", path, e))?.is_file() {
        true => Ok(file),
        false => Err(Error::new(ErrorKind::Disk, format!("open {}: not a regular file", path.display()))),
    }
}

fn sync_parent(path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    sync(&parent)
}

fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| Error::disk("sync", folder, e))
}
