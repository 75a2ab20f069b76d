//! The store's operations on files. Only regular files are opened, and a new name is durable only after its folder is
//! synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Limits, read_capped};
use crate::oci::descriptor::Descriptor;

/// The size of the buffers for reading and writing, in bytes.
pub(super) const BUFFER: usize = 64 << 10;

/// The path of a blob in the store at `root`.
pub(super) fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs").join(digest.algorithm()).join(digest.hex())
}

/// Returns true if the store has the blob with the size of its descriptor.
pub(super) fn has_blob(root: &Path, blob: &Descriptor) -> Result<bool> {
    let path = blob_path(root, &blob.digest);
    match open_regular(&path)? {
        None => Ok(false),
        Some(file) => Ok(file.metadata().map_err(|e| Error::disk("read", &path, e))?.len() == blob.size),
    }
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

/// Opens a regular file for writing and keeps its content. Creates it if it does not exist.
pub(super) fn open_or_create(path: &Path) -> Result<File> {
    let file = options().read(true).write(true).create(true).truncate(false).open(path);
    require_regular(path, file.map_err(|e| Error::disk("create", path, e))?)
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

/// Replaces a small file atomically: writes a temporary file, syncs it, renames it, syncs the folder.
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

/// Renames a file within the store and makes the new name durable.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| Error::disk("rename to", to, e))?;
    sync_parent(to)
}

/// Creates a folder and its missing parents, and makes each durable.
pub(super) fn create_folder(path: &Path) -> Result<()> {
    // The default mode is 0777, and an init process may have the umask 0. Then anyone could write to the folder.
    match DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => {
            remove_acls(path).map_err(|e| Error::disk("remove the ACL of", path, e))?;
            sync_parent(path)
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            create_folder(path.parent().filter(|p| *p != path).ok_or_else(|| Error::disk("create", path, e))?)?;
            create_folder(path)
        }
        Err(e) => Err(Error::disk("create folder", path, e)),
    }
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
