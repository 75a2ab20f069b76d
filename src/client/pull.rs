//! The story: a name is resolved to a manifest for this platform, its config is checked against it, and its layers
//! are fetched into the store. Start reading here.

use std::path::Path;

use super::blob::BlobFetcher;
use super::client::Client;
use super::resolve::{Resolved, ResolvedContent};
use crate::error::Result;
use crate::images::Assembly;
use crate::images::Image;
use crate::images::UnpackOptions;
use crate::images::convert_schema1;
use crate::oci::descriptor::Descriptor;
use crate::oci::manifest::{self, Manifest};
use crate::oci::media_type;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::oci::schema1::Schema1;
use crate::progress::{Event, Layer, LayerState, Progress};
use crate::store::{ImageEntry, Store};
use crate::unpack::Tally;

/// The result of a pull.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pulled {
    /// The image, in the store.
    pub image: Image,
    /// Whether the store was changed; `false` says that the image was up to date.
    pub is_new: bool,
}

/// Where a tree is to be, and how it is made.
type Target<'a> = (&'a Path, &'a UnpackOptions);

/// What a fetch of config and layers came to.
struct Fetched {
    platform: Platform,
    layers: usize,
    /// The manifest as the store names it: of OCI's media types.
    manifest: Descriptor,
}

impl Client {
    /// Resolves `name` and fetches what `store` lacks of it.
    pub fn pull(&self, name: &Reference, store: &Store, progress: &dyn Progress) -> Result<Pulled> {
        self.tell_pulling(name, progress);
        let resolved = self.resolve(name, Some(store), progress)?;
        self.fetch(resolved, store)
    }

    /// Fetches what `store` lacks of an image: its config, then its layers in order, each verified before it has a
    /// name. Nothing is named in the store's index before all of it is there.
    pub fn fetch(&self, resolved: Resolved<'_>, store: &Store) -> Result<Pulled> {
        let name = resolved.name.clone();
        let fetched = self.fetch_inner(resolved, store, None);
        fetched.map(|(pulled, _)| pulled).map_err(|e| e.context(format!("pull {name}")))
    }

    /// Pulls an image and unpacks it into `target`, which must not exist or be an empty folder. With more than one job
    /// layers are unpacked while later ones arrive. The target appears by one rename, whole, or not at all; by then the
    /// image has its name in the store.
    pub fn unpack(
        &self,
        name: &Reference,
        store: &Store,
        (target, options): Target<'_>,
        progress: &dyn Progress,
    ) -> Result<(Pulled, Tally)> {
        self.tell_pulling(name, progress);
        let resolved = self.resolve(name, Some(store), progress)?;
        let (pulled, assembly) = self
            .fetch_inner(resolved, store, Some((target, options)))
            .map_err(|e| e.context(format!("unpack {name}")))?;
        let tally = match assembly {
            Some(assembly) => assembly.publish().map_err(|e| e.context(format!("unpack {name}")))?,
            None => pulled.image.unpack(target, options, progress)?,
        };
        Ok((pulled, tally))
    }

