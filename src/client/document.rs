//! Gets manifests and indexes from the registry, byte for byte. Nothing is stored.

use super::client::Client;
use super::resolved::{Resolved, verified_digest};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::json;
use crate::oci::reference::Reference;
use crate::progress::Progress;

/// A manifest or index as a registry has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawDocument {
    /// The digest of the bytes. For a signed manifest of Docker's schema 1, the digest of the signed payload.
    pub digest: Digest,
    /// The bytes as the registry sent them.
    pub bytes: Vec<u8>,
}

impl Client {
    /// Returns the digest that `name` points to. Sends one HEAD request, and a GET request if the registry does not
    /// answer that with a digest. For a tag, the digest is the registry's claim until the content is fetched. A digest in
    /// the name must exist in the registry.
    pub fn digest(&self, name: &Reference, progress: &dyn Progress) -> Result<Digest> {
        let digest = self.open(name, progress).and_then(|mut repository| {
            self.with_retries(&mut repository, progress, |repository| {
                let claimed = repository.digest(&name.selector())?;
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
