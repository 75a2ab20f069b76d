//! Resolves a name at its registry: from a tag or digest, through indexes, to the manifest for one platform. Nothing is
//! written.

use super::client::Client;
use super::document::ContentSource;
#[cfg(not(feature = "trust"))]
use super::no_trust::Evidence;
use super::resolved::{ImageManifest, Resolved, ResolvedContent, verified_digest};
use crate::digest::Digest;
use crate::error::Result;
#[cfg(feature = "trust")]
use crate::images::Evidence;
use crate::images::{ChosenContent, DocumentSource, SourceDocument, StoredDocument, choose, find_converted};
use crate::oci::config::ImageConfig;
use crate::oci::descriptor::Descriptor;
use crate::oci::document::Document;
use crate::oci::manifest::Manifest;
use crate::oci::media_type;
use crate::oci::reference::Reference;
use crate::oci::schema1::{self, Schema1};
use crate::progress::{Event, Progress};
use crate::registry::{ManifestResponse, Repository};
use crate::store::Store;

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
        if let Some(store) = known {
            self.read_time(store);
        }
        Resolver::new(self, name, known, progress)?.resolve()
    }
}

/// Resolves one name.
struct Resolver<'c, 'n> {
    client: &'c Client,
    name: &'n Reference,
    /// Documents in this store are not fetched again.
    known: Option<&'n Store>,
    repository: Repository<'c>,
    progress: &'c dyn Progress,
    /// The documents that led to the manifest.
    documents: Vec<StoredDocument>,
    /// The signatures of the index, if they were needed to choose from it.
    evidence: Option<Evidence>,
}

/// The manifest at the end of the walk.
struct Found {
    descriptor: Descriptor,
    bytes: Vec<u8>,
    content: ResolvedContent,
    is_chosen: bool,
}

impl<'c, 'n> Resolver<'c, 'n> {
    /// Opens a session. No request is sent yet.
    fn new(
        client: &'c Client,
        name: &'n Reference,
        known: Option<&'n Store>,
        progress: &'c dyn Progress,
    ) -> Result<Self> {
        let repository = client.open(name, progress)?;
        Ok(Self { client, name, known, repository, progress, documents: Vec::new(), evidence: None })
    }

    fn source(&mut self) -> ContentSource<'_, 'c> {
        ContentSource { repository: &mut self.repository, known: self.known, progress: self.progress }
    }

    fn resolve(mut self) -> Result<Resolved<'c>> {
        let name = self.name;
        let (response, digest) = self.client.with_retries(&mut self.repository, self.progress, |repository| {
            let response = repository.manifest(&name.selector())?;
            let digest = verified_digest(name, &response)?;
            Ok((response, digest))
        })?;
        let found = if schema1::is_schema_1(&response.bytes, &response.content_type) {
            self.convert_schema1(response, digest)?
        } else {
            self.follow_indexes(response, digest)?
        };
        Ok(Resolved {
            name: name.clone(),
            digest,
            descriptor: found.descriptor,
            bytes: found.bytes,
            content: found.content,
            documents: self.documents,
            is_chosen: found.is_chosen,
            evidence: self.evidence,
            repository: self.repository,
            progress: self.progress,
        })
    }

    /// Follows indexes to the manifest for the platform.
    fn follow_indexes(&mut self, response: ManifestResponse, digest: Digest) -> Result<Found> {
        let limits = &self.client.options.limits;
        let ManifestResponse { bytes, content_type } = response;
        let (document, media_type) = Document::parse(&bytes, &content_type, None, limits)?;
        let descriptor = Descriptor { media_type, digest, size: bytes.len() as u64 };
        let index = match document {
            Document::Index(index) => index,
            Document::Manifest(manifest) => {
                let content = ResolvedContent::Image(ImageManifest::Schema2(manifest));
                return Ok(Found { descriptor, bytes, content, is_chosen: false });
            }
            Document::Artifact(artifact) => {
                let content = ResolvedContent::Artifact(artifact);
                return Ok(Found { descriptor, bytes, content, is_chosen: false });
            }
        };
        self.documents.push(StoredDocument { descriptor, bytes });
        let chosen = choose(&index, &self.client.platform, limits, self)?;
        self.documents.extend(chosen.indexes);
        let content = match chosen.content {
            ChosenContent::Image(manifest) => ResolvedContent::Image(ImageManifest::Schema2(manifest)),
            ChosenContent::Artifact(artifact) => ResolvedContent::Artifact(artifact),
        };
        Ok(Found { descriptor: chosen.descriptor, bytes: chosen.bytes, content, is_chosen: chosen.is_chosen })
    }

    /// Returns the manifest that an earlier pull made from this manifest of schema 1, if the store has it, else the
    /// manifest of schema 1 itself.
    fn convert_schema1(&mut self, response: ManifestResponse, digest: Digest) -> Result<Found> {
        let limits = &self.client.options.limits;
        let payload = schema1::payload(&response.bytes)?;
        self.progress.report(Event::Warning(
            "this image has a manifest of Docker's schema 1, which is deprecated: push it again with a current tool",
        ));
        let schema1 = Schema1::parse(&payload, limits)?;
        let media_type = media_type::essence(&response.content_type);
        let descriptor = Descriptor { media_type, digest, size: payload.len() as u64 };
        self.documents.push(StoredDocument { descriptor: descriptor.clone(), bytes: payload });
        if let Some(converted) = self.known.and_then(|store| find_converted(store, &digest, limits)) {
            let content = ResolvedContent::Image(ImageManifest::Schema2(converted.manifest));
            return Ok(Found { descriptor: converted.descriptor, bytes: converted.bytes, content, is_chosen: false });
        }
        let content = ResolvedContent::Image(ImageManifest::Schema1(schema1));
        Ok(Found { descriptor, bytes: response.bytes, content, is_chosen: false })
    }
}

impl DocumentSource for Resolver<'_, '_> {
    /// Gets a manifest or index by digest from the store or the registry, verified.
    fn document(&mut self, descriptor: &Descriptor) -> Result<SourceDocument> {
        self.client.manifest(descriptor, &mut self.source())
    }

    /// An index that names no platforms must be proven before a config is read, because nothing but manifests may be
    /// requested of an image that is not proven.
    fn config(&mut self, manifest: &Manifest) -> Result<ImageConfig> {
        if let Some(index) = self.documents.first()
            && self.evidence.is_none()
        {
            let digest = index.descriptor.digest;
            self.evidence = self.client.prove_index(self.name, &digest, self.source())?;
        }
        Ok(self.client.fetch_config(manifest, &mut self.source())?.parsed)
    }
}
