//! Takes a blob in: a partial file under an advisory lock, then, by proof of its digest, the blob. Nothing has a
//! blob's name that is not the blob.

use std::fs::{self, File};
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::disk::{self, BUFFER, create_folder, open_or_create};
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::image::manifest::Descriptor;
use crate::verify::{Proof, Size, Verified};

/// How [`begin`] found the store.
pub(crate) enum Ingested {
    /// The blob was committed by another process meanwhile.
    Exists,
    /// The blob is to be filled in.
    Missing(Ingest),
}

/// A partial blob that this process alone writes.
#[must_use]
pub(crate) struct Ingest {
    root: PathBuf,
    blob: Descriptor,
    path: PathBuf,
    file: File,
}

/// Opens and locks the blob's partial file. Two processes that want the same blob fetch it once: the second waits for
/// the first, whose lock dies with it.
pub(super) fn begin(root: &Path, blob: &Descriptor) -> Result<Ingested> {
    let name = format!("{}-{}.partial", blob.digest.algorithm(), blob.digest.hex());
    let path = root.join("ingest").join(name);
    loop {
        let file = open_or_create(&path)?;
        file.lock().map_err(|e| Error::disk("lock", &path, e))?;
        if disk::has_blob(root, blob)? {
            disk::remove(&path)?;
            return Ok(Ingested::Exists);
        }
        // Whoever held the lock may have renamed or removed the file that we opened.
        if is_at(&file, &path) {
            return Ok(Ingested::Missing(Ingest { root: root.to_owned(), blob: blob.clone(), path, file }));
        }
    }
}

impl Ingest {
    /// Fills the partial file from what `open` opens, verifies it and commits it. `report` hears the bytes so far. On any
    /// failure nothing is committed.
    pub(crate) fn fill<R: Read>(
        mut self,
        open: impl FnOnce() -> Result<R>,
        cancel: Cancel,
        report: &mut dyn FnMut(u64),
    ) -> Result<()> {
        match open().and_then(|reader| self.copy(reader, cancel, report)) {
            Ok(proof) => self.commit(&proof),
            Err(error) => {
                // What is there was not proven, and nothing yet goes on from it.
                let _ = fs::remove_file(&self.path);
                Err(error)
            }
        }
    }

    fn copy(&mut self, reader: impl Read, cancel: Cancel, report: &mut dyn FnMut(u64)) -> Result<Proof> {
        let write_error = |e| Error::disk("write", &self.path, e);
        self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0))).map_err(write_error)?;
        let mut reader = Verified::new(reader, self.blob.digest, Size::Exactly(self.blob.size), cancel);
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = reader.read(&mut buffer).map_err(|e| Error::through_read(e, |e| Error::disk("read", "blob", e)))?;
            if n == 0 {
                return reader.finish();
            }
            self.file.write_all(buffer.get(..n).unwrap_or_default()).map_err(write_error)?;
            report(reader.count());
        }
    }

    /// fsync, rename, fsync of the folder: in that order a power cut leaves the blob whole or not there.
    fn commit(self, proof: &Proof) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::disk("sync", &self.path, e))?;
        let blob = disk::blob_path(&self.root, proof.digest());
        create_folder(blob.parent().unwrap_or(&self.root))?;
        disk::rename(&self.path, &blob)
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}
