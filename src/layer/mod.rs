//! Reads a layer: from the bytes of its blob, compressed or not, to the entries of its archive. Writes archives of such
//! entries.
//!
//! Everything in here treats its input as untrusted: extension headers, sparse files and names are checked. Nothing is
//! written to disk.

mod blocks;
mod decoder;
mod entries;
mod entry;
#[cfg(fuzzing)]
mod fuzzing;
mod header;
mod identify;
mod path;
mod records;
mod sparse;
#[cfg(feature = "manage")]
mod start;
#[cfg(feature = "manage")]
mod writer;

pub(crate) use self::decoder::Decoder;
pub(crate) use self::entries::Entries;
pub(crate) use self::entry::{DeviceNumber, EntryKind, Extent, FileContent, TarEntry};
#[cfg(fuzzing)]
pub use self::fuzzing::{Format, archive, decode, numbers, pax, sparse_map};
pub(crate) use self::identify::{IdentifiedLayer, identify};
#[cfg(feature = "manage")]
pub(crate) use self::identify::{Sniffed, ZSTD_MAGIC, sniff};
#[cfg(feature = "manage")]
pub(crate) use self::path::COMPONENT_LIMIT;
pub(crate) use self::path::{AUFS_LINKS, NameKind, SafePath};
pub(crate) use self::records::{Time, malformed};
#[cfg(feature = "manage")]
pub(crate) use self::start::{START, deciding_length, refusal};
#[cfg(feature = "manage")]
pub(crate) use self::writer::TarWriter;
