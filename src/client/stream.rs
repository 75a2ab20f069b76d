//! One pass from the registry to a tree: no blob is kept, and nothing is written but the tree. What flows into it was not
//! proven before, so the wall stands at the end: it is published only when every digest and diff_id is.

use std::io::{self, Read};
use std::path::Path;

use super::client::Client;
use super::resolve::{Resolved, ResolvedContent};
use super::retry::RetryState;
use crate::advice::Advice;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::images::Assembly;
use crate::images::UnpackOptions;
use crate::images::{Need, check_space, least_tree};
use crate::oci::descriptor::Descriptor;
use crate::oci::manifest;
use crate::oci::reference::Reference;
use crate::progress::{Event, Layer, LayerState, Progress};
use crate::registry::{Body, Repository};
use crate::unpack::Tally;
use crate::verify::{Size, Verified};

/// The result of a streamed unpacking.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Streamed {
    /// The digest that the name resolved to: that of an index, or the manifest's own.
    pub digest: Digest,
    /// What was done and left out.
    pub tally: Tally,
}

impl Client {
    /// Unpacks an image into `target`, which must not exist or be an empty folder, while it arrives: one layer after the
    /// other, with no store. A body that breaks off goes on from where it was, as long as this runs; what is left of an
    /// earlier run is of no use to it. Fails with [`ErrorKind::Unsupported`] for an image of Docker's schema 1, whose
    /// diff_ids nothing tells beforehand.
    pub fn stream(
        &self,
        name: &Reference,
        target: &Path,
        options: &UnpackOptions,
        progress: &dyn Progress,
    ) -> Result<Streamed> {
        self.tell_pulling(name, progress);
        let streamed = self
            .resolve_inner(name, None, progress)
            .and_then(|resolved| self.stream_resolved(resolved, target, options));
        streamed.map_err(|e| e.context(format!("unpack {name}")))
    }

    /// Unpacks what was resolved.
    pub(crate) fn stream_resolved(
        &self,
        mut resolved: Resolved<'_>,
        target: &Path,
        options: &UnpackOptions,
    ) -> Result<Streamed> {
        let manifest = match &resolved.content {
            ResolvedContent::Image(manifest) => manifest.clone(),
            ResolvedContent::Artifact(artifact) => return Err(artifact.not_an_image(&resolved.name.familiar())),
            ResolvedContent::Schema1(_) => {
                let text = "an image with a manifest of Docker's schema 1 cannot be streamed";
                return Err(Error::new(ErrorKind::Unsupported, text).with_advice(Advice::UnpackFromStore));
            }
        };
        let progress = resolved.progress;
        let (_, config) = self.config(&mut resolved, &manifest, None)?;
        let need = Need { path: target, bytes: least_tree(&manifest), files: 0 };
        check_space(&[need])?;
        let mut assembly = Assembly::begin(target, options, progress)?;
        for (layer, _) in manifest.placed() {
            progress.report(Event::Layer { layer, state: LayerState::Waiting });
        }
        for ((layer, described), diff_id) in manifest.placed().zip(&config.diff_ids) {
            let flowed =
                self.stream_layer(&mut resolved.repository, (layer, described), *diff_id, &mut assembly, progress);
            flowed.map_err(|e| e.context(layer.label()))?;
        }
        Ok(Streamed { digest: resolved.digest, tally: assembly.publish()? })
    }

    /// One layer, from the socket to the tree.
    fn stream_layer(
        &self,
        repository: &mut Repository<'_>,
        (layer, described): (Layer, &manifest::LayerDescriptor),
        diff_id: Digest,
        assembly: &mut Assembly<'_>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let (cancel, blob) = (&self.options.cancel, &described.blob);
        let retry = self.retry(progress);
        let urls = &described.urls;
        let body = ResumingBody { repository, cancel, blob, urls, retry, body: None, at: 0, begun: 0 };
        let mut bytes = Verified::new(body, blob.digest, Size::Exactly(blob.size), cancel.clone());
        let applied = assembly.apply(layer, (described.compression, diff_id), &mut bytes);
        if applied.as_ref().is_err_and(|e| !matches!(e.kind(), ErrorKind::Mismatch | ErrorKind::Unsafe)) {
            return applied;
        }
        // What broke the archive may be what the digest tells.
        match (applied, prove(bytes)) {
            (Err(_), Err(told)) if told.kind() == ErrorKind::Mismatch => return Err(told),
            (applied, proven) => applied.and(proven)?,
        }
        progress.report(Event::Layer { layer, state: LayerState::Complete });
        Ok(())
    }
}

/// Reads what is left and proves the whole.
fn prove(mut bytes: Verified<ResumingBody<'_, '_>>) -> Result<()> {
    bytes.drain(&mut vec![0; 16 << 10]).map_err(|e| Error::through_read(e, unread))?;
    bytes.finish().map(drop)
}

/// The bytes of a blob as they arrive, over as many answers as it takes.
struct ResumingBody<'f, 'r> {
    repository: &'f mut Repository<'r>,
    cancel: &'f Cancel,
    blob: &'f Descriptor,
    /// Where a foreign layer may be had.
    urls: &'f [String],
    retry: RetryState<'f>,
    body: Option<Body>,
    at: u64,
    /// Where the answer that is being read began.
    begun: u64,
}

impl ResumingBody<'_, '_> {
    fn step(&mut self, buf: &mut [u8]) -> Result<usize> {
        let mut body = match self.body.take() {
            Some(body) => body,
            None => self.open()?,
        };
        let n = body.read(buf).map_err(|e| Error::through_read(e, unread))?;
        self.body = Some(body);
        self.at += n as u64;
        Ok(n)
    }

    /// Asks for what is missing. A server that begins at the start has that part read over: it was hashed, and used.
    fn open(&mut self) -> Result<Body> {
        self.cancel.check()?;
        let (mut body, start) = self.repository.layer(self.blob, self.urls, self.at)?;
        let known = self.at - start;
        let skipped = io::copy(&mut (&mut body).take(known), &mut io::sink());
        match skipped.map_err(|e| Error::through_read(e, unread))? == known {
            true => Ok(body),
            false => Err(Error::new(ErrorKind::Network, "the body ended too soon")),
        }
    }
}

impl Read for ResumingBody<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let error = match self.step(buf) {
                Ok(n) => return Ok(n),
                Err(error) => error,
            };
            if !self.repository.fail_over(&error) {
                self.retry.progressed(self.at - self.begun, self.blob.size - self.begun);
                self.retry.wait_or_fail(error)?;
            }
            self.begun = self.at;
        }
    }
}

fn unread(error: io::Error) -> Error {
    Error::new(ErrorKind::Network, error.to_string())
}
