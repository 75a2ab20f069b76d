//! Descriptors: pointers to content by media type, digest and size (image-spec, descriptor.md). Parses and checks them,
//! fetches nothing.

use std::collections::HashMap;

use serde::Deserialize;

use super::json;
use crate::advice::Limit;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// A checked pointer to content: media type, digest and size in bytes (image-spec, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Descriptor {
    /// The media type, as written in the document.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes.
    pub size: u64,
}

/// A descriptor as it is in a document, with the members that any of the documents uses.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawDescriptor {
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub(super) media_type: String,
    digest: String,
    size: u64,
    /// Set for an entry of an index that is not an image.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub(super) artifact_type: String,
    pub(super) platform: Option<RawPlatform>,
    pub(super) urls: Option<Vec<String>>,
    pub(super) annotations: Option<RawAnnotations>,
}

#[derive(Deserialize)]
pub(super) struct RawPlatform {
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub(super) os: String,
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub(super) architecture: String,
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub(super) variant: String,
    #[serde(rename = "os.version", default, deserialize_with = "json::null_as_default")]
    pub(super) os_version: String,
    #[serde(rename = "os.features", default, deserialize_with = "json::null_as_default")]
    pub(super) os_features: Vec<String>,
}

/// The annotations that artifacts use. Values of any type are accepted here, because a manifest that does not use
/// them must not fail on them.
#[derive(Default, Deserialize)]
pub(super) struct RawAnnotations {
    #[serde(rename = "org.opencontainers.image.title")]
    pub(super) title: Option<serde_json::Value>,
    #[serde(rename = "io.deis.oras.content.unpack")]
    pub(super) unpack: Option<serde_json::Value>,
    /// The digest of the unpacked content, as containerd annotates it.
    #[cfg(feature = "device")]
    #[serde(rename = "containerd.io/uncompressed")]
    pub(super) unpacked_digest: Option<serde_json::Value>,
    /// The size of the unpacked content in decimal digits, as eStargz annotates it.
    #[cfg(feature = "device")]
    #[serde(rename = "io.containers.estargz.uncompressed-size")]
    pub(super) unpacked_size: Option<serde_json::Value>,
}

impl RawDescriptor {
    /// Checks the digest and the size. `what` names the descriptor in the error.
    pub(super) fn check(self, what: &str) -> Result<Descriptor> {
        let digest = self.digest.parse::<Digest>().map_err(|e| match e.kind() {
            ErrorKind::Unsupported => e.context(what),
            _ => malformed(format!("{what}: {e}")),
        })?;
        // Other tools keep sizes in signed integers.
        if i64::try_from(self.size).is_err() {
            return Err(malformed(format!("{what}: size {} is out of range", self.size)));
        }
        Ok(Descriptor { media_type: self.media_type, digest, size: self.size })
    }
}

/// Checks that the total size of `blobs` is at most [`Limits::unpacked`].
pub(super) fn check_total_size<'a>(blobs: impl Iterator<Item = &'a Descriptor>, limits: &Limits) -> Result<()> {
    let mut total: u64 = 0;
    for blob in blobs {
        total = total
            .checked_add(blob.size)
            .filter(|&total| i64::try_from(total).is_ok())
            .ok_or_else(|| malformed("the sizes of its layers overflow"))?;
    }
    if total > limits.unpacked {
        return Err(Limits::exceeded_adjustable(Limit::Unpacked, "bytes of blobs", limits.unpacked));
    }
    Ok(())
}

/// Checks that a blob that is listed twice has one size, because at most one of two sizes could be verified.
pub(super) fn check_sizes_agree<'a>(blobs: impl Iterator<Item = &'a Descriptor>) -> Result<()> {
    let mut sizes = HashMap::new();
    for blob in blobs {
        if sizes.insert(blob.digest, blob.size).is_some_and(|size| size != blob.size) {
            return Err(malformed(format!("blob {} has two sizes", blob.digest.short())));
        }
    }
    Ok(())
}

pub(super) fn malformed(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unsafe, format!("malformed manifest: {why}"))
}

pub(super) fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what} is not supported"))
}

/// The error for a layer that the registry does not have, but the URLs in its manifest may have.
pub(crate) fn unsupported_foreign_layer() -> Error {
    unsupported("a foreign layer, available only from URLs outside the registry,")
}
