//! Images in the local store: their properties, and unpacking.

use std::ops::Deref;
use std::path::Path;

use super::assembly::Assembly;
use super::chain::leads_to;
use super::choice::{Chosen, ChosenContent, DocumentSource, SourceDocument, choose};
use super::layers::image_layers;
use super::space::{Need, check_space, least_tree};
use super::unpack_options::UnpackOptions;
use crate::date;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::host;
use crate::limits::Limits;
use crate::oci::config::ImageConfig;
use crate::oci::descriptor::Descriptor;
use crate::oci::document::Document;
use crate::oci::manifest::Manifest;
use crate::oci::platform::Platform;
use crate::progress::{Event, Progress};
use crate::store::{ImageEntry, Store};
use crate::unpack::Tally;

/// A verified image in a store. It can only be obtained from a fetch or from the store, so unverified content cannot be
/// unpacked. To unpack it, a [`Client`](crate::Client) must admit it.
#[derive(Clone, Debug)]
pub struct Image {
    store: Store,
    name: String,
    digest: Digest,
    descriptor: Descriptor,
    manifest: Manifest,
    config: ImageConfig,
}

/// An image manifest in the store.
pub(super) struct StoredManifest {
    pub(super) descriptor: Descriptor,
    pub(super) manifest: Manifest,
}

impl Image {
    /// Loads the image of an entry. `platform` chooses from an index.
    pub(crate) fn load(store: &Store, entry: ImageEntry, platform: &Platform, limits: &Limits) -> Result<Self> {
        let manifest = find_manifest(store, &entry, platform, limits)?;
        Self::of_manifest(store, &entry, manifest, limits)
    }

    /// Loads the image with this manifest, to which an entry leads.
    pub(super) fn of_manifest(
        store: &Store,
        entry: &ImageEntry,
        manifest: StoredManifest,
        limits: &Limits,
    ) -> Result<Self> {
        let StoredManifest { descriptor, manifest } = manifest;
        let config = ImageConfig::parse(&store.document(&manifest.config, limits.document)?, &manifest)?;
        let mut digest = descriptor.digest;
        for claimed in [entry.resolved, entry.manifest.digest] {
            if leads_to(store, &claimed, &descriptor, &manifest, limits) {
                digest = claimed;
                break;
            }
        }
        Ok(Self { store: store.clone(), name: entry.name().to_owned(), digest, descriptor, manifest, config })
    }

    /// The manifest's descriptor.
    pub(super) fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// An annotation of the manifest.
    #[cfg(feature = "trust")]
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.manifest.annotations.get(key).map(String::as_str)
    }

    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    #[cfg(feature = "manage")]
    pub(super) fn config(&self) -> &ImageConfig {
        &self.config
    }

    #[cfg(any(feature = "manage", feature = "trust"))]
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The full name, as it is in the index; empty if the image has none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The digest to which the name resolved at the registry: that of an index, or the manifest's own. It is proven by the
    /// documents in the store; if they are missing, it is the manifest's own.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The manifest's digest.
    pub fn manifest_digest(&self) -> &Digest {
        &self.descriptor.digest
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

    /// When the image was made, in seconds since the Unix epoch. `None` if its config has no valid time, or Go's zero time,
    /// which programs write for an unknown one.
    pub fn created_unix(&self) -> Option<i64> {
        date::parse_rfc_3339(self.created()?).filter(|seconds| *seconds != date::GO_ZERO_TIME)
    }

    /// The size of config and layers in bytes, compressed as in the store.
    pub fn size(&self) -> u64 {
        self.manifest.size()
    }

    /// The manifest's media type, digest and size. A pull stores every manifest with OCI media types.
    pub fn manifest_descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The layers, from the base up.
    pub fn layers(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifest.layers.iter().map(|layer| &layer.blob)
    }

    /// The digests of the uncompressed layers, from the base up.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.config.diff_ids
    }

    /// Reads the image config from the store, and verifies it. It is JSON (image-spec, config.md), of at most
    /// [`Limits::document`] bytes.
    pub fn config_json(&self) -> Result<Vec<u8>> {
        self.store.document(&self.manifest.config, Limits::default().document)
    }

    /// Whether a machine with this platform runs the architecture and variant of the image.
    pub fn runs_on(&self, platform: &Platform) -> bool {
        let own = &self.config.platform;
        own.architecture() == platform.architecture() && platform.rank(own).is_some()
    }

    /// Whether this machine runs the architecture and variant of the image.
    pub fn runs_here(&self) -> bool {
        self.runs_on(&host::platform())
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

    /// Returns true if a digest leads to this image: it is the manifest's own, or that of a document in the store that names
    /// the manifest.
    #[cfg(feature = "trust")]
    pub(crate) fn is_led_to_by(&self, digest: &Digest, limits: &Limits) -> bool {
        leads_to(&self.store, digest, &self.descriptor, &self.manifest, limits)
    }
}

