//! Archives of `docker save`: makes an OCI image of each image in `manifest.json`. Its layers stay as they are in the
//! archive, compressed or not, and so does its config, so that the image keeps its ID.

use std::collections::{BTreeMap, HashMap};

use super::members::Members;
use super::reader::{ArchiveReader, LoadedImage, ReceivedImages, wrong_diff_id};
use crate::advice::Limit;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::{self, IdentifiedLayer};
use crate::limits::Limits;
use crate::oci::config::ImageConfig;
use crate::oci::descriptor::Descriptor;
use crate::oci::docker_archive::{ArchivedImage, MANIFEST, parse_manifest};
use crate::oci::manifest::{LayerDescriptor, Manifest};
use crate::oci::media_type::OCI_CONFIG;
use crate::oci::reference::Reference;
use crate::store::{Arrival, ImageEntry};

/// Loads the images of `manifest.json`.
pub(super) fn load_docker(reader: &ArchiveReader<'_>, members: &mut Members) -> Result<ReceivedImages> {
    let images = parse_manifest(members.document(MANIFEST).unwrap_or_default(), reader.limits)?;
    let mut loader = Loader { reader, members, identified: HashMap::new() };
    let mut received = ReceivedImages::default();
    for image in images {
        received.images.extend(loader.load(&image)?);
    }
    Ok(received)
}

struct Loader<'a> {
    reader: &'a ArchiveReader<'a>,
    members: &'a mut Members,
    /// Layers that were read already, because images share them.
    identified: HashMap<Digest, IdentifiedLayer>,
}

impl Loader<'_> {
    /// Loads an image once for each of its names.
    fn load(&mut self, image: &ArchivedImage) -> Result<Vec<LoadedImage>> {
        let limits = self.reader.limits;
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        let mut unpacked: u64 = 0;
        for name in &image.layers {
            let arrival = self.members.named(name)?;
            let left = limits.unpacked.saturating_sub(unpacked);
            let layer = identify(self.reader, arrival, &mut self.identified, left).map_err(|e| e.context(name))?;
            unpacked = unpacked.saturating_add(layer.size);
            let blob = arrival.descriptor();
            layers.push(LayerDescriptor {
                blob,
                compression: layer.compression,
                urls: Vec::new(),
                may_use_urls: false,
            });
            diff_ids.push(layer.diff_id);
        }
        let config_blob = self.members.named(&image.config)?;
        let config_bytes = config_blob.document(limits.document).map_err(|e| e.context(&image.config))?;
        let config = Descriptor { media_type: OCI_CONFIG.to_owned(), ..config_blob.descriptor() };
        let manifest = Manifest { config, layers, annotations: BTreeMap::new() };
        let parsed = ImageConfig::parse(&config_bytes, &manifest)?;
        for (index, (expected, got)) in parsed.diff_ids.iter().zip(&diff_ids).enumerate() {
            if expected != got {
                return Err(wrong_diff_id(index, expected, got));
            }
        }
        self.reader.note_platform(&parsed.platform);
        let descriptor = self.commit(&manifest)?;
        let entry = |names: Vec<String>| ImageEntry {
            names,
            subject: None,
            resolved: descriptor.digest,
            source: descriptor.digest,
            manifest: descriptor.clone(),
            platform: parsed.platform.clone(),
        };
        if image.names.is_empty() {
            return Ok(vec![self.reader.loaded(entry(Vec::new()))?]);
        }
        let names = image.names.iter().map(Reference::to_string);
        names.map(|name| self.reader.loaded(entry(vec![name]))).collect()
    }

    /// Commits the blobs of an image and its manifest.
    fn commit(&mut self, manifest: &Manifest) -> Result<Descriptor> {
        for layer in &manifest.layers {
            self.reader.commit(self.members, &layer.blob.digest)?;
        }
        self.reader.commit(self.members, &manifest.config.digest)?;
        let (descriptor, bytes) = manifest.to_oci();
        if bytes.len() > self.reader.limits.document {
            return Err(Limits::exceeded("bytes of manifest", self.reader.limits.document));
        }
        self.reader.put(&descriptor, &bytes)?;
        Ok(descriptor)
    }
}

/// Finds out the compression and the diff_id of a layer.
fn identify(
    reader: &ArchiveReader<'_>,
    arrival: &Arrival,
    identified: &mut HashMap<Digest, IdentifiedLayer>,
    left: u64,
) -> Result<IdentifiedLayer> {
    let digest = *arrival.digest();
    if let Some(known) = identified.get(&digest) {
        return if known.size <= left { Ok(*known) } else { Err(too_large(reader)) };
    }
    let mut file = arrival.open()?;
    let found = layer::identify(&mut file, left, reader.limits, reader.cancel)?;
    identified.insert(digest, found);
    Ok(found)
}

fn too_large(reader: &ArchiveReader<'_>) -> Error {
    Limits::exceeded_adjustable(Limit::Unpacked, "bytes of unpacked layers", reader.limits.unpacked)
}
