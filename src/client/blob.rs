//! Fetches one blob into the store, with the retry loop that sees both the offset and the range.

use super::client::Client;
use super::retry::RetryState;
use crate::advice::Limit;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::descriptor::Descriptor;
use crate::oci::manifest;
use crate::progress::{Event, Layer, LayerState, Progress};
use crate::registry::{Body, Repository};
use crate::store::{Ingest, Store};
use crate::verify::{Size, Verified};

/// A blob, and the URLs where a foreign layer may be had.
type Source<'s> = (&'s Descriptor, &'s [String]);

/// One session that brings blobs into one store.
pub(crate) struct BlobFetcher<'c, 'r> {
    pub(crate) client: &'c Client,
    pub(crate) repository: &'c mut Repository<'r>,
    pub(crate) store: &'c Store,
    pub(crate) cancel: &'c Cancel,
    pub(crate) progress: &'c dyn Progress,
}

impl<'c, 'r> BlobFetcher<'c, 'r> {
    pub(crate) fn new(
        client: &'c Client,
        (repository, progress): (&'c mut Repository<'r>, &'c dyn Progress),
        store: &'c Store,
    ) -> Self {
        Self { client, repository, store, cancel: &client.options.cancel, progress }
    }

    /// Fetches one layer.
    pub(crate) fn fetch(&mut self, layer: Layer, described: &manifest::LayerDescriptor) -> Result<()> {
        self.fetch_blob(layer, (&described.blob, &described.urls), None)
    }

    /// Fetches a layer whose size only the answer itself tells; one that does not is read twice.
    pub(crate) fn fetch_unmeasured(&mut self, layer: Layer) -> Result<u64> {
        let limit = self.client.options.bounds().unpacked;
        let unmeasured = Descriptor { media_type: String::new(), digest: layer.digest, size: 0 };
        let cancel = self.cancel;
        let (size, body) = self.client.ask(self.repository, self.progress, |repository| {
            let (body, _) = repository.blob(&unmeasured, 0)?;
            match body.length() {
                Some(size) if size > limit => {
                    Err(Limits::exceeded_adjustable(Limit::Unpacked, "bytes of layers", limit))
                }
                Some(size) => Ok((size, Some(body))),
                None => count(body, (layer.digest, limit), cancel).map(|size| (size, None)),
            }
        })?;
        let blob = Descriptor { media_type: String::new(), digest: layer.digest, size };
        self.fetch_blob(Layer { size, ..layer }, (&blob, &[]), body)?;
        Ok(size)
    }

    /// Fetches a blob, from a body that is on its way already if there is one.
    fn fetch_blob(&mut self, layer: Layer, source: Source<'_>, mut body: Option<Body>) -> Result<()> {
        let Some(mut ingest) = self.store.ingest(source.0, self.cancel)? else {
            self.progress.report(Event::Layer { layer, state: LayerState::Exists });
            return Ok(());
        };
        let mut retry = self.retry();
        let (mut is_resumed, mut was_afresh) = (ingest.offset() > 0, false);
        loop {
            let before = ingest.offset();
            let error = match self.rest(&mut ingest, layer, source, body.take()) {
                Ok(()) => break,
                Err(error) => error,
            };
            let gained = ingest.offset().saturating_sub(before);
            is_resumed |= gained > 0;
            if self.repository.fail_over(&error) {
                // The next endpoint goes on from what came of this one.
                continue;
            }
            if error.kind() == ErrorKind::Mismatch && is_resumed && !was_afresh {
                // What was there from before may be what is wrong; what comes now is proven from its first byte.
                was_afresh = true;
                self.progress.report(Event::Note(&format!("{}: starting afresh: {error}", layer.digest.short())));
                continue;
            }
            retry.progressed(gained, layer.size - before);
            retry.wait_or_fail(error)?;
        }
        ingest.commit()?;
        self.progress.report(Event::Layer { layer, state: LayerState::Complete });
        Ok(())
    }

    /// Fetches what is missing of a blob, and proves the whole.
    fn rest(&mut self, ingest: &mut Ingest, layer: Layer, (blob, urls): Source<'_>, body: Option<Body>) -> Result<()> {
        self.cancel.check()?;
        let progress = self.progress;
        let report = &mut |count| progress.report(Event::Layer { layer, state: LayerState::Downloading(count) });
        let offset = ingest.offset();
        if offset == blob.size {
            return ingest.append(std::io::empty(), offset, self.cancel, report);
        }
        let (body, start) = body.map_or_else(|| self.repository.layer(blob, urls, offset), |body| Ok((body, 0)))?;
        ingest.append(body, start, self.cancel, report)
    }

    fn retry(&self) -> RetryState<'c> {
        RetryState::new(self.client.options.retries.0, self.cancel, self.progress)
    }
}

/// Reads all of a body, to know how much it is.
fn count(body: Body, (digest, limit): (Digest, u64), cancel: &Cancel) -> Result<u64> {
    let mut body = Verified::new(body, digest, Size::AtMost(limit, "bytes of layers"), cancel.clone());
    let drained = body.drain(&mut vec![0; 16 << 10]);
    drained.map_err(|e| Error::through_read(e, |e| Error::new(ErrorKind::Network, e.to_string())))?;
    Ok(body.count())
}
