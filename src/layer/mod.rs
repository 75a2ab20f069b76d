//! Reads a layer: from the bytes of its blob, compressed or not, to the entries of its archive. Extended headers, sparse
//! files and names are checked here. Nothing is written to disk.

mod decoder;
mod entries;
#[cfg(fuzzing)]
mod fuzzing;
mod identify;
mod path;
mod records;

pub(crate) use self::decoder::Decoder;
pub(crate) use self::entries::{Entries, EntryKind, FileContent, TarEntry};
#[cfg(fuzzing)]
pub use self::fuzzing::{Format, archive, decode, numbers, pax, sparse};
pub(crate) use self::identify::{IdentifiedLayer, identify};
pub(crate) use self::path::{Request, SafePath};
pub(crate) use self::records::{Time, malformed};
