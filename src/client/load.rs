//! Loads an archive of images into a store.

use std::cell::RefCell;
use std::io::Read;

use super::client::Client;
use crate::error::{Error, Result};
use crate::images::{ArchiveReader, Image, LoadedImage, ReceivedImages, load_archive};
use crate::progress::{Event, Progress};
use crate::store::{LockWait, Store};

/// An image that was loaded.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The image, in the store. It has a name if the archive had one for it.
    pub image: Image,
}

impl Client {
    /// Loads the images of an archive into `store`: one of `docker save`, or an OCI image layout in a tar, uncompressed or
    /// compressed with gzip or zstd. The archive is read once. Everything is verified as for a pull, and the diff_ids of all
    /// layers too. If the client demands signatures, the archive or the store must have them. An index is kept, and the image
    /// for the client's platform is chosen from it. An image appears once for each of its names, and once if it has none.
    /// Images get their names after everything in the archive was verified. If it fails, the blobs that it has added are removed,
    /// unless it is cancelled or another process relies on unnamed blobs; then [`Store::prune`] removes them later.
    ///
    /// Fails with [`ErrorKind::Mismatch`](crate::ErrorKind::Mismatch) if content has another digest or diff_id than the
    /// archive says, with [`ErrorKind::Unsafe`](crate::ErrorKind::Unsafe) if it is malformed or exceeds the limits, and with
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for an archive of another kind.
    ///
    /// ```no_run
    /// use pullet::{Client, Options, Silent, Store};
    ///
    /// let client = Client::new(Options::new())?;
    /// let mut file = std::fs::File::open("app.tar").unwrap();
    /// for loaded in client.load(&mut file, &Store::open("/var/lib/pullet"), &Silent)? {
    ///     println!("{} {}", loaded.image.name(), loaded.image.id());
    /// }
    /// # Ok::<(), pullet::Error>(())
    /// ```
    pub fn load(&self, archive: &mut (dyn Read + Send), store: &Store, progress: &dyn Progress) -> Result<Vec<Loaded>> {
        let cancel = &self.options.cancel;
        let wait = LockWait { cancel, progress };
        let context = |e: Error| e.context("load archive");
        // Until the index names the images, only this guard keeps their blobs from being pruned.
        let guard = store.create(wait).map_err(context)?;
        let (limits, added) = (&self.options.limits, RefCell::default());
        let reader = ArchiveReader { store, platform: &self.platform, limits, cancel, progress, added };
        let received = load_archive(&reader, archive);
        let loaded = received.and_then(|received| self.name_loaded(received, store, progress, wait));
        let added = reader.added.into_inner();
        if loaded.is_err() && !added.is_empty() && cancel.check().is_ok() {
            drop(guard);
            // The error of the load is the one to report.
            if !store.remove_added(&added, wait).unwrap_or(false) {
                progress.report(Event::Note(
                    "what was added of the archive has no name, and goes when unneeded blobs are removed",
                ));
            }
        }
        loaded.map_err(context)
    }

    /// Gives loaded images their names: the one place where an archive changes the index. The signatures come first, because
    /// the images are admitted with them.
    fn name_loaded(
        &self,
        received: ReceivedImages,
        store: &Store,
        progress: &dyn Progress,
        wait: LockWait<'_>,
    ) -> Result<Vec<Loaded>> {
        if !received.signatures.is_empty() {
            store.name_all(&received.signatures, wait)?;
        }
        for loaded in &received.images {
            self.admit_loaded(loaded, received.is_layout, progress)?;
        }
        let mut all = Vec::new();
        // One after the other, because an archive may give two images the same name. The last one keeps it.
        for LoadedImage { entry, image } in received.images {
            store.name_all(&[entry], wait)?;
            all.push(Loaded { image });
        }
        Ok(all)
    }
}
