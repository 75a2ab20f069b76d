//! Pulls an image: resolves a name, checks the config against the manifest, and fetches the missing layers into the
//! store. Start reading here.

use std::path::Path;

use super::blob::BlobFetcher;
use super::client::Client;
use super::gate::Admitted;
use super::resolved::{ImageManifest, Resolved};
use crate::error::Result;
use crate::images::{AdmittedImage, Assembly, Image, ImageLayer, UnpackOptions, convert_schema1, image_layers};
use crate::oci::descriptor::Descriptor;
use crate::oci::manifest::Manifest;
use crate::oci::media_type;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::oci::schema1::Schema1;
use crate::progress::{Event, Layer, LayerState, Progress};
use crate::store::{ImageEntry, LockWait, Store};
use crate::unpack::Tally;

/// The result of a pull.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pulled {
    /// The image, in the store.
    pub image: AdmittedImage,
    /// Whether the store was changed. `false` means that the image was up to date.
    pub is_new: bool,
}

/// Where and how to unpack an image while it is fetched.
#[derive(Clone, Copy)]
struct UnpackTarget<'a> {
    path: &'a Path,
    options: &'a UnpackOptions,
}

/// Fetched content that has no name in the index yet.
struct Fetched<'a> {
    platform: Platform,
    /// How many layers were fetched.
    layers: usize,
    /// The manifest that the index will name; it has OCI media types.
    manifest: Descriptor,
    /// The tree, if the layers were unpacked while they arrived.
    assembly: Option<Assembly<'a>>,
}

/// A pulled image, and its tree if the layers were unpacked while they arrived.
struct PulledTree<'a> {
    pulled: Pulled,
    assembly: Option<Assembly<'a>>,
    /// What the name resolved to, with what proves it.
    resolved: Resolved<'a>,
}

impl Client {
    /// Resolves `name` and fetches what `store` does not have.
    pub fn pull(&self, name: &Reference, store: &Store, progress: &dyn Progress) -> Result<Pulled> {
        report_pulling(name, progress);
        let resolved = self.resolve(name, Some(store), progress)?;
        self.fetch(resolved, store)
    }

    /// Fetches what `store` does not have of an image: its config, then its layers in order. Each blob is verified before
    /// it gets its name. The image gets its name in the index after all its blobs are in the store.
    pub fn fetch(&self, resolved: Resolved<'_>, store: &Store) -> Result<Pulled> {
        let name = resolved.name.clone();
        let admitted = self.admit_resolved(resolved, Some(store));
        let fetched = admitted.and_then(|admitted| self.fetch_admitted(admitted, store, None));
        let kept = fetched.and_then(|fetched| {
            self.keep_versions(&fetched.resolved, Some(store))?;
            Ok(fetched.pulled)
        });
        kept.map_err(|e| e.context(format!("pull {name}")))
    }

    /// Pulls an image and unpacks it into `target`, which must not exist or be an empty folder. With more than one job,
    /// layers are unpacked while later ones arrive. The target appears by one rename, complete, or not at all. By then the
    /// image has its name in the store.
    pub fn unpack(
        &self,
        name: &Reference,
        store: &Store,
        target: &Path,
        options: &UnpackOptions,
        progress: &dyn Progress,
    ) -> Result<(Pulled, Tally)> {
        report_pulling(name, progress);
        let resolved = self.resolve(name, Some(store), progress)?;
        let unpack = UnpackTarget { path: target, options };
        let admitted = self.admit_resolved(resolved, Some(store));
        let PulledTree { pulled, assembly, resolved } = admitted
            .and_then(|admitted| self.fetch_admitted(admitted, store, Some(unpack)))
            .map_err(|e| e.context(format!("unpack {name}")))?;
        let tally = match assembly {
            Some(assembly) => assembly.publish().map_err(|e| e.context(format!("unpack {name}")))?,
            None => pulled.image.unpack(target, options, progress)?,
        };
        self.keep_versions(&resolved, Some(store)).map_err(|e| e.context(format!("unpack {name}")))?;
        Ok((pulled, tally))
    }

