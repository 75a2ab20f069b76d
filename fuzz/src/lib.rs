//! Code that the targets share: a limit on memory, archives made from lines of text, and a folder that is watched while an
//! image is unpacked in it.

mod archive;
mod memory;
mod watched;

pub use archive::{layers, mended};
pub use memory::within;
pub use watched::Watched;

/// Splits the input into the first line and the rest.
pub fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&b| b == b'\n').unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}
