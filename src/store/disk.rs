//! The store's operations on files. Only regular files are opened, and a new name is durable only after its folder is
//! synced.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::owner::make_private;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Limits, read_capped};
use crate::oci::descriptor::Descriptor;
use crate::verify::{Size, Verified};

/// The size of the buffers for reading and writing, in bytes.
pub(super) const BUFFER: usize = 64 << 10;

/// The mode of a new folder. The default is 0777, and an init process may have the umask 0. Then anyone could write to the
/// folder.
const FOLDER_MODE: u32 = 0o755;

/// The path of a blob in the store at `root`.
pub(super) fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs").join(digest.algorithm()).join(digest.hex())
}

/// Returns true if the store has the blob with the size of its descriptor.
pub(super) fn has_blob(root: &Path, blob: &Descriptor) -> Result<bool> {
    Ok(blob_size(root, &blob.digest)? == Some(blob.size))
}

/// The size of a blob's file in bytes; `None` if the store does not have it.
pub(super) fn blob_size(root: &Path, digest: &Digest) -> Result<Option<u64>> {
    let path = blob_path(root, digest);
    let Some(file) = open_regular(&path)? else { return Ok(None) };
    Ok(Some(file.metadata().map_err(|e| Error::disk("read", &path, e))?.len()))
}

/// Opens a regular file for reading; `None` if it does not exist. Anything else in its place is an error, because a
/// FIFO or device could block and a link could lead out of the store.
pub(super) fn open_regular(path: &Path) -> Result<Option<File>> {
    let file = match options().read(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| Error::disk("open", path, e))?,
    };
    require_regular(path, file).map(Some)
}

/// Opens a regular file for writing and keeps its content. Creates it if it does not exist. Only its owner may open it,
/// because anyone who can open a file can hold its lock.
pub(super) fn open_private(path: &Path) -> Result<File> {
    let file = options().mode(0o600).read(true).write(true).create(true).truncate(false).open(path);
    let file = require_regular(path, file.map_err(|e| Error::disk("create", path, e))?)?;
    make_private(path, &file, 0o600)?;
    Ok(file)
}

/// Creates a folder that only its owner may enter. Changes an older one, unless it is a link to a folder elsewhere.
pub(super) fn create_private_folder(path: &Path) -> Result<()> {
    create_missing(path, 0o700)?;
    let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY;
    match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(folder) => make_private(path, &folder, 0o700),
        Err(_) if path.is_symlink() => Ok(()),
        Err(e) => Err(Error::disk("open", path, e)),
    }
}

/// Reads a small file; `None` if it does not exist.
pub(super) fn read_small(path: &Path, limit: usize) -> Result<Option<Vec<u8>>> {
    let Some(file) = open_regular(path)? else { return Ok(None) };
    let bytes = read_capped(file, limit).map_err(|e| Error::disk("read", path, e))?;
    if bytes.is_none() {
        return Err(Limits::exceeded("bytes", limit).context(path.display()));
    }
    Ok(bytes)
}

/// Reads and verifies a small blob.
pub(super) fn read_document(root: &Path, blob: &Descriptor, limit: usize) -> Result<Vec<u8>> {
    let path = blob_path(root, &blob.digest);
    let file = open_regular(&path)?.ok_or_else(|| missing(blob))?;
    let file = Verified::new(file, blob.digest, Size::Exactly(blob.size), Cancel::default());
    let bytes = file.document(limit, |e| Error::disk("read", &path, e));
    bytes.map_err(|e| e.context(format!("blob {}", blob.digest)))
}

/// The error for a blob that the store does not have.
pub(super) fn missing(blob: &Descriptor) -> Error {
    let text = format!("blob {} is missing from the store", blob.digest);
    Error::new(ErrorKind::NotFound, text).with_hint("pull the image again: only what is missing is fetched")
}

/// The paths of everything in a folder; none if it does not exist.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| Error::disk("read", folder, e))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|e| Error::disk("read", folder, e))?.path());
    }
    Ok(paths)
}

/// Replaces a small file atomically: writes a temporary file, syncs it, renames it, syncs the folder.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_with(&options(), path, bytes)
}

/// The same for a file that only its owner may read.
pub(super) fn replace_private(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_with(options().mode(0o600), path, bytes)
}

fn replace_with(options: &OpenOptions, path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    // A file with this name is left over from a process that died: the caller holds the lock.
    remove(&temporary)?;
    let written = options.clone().write(true).create_new(true).open(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let replaced = written.map_err(|e| Error::disk("write", &temporary, e)).and_then(|()| rename(&temporary, path));
    replaced.inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Renames a file within the store and makes the new name durable.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| Error::disk("rename to", to, e))?;
    sync_parent(to)
}

/// Creates a folder and its missing parents, and makes each durable.
pub(super) fn create_folder(path: &Path) -> Result<()> {
    create_missing(path, FOLDER_MODE)
}

fn create_missing(path: &Path, mode: u32) -> Result<()> {
    let mut missing = Vec::new();
    for folder in path.ancestors() {
        // The empty path is the parent of a relative name.
        if folder.as_os_str().is_empty() || folder.is_dir() {
            break;
        }
        missing.push(folder);
    }
    // A folder that cannot be created, as in /proc, may look like one with a missing parent. So nothing is tried twice.
    while let Some(folder) = missing.pop() {
        let mode = if missing.is_empty() { mode } else { FOLDER_MODE };
        match DirBuilder::new().mode(mode).create(folder) {
            Ok(()) => {
                remove_acls(folder).map_err(|e| Error::disk("remove the ACL of", folder, e))?;
                sync_parent(folder)?;
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(e) => return Err(Error::disk("create folder", folder, e)),
        }
    }
    Ok(())
}

/// Removes the ACLs that a new folder inherited, because they may let other users change its files.
fn remove_acls(path: &Path) -> io::Result<()> {
    for name in ["system.posix_acl_default", "system.posix_acl_access"] {
        match rustix::fs::removexattr(path, name) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Removes the file with the name of a blob, or a folder in its place. Succeeds if nothing has that name.
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

/// The digests of all blobs, sorted. Skips files whose name is not a digest.
pub(super) fn blobs(root: &Path) -> Result<Vec<Digest>> {
    let mut digests = Vec::new();
    for algorithm in ["sha256", "sha512"] {
        for path in files(&root.join("blobs").join(algorithm))? {
            let hex = path.file_name().and_then(OsStr::to_str);
            digests.extend(hex.and_then(|hex| format!("{algorithm}:{hex}").parse::<Digest>().ok()));
        }
    }
    digests.sort_unstable();
    Ok(digests)
}

/// Makes the names of all blobs durable, including those that other processes committed.
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
    if !file.metadata().map_err(|e| Error::disk("read", path, e))?.is_file() {
        return Err(Error::new(ErrorKind::Disk, format!("open {}: not a regular file", path.display())));
    }
    Ok(file)
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
