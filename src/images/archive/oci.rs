//! Archives of an OCI layout: `index.json` lists manifests and indexes, with names or without. Documents stay byte for byte,
//! so that digests and signatures stay valid. From an index, the image for the platform is chosen, as by a pull.

use std::fs::File;
use std::io::Read;

use super::members::{INDEX, LAYOUT, Members};
use super::reader::{ArchiveReader, LoadedImage, ReceivedImages};
use crate::advice::Advice;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::images::chain::documents_below;
use crate::images::choice::{Chosen, ChosenContent, DocumentSource, SourceDocument, StoredDocument, choose};
use crate::images::layers::image_layers;
use crate::layer::Decoder;
use crate::oci::config::ImageConfig;
use crate::oci::descriptor::Descriptor;
use crate::oci::docker_archive::check_layout;
use crate::oci::document::Document;
use crate::oci::manifest::Manifest;
use crate::oci::media_type::{Compression, OCI_MANIFEST};
use crate::oci::reference::Reference;
use crate::store::{ForeignEntry, ImageEntry, foreign_entries, linked_blobs};
use crate::verify::{Size, Verified};

const BUFFER: usize = 64 << 10;
/// The most entries of `index.json`.
const ENTRIES: usize = 1000;

/// Loads the images of a layout, and the signatures of these images.
pub(super) fn load_layout(reader: &ArchiveReader<'_>, members: &mut Members) -> Result<ReceivedImages> {
    check_layout(members.document(LAYOUT).unwrap_or_default())?;
    let missing = || malformed("it is missing");
    let entries = foreign_entries(members.document(INDEX).ok_or_else(missing)?, ENTRIES).map_err(|e| malformed(&e))?;
    let mut loader = Loader { reader, members };
    let mut received = ReceivedImages { is_layout: true, ..ReceivedImages::default() };
    let (attached, images): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|found| found.is_attached || found.entry.signed().is_some());
    for found in &images {
        if is_for_another_platform(reader, &found.entry, &images) {
            continue;
        }
        received.images.extend(loader.load(&found.entry)?);
    }
    for ForeignEntry { entry, .. } in attached {
        received.signatures.extend(loader.attached(entry, &received.images)?);
    }
    Ok(received)
}

/// Whether another entry of the same name is for the platform, and this one is not.
fn is_for_another_platform(reader: &ArchiveReader<'_>, entry: &ImageEntry, all: &[ForeignEntry]) -> bool {
    let runs = |entry: &ImageEntry| entry.platform.os().is_empty() || reader.platform.rank(&entry.platform).is_some();
    !runs(entry) && all.iter().any(|other| other.entry.names == entry.names && runs(&other.entry))
}

struct Loader<'a> {
    reader: &'a ArchiveReader<'a>,
    members: &'a mut Members,
}

/// What an entry leads to.
struct Found {
    descriptor: Descriptor,
    bytes: Vec<u8>,
    manifest: Manifest,
    indexes: Vec<StoredDocument>,
}

