//! Adds a blob to the store. Bytes arrive in a partial file under an advisory lock; the file is renamed to the blob
//! only after its digest is verified. After a failure the partial file stays, and the next attempt or run resumes from
//! it.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, BUFFER, create_folder, open_private, rename};
use super::lock::{self, LockWait};
use super::owner;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::descriptor::Descriptor;
use crate::verify::{Proof, Size, Verified, VerifyState, filled};

/// A partial blob that only this process writes. Dropping it removes the partial file if it is empty.
#[must_use]
pub(crate) struct Ingest {
    root: PathBuf,
    blob: Descriptor,
    path: PathBuf,
    file: Arc<File>,
    /// The state of the verification of the bytes in the file.
    state: VerifyState,
    /// Set once the blob is complete and verified.
    proof: Option<Proof>,
}

/// Opens and locks the partial file of a blob, and hashes the bytes that an earlier run left in it. `None` if another
/// process has committed the blob meanwhile.
///
/// Two processes that need the same blob fetch it once, because the second waits for the lock of the first. The kernel
/// releases the lock when a process exits.
pub(super) fn begin(root: &Path, blob: &Descriptor, wait: LockWait<'_>) -> Result<Option<Ingest>> {
    let path = partial_path(root, blob);
    let mut was_replaced = owner::is_of_another(&path);
    if was_replaced {
        disk::remove(&path)?;
    }
    loop {
        let file = open_private(&path)?;
        lock::exclusive(&file, &path, wait)?;
        if disk::has_blob(root, blob)? {
            disk::remove(&path)?;
            return Ok(None);
        }
        // The process that held the lock may have renamed or removed the file that this one opened. Then open it again.
        if !is_at(&file, &path) {
            continue;
        }
        if owner::is_exclusive(&path, &file)? {
            let (root, blob) = (root.to_owned(), blob.clone());
            let state = initial_state(&blob);
            let mut ingest = Ingest { root, blob, path, file: Arc::new(file), state, proof: None };
            ingest.hash_partial(wait.cancel)?;
            return Ok(Some(ingest));
        }
        if was_replaced {
            let text = format!("create {}: another user can write to it", path.display());
            return Err(Error::new(ErrorKind::Disk, text));
        }
        disk::remove(&path)?;
        was_replaced = true;
    }
}

impl Ingest {
    /// The number of bytes in the partial file.
    pub(crate) fn offset(&self) -> u64 {
        self.state.count()
    }

    /// Appends the bytes of `reader`, which starts at the offset, up to its end, and verifies the whole blob. Calls
    /// `report` with the number of bytes so far. Discards the whole file after a mismatch.
    pub(crate) fn append(&mut self, reader: impl Read, cancel: &Cancel, report: &mut dyn FnMut(u64)) -> Result<()> {
        let appended = self.copy(reader, cancel, report);
        if appended.as_ref().is_err_and(|error| error.kind() == ErrorKind::Mismatch) {
            self.restart()?;
        }
        appended
    }

    /// The bytes up to the offset, to compare them with bytes that a server sends again.
    pub(crate) fn known_bytes(&self) -> KnownBytes {
        KnownBytes { file: Arc::clone(&self.file), path: self.path.clone() }
    }

