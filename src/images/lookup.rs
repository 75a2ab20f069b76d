//! Finds images in the store by their names. Other tools write into the store too: they put an index under a name, one name
//! twice for two platforms, short names, and names in containerd's annotation.

use std::collections::HashSet;

use super::chain::{leads_to, read_document};
use super::image::{Image, StoredManifest};
use crate::advice::Advice;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::host;
use crate::limits::Limits;
use crate::oci::document::Document;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::store::{Check, ImageEntry, Store};

impl Store {
    /// Lists the images, with and without a name, in the order of the index; an image for each platform of an index. Signatures
    /// are not images, and neither are other artifacts. Images whose documents are missing or damaged are skipped;
    /// [`Store::verify`] reports them. A store that does not exist has no images.
    pub fn images(&self) -> Result<Vec<Image>> {
        let limits = Limits::default();
        let mut images = Vec::new();
        for entry in self.all_entries_where(&|entry| entry.signed().is_none())? {
            images.extend(images_of(self, &entry, &limits));
        }
        Ok(images)
    }

    /// Finds the image with this name for this machine's platform. See [`image_for`](Self::image_for).
    pub fn image(&self, name: &Reference) -> Result<Image> {
        self.image_for(name, &host::platform())
    }

    /// Finds the image with this name. If the store has several with the name, or an index, the one that runs best on
    /// `platform` is chosen; a single image is returned whatever its platform. A digest in the name must lead to the image:
    /// it is the digest of its manifest, of an index in the store that names the manifest, or of the registry's manifest
    /// from which a pull made it. Fails with [`ErrorKind::NotFound`] if there is no such image.
    pub fn image_for(&self, name: &Reference, platform: &Platform) -> Result<Image> {
        let limits = Limits::default();
        let mut candidates = Vec::new();
        let mut failure = None;
        for entry in self.entries_where(|entry| may_be_named(entry, name))? {
            let is_meant = name.digest().is_none_or(|digest| claims(&entry, digest));
            match Image::load(self, entry, platform, &limits) {
                Ok(image) if is_pinned_to(self, name, &image, &limits) => candidates.push(image),
                Ok(_) => {}
                Err(error) if is_meant => failure = failure.or(Some(error)),
                Err(_) => {}
            }
        }
        let best = candidates.iter().enumerate().filter_map(|(at, image)| Some((platform.rank(image.platform())?, at)));
        let position = match best.min() {
            Some((_, position)) => position,
            None => 0,
        };
        if position < candidates.len() {
            return Ok(candidates.swap_remove(position));
        }
        Err(failure.unwrap_or_else(|| self.absent(name)))
    }