/// An image in a store that may be unpacked: everything that a client demands of it was proven.
/// [`Client::admit`](crate::Client::admit) and the pulls of a [`Client`](crate::Client) create it.
#[derive(Clone, Debug)]
pub struct AdmittedImage {
    image: Image,
}

impl AdmittedImage {
    /// Only the gate of the client calls this.
    pub(crate) fn new(image: Image) -> Self {
        Self { image }
    }

    /// Unpacks the layers, from the base up, into `target`, which must not exist or be an empty folder. The diff_id of each
    /// layer is verified. The target appears by one rename, complete, or not at all.
    pub fn unpack(&self, target: &Path, options: &UnpackOptions, progress: &dyn Progress) -> Result<Tally> {
        let context = |e: Error| e.context(format!("unpack {}", self.image.name));
        // The name may be moved to another image meanwhile.
        let _kept = self.image.store.keep();
        let layers = image_layers(&self.image.manifest, &self.image.config);
        let need = Need { path: target, bytes: least_tree(&layers), files: 0 };
        check_space(&[need]).map_err(context)?;
        progress.report(Event::unpack_plan(layers.iter().map(|layer| layer.layer)));
        let mut assembly = Assembly::begin(target, options, progress).map_err(context)?;
        for layer in &layers {
            assembly.apply_stored(&self.image.store, layer).map_err(context)?;
        }
        assembly.publish().map_err(context)
    }
}

impl Deref for AdmittedImage {
    type Target = Image;

    fn deref(&self) -> &Image {
        &self.image
    }
}

/// Follows an entry to the image manifest for `platform`, through indexes in the store.
fn find_manifest(store: &Store, entry: &ImageEntry, platform: &Platform, limits: &Limits) -> Result<StoredManifest> {
    let descriptor = entry.manifest.clone();
    let bytes = store.document(&descriptor, limits.document)?;
    let index = match Document::parse(&bytes, &descriptor.media_type, None, limits)?.0 {
        Document::Manifest(manifest) => return Ok(StoredManifest { descriptor, manifest }),
        Document::Artifact(artifact) => return Err(artifact.not_an_image(entry.name())),
        Document::Index(index) => index,
    };
    let Chosen { descriptor, content, .. } = choose(&index, platform, limits, &mut InStore { store, limits })?;
    match content {
        ChosenContent::Image(manifest) => Ok(StoredManifest { descriptor, manifest }),
        ChosenContent::Artifact(artifact) => Err(artifact.not_an_image(entry.name())),
    }
}

/// The documents in a store.
struct InStore<'a> {
    store: &'a Store,
    limits: &'a Limits,
}

impl DocumentSource for InStore<'_> {
    fn document(&mut self, descriptor: &Descriptor) -> Result<SourceDocument> {
        let bytes = self.store.document(descriptor, self.limits.document)?;
        Ok(SourceDocument { bytes, content_type: String::new() })
    }

    fn config(&mut self, manifest: &Manifest) -> Result<ImageConfig> {
        ImageConfig::parse(&self.store.document(&manifest.config, self.limits.document)?, manifest)
    }
}
