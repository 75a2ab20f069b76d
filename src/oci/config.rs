//! The image config: only what a pull needs of it, above all the diff_ids that prove the layers' content.

use serde::Deserialize;

use super::json;
use super::manifest::Manifest;
use super::platform::Platform;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// A checked image config (image-spec, config.md).
#[derive(Clone, Debug)]
pub(crate) struct ImageConfig {
    pub(crate) platform: Platform,
    pub(crate) created: Option<String>,
    /// The digest of each layer's uncompressed tar, as many as the manifest has layers.
    pub(crate) diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
    created: Option<String>,
    rootfs: RawRootfs,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

impl ImageConfig {
    /// Parses the config of `manifest` and compares the number of diff_ids with that of its layers: a peer that did
    /// not index diff_ids by layer number unchecked, and died of too few or passed too many.
    pub(crate) fn parse(bytes: &[u8], manifest: &Manifest) -> Result<Self> {
        let raw: RawConfig = json::parse(bytes).map_err(|e| malformed(&e))?;
        if !matches!(raw.rootfs.kind.as_str(), "layers" | "") {
            return Err(malformed(&format!("rootfs type \"{}\"", raw.rootfs.kind)));
        }
        let diff_ids = raw.rootfs.diff_ids.unwrap_or_default();
        let diff_ids: Vec<Digest> =
            diff_ids.iter().map(|text| text.parse().map_err(|e: Error| malformed(&e))).collect::<Result<_>>()?;
        let (layers, ids) = (manifest.layers.len(), diff_ids.len());
        if layers != ids {
            let text = format!("diff_id mismatch: the manifest has {layers} layers and its config {ids} diff_ids");
            return Err(Error::new(ErrorKind::Mismatch, text));
        }
        let platform = Platform::new(&raw.os, &raw.architecture, &raw.variant);
        Ok(Self { platform, created: raw.created, diff_ids })
    }
}

fn malformed(why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unsafe, format!("malformed image config: {why}"))
}

#[cfg(test)]
mod tests {
    use super::super::descriptor::Descriptor;
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str, layers: usize) -> std::result::Result<usize, ErrorKind> {
        let blob = Descriptor { media_type: String::new(), digest: Digest::sha256(b""), size: 0 };
        let layer = super::super::manifest::LayerDescriptor {
            blob: blob.clone(),
            compression: super::super::media_type::Compression::None,
            urls: Vec::new(),
        };
        let manifest = Manifest { config: blob, layers: vec![layer; layers] };
        ImageConfig::parse(text.as_bytes(), &manifest).map(|config| config.diff_ids.len()).map_err(|e| e.kind())
    }

    #[test]
    fn as_many_diff_ids_as_layers() {
        let text =
            format!(r#"{{"os":"linux","architecture":"arm","rootfs":{{"type":"layers","diff_ids":["{D}","{D}"]}}}}"#);
        assert_eq!(parse(&text, 2), Ok(2));
        assert_eq!(parse(&text, 1), Err(ErrorKind::Mismatch));
        assert_eq!(parse(&text, 3), Err(ErrorKind::Mismatch));
        assert_eq!(parse(&text.replace(D, "sha256:x"), 2), Err(ErrorKind::Unsafe));
        assert_eq!(parse(r#"{"rootfs":{"type":"layers"}}"#, 0), Ok(0));
        assert_eq!(parse(r#"{"rootfs":{"type":"layers","diff_ids":null}}"#, 0), Ok(0));
        assert_eq!(parse("{}", 0), Err(ErrorKind::Unsafe));
    }
}
