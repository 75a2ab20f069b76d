//! Images of Docker's schema 1 as images of today: what their manifest does not tell is computed from the layers, and
//! the config and manifest that are made of it lie in the store like any others. Fetches nothing.

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
use crate::store::Store;
use crate::verify::{Size, Verified};

/// A manifest that was made here.
pub(crate) struct ConvertedManifest {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
    pub(crate) manifest: Manifest,
}

/// What an earlier pull made of the schema 1 manifest of this digest: any name's entry that resolved to it will do. The
/// config must be there too, for no registry has it. `None` where something is missing or damaged: it is made anew.
pub(crate) fn find_converted(store: &Store, digest: &Digest, limits: &Limits) -> Option<ConvertedManifest> {
    let entries = store.entries().ok()?.into_iter();
    let mut candidates = entries.filter(|entry| entry.resolved == *digest && entry.manifest.digest != *digest);
    candidates.find_map(|entry| {
        let bytes = store.document(&entry.manifest, limits.document).ok()?;
        let made = parse(entry.manifest, bytes, limits).ok()?;
        store.document(&made.manifest.config, limits.document).is_ok().then_some(made)
    })
}

/// Makes config and manifest of an image whose layers, blobs of these digests and sizes, are in the store.
pub(crate) fn convert_schema1(
    schema1: &Schema1,
    blobs: &[(Digest, u64)],
    store: &Store,
    (limits, cancel): (&Limits, &Cancel),
) -> Result<ConvertedManifest> {
    let (mut layers, mut diff_ids, mut unpacked) = (Vec::new(), Vec::new(), 0);
    for (digest, size) in blobs {
        let blob = Descriptor { media_type: String::new(), digest: *digest, size: *size };
        let left = limits.unpacked.saturating_sub(unpacked);
        let content = identify(&blob, store, left, (limits, cancel)).map_err(|e| e.context(digest.short()))?;
        let compression = content.compression;
        layers.push(LayerDescriptor { blob, compression, urls: Vec::new() });
        diff_ids.push(content.diff_id);
        unpacked += content.size;
    }
    let config_bytes = schema1.config(&diff_ids);
    let config = Descriptor {
        media_type: media_type::OCI_CONFIG.to_owned(),
        digest: Digest::sha256(&config_bytes),
        size: config_bytes.len() as u64,
    };
    let (descriptor, bytes) = Manifest { config: config.clone(), layers }.to_oci();
    store.put(&config, &config_bytes, cancel)?;
    store.put(&descriptor, &bytes, cancel)?;
    parse(descriptor, bytes, limits)
}

/// Reads a layer for its diff_id, and proves it anew: what lies in the store may have been damaged, and what is
/// computed from it here would make that the truth.
fn identify(
    blob: &Descriptor,
    store: &Store,
    left: u64,
    (limits, cancel): (&Limits, &Cancel),
) -> Result<IdentifiedLayer> {
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
        _ => Err(Error::new(ErrorKind::Internal, "make a manifest of schema 1: it is none")),
    }
}
