//! Fetches layers into the store: which are missing, and each with the retry loop that sees both the offset and the range.

use crate::client::Client;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::image::manifest::{self, Descriptor, Manifest};
use crate::limits::Limits;
use crate::progress::{Event, Layer, LayerState, Progress};
use crate::registry::{Body, Repository};
use crate::resolve::Resolved;
use crate::space::{self, Need};
use crate::store::{Ingest, Store};
use crate::verify::{Size, Verified};

impl Client {
    /// Fetches the layers that the store lacks, in order, and tells how many those were.
    pub(crate) fn fetch_layers(
        &self,
        resolved: &mut Resolved<'_>,
        manifest: &Manifest,
        store: &Store,
    ) -> Result<usize> {
        let layers = layers(manifest);
        let mut missing = Vec::new();
        for (layer, descriptor) in &layers {
            let is_repeated = missing.iter().any(|(other, _): &(Layer, Descriptor)| other.digest == layer.digest);
            let state = match is_repeated || store.contains(descriptor)? {
                true => LayerState::Exists,
                false => LayerState::Waiting,
            };
            resolved.progress.report(Event::Layer { layer: *layer, state });
            if state == LayerState::Waiting {
                missing.push((*layer, descriptor.clone()));
            }
        }
        self.check_space(&missing, manifest, store)?;
        for (layer, descriptor) in &missing {
            self.fetch_layer(resolved, store, *layer, (descriptor, None)).map_err(|e| e.context(shown(layer)))?;
        }
        // Who removes a blob without asking for the lock may have done so after the first look.
        let mut count = missing.len();
        for (layer, descriptor) in &layers {
            if !store.contains(descriptor)? {
                self.fetch_layer(resolved, store, *layer, (descriptor, None)).map_err(|e| e.context(shown(layer)))?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Whether the missing layers fit, and the tree beside them if one is to be made.
    fn check_space(&self, missing: &[(Layer, Descriptor)], manifest: &Manifest, store: &Store) -> Result<()> {
        let mut bytes = 0_u64;
        for (_, descriptor) in missing {
            bytes = bytes.saturating_add(store.lacks(descriptor)?);
        }
        let tree = self.options.unpack_to.as_deref();
        let tree = tree.map(|path| Need { path, bytes: space::least_tree(manifest), files: 0 });
        let blobs = Need { path: store.folder(), bytes, files: missing.len() as u64 };
        space::check(&[Some(blobs), tree].into_iter().flatten().collect::<Vec<_>>())
    }

    /// Fetches a layer whose size only the answer itself tells; one that does not is read twice.
    pub(crate) fn fetch_unmeasured(&self, resolved: &mut Resolved<'_>, store: &Store, layer: Layer) -> Result<u64> {
        let limit = self.options.bounds().unpacked;
        let unmeasured = Descriptor { media_type: String::new(), digest: layer.digest, size: 0 };
        let (size, body) = self.ask(&mut resolved.repository, resolved.progress, |repository| {
            let (body, _) = repository.blob(&unmeasured, 0)?;
            match body.length() {
                Some(size) if size > limit => Err(Limits::exceeded("bytes of layers", limit)),
                Some(size) => Ok((size, Some(body))),
                None => self.count(body, layer.digest, limit).map(|size| (size, None)),
            }
        })?;
        let blob = Descriptor { media_type: String::new(), digest: layer.digest, size };
        self.fetch_layer(resolved, store, Layer { size, ..layer }, (&blob, body))?;
        Ok(size)
    }

    /// Reads all of a body, to know how much it is.
    fn count(&self, body: Body, digest: Digest, limit: u64) -> Result<u64> {
        let size = Size::AtMost(limit, "bytes of layers");
        let mut body = Verified::new(body, digest, size, self.options.cancel.clone());
        let drained = body.drain(&mut vec![0; 16 << 10]);
        drained.map_err(|e| Error::through_read(e, |e| Error::new(ErrorKind::Network, e.to_string())))?;
        Ok(body.count())
    }

    /// Fetches one layer, from a body that is on its way already if there is one.
    fn fetch_layer(
        &self,
        resolved: &mut Resolved<'_>,
        store: &Store,
        layer: Layer,
        (blob, mut body): (&Descriptor, Option<Body>),
    ) -> Result<()> {
        let progress = resolved.progress;
        let Some(mut ingest) = store.ingest(blob, &self.options.cancel)? else {
            progress.report(Event::Layer { layer, state: LayerState::Exists });
            return Ok(());
        };
        let mut patience = self.patience(progress);
        let (mut is_resumed, mut was_afresh) = (ingest.offset() > 0, false);
        loop {
            let before = ingest.offset();
            let blob = (blob, body.take());
            let error = match self.fetch_rest(&mut resolved.repository, &mut ingest, layer, blob, progress) {
                Ok(()) => break,
                Err(error) => error,
            };
            let gained = ingest.offset().saturating_sub(before);
            is_resumed |= gained > 0;
            if resolved.repository.turn(&error) {
                // The next endpoint goes on from what came of this one.
                continue;
            }
            if error.kind() == ErrorKind::Mismatch && is_resumed && !was_afresh {
                // What was there from before may be what is wrong; what comes now is proven from its first byte.
                was_afresh = true;
                progress.report(Event::Note(&format!("{}: starting afresh: {error}", layer.digest.short())));
                continue;
            }
            patience.gain(gained, layer.size - before);
            patience.bear(error)?;
        }
        ingest.commit()?;
        progress.report(Event::Layer { layer, state: LayerState::Complete });
        Ok(())
    }

    /// Fetches what is missing of a blob, and proves the whole.
    fn fetch_rest(
        &self,
        repository: &mut Repository<'_>,
        ingest: &mut Ingest,
        layer: Layer,
        (blob, body): (&Descriptor, Option<Body>),
        progress: &dyn Progress,
    ) -> Result<()> {
        let cancel = &self.options.cancel;
        cancel.check()?;
        let report = &mut |count| progress.report(Event::Layer { layer, state: LayerState::Downloading(count) });
        let offset = ingest.offset();
        if offset == blob.size {
            return ingest.append(std::io::empty(), offset, cancel, report);
        }
        let (body, start) = body.map_or_else(|| repository.blob(blob, offset), |body| Ok((body, 0)))?;
        ingest.append(body, start, cancel, report)
    }
}

fn layers(manifest: &Manifest) -> Vec<(Layer, Descriptor)> {
    let total = manifest.layers.len();
    let place = |(index, layer): (usize, &manifest::Layer)| {
        let blob = layer.blob.clone();
        (Layer { index, total, digest: blob.digest, size: blob.size }, blob)
    };
    manifest.layers.iter().enumerate().map(place).collect()
}

pub(crate) fn shown(layer: &Layer) -> String {
    format!("layer {} of {} ({})", layer.index + 1, layer.total, layer.digest.short())
}
