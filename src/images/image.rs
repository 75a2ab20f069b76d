//! Images in the local store: found, listed, checked and unpacked.

use std::path::Path;

use super::assembly::Assembly;
use super::layers::image_layers;
use super::space::{Need, check_space, least_tree};
use super::unpack_options::UnpackOptions;
use crate::advice::Advice;
use crate::cancel::Cancel;
use crate::date;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::config::ImageConfig;
use crate::oci::document::Document;
use crate::oci::manifest::Manifest;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::progress::Progress;
use crate::store::{Check, ImageEntry, Store};
use crate::unpack::Tally;

/// A verified image in a store. It can only be obtained from a fetch or from the store, so unverified content cannot be
/// unpacked.
#[derive(Clone, Debug)]
pub struct Image {
    store: Store,
    entry: ImageEntry,
    manifest: Manifest,
    config: ImageConfig,
}

impl Store {
    /// Lists the named images, in the order of the index. Entries that are not images, or whose documents are missing or
    /// damaged, are skipped; [`Store::verify`] reports them. A store that does not exist has no images.
    pub fn images(&self) -> Result<Vec<Image>> {
        let limits = Limits::default();
        Ok(self.entries()?.into_iter().filter_map(|entry| Image::load(self, entry, &limits).ok()).collect())
    }

    /// Finds the image with this name. A digest in the name may be that of the manifest or of the index from which it was
    /// chosen. Fails with [`ErrorKind::NotFound`] if there is no such image.
    pub fn image(&self, name: &Reference) -> Result<Image> {
        let found = self.entries()?.into_iter().find(|entry| is_named(entry, name));
        Image::load(self, found.ok_or_else(|| self.absent(name))?, &Limits::default())
    }

    /// Reads blobs back and compares them with their digests, and calls `report` for each: the blobs of the named images,
    /// or all blobs if `names` is empty. A blob that a named image needs and the store does not have is a fault too. With
    /// `remove_corrupt`, corrupt blobs are removed, and the next pull fetches them again. Fails with
    /// [`ErrorKind::NotFound`] if the store has no image of a name.
    pub fn verify(
        &self,
        names: &[Reference],
        remove_corrupt: bool,
        cancel: &Cancel,
        report: &mut dyn FnMut(&Check),
    ) -> Result<()> {
        let mut entries = self.entries()?;
        if let Some(absent) = names.iter().find(|name| !entries.iter().any(|entry| is_named(entry, name))) {
            return Err(self.absent(absent));
        }
        let mut digests = if names.is_empty() { self.blobs()? } else { Vec::new() };
        entries.retain(|entry| names.is_empty() || names.iter().any(|name| is_named(entry, name)));
        for entry in entries {
            digests.extend([entry.manifest.digest, entry.source]);
            if let Ok(manifest) = load_manifest(self, &entry, &Limits::default()) {
                digests.push(manifest.config.digest);
                digests.extend(manifest.layers.iter().map(|layer| layer.blob.digest));
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
}

impl Image {
    pub(crate) fn load(store: &Store, entry: ImageEntry, limits: &Limits) -> Result<Self> {
        let manifest = load_manifest(store, &entry, limits)?;
        let config = ImageConfig::parse(&store.document(&manifest.config, limits.document)?, &manifest)?;
        Ok(Self { store: store.clone(), entry, manifest, config })
    }

    /// The full name, as it is in the index.
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// The digest to which the name resolved at the registry: that of an index, or the manifest's own.
    pub fn digest(&self) -> &Digest {
        &self.entry.resolved
    }

    /// The manifest's digest.
    pub fn manifest_digest(&self) -> &Digest {
        &self.entry.manifest.digest
    }

    /// The image ID: the config's digest.
    pub fn id(&self) -> &Digest {
        &self.manifest.config.digest
    }

    /// The platform in the config.
    pub fn platform(&self) -> &Platform {
        &self.config.platform
    }

    /// When the image was made, from its config (RFC 3339).
    pub fn created(&self) -> Option<&str> {
        self.config.created.as_deref()
    }

    /// When the image was made, in seconds since the Unix epoch. `None` if its config has no valid time.
    pub fn created_unix(&self) -> Option<i64> {
        date::parse_rfc_3339(self.created()?)
    }

    /// The size of config and layers in bytes, compressed as in the store.
    pub fn size(&self) -> u64 {
        self.manifest.size()
    }

    /// Whether a machine with this platform runs the architecture and variant of the image.
    pub fn runs_on(&self, platform: &Platform) -> bool {
        let own = &self.config.platform;
        own.architecture() == platform.architecture() && platform.rank(own).is_some()
    }

    /// Whether the store has all blobs of the image, by name and size.
    pub fn is_complete(&self) -> Result<bool> {
        for layer in &self.manifest.layers {
            if !self.store.contains(&layer.blob)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Unpacks the layers, from the base up, into `target`, which must not exist or be an empty folder. The diff_id of each
    /// layer is verified. The target appears by one rename, complete, or not at all.
    pub fn unpack(&self, target: &Path, options: &UnpackOptions, progress: &dyn Progress) -> Result<Tally> {
        let context = |e: Error| e.context(format!("unpack {}", self.entry.name));
        // The name may be moved to another image meanwhile.
        let _kept = self.store.keep();
        let layers = image_layers(&self.manifest, &self.config);
        let need = Need { path: target, bytes: least_tree(&layers), files: 0 };
        check_space(&[need]).map_err(context)?;
        let mut assembly = Assembly::begin(target, options, progress).map_err(context)?;
        for layer in &layers {
            assembly.apply_stored(&self.store, layer).map_err(context)?;
        }
        assembly.publish().map_err(context)
    }
}

fn load_manifest(store: &Store, entry: &ImageEntry, limits: &Limits) -> Result<Manifest> {
    let bytes = store.document(&entry.manifest, limits.document)?;
    match Document::parse(&bytes, &entry.manifest.media_type, None, limits)? {
        (Document::Manifest(manifest), _) => Ok(manifest),
        (Document::Artifact(artifact), _) => Err(artifact.not_an_image(&entry.name)),
        (Document::Index(_), _) => {
            Err(Error::new(ErrorKind::Unsupported, format!("image {}: it is an index", entry.name)))
        }
    }
}

/// Compares the digest if the name has one, else the whole name.
fn is_named(entry: &ImageEntry, name: &Reference) -> bool {
    let same_repository = || entry.name.parse::<Reference>().is_ok_and(|other| other.repository() == name.repository());
    match name.digest() {
        Some(digest) => [entry.resolved, entry.source, entry.manifest.digest].contains(digest) && same_repository(),
        None => entry.name == name.to_string(),
    }
}
