//! The store: an OCI image layout (image-spec, image-layout.md), which skopeo, umoci, podman, crane and regctl read
//! directly. A blob gets its name only after its digest is verified, and the index is replaced atomically. This module
//! neither fetches nor unpacks.

#[cfg(feature = "manage")]
mod arrival;
mod disk;
#[cfg(fuzzing)]
mod fuzzing;
mod index;
mod ingest;
mod layout;
mod links;
mod lock;
mod marks;
mod owner;
mod removal;
#[cfg(feature = "trust")]
mod signatures;
#[cfg(feature = "trust")]
mod stamp;
mod time;
#[cfg(feature = "trust")]
mod versions;
#[cfg(feature = "manage")]
mod watch;

use std::fs::File;
#[cfg(feature = "manage")]
use std::io::Read;
use std::path::{Path, PathBuf};

#[cfg(feature = "manage")]
pub(crate) use self::arrival::{Arrival, Expected};
#[cfg(fuzzing)]
pub use self::fuzzing::index_json;
#[cfg(all(fuzzing, feature = "manage"))]
pub use self::fuzzing::watch_record;
pub(crate) use self::index::ImageEntry;
#[cfg(feature = "manage")]
pub(crate) use self::index::{ForeignEntry, foreign_entries, index_text};
pub(crate) use self::ingest::{Ingest, KnownBytes};
#[cfg(feature = "manage")]
pub(crate) use self::links::linked_blobs;
pub(crate) use self::lock::{LockWait, PruneGuard};
pub(crate) use self::removal::{Removal, Sweep, Swept};
#[cfg(feature = "trust")]
pub(crate) use self::signatures::SignatureEntry;
#[cfg(feature = "trust")]
pub(crate) use self::stamp::{AcceptedImage, SignedVersion};
#[cfg(feature = "manage")]
pub(crate) use self::watch::WatchRecord;

use self::disk::{create_folder, create_private_folder, open_regular};
use self::owner::check_owner;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::descriptor::Descriptor;
#[cfg(feature = "manage")]
use crate::oci::reference::Reference;
use crate::progress::Progress;
use crate::verify::{Size, Verified};

/// A folder of verified images, in the format of an OCI image layout.
///
/// Reading never changes the folder. Writing creates missing folders and files.
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

/// The result of verifying one blob.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Check {
    /// The digest in the name of the blob.
    pub digest: Digest,
    /// The reason if the blob is corrupt or missing; `None` if it is intact.
    pub fault: Option<String>,
}

impl Store {
    /// Opens the store in `folder`, which need not exist yet.
    pub fn open(folder: impl Into<PathBuf>) -> Self {
        Self { root: folder.into() }
    }

    /// The folder of the store.
    pub fn folder(&self) -> &Path {
        &self.root
    }

    /// Whether there is a store.
    pub(crate) fn exists(&self) -> Result<bool> {
        layout::exists(&self.root)
    }

    /// The named images, in the order of the index; none if the store does not exist.
    pub(crate) fn entries(&self) -> Result<Vec<ImageEntry>> {
        self.entries_where(|_| true)
    }

    /// The named images that `keep` accepts, in the order of the index.
    pub(crate) fn entries_where(&self, keep: impl Fn(&ImageEntry) -> bool) -> Result<Vec<ImageEntry>> {
        layout::entries(&self.root, &|entry| !entry.names.is_empty() && keep(entry))
    }

    /// The entries of the index that `keep` accepts, with and without a name, in their order.
    pub(crate) fn all_entries_where(&self, keep: &dyn Fn(&ImageEntry) -> bool) -> Result<Vec<ImageEntry>> {
        layout::entries(&self.root, keep)
    }

    /// Mends the store's own files: rebuilds a damaged `index.json` from the entries whose manifests are good, and keeps the
    /// old file as `index.json.damaged`; the same for `oci-layout`; removes folders, links and devices in the place of lock
    /// files and partial downloads. Reports what was damaged to `progress`. A blob is checked by [`verify`](Self::verify).
    /// Changes nothing if the files are good, or if there is no store.
    pub fn mend(&self, cancel: &Cancel, progress: &dyn Progress) -> Result<()> {
        layout::mend(&self.root, LockWait { cancel, progress })
    }

    /// Creates the missing folders and files of the layout, and mends a damaged index. While the returned guard exists, no process removes unnamed
    /// blobs.
    pub(crate) fn create(&self, wait: LockWait<'_>) -> Result<PruneGuard> {
        check_owner(&self.root)?;
        create_folder(&self.root.join("blobs"))?;
        create_private_folder(&self.root.join("ingest"))?;
        layout::create(&self.root, wait)?;
        lock::keep(&self.root, wait)
    }

    /// The folder for the trees of layers.
    #[cfg(feature = "manage")]
    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Creates the folder for the trees of layers, which only its owner may enter. Other tools that read the layout ignore it.
    /// Returns its real path.
    #[cfg(feature = "manage")]
    pub(crate) fn layer_folder(&self) -> Result<PathBuf> {
        let folder = self.layers();
        create_private_folder(&folder)?;
        folder.canonicalize().map_err(|e| Error::disk("find", &folder, e))
    }

