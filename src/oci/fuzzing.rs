//! Entry points for the fuzz targets: the parsers of manifests, indexes, configs and schema 1.

use super::config::ImageConfig;
use super::descriptor::Descriptor;
use super::document::Document;
use super::json;
use super::platform::Platform;
use super::schema1::{Schema1, is_schema_1, payload};
use crate::digest::Digest;
use crate::error::Result;
use crate::limits::Limits;

/// Parses a document of this content type. Returns its blobs, or the manifest that is chosen from an index.
pub fn document(bytes: &[u8], content_type: &str) -> Result<Vec<Descriptor>> {
    let (document, _) = Document::parse(bytes, content_type, None, &Limits::default())?;
    match document {
        Document::Manifest(manifest) => {
            let _ = manifest.size();
            let (converted, bytes) = manifest.to_oci();
            assert!(
                Document::parse(&bytes, &converted.media_type, None, &Limits::default()).is_ok(),
                "converted manifest"
            );
            let layers = manifest.layers.into_iter().map(|layer| layer.blob);
            Ok(std::iter::once(manifest.config).chain(layers).collect())
        }
        Document::Index(index) => {
            let candidates = index.candidates(&Platform::new("linux", "arm", "v7"));
            Ok(candidates.into_iter().map(|candidate| candidate.descriptor).collect())
        }
        Document::Artifact(artifact) => {
            let _ = artifact.size();
            Ok(artifact.blobs.into_iter().map(|one| one.blob).collect())
        }
    }
}

/// Parses an image config together with a manifest, and returns its diff_ids.
pub fn config(manifest: &[u8], bytes: &[u8]) -> Result<Vec<Digest>> {
    let limits = Limits::default();
    match Document::parse(manifest, "application/vnd.oci.image.manifest.v1+json", None, &limits)?.0 {
        Document::Manifest(manifest) => Ok(ImageConfig::parse(bytes, &manifest)?.diff_ids),
        _ => Ok(Vec::new()),
    }
}

/// Parses a manifest of schema 1. Returns its layers and the config that is made from it.
pub fn schema1(bytes: &[u8]) -> Result<(Vec<Digest>, Vec<u8>)> {
    is_schema_1(bytes, "");
    let schema1 = Schema1::parse(&payload(bytes)?, &Limits::default())?;
    let config = schema1.config(&schema1.layers);
    Ok((schema1.layers, config))
}

/// Formats JSON for people, or returns why it is malformed.
pub fn pretty(bytes: &[u8]) -> std::result::Result<String, String> {
    json::pretty(bytes)
}
