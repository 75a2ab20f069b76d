//! A file that appears whole: it is written under another name next to its target, and one rename puts it there, also in
//! place of an older file. Devices and pipes, such as `/dev/stdout`, are written directly.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::error::{Error, ErrorKind, Result};

/// The maximum length of the target's name within the name of the temporary file, in bytes.
const NAME_LIMIT: usize = 240;

/// A file that grows next to its target. Dropping it without [`publish`](NewFile::publish) removes it. If the process is
/// killed before that, the next [`begin`](NewFile::begin) for the same target takes the leftover over.
pub(crate) struct NewFile {
    target: PathBuf,
    file: File,
    /// `None` if the target is written directly.
    temporary: Option<PathBuf>,
}

impl NewFile {
    /// Begins a file for `target`, which must not be a folder. If it is a link, the file it leads to is replaced. Only its
    /// owner can read a new file; a replaced one keeps its mode.
    pub(crate) fn begin(target: &Path) -> Result<Self> {
        let existing = match fs::metadata(target) {
            Ok(metadata) => Some(metadata),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::disk("read", target, e)),
        };
        let Some(metadata) = existing else { return Self::beside(target.to_owned()) };
        if metadata.is_dir() {
            return Err(Error::new(ErrorKind::Disk, format!("write {}: it is a folder", target.display())));
        }
        if !metadata.is_file() {
            let file = OpenOptions::new().write(true).open(target).map_err(|e| Error::disk("open", target, e))?;
            return Ok(Self { target: target.to_owned(), file, temporary: None });
        }
        let real = fs::canonicalize(target).map_err(|e| Error::disk("find", target, e))?;
        let new = Self::beside(real)?;
        new.file.set_permissions(metadata.permissions()).map_err(|e| Error::disk("set mode of", target, e))?;
        Ok(new)
    }

    fn beside(target: PathBuf) -> Result<Self> {
        let Some(name) = target.file_name() else {
            let text = format!("write {}: the path does not name a file", target.display());
            return Err(Error::new(ErrorKind::Usage, text));
        };
        let mut temporary_name = OsString::from(".");
        temporary_name.push(shortened(name));
        temporary_name.push(".pullet-new");
        let temporary = target.with_file_name(temporary_name);
        let file = lock_new(&temporary, &target)?;
        Ok(Self { target, file, temporary: Some(temporary) })
    }

    /// Another descriptor of the file.
    #[cfg(feature = "device")]
    pub(crate) fn try_clone(&self) -> Result<File> {
        self.file.try_clone().map_err(|e| Error::disk("open", &self.target, e))
    }

    /// Makes the file durable and visible at its target.
    pub(crate) fn publish(mut self) -> Result<()> {
        let Some(temporary) = &self.temporary else { return Ok(()) };
        self.file.sync_all().map_err(|e| Error::disk("sync", temporary, e))?;
        fs::rename(temporary, &self.target).map_err(|e| Error::disk("rename to", &self.target, e))?;
        self.temporary = None;
        let parent = match self.target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(|e| Error::disk("sync", parent, e))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => e,
            _ => Error::disk("write", &self.target, e).into(),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}

/// Creates the temporary file, or takes over a leftover, and locks it.
fn lock_new(temporary: &Path, target: &Path) -> Result<File> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
        let file = options.open(temporary).map_err(|e| Error::disk("create", temporary, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("write {}: another process is writing it", target.display());
                return Err(Error::new(ErrorKind::Disk, text));
            }
            Err(TryLockError::Error(e)) => return Err(Error::disk("lock", temporary, e)),
        }
        let opened = file.metadata().map_err(|e| Error::disk("read", temporary, e))?;
        let is_own = opened.is_file() && opened.nlink() == 1 && opened.uid() == rustix::process::geteuid().as_raw();
        if !is_own {
            let text = format!("write {}: {} is in the way", target.display(), temporary.display());
            return Err(Error::new(ErrorKind::Disk, text));
        }
        // The process that held the lock may have renamed the file.
        let is_still_there = fs::symlink_metadata(temporary)
            .is_ok_and(|named| (named.dev(), named.ino()) == (opened.dev(), opened.ino()));
        if is_still_there {
            file.set_len(0).map_err(|e| Error::disk("truncate", temporary, e))?;
            return Ok(file);
        }
    }
}

/// Cuts a long name to what a filesystem accepts.
fn shortened(name: &OsStr) -> &OsStr {
    let bytes = name.as_bytes();
    OsStr::from_bytes(bytes.get(..NAME_LIMIT).unwrap_or(bytes))
}
