//! Archives of images: `docker save`'s and OCI layouts in a tar. An archive is written and read in one pass.

mod docker;
mod import;
mod load;
mod members;
mod oci;
mod reader;
mod save;

pub use self::import::ImportOptions;
pub(crate) use self::load::load_archive;
pub(crate) use self::reader::{ArchiveReader, LoadedImage, ReceivedImages};
pub use self::save::{ArchiveFormat, SaveOptions};
