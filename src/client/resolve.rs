//! What a name means at its registry: from a tag or digest through indexes to the manifest for one platform. Nothing is
//! written.

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
use crate::registry::{self, Repository};
use crate::store::Store;

/// What a name means at its registry, for one platform. Holds the session, so that a fetch goes on with its token.
pub struct Resolved<'a> {
    pub(crate) name: Reference,
    pub(crate) digest: Digest,
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
    pub(crate) content: ResolvedContent,
    /// Whether an index said that it is for this platform.
    pub(crate) is_chosen: bool,
    pub(crate) repository: Repository<'a>,
    pub(crate) progress: &'a dyn Progress,
}

/// What a manifest is of.
#[derive(Clone)]
pub(crate) enum ResolvedContent {
    Image(Manifest),
    /// An image whose manifest and config have to be made.
    Schema1(Schema1),
    Artifact(ArtifactManifest),
}

impl Client {
    /// Asks the registry what `name` is: one request, and one more for each index on the way. Documents that `known`
    /// has are not fetched again. Nothing is written.
    pub fn resolve<'a>(
        &'a self,
        name: &Reference,
        known: Option<&Store>,
        progress: &'a dyn Progress,
    ) -> Result<Resolved<'a>> {
        self.resolve_inner(name, known, progress).map_err(|e| e.context(format!("pull {name}")))
    }

    pub(crate) fn resolve_inner<'a>(
        &'a self,
        name: &Reference,
        known: Option<&Store>,
        progress: &'a dyn Progress,
    ) -> Result<Resolved<'a>> {
        let limits = self.options.bounds();
        let mut repository = self.open(name, progress)?;
        let (answer, digest) = self.ask(&mut repository, progress, |repository| {
            let answer = repository.manifest(&name.selector())?;
            let digest = proven_answer(name, &answer)?;
            Ok((answer, digest))
        })?;
        if schema1::is_schema_1(&answer.bytes, &answer.content_type) {
            return self.resolve_schema1(name, (answer, digest), repository, known, progress);
        }
        let (mut document, mut media_type) = Document::parse(&answer.bytes, &answer.content_type, None, limits)?;
        let mut bytes = answer.bytes;
        let mut descriptor = Descriptor { media_type: media_type.clone(), digest, size: bytes.len() as u64 };
        let mut is_chosen = false;
        for depth in 0.. {
            let content = match document {
                Document::Manifest(manifest) => {
                    if !self.options.foreign_layers {
                        manifest.expect_no_foreign_layer()?;
                    }
                    ResolvedContent::Image(manifest)
                }
                Document::Artifact(artifact) => ResolvedContent::Artifact(artifact),
                Document::Index(_) if depth == limits.index_depth => break,
                Document::Index(index) => {
                    let chosen = index.choose(&self.platform)?;
                    (descriptor, is_chosen) = (chosen.descriptor, chosen.has_platform);
                    let content_type;
                    (bytes, content_type) = self.document_of(&descriptor, &mut repository, known, progress)?;
                    let expected = Some(descriptor.media_type.as_str());
                    (document, media_type) = Document::parse(&bytes, &content_type, expected, limits)?;
                    descriptor.media_type.clone_from(&media_type);
                    continue;
                }
            };
            let name = name.clone();
            return Ok(Resolved { name, digest, descriptor, bytes, content, is_chosen, repository, progress });
        }
        Err(Limits::exceeded("indexes within each other", limits.index_depth))
    }

    /// Schema 1: what was made of it before, where that is known, else what it says itself.
    fn resolve_schema1<'a>(
        &self,
        name: &Reference,
        (answer, digest): (registry::ManifestResponse, Digest),
        repository: Repository<'a>,
        known: Option<&Store>,
        progress: &'a dyn Progress,
    ) -> Result<Resolved<'a>> {
        let limits = self.options.bounds();
        let payload = schema1::payload(&answer.bytes)?;
        progress.report(Event::Note(
            "this image has a manifest of Docker's schema 1, which is deprecated: push it anew with a current tool",
        ));
        let schema1 = Schema1::parse(&payload, limits)?;
        let name = name.clone();
        if let Some(made) = known.and_then(|store| find_converted(store, &digest, limits)) {
            let (descriptor, bytes, content) = (made.descriptor, made.bytes, ResolvedContent::Image(made.manifest));
            return Ok(Resolved { name, digest, descriptor, bytes, content, is_chosen: false, repository, progress });
        }
        let content = ResolvedContent::Schema1(schema1);
        let descriptor =
            Descriptor { media_type: media_type::essence(&answer.content_type), digest, size: payload.len() as u64 };
        let bytes = answer.bytes;
        Ok(Resolved { name, digest, descriptor, bytes, content, is_chosen: false, repository, progress })
    }

    /// The config of an image, from the store or the registry, verified and compared with its manifest.
    pub(crate) fn config(
        &self,
        resolved: &mut Resolved<'_>,
        manifest: &Manifest,
        known: Option<&Store>,
    ) -> Result<(Vec<u8>, ImageConfig)> {
        let (descriptor, limit) = (&manifest.config, self.options.bounds().document);
        let bytes = match known.and_then(|store| store.document(descriptor, limit).ok()) {
            Some(bytes) => bytes,
            None => {
                let fetched = self.ask(&mut resolved.repository, resolved.progress, |repository| {
                    let (body, _) = repository.blob(descriptor, 0)?;
                    self.verify(descriptor, body)
                });
                fetched.map_err(|e| e.context("config"))?
            }
        };
        let config = ImageConfig::parse(&bytes, manifest)?;
        self.check_platform(&config.platform, resolved)?;
        Ok((bytes, config))
    }

    /// A manifest that no index calls fitting may be for another machine. Where a platform was asked for that is an
    /// error, as with Docker.
    pub(crate) fn check_platform(&self, platform: &Platform, resolved: &Resolved<'_>) -> Result<()> {
        if resolved.is_chosen || platform.os().is_empty() || self.platform.rank(platform).is_some() {
            return Ok(());
        }
        let text = format!("the image is for {platform} and not for {}", self.platform);
        match self.options.platform {
            Some(_) => Err(Error::new(ErrorKind::Unsupported, text)),
            None => {
                resolved.progress.report(Event::Note(&text));
                Ok(())
            }
        }
    }

    /// A manifest or index by digest, from the store or the registry, verified.
    fn document_of(
        &self,
        descriptor: &Descriptor,
        repository: &mut Repository<'_>,
        known: Option<&Store>,
        progress: &dyn Progress,
    ) -> Result<(Vec<u8>, String)> {
        let limit = self.options.bounds().document;
        if let Some(bytes) = known.and_then(|store| store.document(descriptor, limit).ok()) {
            return Ok((bytes, String::new()));
        }
        self.ask(repository, progress, |repository| {
            let answer = repository.manifest(&descriptor.digest.to_string())?;
            let bytes = self.verify(descriptor, answer.bytes.as_slice())?;
            Ok((bytes, answer.content_type))
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

    /// The manifest for the platform, byte for byte as the registry has it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of config and layers together; of an artifact's blobs. 0 where a manifest of schema 1 does not tell.
    pub fn size(&self) -> u64 {
        match &self.content {
            ResolvedContent::Image(manifest) => manifest.size(),
            ResolvedContent::Schema1(_) => 0,
            ResolvedContent::Artifact(artifact) => artifact.size(),
        }
    }
}

/// The digest of what a tag gave, or the proof that a pinned digest gave just that. Of a signed manifest of schema 1 it is
/// that of what was signed.
pub(crate) fn proven_answer(name: &Reference, answer: &registry::ManifestResponse) -> Result<Digest> {
    match schema1::is_schema_1(&answer.bytes, &answer.content_type) {
        true => proven_digest(name, &schema1::payload(&answer.bytes)?),
        false => proven_digest(name, &answer.bytes),
    }
}

fn proven_digest(name: &Reference, bytes: &[u8]) -> Result<Digest> {
    match name.digest() {
        None => Ok(Digest::sha256(bytes)),
        Some(digest) if digest.matches(bytes) => Ok(*digest),
        Some(digest) => {
            let got = Digest::sha256(bytes);
            Err(Error::new(ErrorKind::Mismatch, format!("digest mismatch: expected {digest}, got {got}")))
        }
    }
}
