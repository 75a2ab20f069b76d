//! Proves that a digest leads to a manifest: the digest is the manifest's own, or that of an index in the store that names
//! the manifest, or that of the registry's document from which the manifest was converted. Every document on the way is read
//! from the store and verified. Annotations of `index.json` prove nothing, because anyone can write them.

use std::collections::HashSet;

#[cfg(feature = "manage")]
use crate::cancel::Cancel;
use crate::digest::Digest;
#[cfg(feature = "manage")]
use crate::error::Result;
use crate::limits::Limits;
use crate::oci::config::ImageConfig;
use crate::oci::descriptor::Descriptor;
use crate::oci::document::Document;
use crate::oci::manifest::Manifest;
use crate::oci::schema1::{self, Schema1};
use crate::store::Store;
#[cfg(feature = "manage")]
use crate::store::linked_blobs;

/// Returns true if `digest` leads to `manifest`, whose content is `parsed`. A missing or damaged document on the way means
/// false.
pub(crate) fn leads_to(
    store: &Store,
    digest: &Digest,
    manifest: &Descriptor,
    parsed: &Manifest,
    limits: &Limits,
) -> bool {
    let mut chain = Chain { store, manifest, parsed, limits, seen: HashSet::new() };
    chain.reaches(digest, limits.index_depth)
}

struct Chain<'a> {
    store: &'a Store,
    manifest: &'a Descriptor,
    parsed: &'a Manifest,
    limits: &'a Limits,
    /// Each document is read once, however often the indexes name it.
    seen: HashSet<Digest>,
}

impl Chain<'_> {
    /// `depth` is the number of indexes that may still be followed.
    fn reaches(&mut self, digest: &Digest, depth: usize) -> bool {
        if *digest == self.manifest.digest {
            return true;
        }
        if !self.seen.insert(*digest) {
            return false;
        }
        let Some(bytes) = read_document(self.store, digest, self.limits) else { return false };
        if schema1::is_schema_1(&bytes, "") {
            return self.is_conversion_of_schema1(&bytes);
        }
        match Document::parse(&bytes, "", None, self.limits) {
            Ok((Document::Manifest(source), _)) => source.to_oci().0.digest == self.manifest.digest,
            Ok((Document::Index(index), _)) => depth > 0 && index.digests().any(|child| self.reaches(child, depth - 1)),
            _ => false,
        }
    }

    /// A conversion has the layers of the schema 1 manifest, and the config that their diff_ids make of it.
    fn is_conversion_of_schema1(&self, payload: &[u8]) -> bool {
        let Ok(schema1) = Schema1::parse(payload, self.limits) else { return false };
        let config = self.store.document(&self.parsed.config, self.limits.document);
        let Ok(config) = config.and_then(|bytes| ImageConfig::parse(&bytes, self.parsed)) else { return false };
        let layers = self.parsed.layers.iter().map(|layer| &layer.blob.digest);
        layers.eq(&schema1.layers) && self.parsed.config.digest == Digest::sha256(&schema1.config(&config.diff_ids))
    }
}

/// Reads a small blob by its digest alone, and verifies it. `None` if it is missing, damaged or too large.
pub(super) fn read_document(store: &Store, digest: &Digest, limits: &Limits) -> Option<Vec<u8>> {
    let size = store.size(digest).ok()??;
    let descriptor = Descriptor { media_type: String::new(), digest: *digest, size };
    store.document(&descriptor, limits.document).ok()
}

/// Lists the document with this digest and the indexes below it, as deep as the limit allows. Each is read and listed once,
/// however often the indexes name it. `read` returns a verified document, and `None` for one to leave out.
#[cfg(feature = "manage")]
pub(super) fn documents_below(
    digest: &Digest,
    limits: &Limits,
    cancel: &Cancel,
    read: &dyn Fn(&Digest) -> Result<Option<Vec<u8>>>,
) -> Result<Vec<Descriptor>> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut level = vec![*digest];
    for depth in 0..=limits.index_depth {
        let mut next = Vec::new();
        for digest in level {
            cancel.check()?;
            if !seen.insert(digest) {
                continue;
            }
            let Some(bytes) = read(&digest)? else { continue };
            let manifests = linked_blobs(&bytes).and_then(|links| links.manifests);
            if manifests.is_some() || depth == 0 {
                found.push(Descriptor { media_type: String::new(), digest, size: bytes.len() as u64 });
                next.extend(manifests.unwrap_or_default());
            }
        }
        level = next;
    }
    Ok(found)
}
