//! What the targets share: a bound on memory, archives made of a few lines, and the folder that is watched while an
//! image is unpacked beside it.

mod archive;
mod memory;
mod watched;

pub use archive::{layers, mended};
pub use memory::within;
pub use watched::Watched;

/// The first line and the rest.
pub fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&b| b == b'\n').unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}
