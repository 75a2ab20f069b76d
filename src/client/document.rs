//! Gets manifests, indexes and other small documents, byte for byte. Nothing is stored.

use super::client::Client;
use super::resolved::{Resolved, verified_digest};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::images::SourceDocument;
use crate::oci::descriptor::Descriptor;
use crate::oci::json;
use crate::oci::reference::Reference;
use crate::progress::Progress;
use crate::registry::Repository;
use crate::store::Store;

/// A manifest or index as a registry has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawDocument {
    /// The digest of the bytes. For a signed manifest of Docker's schema 1, the digest of the signed payload.
    pub digest: Digest,
    /// The bytes as the registry sent them.
    pub bytes: Vec<u8>,
}

/// Where the documents of an image come from.
pub(super) struct ContentSource<'a, 'r> {
    pub(super) repository: &'a mut Repository<'r>,
    /// Documents in this store are not requested.
    pub(super) known: Option<&'a Store>,
    pub(super) progress: &'a dyn Progress,
}

impl ContentSource<'_, '_> {
    /// Returns a document of the store.
    fn stored(&self, descriptor: &Descriptor, limit: usize) -> Option<Vec<u8>> {
        self.known?.document(descriptor, limit).ok()
    }
}

impl Client {
    /// Gets a manifest or index by digest from the store or the registry, verified.
    pub(super) fn manifest(
        &self,
        descriptor: &Descriptor,
        source: &mut ContentSource<'_, '_>,
    ) -> Result<SourceDocument> {
        if let Some(bytes) = source.stored(descriptor, self.options.limits.document) {
            return Ok(SourceDocument { bytes, content_type: String::new() });
        }
        self.with_retries(source.repository, source.progress, |repository| {
            let response = repository.manifest(&descriptor.digest.to_string())?;
            let bytes = self.verify(descriptor, response.bytes.as_slice())?;
            Ok(SourceDocument { bytes, content_type: response.content_type })
        })
    }

    /// Gets a small blob, such as a config, from the store or the registry, verified.
    pub(super) fn small_blob(&self, blob: &Descriptor, source: &mut ContentSource<'_, '_>) -> Result<Vec<u8>> {
        if let Some(bytes) = source.stored(blob, self.options.limits.document) {
            return Ok(bytes);
        }
        self.with_retries(source.repository, source.progress, |repository| {
            let (body, _) = repository.blob(blob, 0)?;
            self.verify(blob, body)
        })
    }

    /// Returns the digest that `name` points to. Sends one HEAD request, and a GET request if the registry does not
    /// answer that with a digest. For a tag, the digest is the registry's claim until the content is fetched. A digest in
    /// the name must exist in the registry.
    pub fn digest(&self, name: &Reference, progress: &dyn Progress) -> Result<Digest> {
        let digest = self.open(name, progress).and_then(|mut repository| {
            self.with_retries(&mut repository, progress, |repository| {
                let claimed = repository.digest(&name.selector(), None)?;
                if let Some(digest) = claimed
                    && name.digest().is_none_or(|pinned| *pinned == digest)
                {
                    return Ok(digest);
                }
                let response = repository.manifest(&name.selector())?;
                verified_digest(name, &response)
            })
        });
        digest.map_err(|e| e.context(format!("get the digest of {name}")))
    }

    /// Gets the manifest or index that `name` points to. A digest in the name is verified; the content is not parsed.
    pub fn document(&self, name: &Reference, progress: &dyn Progress) -> Result<RawDocument> {
        let document = self.open(name, progress).and_then(|mut repository| {
            self.with_retries(&mut repository, progress, |repository| {
                let response = repository.manifest(&name.selector())?;
                let digest = verified_digest(name, &response)?;
                Ok(RawDocument { digest, bytes: response.bytes })
            })
        });
        document.map_err(|e| e.context(format!("get the manifest of {name}")))
    }
}

impl RawDocument {
    /// The document indented for people, with control characters escaped. Fails with [`ErrorKind::Unsafe`] if it is not
    /// JSON.
    pub fn pretty(&self) -> Result<String> {
        json::pretty(&self.bytes).map_err(|why| Error::new(ErrorKind::Unsafe, format!("malformed manifest: {why}")))
    }
}

impl From<Resolved<'_>> for RawDocument {
    /// The manifest for the platform.
    fn from(resolved: Resolved<'_>) -> Self {
        Self { digest: resolved.manifest().digest, bytes: resolved.bytes().to_vec() }
    }
}