    /// Creates a folder in [`layer_folder`](Self::layer_folder), and returns its real path.
    #[cfg(feature = "manage")]
    pub(crate) fn layer_subfolder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.layer_folder()?.join(name);
        create_folder(&folder)?;
        Ok(folder)
    }

    /// The paths of everything in a folder that [`layer_subfolder`](Self::layer_subfolder) creates, or of these folders
    /// if the name is empty. None if there is no such folder.
    #[cfg(feature = "manage")]
    pub(crate) fn layer_files(&self, name: &str) -> Result<Vec<PathBuf>> {
        disk::files(&self.layers().join(name))
    }

    /// The file for the record of a watch of `name`.
    #[cfg(feature = "manage")]
    pub(crate) fn watch_file(&self, name: &Reference) -> PathBuf {
        watch::file(&self.root, name)
    }

    /// Waits until no other process makes trees of layers.
    #[cfg(feature = "manage")]
    pub(crate) fn lock_layers(&self, wait: LockWait<'_>) -> Result<File> {
        lock::layers(&self.root, wait)
    }

    /// Prevents the removal of unnamed blobs for a reader, if that needs no waiting.
    pub(crate) fn keep(&self) -> PruneGuard {
        lock::keep_if_free(&self.root)
    }

    /// Returns true if the store has the blob with the size of its descriptor.
    pub(crate) fn contains(&self, blob: &Descriptor) -> Result<bool> {
        disk::has_blob(&self.root, blob)
    }

    /// The number of bytes of a blob that are still to be fetched. Counts the bytes of a partial file as present,
    /// although they are not verified yet.
    pub(crate) fn lacks(&self, blob: &Descriptor) -> Result<u64> {
        if self.contains(blob)? {
            return Ok(0);
        }
        Ok(blob.size.saturating_sub(ingest::partial_size(&self.root, blob)))
    }

    /// The size of a blob in bytes, for a blob that has no descriptor; `None` if the store does not have it.
    pub(crate) fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        disk::blob_size(&self.root, digest)
    }

    /// Opens a blob for reading. Its digest was verified when it was committed, and is not verified again.
    pub(crate) fn blob(&self, blob: &Descriptor) -> Result<File> {
        let path = self.blob_path(&blob.digest);
        open_regular(&path)?.ok_or_else(|| disk::missing(blob))
    }

    /// Reads and verifies a small blob.
    pub(crate) fn document(&self, blob: &Descriptor, limit: usize) -> Result<Vec<u8>> {
        disk::read_document(&self.root, blob, limit)
    }

    /// Begins to add a blob; `None` if another process has committed it meanwhile.
    pub(crate) fn ingest(&self, blob: &Descriptor, wait: LockWait<'_>) -> Result<Option<Ingest>> {
        ingest::begin(&self.root, blob, wait)
    }

    /// Writes a blob to a temporary file, and verifies its digest if that is known. Errors from reading `content` must be
    /// typed; others are taken for errors of the disk.
    #[cfg(feature = "manage")]
    pub(crate) fn receive(&self, content: &mut dyn Read, expected: Expected, cancel: &Cancel) -> Result<Arrival> {
        arrival::receive(&self.root, content, expected, cancel)
    }

    /// Adds a small blob from memory. Replaces a corrupt blob.
    pub(crate) fn put(&self, blob: &Descriptor, bytes: &[u8], wait: LockWait<'_>) -> Result<()> {
        match self.document(blob, bytes.len()) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Mismatch => disk::remove(&self.blob_path(&blob.digest))?,
            Err(_) => {}
        }
        let Some(mut ingest) = self.ingest(blob, wait)? else { return Ok(()) };
        ingest.restart()?;
        ingest.append(bytes, wait.cancel, &mut |_| {})?;
        ingest.commit()
    }

    /// Puts entries into the index by one replacement of the file, and removes the other entries of their names.
    pub(crate) fn name_all(&self, entries: &[ImageEntry], wait: LockWait<'_>) -> Result<()> {
        layout::name(&self.root, entries, wait)
    }

    /// The manifests with signatures, the newest first.
    #[cfg(feature = "trust")]
    pub(crate) fn signatures(&self) -> Result<Vec<SignatureEntry>> {
        signatures::signatures(&self.root)
    }

    /// Waits until no process relies on unnamed blobs, in order to remove some. `None` if there is no store.
    pub(crate) fn begin_removal<'a>(&self, wait: LockWait<'a>) -> Result<Option<Removal<'a>>> {
        Removal::begin(&self.root, wait)
    }

    /// Removes those of the blobs that nothing needs. The caller has added them, and no longer prevents their removal. Does not
    /// wait: returns false, and removes none, if another process relies on unnamed blobs.
    #[cfg(feature = "manage")]
    pub(crate) fn remove_added(&self, blobs: &[Digest], wait: LockWait<'_>) -> Result<bool> {
        let Some(removal) = Removal::begin_if_free(&self.root, wait)? else { return Ok(false) };
        removal.sweep(Sweep::Added(blobs)).map(|swept| !swept.has_obstacle)
    }

    /// The digests of all blobs in the store, sorted.
    pub(crate) fn blobs(&self) -> Result<Vec<Digest>> {
        disk::blobs(&self.root)
    }

    /// Verifies a blob and calls `report` with the result. Removes the blob if it is corrupt and `remove_corrupt` is
    /// true.
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

    /// The reason why a blob is corrupt or missing. A read error of the disk is a fault of this blob, and does not end
    /// the verification of others.
    fn fault(&self, digest: Digest, cancel: &Cancel) -> Result<Option<String>> {
        match self.verify_digest(digest, cancel) {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some("missing".to_owned())),
            Err(error) if matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Disk) => Ok(Some(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Reads a blob and verifies its digest. Returns false if it is missing.
    fn verify_digest(&self, digest: Digest, cancel: &Cancel) -> Result<bool> {
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
