//! The story: a name is resolved to a manifest for this platform, its config is checked against it, and its layers
//! are fetched into the store. Start reading here.

use crate::client::Client;
use crate::convert;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::image::config::Config;
use crate::image::manifest::{Descriptor, Manifest};
use crate::image::media_type;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::schema1::Schema1;
use crate::layers::shown;
use crate::local::Image;
use crate::progress::{Event, Layer, LayerState, Progress};
use crate::resolve::{Content, Resolved};
use crate::store::{Entry, Store};

/// The result of a pull.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pulled {
    /// The image, in the store.
    pub image: Image,
    /// Whether the store was changed; `false` says that the image was up to date.
    pub is_new: bool,
}
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
        let label = name.digest().map_or_else(|| name.selector(), Digest::to_string);
        progress.report(Event::Pulling { label: &label, path: name.path() });
        let resolved = self.resolve(name, Some(store), progress)?;
        self.fetch(resolved, store)
    }

    /// Fetches what `store` lacks of an image: its config, then its layers in order, each verified before it has a
    /// name. Nothing is named in the store's index before all of it is there.
    pub fn fetch(&self, resolved: Resolved<'_>, store: &Store) -> Result<Pulled> {
        let name = resolved.name.clone();
        self.fetch_inner(resolved, store).map_err(|e| e.context(format!("pull {name}")))
    }

    fn fetch_inner(&self, mut resolved: Resolved<'_>, store: &Store) -> Result<Pulled> {
        let before = store.entries()?.into_iter().find(|entry| entry.name == resolved.name.to_string());
        if let Content::Artifact(artifact) = &resolved.content {
            return Err(artifact.is_no_image(&resolved.name.familiar()));
        }
        // Until the name is in the index, only this keeps what was found and fetched.
        let _kept = store.create(&self.options.cancel)?;
        let fetched = match resolved.content.clone() {
            Content::Image(manifest) => self.fetch_image(&mut resolved, &manifest, store)?,
            Content::Schema1(schema1) => self.fetch_schema1(&mut resolved, &schema1, store)?,
            Content::Artifact(artifact) => return Err(artifact.is_no_image(&resolved.name.familiar())),
        };
        let is_fetched = fetched.layers > 0;
        let entry = resolved.entry(fetched);
        let is_new = is_fetched || before.is_none_or(|before| !is_same(&before, &entry));
        if is_new {
            store.name(&entry, &self.options.cancel)?;
        }
        Ok(Pulled { image: Image::load(store, entry, self.options.bounds())?, is_new })
    }

    fn fetch_image(&self, resolved: &mut Resolved<'_>, manifest: &Manifest, store: &Store) -> Result<Fetched> {
        let config_bytes = self.config(resolved, &manifest.config, store)?;
        let platform = Config::parse(&config_bytes, manifest)?.platform;
        self.check_platform(&platform, resolved)?;
        let layers = self.fetch_layers(resolved, manifest, store)?;
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
        Ok(Fetched { platform, layers, manifest: named })
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
                layer.size = self.fetch_unmeasured(resolved, store, layer).map_err(|e| e.context(shown(&layer)))?;
                layers += 1;
            }
            blobs.push((*digest, layer.size));
        }
        let made = convert::make(schema1, &blobs, store, (self.options.bounds(), &self.options.cancel))?;
        (resolved.descriptor, resolved.bytes) = (made.descriptor, made.bytes);
        Ok(Fetched { platform: schema1.platform.clone(), layers, manifest: resolved.descriptor.clone() })
    }

    fn config(&self, resolved: &mut Resolved<'_>, descriptor: &Descriptor, store: &Store) -> Result<Vec<u8>> {
        if let Ok(bytes) = store.document(descriptor, self.options.bounds().document) {
            return Ok(bytes);
        }
        let fetched = self.ask(&mut resolved.repository, resolved.progress, |repository| {
            let (body, _) = repository.blob(descriptor, 0)?;
            self.verify(descriptor, body)
        });
        fetched.map_err(|e| e.context("config"))
    }

    /// A manifest that no index calls fitting may be for another machine. Where a platform was asked for that is an
    /// error, as with Docker.
    fn check_platform(&self, platform: &Platform, resolved: &Resolved<'_>) -> Result<()> {
        if resolved.is_chosen || platform.os().is_empty() || self.platform.rank(platform).is_some() {
            return Ok(());
        }
        let text = format!("the image is for {platform} and not for {}", self.platform);
        match self.options.platform {
            Some(_) => Err(Error::new(ErrorKind::Unsupported, text)),
            None => {
                resolved.progress.report(Event::Note(&text));
                Ok(())
            }
        }
    }
}

impl Resolved<'_> {
    fn entry(&self, fetched: Fetched) -> Entry {
        let Fetched { platform, manifest, .. } = fetched;
        let source = self.descriptor.digest;
        Entry { name: self.name.to_string(), resolved: self.digest, source, manifest, platform }
    }
}

fn is_same(before: &Entry, entry: &Entry) -> bool {
    (before.manifest.digest, before.resolved) == (entry.manifest.digest, entry.resolved)
}