    fn fetch_admitted<'a>(
        &self,
        admitted: Admitted<'a>,
        store: &Store,
        unpack: Option<UnpackTarget<'a>>,
    ) -> Result<PulledTree<'a>> {
        let mut resolved = admitted.into_resolved();
        let name = resolved.name.to_string();
        let manifest = resolved.image_manifest()?.clone();
        // Until the index names the image, only this guard keeps its blobs from being pruned.
        let wait = LockWait { cancel: &self.options.cancel, progress: resolved.progress };
        let _guard = store.create(wait)?;
        let before = store.entries_where(|entry| entry.names.contains(&name))?.into_iter().next();
        let fetched = match manifest {
            ImageManifest::Schema2(manifest) => self.fetch_image(&mut resolved, &manifest, store, unpack)?,
            ImageManifest::Schema1(schema1) => self.fetch_schema1(&mut resolved, &schema1, store)?,
        };
        // A digest in a name is proven with the documents that led from it to the manifest.
        for document in &resolved.documents {
            store.put(&document.descriptor, &document.bytes, wait)?;
        }
        let mut entries = self.keep_evidence(&resolved, store, wait)?;
        let entry = ImageEntry {
            names: vec![name],
            subject: None,
            resolved: resolved.digest,
            source: resolved.descriptor.digest,
            manifest: fetched.manifest,
            platform: fetched.platform,
        };
        let is_new = fetched.layers > 0 || before.is_none_or(|before| !is_same(&before, &entry));
        if is_new {
            entries.push(entry.clone());
        }
        if !entries.is_empty() {
            store.name_all(&entries, wait)?;
        }
        let image = Image::load(store, entry, &self.platform, &self.options.limits)?;
        self.keep_time(store, wait);
        let image = AdmittedImage::new(image);
        Ok(PulledTree { pulled: Pulled { image, is_new }, assembly: fetched.assembly, resolved })
    }

    fn fetch_image<'a>(
        &self,
        resolved: &mut Resolved<'a>,
        manifest: &Manifest,
        store: &Store,
        unpack: Option<UnpackTarget<'a>>,
    ) -> Result<Fetched<'a>> {
        let config = self.config(resolved, manifest, Some(store))?;
        let mut assembly = None;
        if let Some(unpack) = unpack
            && self.options.jobs > 1
        {
            assembly = Some(Assembly::begin(unpack.path, unpack.options, resolved.progress)?);
        }
        let mut apply = |layer: &ImageLayer<'_>| match &mut assembly {
            Some(assembly) => assembly.apply_stored(store, layer),
            None => Ok(()),
        };
        let layers = image_layers(manifest, &config.parsed);
        let least_tree = unpack.map(|unpack| unpack.path);
        let count = self.fetch_layers(resolved, &layers, store, least_tree, &mut apply)?;
        let wait = LockWait { cancel: &self.options.cancel, progress: resolved.progress };
        store.put(&manifest.config, &config.bytes, wait)?;
        // The registry's own manifest is kept byte for byte, so that the next pull need not request it.
        store.put(&resolved.descriptor, &resolved.bytes, wait)?;
        let mut named = resolved.descriptor.clone();
        if named.media_type != media_type::OCI_MANIFEST {
            let (descriptor, bytes) = manifest.to_oci();
            store.put(&descriptor, &bytes, wait)?;
            named = descriptor;
        }
        Ok(Fetched { platform: config.parsed.platform, layers: count, manifest: named, assembly })
    }

    /// A manifest of schema 1 has neither sizes nor diff_ids, so the layers come first, and config and manifest are made
    /// from them.
    fn fetch_schema1(&self, resolved: &mut Resolved<'_>, schema1: &Schema1, store: &Store) -> Result<Fetched<'static>> {
        self.check_platform(&schema1.platform, resolved)?;
        let wait = LockWait { cancel: &self.options.cancel, progress: resolved.progress };
        let cancel = &self.options.cancel;
        let total = schema1.layers.len();
        let mut blobs = Vec::new();
        let mut layers = 0;
        for (index, digest) in schema1.layers.iter().enumerate() {
            let known = store.size(digest)?;
            let mut layer = Layer { index, total, digest: *digest, size: known.unwrap_or(0) };
            let state = if known.is_some() { LayerState::Exists } else { LayerState::Waiting };
            resolved.progress.report(Event::Layer { layer, state });
            if known.is_none() {
                let mut fetcher = BlobFetcher {
                    client: self,
                    repository: &mut resolved.repository,
                    store,
                    cancel,
                    progress: resolved.progress,
                };
                layer.size = fetcher.fetch_unmeasured(layer).map_err(|e| e.context(layer.label()))?;
                layers += 1;
            }
            blobs.push((*digest, layer.size));
        }
        let converted = convert_schema1(schema1, &blobs, store, &self.options.limits, wait)?;
        let manifest = converted.descriptor.clone();
        (resolved.descriptor, resolved.bytes) = (converted.descriptor, converted.bytes);
        Ok(Fetched { platform: schema1.platform.clone(), layers, manifest, assembly: None })
    }
}

/// Reports that a pull begins.
pub(crate) fn report_pulling(name: &Reference, progress: &dyn Progress) {
    let label = match name.digest() {
        Some(digest) => digest.to_string(),
        None => name.selector(),
    };
    progress.report(Event::Pulling { label: &label, path: name.path() });
}

fn is_same(before: &ImageEntry, entry: &ImageEntry) -> bool {
    before.manifest == entry.manifest && before.resolved == entry.resolved
}
