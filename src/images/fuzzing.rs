//! Entry points for the fuzz targets: unpacking of uncompressed layers.

use std::path::Path;

use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::Result;
use crate::limits::Limits;
use crate::target::Staging;
use crate::unpack::{Tally, Tree, UnpackConfig};

/// Unpacks uncompressed layers into `target` and publishes the tree.
pub fn unpack(layers: &[Vec<u8>], target: &Path, limits: &Limits) -> Result<Tally> {
    let config = UnpackConfig { devices: true, overlay: None, limits: limits.clone(), cancel: Cancel::default() };
    let staging = Staging::begin(target, &config.cancel)?;
    let mut tree = Tree::new(staging.open_tree()?, config)?;
    for layer in layers {
        tree.apply(&mut layer.as_slice(), Digest::sha256(layer))?;
    }
    let finished = tree.finish()?;
    staging.publish()?;
    finished.set_root_mode()?;
    Ok(finished.tally)
}
