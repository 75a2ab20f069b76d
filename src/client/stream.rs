//! Unpacks an image in one pass while it arrives. No blob is kept, and nothing but the tree is written. The bytes are not
//! verified before they are unpacked, so the tree is published only after every digest and diff_id was verified.

use std::path::Path;

use super::body::{BlobSource, ResumingBody};
use super::client::Client;
use super::gate::Admitted;
use super::pull::report_pulling;
use super::resolved::{ImageManifest, Resolved};
use super::retry::MismatchRetry;
use crate::advice::Advice;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::images::{Assembly, ImageLayer, Need, UnpackOptions, check_space, image_layers, least_tree};
use crate::oci::reference::Reference;
use crate::progress::{Event, LayerState, Progress};
use crate::unpack::Tally;
use crate::verify::{Size, Verified};

/// The result of a streamed unpacking.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Streamed {
    /// The digest that the name resolved to: that of an index, or the manifest's own.
    pub digest: Digest,
    /// Counts of what was unpacked and left out.
    pub tally: Tally,
}

impl Client {
    /// Unpacks an image into `target`, which must not exist or be an empty folder, while it arrives: one layer after the
    /// other, without a store. A response that breaks off is resumed within this call; a later call starts from the
    /// beginning. Fails with [`ErrorKind::Unsupported`] for an image of Docker's schema 1, because its manifest has no
    /// diff_ids.
    pub fn stream(
        &self,
        name: &Reference,
        target: &Path,
        options: &UnpackOptions,
        progress: &dyn Progress,
    ) -> Result<Streamed> {
        report_pulling(name, progress);
        let resolved = self.find_manifest(name, None, progress);
        let streamed = resolved
            .and_then(|resolved| self.admit_resolved(resolved, None))
            .and_then(|admitted| self.stream_admitted(admitted, target, options));
        streamed.map_err(|e| e.context(format!("unpack {name}")))
    }

    /// Unpacks what was admitted.
    pub(crate) fn stream_admitted(
        &self,
        admitted: Admitted<'_>,
        target: &Path,
        options: &UnpackOptions,
    ) -> Result<Streamed> {
        let mut resolved = admitted.into_resolved();
        let ImageManifest::Schema2(manifest) = resolved.image_manifest()?.clone() else {
            let text = "an image with a manifest of Docker's schema 1 cannot be streamed";
            return Err(Error::new(ErrorKind::Unsupported, text).with_advice(Advice::UnpackFromStore));
        };
        let config = self.config(&mut resolved, &manifest, None)?;
        let layers = image_layers(&manifest, &config.parsed);
        check_space(&[Need { path: target, bytes: least_tree(&layers), files: 0 }])?;
        let bytes = layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.descriptor.blob.size));
        let count = layers.len();
        let plan = Event::Plan { layers: count, size: bytes, missing: count, bytes, kept: 0, is_resumable: false };
        resolved.progress.report(plan);
        let mut mismatches = MismatchRetry::default();
        loop {
            match self.stream_tree(&mut resolved, &layers, target, options) {
                Ok(tally) => {
                    self.keep_versions(&resolved, None)?;
                    return Ok(Streamed { digest: resolved.digest, tally });
                }
                Err(error) if mismatches.should_repeat(&error, &mut resolved.repository) => {
                    resolved.progress.report(Event::Warning(&format!("starting over: {error}")));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Unpacks all layers into a new tree and publishes it.
    fn stream_tree(
        &self,
        resolved: &mut Resolved<'_>,
        layers: &[ImageLayer<'_>],
        target: &Path,
        options: &UnpackOptions,
    ) -> Result<Tally> {
        let mut assembly = Assembly::begin(target, options, resolved.progress)?;
        for layer in layers {
            resolved.progress.report(Event::Layer { layer: layer.layer, state: LayerState::Waiting });
        }
        for layer in layers {
            let streamed = self.stream_layer(resolved, layer, &mut assembly);
            streamed.map_err(|e| e.context(layer.layer.label()))?;
        }
        assembly.publish()
    }

    /// Unpacks one layer from the socket to the tree.
    fn stream_layer(
        &self,
        resolved: &mut Resolved<'_>,
        layer: &ImageLayer<'_>,
        assembly: &mut Assembly<'_>,
    ) -> Result<()> {
        let cancel = &self.options.cancel;
        let blob = &layer.descriptor.blob;
        let source = BlobSource::unpacked_layer(layer.descriptor);
        let body = ResumingBody::new(self, &mut resolved.repository, source, cancel, resolved.progress);
        let mut bytes = Verified::new(body, blob.digest, Size::Exactly(blob.size), cancel.clone());
        let applied = assembly.apply(layer, &mut bytes);
        if let Err(error) = &applied
            && (!matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Unsafe) || !error.may_be_retried())
        {
            return applied;
        }
        // A wrong digest explains a broken archive, so it is the error to return.
        match (applied, verify_rest(bytes)) {
            (Err(_), Err(mismatch)) if mismatch.kind() == ErrorKind::Mismatch => return Err(mismatch),
            // The blob is what the manifest names, so another download would not help.
            (Err(error), Ok(())) => return Err(error.finally()),
            (applied, verified) => applied.and(verified)?,
        }
        resolved.progress.report(Event::Layer { layer: layer.layer, state: LayerState::Complete });
        Ok(())
    }
}

/// Reads what is left of a blob and verifies all of it.
fn verify_rest(mut bytes: Verified<ResumingBody<'_, '_>>) -> Result<()> {
    let unread = |e| Error::through_read(e, |e| Error::new(ErrorKind::Network, e.to_string()));
    bytes.drain(&mut vec![0; 16 << 10]).map_err(unread)?;
    bytes.finish().map(drop)
}