impl Loader<'_> {
    /// Loads the image of an entry. `None` if the entry is an artifact without a name, such as an attestation.
    fn load(&mut self, entry: &ImageEntry) -> Result<Option<LoadedImage>> {
        let name = entry_name(entry)?;
        let Some(found) = self.find(entry, name.is_some())? else { return Ok(None) };
        let limits = self.reader.limits;
        let config = ImageConfig::parse(&self.read(&found.manifest.config)?, &found.manifest)?;
        let mut unpacked = 0;
        for layer in image_layers(&found.manifest, &config) {
            let left = limits.unpacked.saturating_sub(unpacked);
            let blob = &layer.descriptor.blob;
            unpacked += self
                .verify_layer(blob, layer.descriptor.compression, layer.diff_id, left)
                .map_err(|e| e.context(layer.layer.label()))?;
        }
        self.reader.note_platform(&config.platform);
        let manifest = self.commit(&found, entry)?;
        let entry = ImageEntry {
            names: name.iter().map(Reference::to_string).collect(),
            subject: None,
            resolved: entry.resolved,
            source: if entry.source == entry.manifest.digest { found.descriptor.digest } else { entry.source },
            manifest,
            platform: config.platform,
        };
        self.reader.loaded(entry).map(Some)
    }

    /// Follows an entry to an image manifest.
    fn find(&mut self, entry: &ImageEntry, is_named: bool) -> Result<Option<Found>> {
        let limits = self.reader.limits;
        let bytes = self.read(&entry.manifest)?;
        let (document, media_type) = Document::parse(&bytes, "", Some(&entry.manifest.media_type), limits)?;
        let descriptor = Descriptor { media_type, ..entry.manifest.clone() };
        let index = match document {
            Document::Manifest(manifest) => {
                return Ok(Some(Found { descriptor, bytes, manifest, indexes: Vec::new() }));
            }
            Document::Artifact(artifact) if is_named => return Err(artifact.not_an_image(entry.name())),
            Document::Artifact(_) => return Ok(None),
            Document::Index(index) => index,
        };
        let Chosen { descriptor: chosen, bytes: manifest_bytes, content, indexes, .. } =
            choose(&index, self.reader.platform, limits, &mut InArchive(self))?;
        let ChosenContent::Image(manifest) = content else {
            return Err(Error::new(ErrorKind::Unsupported, format!("{}: an artifact, not an image", entry.name())));
        };
        let mut all = vec![StoredDocument { descriptor, bytes }];
        all.extend(indexes);
        Ok(Some(Found { descriptor: chosen, bytes: manifest_bytes, manifest, indexes: all }))
    }

    /// Reads a small blob of the archive, or of the store, which may have what the archive leaves out.
    fn read(&self, blob: &Descriptor) -> Result<Vec<u8>> {
        self.members.read(blob, self.reader.store, self.reader.limits.document)
    }

    /// Verifies the diff_id of a layer, and returns its unpacked size.
    fn verify_layer(&self, blob: &Descriptor, compression: Compression, diff_id: Digest, left: u64) -> Result<u64> {
        let file = self.open(blob)?;
        let is_verified = self.members.blob(&blob.digest).is_some();
        if compression == Compression::None && blob.digest == diff_id && is_verified && blob.size <= left {
            return Ok(blob.size);
        }
        let verified = self.decode(file, compression, diff_id, left);
        if is_verified { verified } else { verified.map_err(|e| e.with_advice(Advice::RepairStore)) }
    }

    fn decode(&self, mut file: File, compression: Compression, diff_id: Digest, left: u64) -> Result<u64> {
        let blob: &mut (dyn Read + Send) = &mut file;
        let mut decoder = Decoder::new(blob, compression, self.reader.limits, self.reader.cancel)?;
        let tar: &mut dyn Read = &mut decoder;
        let size = Size::AtMost(left, "bytes of unpacked layers");
        let mut tar = Verified::new(tar, diff_id, size, self.reader.cancel.clone());
        tar.drain(&mut vec![0; BUFFER]).map_err(|e| Error::through_read(e, |e| Error::disk("read", "blob", e)))?;
        let count = tar.count();
        tar.finish().map(|_| count).map_err(|e| e.context("diff_id"))
    }

    /// Opens a blob, whose size must be that of its descriptor.
    fn open(&self, blob: &Descriptor) -> Result<File> {
        match self.members.sized_blob(blob)? {
            Some(arrival) => arrival.open(),
            None => self.reader.store.blob(blob),
        }
    }

    /// Commits an image, and returns the manifest to name, which has OCI media types.
    fn commit(&mut self, found: &Found, entry: &ImageEntry) -> Result<Descriptor> {
        for layer in &found.manifest.layers {
            self.reader.commit(self.members, &layer.blob.digest)?;
        }
        self.reader.commit(self.members, &found.manifest.config.digest)?;
        for document in &found.indexes {
            self.reader.put(&document.descriptor, &document.bytes)?;
        }
        self.reader.put(&found.descriptor, &found.bytes)?;
        // What the index of our own archives claims is proven with these documents. Without them it is dropped.
        for claimed in [entry.resolved, entry.source] {
            let read = |digest: &Digest| self.document(digest);
            for document in documents_below(&claimed, self.reader.limits, self.reader.cancel, &read)? {
                self.reader.commit(self.members, &document.digest)?;
            }
        }
        if found.descriptor.media_type == OCI_MANIFEST {
            return Ok(found.descriptor.clone());
        }
        let (descriptor, bytes) = found.manifest.to_oci();
        self.reader.put(&descriptor, &bytes)?;
        Ok(descriptor)
    }

    /// Reads a document of the archive; `None` if the archive lacks it, or it is too large for one.
    fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let limit = self.reader.limits.document;
        match self.members.blob(digest) {
            Some(arrival) if arrival.descriptor().size <= limit as u64 => arrival.document(limit).map(Some),
            _ => Ok(None),
        }
    }

    /// Commits what is attached to one of the images: signatures and attestations. `None` for any other document.
    fn attached(&mut self, entry: ImageEntry, images: &[LoadedImage]) -> Result<Option<ImageEntry>> {
        let subject = match entry.signed() {
            Some(subject) => subject,
            // The layout of `cosign save` has one image.
            None => match images {
                [one] => *one.image.digest(),
                _ => return Ok(None),
            },
        };
        let is_subject =
            |loaded: &LoadedImage| [*loaded.image.digest(), loaded.entry.manifest.digest].contains(&subject);
        if !images.iter().any(is_subject) {
            return Ok(None);
        }
        let bytes = self.read(&entry.manifest)?;
        let blobs =
            linked_blobs(&bytes).ok_or_else(|| malformed("what is attached to an image is not a manifest"))?.blobs;
        for digest in &blobs {
            self.reader.commit(self.members, digest)?;
        }
        self.reader.put(&entry.manifest, &bytes)?;
        Ok(Some(ImageEntry { names: Vec::new(), subject: Some(subject), ..entry }))
    }
}

/// The documents of an archive that is being loaded.
struct InArchive<'a, 'l>(&'a Loader<'l>);

impl DocumentSource for InArchive<'_, '_> {
    fn document(&mut self, descriptor: &Descriptor) -> Result<SourceDocument> {
        Ok(SourceDocument { bytes: self.0.read(descriptor)?, content_type: String::new() })
    }

    fn config(&mut self, manifest: &Manifest) -> Result<ImageConfig> {
        ImageConfig::parse(&self.0.read(&manifest.config)?, manifest)
    }
}

/// The name of an entry. A bare word is only a tag, such as `latest` from `skopeo copy … oci-archive:FILE:latest`; it becomes
/// a repository of `localhost`, as in podman, because it must not mean an image of Docker Hub.
fn entry_name(entry: &ImageEntry) -> Result<Option<Reference>> {
    let Some(text) = entry.names.first() else { return Ok(None) };
    let is_bare = !text.contains(['/', ':', '@']);
    let full = if is_bare { format!("localhost/{text}") } else { text.clone() };
    let name: Reference = full.parse().map_err(|e: Error| malformed(&e.to_string()))?;
    if name.digest().is_some() {
        return Err(malformed(&format!("the name \"{text}\" has a digest")));
    }
    Ok(Some(name))
}

fn malformed(why: &str) -> Error {
    Error::new(ErrorKind::Unsafe, format!("malformed index.json: {why}"))
}