    /// Discards the bytes in the partial file.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.state = initial_state(&self.blob);
        self.file.set_len(0).map_err(|e| Error::disk("truncate", &self.path, e))
    }

    /// Syncs the file, renames it, and syncs the folder. In this order a power cut leaves either the complete blob or
    /// none.
    pub(crate) fn commit(mut self) -> Result<()> {
        let Some(proof) = self.proof.take() else {
            return Err(Error::new(ErrorKind::Internal, "commit blob: its digest is not verified"));
        };
        let blob = disk::blob_path(&self.root, proof.digest());
        let folder = blob.parent().unwrap_or(&self.root);
        create_folder(folder)?;
        owner::publish_mode(&self.path, &self.file, folder)?;
        if let Err(error) = self.file.sync_all() {
            // After a failed fsync the kernel may mark the pages as clean, so that a later fsync succeeds although the
            // data never reached the disk.
            disk::remove(&self.path)?;
            return Err(Error::disk("sync", &self.path, error));
        }
        rename(&self.path, &blob)
    }

    /// Hashes the bytes that an earlier run left. Discards them if they are more than the blob has.
    fn hash_partial(&mut self, cancel: &Cancel) -> Result<()> {
        let read = |e| Error::disk("read", &self.path, e);
        let length = self.file.metadata().map_err(read)?.len();
        if length == 0 || length > self.blob.size {
            return self.restart();
        }
        let state = initial_state(&self.blob);
        let mut partial = Verified::resume(state, (&*self.file).take(length), cancel.clone());
        let mut buffer = vec![0; BUFFER];
        while partial.count() < length {
            partial.read(&mut buffer).map_err(|e| Error::through_read(e, read))?;
        }
        self.state = partial.suspend();
        Ok(())
    }

    fn copy(&mut self, reader: impl Read, cancel: &Cancel, report: &mut dyn FnMut(u64)) -> Result<()> {
        let offset = self.offset();
        (&*self.file).seek(SeekFrom::Start(offset)).map_err(|e| Error::disk("seek in", &self.path, e))?;
        let state = std::mem::replace(&mut self.state, initial_state(&self.blob));
        let mut reader = Verified::resume(state, reader, cancel.clone());
        let written = self.write(&mut reader, report);
        if let Err(error) = written {
            // Keep the state, so that another reader can resume.
            self.state = reader.suspend();
            return Err(error);
        }
        self.proof = Some(reader.finish()?);
        Ok(())
    }

    fn write(&self, reader: &mut Verified<impl Read>, report: &mut dyn FnMut(u64)) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = reader.read(&mut buffer).map_err(unread)?;
            if n == 0 {
                return Ok(());
            }
            let written = (&*self.file).write_all(filled(&buffer, n)?);
            written.map_err(|e| Error::disk("write", &self.path, e))?;
            report(reader.count());
        }
    }
}

/// The bytes of a partial blob, for comparing.
pub(crate) struct KnownBytes {
    file: Arc<File>,
    path: PathBuf,
}

impl KnownBytes {
    /// Compares `repeated` with the bytes at `offset`. A difference is an [`ErrorKind::Mismatch`], because it is
    /// unknown which of the two is right.
    pub(crate) fn compare(&self, offset: u64, repeated: &[u8]) -> Result<()> {
        let mut stored = vec![0; repeated.len()];
        self.file.read_exact_at(&mut stored, offset).map_err(|e| Error::disk("read", &self.path, e))?;
        if stored != repeated {
            return Err(Error::new(ErrorKind::Mismatch, "the blob differs from its partial download"));
        }
        Ok(())
    }
}

impl Drop for Ingest {
    /// Removes an empty partial file. The lock is still held, so no other process writes to it.
    fn drop(&mut self) {
        if self.proof.is_none() && is_at(&self.file, &self.path) && self.file.metadata().is_ok_and(|m| m.len() == 0) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The number of bytes of a blob that an earlier run left. They are not verified.
pub(super) fn partial_size(root: &Path, blob: &Descriptor) -> u64 {
    fs::symlink_metadata(partial_path(root, blob)).map_or(0, |partial| partial.len())
}

fn partial_path(root: &Path, blob: &Descriptor) -> PathBuf {
    root.join("ingest").join(format!("{}-{}.partial", blob.digest.algorithm(), blob.digest.hex()))
}

/// The state of the verification before the first byte.
fn initial_state(blob: &Descriptor) -> VerifyState {
    VerifyState::new(blob.digest, Size::Exactly(blob.size))
}

fn unread(error: io::Error) -> Error {
    Error::through_read(error, |e| Error::disk("read", "blob", e))
}

/// Returns true if `path` still names the open `file`.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(opened), Ok(named)) => (opened.dev(), opened.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}
