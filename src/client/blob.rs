//! Fetches one blob into the store.

use super::body::{BlobSource, ResumingBody};
use super::client::Client;
use super::retry::MismatchRetry;
use crate::advice::Limit;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::descriptor::Descriptor;
use crate::progress::{Event, Layer, LayerState, Progress};
use crate::registry::{Body, Repository};
use crate::store::{Ingest, LockWait, Store};
use crate::verify::{Size, Verified};

/// Fetches blobs of one repository into one store.
pub(crate) struct BlobFetcher<'c, 'r> {
    pub(crate) client: &'c Client,
    pub(crate) repository: &'c mut Repository<'r>,
    pub(crate) store: &'c Store,
    pub(crate) cancel: &'c Cancel,
    pub(crate) progress: &'c dyn Progress,
}

impl BlobFetcher<'_, '_> {
    /// Fetches one layer.
    pub(crate) fn fetch(&mut self, layer: Layer, source: BlobSource<'_>) -> Result<()> {
        self.fetch_blob(layer, source, None)
    }

    /// Fetches a layer of which only the digest is known, and returns its size. A body without `Content-Length` is read twice.
    pub(crate) fn fetch_unmeasured(&mut self, layer: Layer) -> Result<u64> {
        let (size, body) = self.client.measure(self.repository, layer.digest, self.cancel, self.progress)?;
        let blob = Descriptor { media_type: String::new(), digest: layer.digest, size };
        self.fetch_blob(Layer { size, ..layer }, BlobSource::registry_only(&blob), body)?;
        Ok(size)
    }

    /// Fetches a blob. `response` is one that has already arrived.
    fn fetch_blob(&mut self, layer: Layer, source: BlobSource<'_>, mut response: Option<Body>) -> Result<()> {
        let wait = LockWait { cancel: self.cancel, progress: self.progress };
        let Some(mut ingest) = self.store.ingest(source.blob, wait)? else {
            self.progress.report(Event::Layer { layer, state: LayerState::Exists });
            return Ok(());
        };
        let mut mismatches = MismatchRetry::default();
        loop {
            let error = match self.append(&mut ingest, layer, source, response.take()) {
                Ok(()) => break,
                Err(error) => error,
            };
            // After a mismatch the ingest has no bytes left.
            if !mismatches.should_repeat(&error, self.repository) {
                return Err(error);
            }
            self.progress.report(Event::Warning(&format!("{}: starting over: {error}", layer.digest.short())));
        }
        ingest.commit()?;
        self.progress.report(Event::Layer { layer, state: LayerState::Complete });
        Ok(())
    }

    /// Fetches the missing bytes and verifies the whole blob.
    fn append(
        &mut self,
        ingest: &mut Ingest,
        layer: Layer,
        source: BlobSource<'_>,
        response: Option<Body>,
    ) -> Result<()> {
        self.cancel.check()?;
        let progress = self.progress;
        // Shows before the first response where this continues.
        progress.report(Event::Layer { layer, state: LayerState::Downloading(ingest.offset()) });
        let body = ResumingBody::new(self.client, self.repository, source, self.cancel, progress)
            .starting_at(ingest.offset(), ingest.known_bytes())
            .with_response(response);
        ingest.append(body, self.cancel, &mut |count| {
            progress.report(Event::Layer { layer, state: LayerState::Downloading(count) });
        })
    }
}

impl Client {
    /// Requests a blob of which only the digest is known, and returns its size with the response. The size comes from
    /// `Content-Length`; a body without it is read to its end and counted.
    pub(crate) fn measure(
        &self,
        repository: &mut Repository<'_>,
        digest: Digest,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<(u64, Option<Body>)> {
        let limit = self.options.limits.unpacked;
        let unmeasured = Descriptor { media_type: String::new(), digest, size: 0 };
        self.with_retries(repository, progress, |repository| {
            let (body, _) = repository.blob(&unmeasured, 0)?;
            match body.length() {
                Some(size) if size > limit => {
                    Err(Limits::exceeded_adjustable(Limit::Unpacked, "bytes of layers", limit))
                }
                Some(size) => Ok((size, Some(body))),
                None => count(body, digest, limit, cancel).map(|size| (size, None)),
            }
        })
    }
}

/// Reads a whole body to count its bytes, up to `limit`.
fn count(body: Body, digest: Digest, limit: u64, cancel: &Cancel) -> Result<u64> {
    let mut body = Verified::new(body, digest, Size::AtMost(limit, "bytes of layers"), cancel.clone());
    let drained = body.drain(&mut vec![0; 16 << 10]);
    drained.map_err(|e| Error::through_read(e, |e| Error::new(ErrorKind::Network, e.to_string())))?;
    Ok(body.count())
}
