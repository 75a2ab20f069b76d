//! The door through which `fuzz/` reaches what parses foreign bytes and is not public. It is built with `--cfg fuzzing`
//! alone, and so is no part of the API: thin functions, whose results the targets judge.

pub use crate::host::{auth_json, boot_line, keychain_answer, proxy_for};
pub use crate::registry::{challenges, joined, refusal, retry_after, token_answer};
pub use crate::unpack::{Format, archive, decode, numbers, pax, sparse};

use std::path::Path;

use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::Result;
use crate::image::config::Config;
use crate::image::json;
use crate::image::manifest::{Descriptor, Document};
use crate::image::platform::Platform;
use crate::image::schema1::{Schema1, is_schema_1, payload};
use crate::limits::Limits;
use crate::unpack::{self, Tally, Tree};

/// Parses a manifest or index of this content type. Gives what it points to: blobs, or the manifest that is chosen.
pub fn document(bytes: &[u8], content_type: &str) -> Result<Vec<Descriptor>> {
    let (document, _) = Document::parse(bytes, content_type, None, &Limits::default())?;
    match document {
        Document::Manifest(manifest) => {
            let _ = manifest.size();
            let (made, bytes) = manifest.to_oci();
            assert!(Document::parse(&bytes, &made.media_type, None, &Limits::default()).is_ok(), "what was made of it");
            let layers = manifest.layers.into_iter().map(|layer| layer.blob);
            Ok(std::iter::once(manifest.config).chain(layers).collect())
        }
        Document::Index(index) => Ok(vec![index.choose(&Platform::new("linux", "arm", "v7"))?.0]),
        Document::Artifact(artifact) => {
            let _ = artifact.size();
            Ok(artifact.blobs.into_iter().map(|titled| titled.blob).collect())
        }
    }
}

/// Parses an image config beside a manifest of the same bytes' own number of layers, and gives its diff_ids.
pub fn config(manifest: &[u8], bytes: &[u8]) -> Result<Vec<Digest>> {
    let limits = Limits::default();
    match Document::parse(manifest, "application/vnd.oci.image.manifest.v1+json", None, &limits)?.0 {
        Document::Manifest(manifest) => Ok(Config::parse(bytes, &manifest)?.diff_ids),
        _ => Ok(Vec::new()),
    }
}

/// Parses a manifest of schema 1: its payload, its layers, and the config that is made of it.
pub fn schema1(bytes: &[u8]) -> Result<(Vec<Digest>, Vec<u8>)> {
    is_schema_1(bytes, "");
    let schema1 = Schema1::parse(&payload(bytes)?, &Limits::default())?;
    let config = schema1.config(&schema1.layers);
    Ok((schema1.layers, config))
}

/// JSON for people, or what is wrong with it.
pub fn pretty(bytes: &[u8]) -> std::result::Result<String, String> {
    json::pretty(bytes)
}

/// Unpacks uncompressed layers into `target` and publishes the tree.
pub fn unpack(layers: &[Vec<u8>], target: &Path, limits: &Limits) -> Result<Tally> {
    let config = unpack::Config { devices: true, limits: limits.clone(), cancel: Cancel::default() };
    let mut tree = Tree::begin(target, config)?;
    for layer in layers {
        tree.apply(&mut layer.as_slice(), Digest::sha256(layer))?;
    }
    tree.publish()
}
