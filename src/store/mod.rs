//! The store: an OCI image layout (image-spec, image-layout.md) that skopeo, umoci, podman, crane and regctl read as it
//! is. A blob gets its name only by proof of its digest; the index changes by one rename. It fetches nothing and
//! unpacks nothing.

mod disk;
mod ingest;
mod layout;
mod lock;

use std::fs::File;
use std::path::{Path, PathBuf};

pub(crate) use self::ingest::{Ingest, KnownBytes};
pub(crate) use self::layout::ImageEntry;
pub(crate) use self::lock::PruneGuard;

use self::disk::{create_folder, open_regular};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::descriptor::Descriptor;
use crate::verify::{Size, Verified};

/// A folder of verified images. Opening one for reading changes nothing; writers make what is missing.
///
/// ```no_run
/// let store = pullet::Store::open("/var/lib/pullet");
/// for image in store.images()? {
///     println!("{} {}", image.name(), image.digest());
/// }
/// # Ok::<(), pullet::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// What a verification found of one blob.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Check {
    /// The digest that the blob's name promises.
    pub digest: Digest,
    /// Why it is not what it promises; `None` for a good one.
    pub fault: Option<String>,
}

impl Store {
    /// The store in `folder`, which need not exist yet.
    pub fn open(folder: impl Into<PathBuf>) -> Self {
        Self { root: folder.into() }
    }

    /// The store's folder.
    pub fn folder(&self) -> &Path {
        &self.root
    }

    /// The named images, in the order of the index. A store that does not exist has none.
    pub(crate) fn entries(&self) -> Result<Vec<ImageEntry>> {
        layout::entries(&self.root)
    }

    /// Makes the layout's folders and files where they are missing. While what it returns lives, blobs without a name
    /// are kept.
    pub(crate) fn create(&self, cancel: &Cancel) -> Result<PruneGuard> {
        create_folder(&self.root.join("blobs"))?;
        create_folder(&self.root.join("ingest"))?;
        layout::create(&self.root, cancel)?;
        lock::keep(&self.root, cancel)
    }

    /// Keeps blobs without a name for a reader, who waits for nobody.
    pub(crate) fn keep(&self) -> PruneGuard {
        lock::keep_if_free(&self.root)
    }

    /// Whether the blob is there, with the size that the descriptor says.
    pub(crate) fn contains(&self, blob: &Descriptor) -> Result<bool> {
        disk::has_blob(&self.root, blob)
    }

    /// Bytes that are still to be fetched of a blob. What an earlier run left is counted, and may yet turn out useless.
    pub(crate) fn lacks(&self, blob: &Descriptor) -> Result<u64> {
        match self.contains(blob)? {
            true => Ok(0),
            false => Ok(blob.size.saturating_sub(ingest::partial_size(&self.root, blob))),
        }
    }

    /// The bytes of a blob whose size nothing tells but itself; `None` if it is not there.
    pub(crate) fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.blob_path(digest);
        let Some(file) = open_regular(&path)? else { return Ok(None) };
        Ok(Some(file.metadata().map_err(|e| Error::disk("read", &path, e))?.len()))
    }

    /// A committed blob, to be read from its start. Its digest was proven when it was committed.
    pub(crate) fn blob(&self, blob: &Descriptor) -> Result<File> {
        let path = self.blob_path(&blob.digest);
        open_regular(&path)?.ok_or_else(|| missing(blob))
    }

    /// The bytes of a small blob, verified anew.
    pub(crate) fn document(&self, blob: &Descriptor, limit: usize) -> Result<Vec<u8>> {
        let path = self.blob_path(&blob.digest);
        let file = Verified::new(self.blob(blob)?, blob.digest, Size::Exactly(blob.size), Cancel::default());
        let bytes = file.document(limit, |e| Error::disk("read", &path, e));
        bytes.map_err(|e| e.context(format!("blob {}", blob.digest)))
    }

    /// Begins to take in a blob, or says that another process has just committed it.
    pub(crate) fn ingest(&self, blob: &Descriptor, cancel: &Cancel) -> Result<Option<Ingest>> {
        ingest::begin(&self.root, blob, cancel)
    }

    /// Puts bytes that are already in memory into the store, in place of a damaged blob if there is one.
    pub(crate) fn put(&self, blob: &Descriptor, bytes: &[u8], cancel: &Cancel) -> Result<()> {
        match self.document(blob, bytes.len()) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Mismatch => disk::remove(&self.blob_path(&blob.digest))?,
            Err(_) => {}
        }
        let Some(mut ingest) = self.ingest(blob, cancel)? else { return Ok(()) };
        ingest.restart()?;
        ingest.append(bytes, cancel, &mut |_| {})?;
        ingest.commit()
    }

    /// Names `entry` in the index, in place of what had its name.
    pub(crate) fn name(&self, entry: &ImageEntry, cancel: &Cancel) -> Result<()> {
        layout::name(&self.root, entry, cancel)
    }

    /// The digests of all blobs that are there, sorted.
    pub(crate) fn blobs(&self) -> Result<Vec<Digest>> {
        disk::blobs(&self.root)
    }

    /// Reads a blob back and compares it with its digest; one that is missing is a fault too.
    pub(crate) fn verify_blob(
        &self,
        digest: Digest,
        remove_corrupt: bool,
        cancel: &Cancel,
        report: &mut dyn FnMut(&Check),
    ) -> Result<()> {
        let fault = self.fault(digest, cancel)?;
        if remove_corrupt && fault.is_some() {
            disk::remove(&self.blob_path(&digest))?;
        }
        report(&Check { digest, fault });
        Ok(())
    }

    /// What is wrong with a blob. A disk that does not give it back is a fault of this blob and not the end of all.
    fn fault(&self, digest: Digest, cancel: &Cancel) -> Result<Option<String>> {
        match self.prove(digest, cancel) {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some("missing".to_owned())),
            Err(error) if matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Disk) => Ok(Some(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Reads a blob and proves its digest; `false` if there is none.
    fn prove(&self, digest: Digest, cancel: &Cancel) -> Result<bool> {
        let path = self.blob_path(&digest);
        let Some(file) = open_regular(&path)? else { return Ok(false) };
        let mut file = Verified::new(file, digest, Size::AtMost(u64::MAX, "bytes"), cancel.clone());
        let drained = file.drain(&mut vec![0; disk::BUFFER]);
        drained.map_err(|e| Error::through_read(e, |e| Error::disk("read", &path, e)))?;
        file.finish().map(|_| true)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        disk::blob_path(&self.root, digest)
    }
}

fn missing(blob: &Descriptor) -> Error {
    let text = format!("blob {} is missing from the store", blob.digest);
    Error::new(ErrorKind::NotFound, text).with_hint("pull the image again: only what is missing is fetched")
}
