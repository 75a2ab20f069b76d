//! Archives of images: `docker save`'s and OCI layouts in a tar. An archive is written and read in one pass.

mod docker;
#[cfg(fuzzing)]
mod fuzzing;
mod import;
mod load;
mod members;
mod oci;
mod reader;
mod save;

#[cfg(fuzzing)]
pub use self::fuzzing::load_images;
pub use self::import::ImportOptions;
pub(crate) use self::load::load_archive;
pub(crate) use self::reader::{ArchiveReader, LoadedImage, ReceivedImages};
pub use self::save::{ArchiveFormat, SaveOptions};
