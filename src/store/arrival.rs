//! Blobs that arrive before it is known whether the store needs them, and mostly under which digest. They are in temporary
//! files, which a crash leaves behind and a prune removes. The caller holds a [`PruneGuard`](super::PruneGuard) meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::disk::{self, BUFFER, create_folder, open_regular, rename};
use super::owner;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::descriptor::Descriptor;
use crate::verify::{Proof, Size, Verified, VerifyState, filled};

/// How the names of temporary files begin.
const PREFIX: &str = "arrival-";
/// The number of the next temporary file of this process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A complete blob in a temporary file. Dropping it removes the file.
#[must_use]
pub(crate) struct Arrival {
    root: PathBuf,
    path: PathBuf,
    proof: Proof,
    size: u64,
    is_committed: bool,
}

/// What is known of a blob before it arrives.
pub(crate) struct Expected {
    /// `None` if the digest is unknown. Then it will be a sha256.
    pub(crate) digest: Option<Digest>,
    pub(crate) size: Size,
}

/// Writes a blob to a temporary file in the store at `root`, and verifies its digest if that is known.
pub(super) fn receive(root: &Path, content: &mut dyn Read, expected: Expected, cancel: &Cancel) -> Result<Arrival> {
    let (path, mut file) = create(&root.join("ingest"))?;
    let received = copy(content, expected, &mut file, &path, cancel);
    match received {
        Ok((proof, size)) => Ok(Arrival { root: root.to_owned(), path, proof, size, is_committed: false }),
        Err(error) => {
            let _ = fs::remove_file(&path);
            Err(error)
        }
    }
}

impl Arrival {
    pub(crate) fn digest(&self) -> &Digest {
        self.proof.digest()
    }

    /// Gives the blob its name, as an ingest does: syncs the file, renames it, and syncs the folder. Replaces a corrupt blob.
    pub(crate) fn commit(&mut self) -> Result<()> {
        if self.is_committed {
            return Ok(());
        }
        let blob = disk::blob_path(&self.root, self.digest());
        let folder = blob.parent().unwrap_or(&self.root);
        create_folder(folder)?;
        let file = self.open()?;
        owner::publish_mode(&self.path, &file, folder)?;
        file.sync_all().map_err(|e| Error::disk("sync", &self.path, e))?;
        rename(&self.path, &blob)?;
        self.path = blob;
        self.is_committed = true;
        Ok(())
    }

    /// The descriptor of the blob, without a media type.
    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor { media_type: String::new(), digest: *self.digest(), size: self.size }
    }

    /// Opens the blob for reading.
    pub(crate) fn open(&self) -> Result<File> {
        let missing = || Error::new(ErrorKind::Disk, format!("open {}: it was removed", self.path.display()));
        open_regular(&self.path)?.ok_or_else(missing)
    }

    /// Reads and verifies a small blob.
    pub(crate) fn document(&self, limit: usize) -> Result<Vec<u8>> {
        let file = Verified::new(self.open()?, *self.digest(), Size::Exactly(self.size), Cancel::default());
        file.document(limit, |e| Error::disk("read", &self.path, e))
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if !self.is_committed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a file in the folder of partial blobs is from a process that was killed. Only true while no other process relies
/// on unnamed blobs.
pub(super) fn is_leftover(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
}

/// Creates a private file with a name that no other process uses.
fn create(folder: &Path) -> Result<(PathBuf, File)> {
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{PREFIX}{}-{number}.partial", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            // A process with the same number may have died, or be in another PID namespace.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => return Ok((path.clone(), other.map_err(|e| Error::disk("create", &path, e))?)),
        }
    }
}

fn copy(
    content: &mut dyn Read,
    expected: Expected,
    file: &mut File,
    path: &Path,
    cancel: &Cancel,
) -> Result<(Proof, u64)> {
    let state = match expected.digest {
        Some(digest) => VerifyState::new(digest, expected.size),
        None => VerifyState::unknown(expected.size),
    };
    let mut content = Verified::resume(state, content, cancel.clone());
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = content.read(&mut buffer).map_err(|e| Error::through_read(e, |e| Error::disk("read", "blob", e)))?;
        if n == 0 {
            let size = content.count();
            return Ok((content.finish()?, size));
        }
        file.write_all(filled(&buffer, n)?).map_err(|e| Error::disk("write", path, e))?;
    }
}
