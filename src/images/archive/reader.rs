//! What loading an archive needs, and its result.

use std::cell::RefCell;

use super::members::Members;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::images::image::Image;
use crate::limits::Limits;
use crate::oci::descriptor::Descriptor;
use crate::oci::platform::Platform;
use crate::progress::{Event, Progress};
use crate::store::{ImageEntry, LockWait, Store};

/// What loading needs.
pub(crate) struct ArchiveReader<'a> {
    pub(crate) store: &'a Store,
    /// Chooses from an index.
    pub(crate) platform: &'a Platform,
    pub(crate) limits: &'a Limits,
    pub(crate) cancel: &'a Cancel,
    pub(crate) progress: &'a dyn Progress,
    /// The blobs that the store did not have before.
    pub(crate) added: RefCell<Vec<Digest>>,
}

/// What an archive has. All blobs are in the store.
#[derive(Default)]
pub(crate) struct ReceivedImages {
    /// Whether they are from an OCI layout, and not from the list of `docker save`.
    pub(crate) is_layout: bool,
    pub(crate) images: Vec<LoadedImage>,
    /// Entries without a name for the signatures of these images.
    pub(crate) signatures: Vec<ImageEntry>,
}

/// An image of an archive.
pub(crate) struct LoadedImage {
    /// Has one name, or none.
    pub(crate) entry: ImageEntry,
    pub(crate) image: Image,
}

impl ArchiveReader<'_> {
    /// Reports an image for another platform.
    pub(super) fn note_platform(&self, platform: &Platform) {
        if !platform.os().is_empty() && self.platform.rank(platform).is_none() {
            let text = format!("the image is for {platform} and not for {}", self.platform);
            self.progress.report(Event::Warning(&text));
        }
    }

    pub(super) fn wait(&self) -> LockWait<'_> {
        LockWait { cancel: self.cancel, progress: self.progress }
    }

    /// Commits a blob to the store, if the archive has it.
    pub(super) fn commit(&self, members: &mut Members, digest: &Digest) -> Result<()> {
        match members.blob_mut(digest) {
            Some(arrival) => self.add(digest).and_then(|()| arrival.commit()),
            None => Ok(()),
        }
    }

    /// Adds a small blob to the store.
    pub(super) fn put(&self, blob: &Descriptor, bytes: &[u8]) -> Result<()> {
        self.add(&blob.digest)?;
        self.store.put(blob, bytes, self.wait())
    }

    /// Remembers a blob that is about to be added, unless the store has it.
    fn add(&self, digest: &Digest) -> Result<()> {
        if self.store.size(digest)?.is_none() {
            self.added.borrow_mut().push(*digest);
        }
        Ok(())
    }

    /// The image of an entry whose blobs are in the store.
    pub(super) fn loaded(&self, entry: ImageEntry) -> Result<LoadedImage> {
        let image = Image::load(self.store, entry.clone(), self.platform, self.limits)?;
        Ok(LoadedImage { entry, image })
    }
}

/// The error for a layer whose content has another digest than its config says.
pub(super) fn wrong_diff_id(index: usize, expected: &Digest, got: &Digest) -> Error {
    let text = format!("diff_id mismatch: layer {} has {got}, its config says {expected}", index + 1);
    Error::new(ErrorKind::Mismatch, text)
}
