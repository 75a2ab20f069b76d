//! Takes a blob in: a partial file under an advisory lock, then, by proof of its digest, the blob. Nothing has a
//! blob's name that is not the blob. What came before a failure stays, and the next attempt or run goes on from it.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, BUFFER, create_folder, open_or_create, rename};
use super::lock;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::descriptor::Descriptor;
use crate::verify::{Proof, Size, Verified, VerifyState};

/// A partial blob that this process alone writes. Dropped while it is empty, it is removed.
#[must_use]
pub(crate) struct Ingest {
    root: PathBuf,
    blob: Descriptor,
    path: PathBuf,
    file: Arc<File>,
    /// What is known of the bytes in the file.
    check: VerifyState,
    proof: Option<Proof>,
}

/// Opens and locks the blob's partial file, and hashes what an earlier run left in it. `None` if another process has just
/// committed the blob. Two processes that want the same blob fetch it once: the second waits for the first, whose lock
/// dies with it.
pub(super) fn begin(root: &Path, blob: &Descriptor, cancel: &Cancel) -> Result<Option<Ingest>> {
    let path = partial_path(root, blob);
    loop {
        let file = open_or_create(&path)?;
        lock::exclusive(&file, &path, cancel)?;
        if disk::has_blob(root, blob)? {
            disk::remove(&path)?;
            return Ok(None);
        }
        // Whoever held the lock may have renamed or removed the file that we opened.
        if is_at(&file, &path) {
            let (root, blob) = (root.to_owned(), blob.clone());
            let check = nothing_of(&blob);
            let mut ingest = Ingest { root, blob, path, file: Arc::new(file), check, proof: None };
            ingest.recall(cancel)?;
            return Ok(Some(ingest));
        }
    }
}

impl Ingest {
    /// Bytes that are there.
    pub(crate) fn offset(&self) -> u64 {
        self.check.count()
    }

    /// Appends the bytes of `reader`, which starts at the offset, up to its end, and verifies the whole blob. `report` gets
    /// the number of bytes so far. After a mismatch the file is empty.
    pub(crate) fn append(&mut self, reader: impl Read, cancel: &Cancel, report: &mut dyn FnMut(u64)) -> Result<()> {
        match self.copy(reader, cancel, report) {
            Err(error) if error.kind() == ErrorKind::Mismatch => self.restart().and(Err(error)),
            other => other,
        }
    }

    /// The bytes up to the offset, for comparing them with what a server sends again.
    pub(crate) fn known_bytes(&self) -> KnownBytes {
        KnownBytes { file: Arc::clone(&self.file), path: self.path.clone() }
    }

    /// Forgets what is there.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.check = nothing_of(&self.blob);
        self.file.set_len(0).map_err(|e| Error::disk("truncate", &self.path, e))
    }

    /// fsync, rename, fsync of the folder: in that order a power cut leaves the blob whole or not there.
    pub(crate) fn commit(mut self) -> Result<()> {
        let Some(proof) = self.proof.take() else {
            return Err(Error::new(ErrorKind::Internal, "commit blob: its digest was not proven"));
        };
        if let Err(error) = self.file.sync_all() {
            // What did not reach the disk may be taken for written from now on: no later fsync would tell.
            disk::remove(&self.path)?;
            return Err(Error::disk("sync", &self.path, error));
        }
        let blob = disk::blob_path(&self.root, proof.digest());
        create_folder(blob.parent().unwrap_or(&self.root))?;
        rename(&self.path, &blob)
    }

    /// Hashes what an earlier run left. More than the blob has is none of it.
    fn recall(&mut self, cancel: &Cancel) -> Result<()> {
        let read = |e| Error::disk("read", &self.path, e);
        let length = self.file.metadata().map_err(read)?.len();
        if length == 0 || length > self.blob.size {
            return self.restart();
        }
        let check = nothing_of(&self.blob);
        let mut known = Verified::resume(check, (&*self.file).take(length), cancel.clone());
        let mut buffer = vec![0; BUFFER];
        while known.count() < length {
            known.read(&mut buffer).map_err(|e| Error::through_read(e, read))?;
        }
        self.check = known.suspend();
        Ok(())
    }

    fn copy(&mut self, reader: impl Read, cancel: &Cancel, report: &mut dyn FnMut(u64)) -> Result<()> {
        let fresh = nothing_of(&self.blob);
        let offset = self.offset();
        let check = std::mem::replace(&mut self.check, fresh);
        let mut reader = Verified::resume(check, reader, cancel.clone());
        let copied = (&*self.file).seek(SeekFrom::Start(offset)).map_err(|e| Error::disk("seek in", &self.path, e));
        let copied = copied.and_then(|_| self.pour(&mut reader, report));
        match copied {
            Ok(()) => reader.finish().map(|proof| self.proof = Some(proof)),
            Err(error) => {
                self.check = reader.suspend();
                Err(error)
            }
        }
    }

    fn pour(&mut self, reader: &mut Verified<impl Read>, report: &mut dyn FnMut(u64)) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = reader.read(&mut buffer).map_err(unread)?;
            if n == 0 {
                return Ok(());
            }
            let written = (&*self.file).write_all(buffer.get(..n).unwrap_or_default());
            written.map_err(|e| Error::disk("write", &self.path, e))?;
            report(reader.count());
        }
    }
}

/// The bytes of a partial blob.
pub(crate) struct KnownBytes {
    file: Arc<File>,
    path: PathBuf,
}

impl KnownBytes {
    /// Fails with [`ErrorKind::Mismatch`] if the bytes at `offset` differ from `repeated`. Whether the server or the file is
    /// wrong is not known then.
    pub(crate) fn compare(&self, offset: u64, repeated: &[u8]) -> Result<()> {
        let mut ours = vec![0; repeated.len()];
        self.file.read_exact_at(&mut ours, offset).map_err(|e| Error::disk("read", &self.path, e))?;
        if ours != repeated {
            return Err(Error::new(ErrorKind::Mismatch, "the blob differs from its partial download"));
        }
        Ok(())
    }
}

impl Drop for Ingest {
    /// An empty partial is of no use to anybody. The lock is still held, so nobody else writes to it.
    fn drop(&mut self) {
        if self.proof.is_none() && is_at(&self.file, &self.path) && self.file.metadata().is_ok_and(|m| m.len() == 0) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Bytes that an earlier run left of a blob; nobody has looked at them yet.
pub(super) fn partial_size(root: &Path, blob: &Descriptor) -> u64 {
    fs::symlink_metadata(partial_path(root, blob)).map_or(0, |partial| partial.len())
}

fn partial_path(root: &Path, blob: &Descriptor) -> PathBuf {
    root.join("ingest").join(format!("{}-{}.partial", blob.digest.algorithm(), blob.digest.hex()))
}

/// The check of a blob of which nothing is there.
fn nothing_of(blob: &Descriptor) -> VerifyState {
    VerifyState::new(blob.digest, Size::Exactly(blob.size))
}

fn unread(error: io::Error) -> Error {
    Error::through_read(error, |e| Error::disk("read", "blob", e))
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}