    /// Reads blobs back and compares them with their digests, and calls `report` for each: the blobs of the named images,
    /// or all blobs if `names` is empty. A blob that a named image needs and the store does not have is a fault too. With
    /// `remove_corrupt`, corrupt blobs are removed, and the next pull fetches them again. Fails with
    /// [`ErrorKind::NotFound`] if there is no store, or no image of a name.
    pub fn verify(
        &self,
        names: &[Reference],
        remove_corrupt: bool,
        cancel: &Cancel,
        report: &mut dyn FnMut(&Check),
    ) -> Result<()> {
        if !self.exists()? {
            let text = format!("there is no store at {}", self.folder().display());
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        let is_wanted = |entry: &ImageEntry| names.is_empty() || names.iter().any(|name| may_be_named(entry, name));
        let entries = self.entries_where(is_wanted)?;
        let mut digests = if names.is_empty() { self.blobs()? } else { Vec::new() };
        if names.is_empty() {
            for entry in &entries {
                self.collect_digests(entry, &mut digests);
            }
        }
        for name in names {
            let named: Vec<&ImageEntry> = entries.iter().filter(|entry| has_name(self, entry, name)).collect();
            if named.is_empty() {
                return Err(self.absent(name));
            }
            for entry in named {
                self.collect_digests(entry, &mut digests);
            }
        }
        digests.sort_unstable();
        digests.dedup();
        digests.iter().try_for_each(|digest| self.verify_blob(*digest, remove_corrupt, cancel, report))
    }

    /// The error for an image that is not in this store, or not complete.
    pub fn absent(&self, name: &Reference) -> Error {
        let text = format!("image {name} is not in the store {}", self.folder().display());
        Error::new(ErrorKind::NotFound, text).with_advice(Advice::Pull(name.to_string()))
    }

    /// The digests of all blobs that an entry needs: of an index, the manifests that the store has, or all of them if it has
    /// none.
    fn collect_digests(&self, entry: &ImageEntry, digests: &mut Vec<Digest>) {
        let limits = Limits::default();
        digests.push(entry.manifest.digest);
        let found = manifests_of(self, entry, &limits);
        if found.is_empty()
            && let Some(bytes) = read_document(self, &entry.manifest.digest, &limits)
            && let Ok((Document::Index(index), _)) = Document::parse(&bytes, "", None, &limits)
        {
            digests.extend(index.digests());
        }
        for StoredManifest { descriptor, manifest } in found {
            digests.extend([descriptor.digest, manifest.config.digest]);
            digests.extend(manifest.layers.iter().map(|layer| layer.blob.digest));
        }
        // The registry's own documents are not needed to unpack, but a pinned digest is proven with them.
        let documents = [entry.resolved, entry.source].into_iter();
        digests.extend(documents.filter(|digest| matches!(self.size(digest), Ok(Some(_)))));
    }
}

/// Whether an entry has this name, with the digest in it if there is one. An entry whose manifest is missing or damaged still
/// has the names in its annotations, and the digest of its descriptor.
pub(super) fn has_name(store: &Store, entry: &ImageEntry, name: &Reference) -> bool {
    if !may_be_named(entry, name) {
        return false;
    }
    let Some(digest) = name.digest() else { return true };
    if entry.manifest.digest == *digest {
        return true;
    }
    let limits = Limits::default();
    let manifests = manifests_of(store, entry, &limits);
    if manifests.is_empty() {
        return claims(entry, digest);
    }
    manifests.iter().any(|found| leads_to(store, digest, &found.descriptor, &found.manifest, &limits))
}

/// The images of an entry that can be read: one, or those in an index that the store has.
pub(super) fn images_of(store: &Store, entry: &ImageEntry, limits: &Limits) -> Vec<Image> {
    let manifests = manifests_of(store, entry, limits);
    manifests.into_iter().filter_map(|manifest| Image::of_manifest(store, entry, manifest, limits).ok()).collect()
}

/// The image manifests to which an entry leads and that the store has, in the order of their index.
fn manifests_of(store: &Store, entry: &ImageEntry, limits: &Limits) -> Vec<StoredManifest> {
    let mut found = Vec::new();
    let mut pending = vec![entry.manifest.clone()];
    // Each document is read once, however often the indexes name it.
    let mut seen = HashSet::new();
    while let Some(descriptor) = pending.pop() {
        if !seen.insert(descriptor.digest) {
            continue;
        }
        let Ok(bytes) = store.document(&descriptor, limits.document) else { continue };
        match Document::parse(&bytes, &descriptor.media_type, None, limits) {
            Ok((Document::Manifest(manifest), _)) => found.push(StoredManifest { descriptor, manifest }),
            Ok((Document::Index(index), _)) => {
                let first = pending.len();
                pending.extend(index.descriptors().cloned());
                pending.get_mut(first..).unwrap_or_default().reverse();
            }
            _ => {}
        }
    }
    found
}

/// Whether an entry claims a digest. That proves nothing, but it separates a damaged image from a missing one.
fn claims(entry: &ImageEntry, digest: &Digest) -> bool {
    [entry.manifest.digest, entry.resolved, entry.source].contains(digest)
}

/// Whether an entry may be meant by a name: with a digest in the name, the repository must be equal; otherwise the whole
/// name. Short names in the index mean what they mean to Docker.
fn may_be_named(entry: &ImageEntry, name: &Reference) -> bool {
    let mut names = entry.names.iter().filter_map(|other| other.parse::<Reference>().ok());
    if name.digest().is_some() {
        return names.any(|other| other.repository() == name.repository());
    }
    names.any(|other| other == *name)
}

fn is_pinned_to(store: &Store, name: &Reference, image: &Image, limits: &Limits) -> bool {
    match name.digest() {
        Some(digest) => leads_to(store, digest, image.descriptor(), image.manifest(), limits),
        None => true,
    }
}
