//! Resolves a name at its registry: from a tag or digest, through indexes, to the manifest for one platform. Nothing is
//! written.

use super::client::Client;
use super::resolved::{ImageManifest, Resolved, ResolvedContent, StoredDocument, verified_digest};
use crate::digest::Digest;
use crate::error::Result;
use crate::images::find_converted;
use crate::limits::Limits;
use crate::oci::descriptor::Descriptor;
use crate::oci::document::Document;
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
}

/// The manifest at the end of the walk.
struct Found {
    descriptor: Descriptor,
    bytes: Vec<u8>,
    content: ResolvedContent,
    is_chosen: bool,
}

/// A document that was fetched by its digest.
struct Fetched {
    bytes: Vec<u8>,
    /// The `Content-Type` of the response; empty if the document came from the store.
    content_type: String,
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
        Ok(Self { client, name, known, repository, progress, documents: Vec::new() })
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
            repository: self.repository,
            progress: self.progress,
        })
    }

    /// Follows indexes to the manifest for the platform.
    fn follow_indexes(&mut self, response: ManifestResponse, digest: Digest) -> Result<Found> {
        let limits = &self.client.options.limits;
        let ManifestResponse { mut bytes, content_type } = response;
        let (mut document, media_type) = Document::parse(&bytes, &content_type, None, limits)?;
        let mut descriptor = Descriptor { media_type, digest, size: bytes.len() as u64 };
        let mut is_chosen = false;
        for depth in 0.. {
            let index = match document {
                Document::Index(index) => index,
                Document::Manifest(manifest) => {
                    let content = ResolvedContent::Image(ImageManifest::Schema2(manifest));
                    return Ok(Found { descriptor, bytes, content, is_chosen });
                }
                Document::Artifact(artifact) => {
                    let content = ResolvedContent::Artifact(artifact);
                    return Ok(Found { descriptor, bytes, content, is_chosen });
                }
            };
            if depth == limits.index_depth {
                break;
            }
            self.documents.push(StoredDocument { descriptor, bytes });
            let chosen = index.choose(&self.client.platform)?;
            let fetched = self.fetch(&chosen.descriptor)?;
            let expected = Some(chosen.descriptor.media_type.as_str());
            let media_type;
            (document, media_type) = Document::parse(&fetched.bytes, &fetched.content_type, expected, limits)?;
            descriptor = Descriptor { media_type, ..chosen.descriptor };
            bytes = fetched.bytes;
            is_chosen = chosen.has_platform;
        }
        Err(Limits::exceeded("nested indexes", limits.index_depth))
    }

    /// Returns the manifest that an earlier pull made from this manifest of schema 1, if the store has it, else the
    /// manifest of schema 1 itself.
    fn convert_schema1(&mut self, response: ManifestResponse, digest: Digest) -> Result<Found> {
        let limits = &self.client.options.limits;
        let payload = schema1::payload(&response.bytes)?;
        self.progress.report(Event::Note(
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

    /// Gets a manifest or index by digest from the store or the registry, verified.
    fn fetch(&mut self, descriptor: &Descriptor) -> Result<Fetched> {
        let client = self.client;
        let limit = client.options.limits.document;
        if let Some(bytes) = self.known.and_then(|store| store.document(descriptor, limit).ok()) {
            return Ok(Fetched { bytes, content_type: String::new() });
        }
        client.with_retries(&mut self.repository, self.progress, |repository| {
            let response = repository.manifest(&descriptor.digest.to_string())?;
            let bytes = client.verify(descriptor, response.bytes.as_slice())?;
            Ok(Fetched { bytes, content_type: response.content_type })
        })
    }
}
