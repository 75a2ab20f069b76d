//! Images in the local store. An [`Image`] can only be obtained from a fetch or from the store, so unverified content
//! cannot be unpacked.

#[cfg(feature = "manage")]
mod accounts;
#[cfg(feature = "manage")]
mod archive;
mod assembly;
#[cfg(feature = "manage")]
mod bundle;
mod chain;
mod choice;
mod convert;
#[cfg(fuzzing)]
mod fuzzing;
mod image;
#[cfg(feature = "manage")]
mod layer_folders;
#[cfg(feature = "manage")]
mod layered;
mod layers;
mod lookup;
mod prune;
mod remove;
mod selector;
#[cfg(feature = "trust")]
mod signed;
mod space;
mod tag;
mod unpack_options;
#[cfg(feature = "manage")]
mod unused_trees;
#[cfg(feature = "manage")]
mod view;

#[cfg(all(fuzzing, feature = "manage"))]
pub use self::archive::load_images;
#[cfg(feature = "manage")]
pub use self::archive::{ArchiveFormat, ImportOptions, SaveOptions};
#[cfg(feature = "manage")]
pub(crate) use self::archive::{ArchiveReader, LoadedImage, ReceivedImages, load_archive};
pub(crate) use self::assembly::Assembly;
pub(crate) use self::choice::{ChosenContent, DocumentSource, SourceDocument, StoredDocument, choose};
pub(crate) use self::convert::{convert_schema1, find_converted};
#[cfg(fuzzing)]
pub use self::fuzzing::unpack;
pub use self::image::{AdmittedImage, Image};
#[cfg(feature = "manage")]
pub use self::layered::Layered;
pub(crate) use self::layers::{ImageLayer, image_layers};
pub use self::prune::PruneOptions;
pub use self::remove::{RemoveOptions, Removed};
pub use self::selector::Selector;
#[cfg(feature = "trust")]
pub(crate) use self::signed::{Evidence, SignatureBlobs, SignatureSearch, is_about_content};
pub(crate) use self::space::{Need, check_space, least_tree};
pub use self::unpack_options::UnpackOptions;
#[cfg(feature = "manage")]
pub use self::view::{Change, ChangeKind, FileType, ListedFile, ReadOptions};
