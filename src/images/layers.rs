//! The layers of an image with their positions and diff_ids.

use crate::digest::Digest;
use crate::oci::config::ImageConfig;
use crate::oci::manifest::{LayerDescriptor, Manifest};
use crate::progress::Layer;

/// One layer of an image.
pub(crate) struct ImageLayer<'a> {
    /// Position, digest and size, as progress reports them.
    pub(crate) layer: Layer,
    pub(crate) descriptor: &'a LayerDescriptor,
    pub(crate) diff_id: Digest,
}

#[cfg(feature = "manage")]
impl ImageLayer<'_> {
    /// Returns true if both layers are the same blob, read the same way.
    pub(super) fn is_blob_of(&self, other: &ImageLayer<'_>) -> bool {
        let (own, other) = (self.descriptor, other.descriptor);
        own.blob.digest == other.blob.digest && own.compression == other.compression
    }
}

/// The layers of an image, from the base up. Parsing the config has checked that there are as many diff_ids as layers.
pub(crate) fn image_layers<'a>(manifest: &'a Manifest, config: &ImageConfig) -> Vec<ImageLayer<'a>> {
    let placed = manifest.placed().zip(&config.diff_ids);
    placed.map(|((layer, descriptor), diff_id)| ImageLayer { layer, descriptor, diff_id: *diff_id }).collect()
}
