//! Entry point for the fuzz target `load`: archives of images.

use std::path::Path;

use super::load::load_archive;
use super::reader::ArchiveReader;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::images::image::Image;
use crate::limits::Limits;
use crate::oci::platform::Platform;
use crate::progress::Silent;
use crate::store::{LockWait, Store};

/// Loads an archive into a store and names its images, without verifying signatures. Returns the images.
pub fn load_images(mut archive: &[u8], store: &Path, limits: &Limits) -> Result<Vec<Image>> {
    let (store, cancel) = (Store::open(store), Cancel::default());
    let wait = LockWait { cancel: &cancel, progress: &Silent };
    let _guard = store.create(wait)?;
    let platform: Platform = "linux/amd64".parse()?;
    let added = std::cell::RefCell::default();
    let reader =
        ArchiveReader { store: &store, platform: &platform, limits, cancel: &cancel, progress: &Silent, added };
    let received = load_archive(&reader, &mut archive)?;
    store.name_all(&received.signatures, wait)?;
    let mut images = Vec::new();
    for loaded in received.images {
        store.name_all(&[loaded.entry], wait)?;
        images.push(loaded.image);
    }
    Ok(images)
}
