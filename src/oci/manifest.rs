//! Image manifests, OCI and Docker schema 2: a config and layers. Checks media types, digests and sizes before any
//! layer is fetched.

use std::collections::BTreeMap;

use serde_json::json;

use super::descriptor::{Descriptor, RawDescriptor, check_sizes_agree, check_total_size, unsupported};
use super::media_type::{self, Compression};
use crate::digest::Digest;
use crate::error::Result;
use crate::limits::Limits;
use crate::progress;

/// The most URLs that one layer may have. Windows' base layers have one.
const URLS: usize = 16;

/// A checked image manifest (image-spec, manifest.md). All layers are of supported media types.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    /// From the base layer up.
    pub(crate) layers: Vec<LayerDescriptor>,
    /// Untrusted text.
    pub(crate) annotations: BTreeMap<String, String>,
}

/// One layer of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct LayerDescriptor {
    pub(crate) blob: Descriptor,
    pub(crate) compression: Compression,
    /// Other places of the layer, which a foreign layer has and any layer may have. Untrusted text.
    pub(crate) urls: Vec<String>,
    /// True if the URLs may be requested.
    pub(crate) may_use_urls: bool,
}

impl Manifest {
    /// Checks the descriptors of an image manifest.
    pub(super) fn parse(
        config: RawDescriptor,
        layers: Vec<RawDescriptor>,
        annotations: BTreeMap<String, String>,
        limits: &Limits,
    ) -> Result<Self> {
        let config = config.check("config")?;
        if config.size > limits.document as u64 {
            return Err(Limits::exceeded("bytes of config", limits.document));
        }
        let layers: Vec<LayerDescriptor> = layers.into_iter().map(LayerDescriptor::parse).collect::<Result<_>>()?;
        let manifest = Self { config, layers, annotations };
        check_total_size(manifest.blobs(), limits)?;
        check_sizes_agree(manifest.blobs())?;
        Ok(manifest)
    }

    /// Allows the URLs of all layers.
    pub(crate) fn allow_urls(&mut self) {
        self.layers.iter_mut().for_each(|layer| layer.may_use_urls = true);
    }

    /// The total size of config and layers in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.blobs().fold(0, |sum, blob| sum.saturating_add(blob.size))
    }

    /// The layers with their places, from the base layer up.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (progress::Layer, &LayerDescriptor)> {
        let total = self.layers.len();
        self.layers.iter().enumerate().map(move |(index, layer)| {
            let Descriptor { digest, size, .. } = layer.blob;
            (progress::Layer { index, total, digest, size }, layer)
        })
    }

    /// The same image as an OCI manifest, with its descriptor. Blobs and image ID stay the same. Stores need this
    /// because skopeo and umoci find only OCI media types in an image layout.
    pub(crate) fn to_oci(&self) -> (Descriptor, Vec<u8>) {
        let layers: Vec<_> =
            self.layers.iter().map(|layer| to_json(media_type::oci_layer(layer.compression), &layer.blob)).collect();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": to_json(media_type::OCI_CONFIG, &self.config),
            "layers": layers,
        });
        if let Some(members) = manifest.as_object_mut().filter(|_| !self.annotations.is_empty()) {
            members.insert("annotations".to_owned(), json!(self.annotations));
        }
        let bytes = manifest.to_string().into_bytes();
        let media_type = media_type::OCI_MANIFEST.to_owned();
        (Descriptor { media_type, digest: Digest::sha256(&bytes), size: bytes.len() as u64 }, bytes)
    }

    fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(self.layers.iter().map(|layer| &layer.blob))
    }
}

impl LayerDescriptor {
    fn parse(mut raw: RawDescriptor) -> Result<Self> {
        let Some(compression) = media_type::layer(&raw.media_type) else {
            let kind = media_type::filesystem_image(&raw.media_type).map(|name| format!("{name} layer"));
            let kind = kind.unwrap_or_else(|| "layer".to_owned());
            return Err(unsupported(&format!("a {kind} of media type \"{}\"", raw.media_type)));
        };
        let urls = raw.urls.take().unwrap_or_default();
        if urls.len() > URLS {
            return Err(Limits::exceeded("URLs of a layer", URLS));
        }
        Ok(Self { blob: raw.check("layer")?, compression, urls, may_use_urls: false })
    }
}

fn to_json(media_type: &str, blob: &Descriptor) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": blob.digest.to_string(), "size": blob.size })
}
