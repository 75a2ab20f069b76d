//! The image config (image-spec, config.md): the members that pulling and listing need. The diff_ids verify the content
//! of the layers.

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
    /// The digest of each layer's uncompressed tar. There is one for each layer of the manifest.
    pub(crate) diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default, deserialize_with = "json::null_as_default")]
    os: String,
    #[serde(default, deserialize_with = "json::null_as_default")]
    architecture: String,
    #[serde(default, deserialize_with = "json::null_as_default")]
    variant: String,
    created: Option<String>,
    rootfs: RawRootfs,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(rename = "type", default, deserialize_with = "json::null_as_default")]
    kind: String,
    #[serde(default, deserialize_with = "json::null_as_default")]
    diff_ids: Vec<String>,
}

impl ImageConfig {
    /// Parses the config of `manifest`. Fails if the number of diff_ids differs from the number of layers, because a
    /// layer without a diff_id could not be verified.
    pub(crate) fn parse(bytes: &[u8], manifest: &Manifest) -> Result<Self> {
        let raw: RawConfig = json::parse(bytes).map_err(|e| malformed(&e))?;
        if !matches!(raw.rootfs.kind.as_str(), "layers" | "") {
            return Err(malformed(&format!("rootfs type \"{}\"", raw.rootfs.kind)));
        }
        let mut diff_ids: Vec<Digest> = Vec::new();
        for text in raw.rootfs.diff_ids {
            diff_ids.push(text.parse().map_err(|e: Error| malformed(&e))?);
        }
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
            may_use_urls: false,
        };
        let manifest = Manifest { config: blob, layers: vec![layer; layers], annotations: Default::default() };
        ImageConfig::parse(text.as_bytes(), &manifest).map(|config| config.diff_ids.len()).map_err(|e| e.kind())
    }

    #[test]
    fn requires_a_diff_id_for_each_layer() {
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

    #[test]
    fn null_counts_as_missing() {
        for text in [
            format!(
                r#"{{"os":null,"architecture":null,"variant":null,"created":null,"rootfs":{{"diff_ids":["{D}"]}}}}"#
            ),
            format!(r#"{{"config":null,"history":null,"author":null,"rootfs":{{"type":null,"diff_ids":["{D}"]}}}}"#),
        ] {
            assert_eq!(parse(&text, 1), Ok(1), "{text}");
        }
        // Without its diff_id, a layer cannot be verified.
        for text in [r#"{"rootfs":{"diff_ids":null}}"#, r#"{"rootfs":{"diff_ids":[null]}}"#, r#"{"rootfs":null}"#] {
            assert!(parse(text, 1).is_err(), "{text}");
        }
    }
}