    /// Gives also the tree, if one is to be made and was made meanwhile.
    fn fetch_inner<'a>(
        &self,
        mut resolved: Resolved<'a>,
        store: &Store,
        into: Option<Target<'a>>,
    ) -> Result<(Pulled, Option<Assembly<'a>>)> {
        let before = store.entries()?.into_iter().find(|entry| entry.name == resolved.name.to_string());
        if let ResolvedContent::Artifact(artifact) = &resolved.content {
            return Err(artifact.not_an_image(&resolved.name.familiar()));
        }
        // Until the name is in the index, only this keeps what was found and fetched.
        let _kept = store.create(&self.options.cancel)?;
        let (fetched, assembly) = match resolved.content.clone() {
            ResolvedContent::Image(manifest) => self.fetch_image(&mut resolved, &manifest, store, into)?,
            ResolvedContent::Schema1(schema1) => (self.fetch_schema1(&mut resolved, &schema1, store)?, None),
            ResolvedContent::Artifact(artifact) => return Err(artifact.not_an_image(&resolved.name.familiar())),
        };
        let is_fetched = fetched.layers > 0;
        let entry = resolved.entry(fetched);
        let is_new = is_fetched || before.is_none_or(|before| !is_same(&before, &entry));
        if is_new {
            store.name(&entry, &self.options.cancel)?;
        }
        Ok((Pulled { image: Image::load(store, entry, self.options.bounds())?, is_new }, assembly))
    }

    fn fetch_image<'a>(
        &self,
        resolved: &mut Resolved<'a>,
        manifest: &Manifest,
        store: &Store,
        into: Option<Target<'a>>,
    ) -> Result<(Fetched, Option<Assembly<'a>>)> {
        let (config_bytes, config) = self.config(resolved, manifest, Some(store))?;
        let mut assembly = None;
        if let Some((target, options)) = into.filter(|_| self.options.jobs.0 > 1) {
            assembly = Some(Assembly::begin(target, options, resolved.progress)?);
        }
        let ready = &mut |layer: Layer, described: &manifest::LayerDescriptor| match (
            &mut assembly,
            config.diff_ids.get(layer.index),
        ) {
            (Some(assembly), Some(diff_id)) => assembly.apply_stored(store, layer, (described, *diff_id)),
            _ => Ok(()),
        };
        let layers = self.fetch_layers(resolved, manifest, store, (into.map(|(target, _)| target), ready))?;
        store.put(&manifest.config, &config_bytes, &self.options.cancel)?;
        // What the registry has is kept as it came, so that it need not be asked for it again.
        store.put(&resolved.descriptor, &resolved.bytes, &self.options.cancel)?;
        let named = match resolved.descriptor.media_type == media_type::OCI_MANIFEST {
            true => resolved.descriptor.clone(),
            false => {
                let (descriptor, bytes) = manifest.to_oci();
                store.put(&descriptor, &bytes, &self.options.cancel)?;
                descriptor
            }
        };
        Ok((Fetched { platform: config.platform, layers, manifest: named }, assembly))
    }

    /// Schema 1 tells neither sizes nor diff_ids: the layers come first, and from them its documents are made.
    fn fetch_schema1(&self, resolved: &mut Resolved<'_>, schema1: &Schema1, store: &Store) -> Result<Fetched> {
        self.check_platform(&schema1.platform, resolved)?;
        let (total, mut blobs, mut layers) = (schema1.layers.len(), Vec::new(), 0);
        for (index, digest) in schema1.layers.iter().enumerate() {
            let known = store.size(digest)?;
            let mut layer = Layer { index, total, digest: *digest, size: known.unwrap_or(0) };
            let state = if known.is_some() { LayerState::Exists } else { LayerState::Waiting };
            resolved.progress.report(Event::Layer { layer, state });
            if known.is_none() {
                let mut fetcher = BlobFetcher::new(self, (&mut resolved.repository, resolved.progress), store);
                layer.size = fetcher.fetch_unmeasured(layer).map_err(|e| e.context(layer.label()))?;
                layers += 1;
            }
            blobs.push((*digest, layer.size));
        }
        let made = convert_schema1(schema1, &blobs, store, (self.options.bounds(), &self.options.cancel))?;
        (resolved.descriptor, resolved.bytes) = (made.descriptor, made.bytes);
        Ok(Fetched { platform: schema1.platform.clone(), layers, manifest: resolved.descriptor.clone() })
    }
}

impl Resolved<'_> {
    fn entry(&self, fetched: Fetched) -> ImageEntry {
        let Fetched { platform, manifest, .. } = fetched;
        let source = self.descriptor.digest;
        ImageEntry { name: self.name.to_string(), resolved: self.digest, source, manifest, platform }
    }
}

fn is_same(before: &ImageEntry, entry: &ImageEntry) -> bool {
    (before.manifest.digest, before.resolved) == (entry.manifest.digest, entry.resolved)
}
