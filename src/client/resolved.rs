//! The result of resolving a name.

use std::fmt;

#[cfg(not(feature = "trust"))]
use super::no_trust::Evidence;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
#[cfg(feature = "trust")]
use crate::images::Evidence;
use crate::images::StoredDocument;
use crate::oci::artifact::ArtifactManifest;
use crate::oci::descriptor::Descriptor;
use crate::oci::manifest::Manifest;
use crate::oci::reference::Reference;
use crate::oci::schema1::{self, Schema1};
use crate::progress::Progress;
use crate::registry::{ManifestResponse, Repository};

/// The result of resolving a name for one platform. It holds the session with the registry, so that a fetch reuses its
/// connection and its token.
pub struct Resolved<'a> {
    pub(crate) name: Reference,
    pub(crate) digest: Digest,
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
    pub(crate) content: ResolvedContent,
    /// The documents that led from the digest to the manifest: indexes, or the signed payload of schema 1.
    pub(crate) documents: Vec<StoredDocument>,
    /// Whether the manifest was chosen from an index, which says that it fits the platform.
    pub(crate) is_chosen: bool,
    /// The signatures that prove it, if they were demanded and found.
    pub(crate) evidence: Option<Evidence>,
    pub(crate) repository: Repository<'a>,
    pub(crate) progress: &'a dyn Progress,
}

/// An image or an artifact.
#[derive(Clone)]
pub(crate) enum ResolvedContent {
    Image(ImageManifest),
    Artifact(ArtifactManifest),
}

/// The manifest of an image.
#[derive(Clone)]
pub(crate) enum ImageManifest {
    /// Docker's schema 2 or OCI.
    Schema2(Manifest),
    /// Docker's schema 1: manifest and config have to be made from the layers.
    Schema1(Schema1),
}

impl Resolved<'_> {
    /// The digest that the name resolved to: that of an index, or the manifest's own.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The manifest for the platform.
    pub fn manifest(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The bytes of the manifest for the platform, as the registry has them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The size of config and layers together, or of an artifact's blobs, in bytes. It is 0 for a manifest of schema 1,
    /// which has no sizes.
    pub fn size(&self) -> u64 {
        match &self.content {
            ResolvedContent::Image(ImageManifest::Schema2(manifest)) => manifest.size(),
            ResolvedContent::Image(ImageManifest::Schema1(_)) => 0,
            ResolvedContent::Artifact(artifact) => artifact.size(),
        }
    }

    /// The manifest of the image. Fails with [`ErrorKind::Unsupported`] for an artifact.
    pub(crate) fn image_manifest(&self) -> Result<&ImageManifest> {
        match &self.content {
            ResolvedContent::Image(manifest) => Ok(manifest),
            ResolvedContent::Artifact(artifact) => Err(artifact.not_an_image(&self.name.familiar())),
        }
    }
}

impl fmt::Debug for Resolved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Resolved");
        shown.field("name", &self.name).field("digest", &self.digest).field("manifest", &self.descriptor);
        shown.finish_non_exhaustive()
    }
}

/// The digest of a response, which is verified if the name has a digest. For a signed manifest of schema 1 it is the
/// digest of the signed payload.
pub(crate) fn verified_digest(name: &Reference, response: &ManifestResponse) -> Result<Digest> {
    if schema1::is_schema_1(&response.bytes, &response.content_type) {
        return verify_pinned(name, &schema1::payload(&response.bytes)?);
    }
    verify_pinned(name, &response.bytes)
}

fn verify_pinned(name: &Reference, bytes: &[u8]) -> Result<Digest> {
    let Some(expected) = name.digest() else { return Ok(Digest::sha256(bytes)) };
    if expected.matches(bytes) {
        return Ok(*expected);
    }
    let got = Digest::sha256(bytes);
    Err(Error::new(ErrorKind::Mismatch, format!("digest mismatch: expected {expected}, got {got}")))
}
