//! One raw image, such as a root filesystem, in a file or on a block device.
//!
//! A device cannot be replaced by one rename, so the order of writes does it: see `writer.rs`.

mod buffer;
mod force_ro;
mod medium;
mod open;
mod options;
mod record;
mod sysfs;
#[cfg(test)]
mod tests;
mod writer;

pub use self::open::RawTarget;
pub use self::options::{Decompression, Readback, WriteOptions, Written};
pub(crate) use self::writer::{HEAD, Writer};
