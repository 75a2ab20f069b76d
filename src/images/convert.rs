//! Converts images of Docker's schema 1: sizes and diff_ids, which their manifest does not have, are computed from the
//! layers, and the resulting config and manifest are stored like any others. Nothing is fetched.

use std::collections::BTreeMap;

use super::chain::leads_to;
use crate::advice::Advice;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::{self, IdentifiedLayer};
use crate::limits::Limits;
use crate::oci::descriptor::Descriptor;
use crate::oci::document::Document;
use crate::oci::manifest::{LayerDescriptor, Manifest};
use crate::oci::media_type;
use crate::oci::schema1::Schema1;
use crate::store::{ImageEntry, LockWait, Store};
use crate::verify::{Size, Verified};

/// A manifest that was made by a conversion.
pub(crate) struct ConvertedManifest {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
    pub(crate) manifest: Manifest,
}

/// Finds the manifest that an earlier pull made from the schema 1 manifest with this digest, under any name. `None` if the
/// manifest or its config is missing or damaged; then the conversion is done again.
pub(crate) fn find_converted(store: &Store, digest: &Digest, limits: &Limits) -> Option<ConvertedManifest> {
    // The annotation only narrows the search; the chain of documents is the proof.
    let is_candidate = |entry: &ImageEntry| entry.resolved == *digest && entry.manifest.digest != *digest;
    for entry in store.entries_where(is_candidate).ok()? {
        let Ok(bytes) = store.document(&entry.manifest, limits.document) else { continue };
        let Ok(converted) = parse(entry.manifest, bytes, limits) else { continue };
        if leads_to(store, digest, &converted.descriptor, &converted.manifest, limits) {
            return Some(converted);
        }
    }
    None
}

/// Makes config and manifest of an image whose layers are in the store. `blobs` are their digests and sizes.
pub(crate) fn convert_schema1(
    schema1: &Schema1,
    blobs: &[(Digest, u64)],
    store: &Store,
    limits: &Limits,
    wait: LockWait<'_>,
) -> Result<ConvertedManifest> {
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    let mut unpacked = 0;
    for (digest, size) in blobs {
        let blob = Descriptor { media_type: String::new(), digest: *digest, size: *size };
        let left = limits.unpacked.saturating_sub(unpacked);
        let content = identify(&blob, store, left, limits, wait.cancel).map_err(|e| e.context(digest.short()))?;
        let compression = content.compression;
        layers.push(LayerDescriptor { blob, compression, urls: Vec::new(), may_use_urls: false });
        diff_ids.push(content.diff_id);
        unpacked += content.size;
    }
    let config_bytes = schema1.config(&diff_ids);
    let config = Descriptor {
        media_type: media_type::OCI_CONFIG.to_owned(),
        digest: Digest::sha256(&config_bytes),
        size: config_bytes.len() as u64,
    };
    let (descriptor, bytes) = Manifest { config: config.clone(), layers, annotations: BTreeMap::new() }.to_oci();
    store.put(&config, &config_bytes, wait)?;
    store.put(&descriptor, &bytes, wait)?;
    parse(descriptor, bytes, limits)
}

/// Computes the diff_id of a layer. The blob is verified again, because it may have been damaged in the store, and the
/// diff_id of a damaged blob would make the damage a part of the image.
fn identify(blob: &Descriptor, store: &Store, left: u64, limits: &Limits, cancel: &Cancel) -> Result<IdentifiedLayer> {
    let read = |e| Error::through_read(e, |e| Error::disk("read", "blob", e));
    let mut file = Verified::new(store.blob(blob)?, blob.digest, Size::Exactly(blob.size), cancel.clone());
    let content = layer::identify(&mut file, left, limits, cancel);
    file.drain(&mut [0; 4096]).map_err(read)?;
    file.finish().map_err(|e| e.with_advice(Advice::RepairStore))?;
    content
}

fn parse(descriptor: Descriptor, bytes: Vec<u8>, limits: &Limits) -> Result<ConvertedManifest> {
    match Document::parse(&bytes, &descriptor.media_type, None, limits)? {
        (Document::Manifest(manifest), _) => Ok(ConvertedManifest { descriptor, bytes, manifest }),
        _ => {
            Err(Error::new(ErrorKind::Internal, "convert a manifest of schema 1: the result is not an image manifest"))
        }
    }
}
