//! Resolves a name at its registry: from a tag or digest, through indexes, to the manifest for one platform. Nothing is
//! written.

use std::fmt;

use super::client::Client;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::images::find_converted;
use crate::limits::Limits;
use crate::oci::artifact::ArtifactManifest;
use crate::oci::config::ImageConfig;
use crate::oci::descriptor::Descriptor;
use crate::oci::document::Document;
use crate::oci::manifest::Manifest;
use crate::oci::media_type;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::oci::schema1::{self, Schema1};
use crate::progress::{Event, Progress};
use crate::registry::{ManifestResponse, Repository};
use crate::store::Store;

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

/// A small blob for the store.
pub(crate) struct StoredDocument {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
}

/// A config as the registry has it, and what it says.
pub(crate) struct FetchedConfig {
    pub(crate) bytes: Vec<u8>,
    pub(crate) parsed: ImageConfig,
}

/// A manifest or index on the way from a name to a manifest.
struct Fetched {
    bytes: Vec<u8>,
    /// The `Content-Type` of the response; empty if the document came from the store.
    content_type: String,
}

impl Client {
    /// Asks the registry what `name` means: one request, and one more for each index on the way. Documents that `known`
    /// has are not fetched again. Nothing is written.
    pub fn resolve<'a>(
        &'a self,
        name: &Reference,
        known: Option<&Store>,
        progress: &'a dyn Progress,
    ) -> Result<Resolved<'a>> {
        self.find_manifest(name, known, progress).map_err(|e| e.context(format!("pull {name}")))
    }

    /// [`resolve`](Self::resolve) for callers that add their own context to errors.
    pub(crate) fn find_manifest<'a>(
        &'a self,
        name: &Reference,
        known: Option<&Store>,
        progress: &'a dyn Progress,
    ) -> Result<Resolved<'a>> {
        let limits = &self.options.limits;
        let mut repository = self.open(name, progress)?;
        let (response, digest) = self.with_retries(&mut repository, progress, |repository| {
            let response = repository.manifest(&name.selector())?;
            let digest = verified_digest(name, &response)?;
            Ok((response, digest))
        })?;
        if schema1::is_schema_1(&response.bytes, &response.content_type) {
            return self.resolve_schema1(name, digest, response, repository, known, progress);
        }
        let ManifestResponse { mut bytes, content_type } = response;
        let (mut document, media_type) = Document::parse(&bytes, &content_type, None, limits)?;
        let mut descriptor = Descriptor { media_type, digest, size: bytes.len() as u64 };
        let mut is_chosen = false;
        let mut documents = Vec::new();
        for depth in 0.. {
            let index = match document {
                Document::Index(index) => index,
                Document::Manifest(manifest) => {
                    let content = ResolvedContent::Image(ImageManifest::Schema2(manifest));
                    let name = name.clone();
                    return Ok(Resolved {
                        name,
                        digest,
                        descriptor,
                        bytes,
                        content,
                        documents,
                        is_chosen,
                        repository,
                        progress,
                    });
                }
                Document::Artifact(artifact) => {
                    let content = ResolvedContent::Artifact(artifact);
                    let name = name.clone();
                    return Ok(Resolved {
                        name,
                        digest,
                        descriptor,
                        bytes,
                        content,
                        documents,
                        is_chosen,
                        repository,
                        progress,
                    });
                }
            };
            if depth == limits.index_depth {
                break;
            }
            let chosen = index.choose(&self.platform)?;
            documents.push(StoredDocument { descriptor, bytes });
            (descriptor, is_chosen) = (chosen.descriptor, chosen.has_platform);
            let fetched = self.fetch_document(&descriptor, &mut repository, known, progress)?;
            let expected = Some(descriptor.media_type.as_str());
            let (next, media_type) = Document::parse(&fetched.bytes, &fetched.content_type, expected, limits)?;
            (document, bytes) = (next, fetched.bytes);
            descriptor.media_type = media_type;
        }
        Err(Limits::exceeded("nested indexes", limits.index_depth))
    }

    /// Resolves a manifest of schema 1: to the manifest that an earlier pull made from it, if the store has it, else to
    /// the manifest of schema 1 itself.
    fn resolve_schema1<'a>(
        &self,
        name: &Reference,
        digest: Digest,
        response: ManifestResponse,
        repository: Repository<'a>,
        known: Option<&Store>,
        progress: &'a dyn Progress,
    ) -> Result<Resolved<'a>> {
        let limits = &self.options.limits;
        let payload = schema1::payload(&response.bytes)?;
        progress.report(Event::Note(
            "this image has a manifest of Docker's schema 1, which is deprecated: push it again with a current tool",
        ));
        let schema1 = Schema1::parse(&payload, limits)?;
        let name = name.clone();
        let is_chosen = false;
        let media_type = media_type::essence(&response.content_type);
        let descriptor = Descriptor { media_type, digest, size: payload.len() as u64 };
        let documents = vec![StoredDocument { descriptor: descriptor.clone(), bytes: payload }];
        if let Some(converted) = known.and_then(|store| find_converted(store, &digest, limits)) {
            let (descriptor, bytes) = (converted.descriptor, converted.bytes);
            let content = ResolvedContent::Image(ImageManifest::Schema2(converted.manifest));
            return Ok(Resolved {
                name,
                digest,
                descriptor,
                bytes,
                content,
                documents,
                is_chosen,
                repository,
                progress,
            });
        }
        let content = ResolvedContent::Image(ImageManifest::Schema1(schema1));
        Ok(Resolved {
            name,
            digest,
            descriptor,
            bytes: response.bytes,
            content,
            documents,
            is_chosen,
            repository,
            progress,
        })
    }

    /// Gets the config of an image from the store or the registry, verifies it, and checks it against the manifest.
    pub(crate) fn config(
        &self,
        resolved: &mut Resolved<'_>,
        manifest: &Manifest,
        known: Option<&Store>,
    ) -> Result<FetchedConfig> {
        let descriptor = &manifest.config;
        let limit = self.options.limits.document;
        let stored = known.and_then(|store| store.document(descriptor, limit).ok());
        let bytes = match stored {
            Some(bytes) => bytes,
            None => self
                .with_retries(&mut resolved.repository, resolved.progress, |repository| {
                    let (body, _) = repository.blob(descriptor, 0)?;
                    self.verify(descriptor, body)
                })
                .map_err(|e| e.context("config"))?,
        };
        let parsed = ImageConfig::parse(&bytes, manifest)?;
        self.check_platform(&parsed.platform, resolved)?;
        Ok(FetchedConfig { bytes, parsed })
    }

    /// Checks that the image is for the client's platform. A manifest that was not chosen from an index may be for
    /// another one. If the caller asked for a platform, that is an error, as with Docker; else it is a note.
    pub(crate) fn check_platform(&self, platform: &Platform, resolved: &Resolved<'_>) -> Result<()> {
        if resolved.is_chosen || platform.os().is_empty() || self.platform.rank(platform).is_some() {
            return Ok(());
        }
        let text = format!("the image is for {platform} and not for {}", self.platform);
        if self.options.platform.is_some() {
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        resolved.progress.report(Event::Note(&text));
        Ok(())
    }

    /// Gets a manifest or index by digest from the store or the registry, verified.
    fn fetch_document(
        &self,
        descriptor: &Descriptor,
        repository: &mut Repository<'_>,
        known: Option<&Store>,
        progress: &dyn Progress,
    ) -> Result<Fetched> {
        let limit = self.options.limits.document;
        if let Some(bytes) = known.and_then(|store| store.document(descriptor, limit).ok()) {
            return Ok(Fetched { bytes, content_type: String::new() });
        }
        self.with_retries(repository, progress, |repository| {
            let response = repository.manifest(&descriptor.digest.to_string())?;
            let bytes = self.verify(descriptor, response.bytes.as_slice())?;
            Ok(Fetched { bytes, content_type: response.content_type })
        })
    }
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
