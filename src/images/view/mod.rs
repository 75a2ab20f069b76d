//! The merged root filesystem of an image without unpacking it: as one tar, a directory of it, one file of it, or what
//! differs from that of another image.
//!
//! For one file, layers are read from the top until the file is certain. Otherwise each layer is read twice. The first time builds the names of the merged tree and verifies each diff_id, so nothing of a
//! damaged store or of a hostile archive is ever written as if it were good. The second time supplies attributes and
//! content, from those layers only that have something to supply.
//!
//! In memory is the merged tree, in bytes: 20 for each entry of all layers, 5 to 11 for the table of names, 36 more for each
//! directory and 28 for each symlink with their names, and 8 for each entry that is read again. That is about 35 MB for
//! 1,000,000 files. The limit of entries bounds it.

mod changes;
mod export;
mod list;
mod merge;
mod options;
mod probe;
mod source;
mod table;
mod text;
mod tree;
mod view;

pub use self::changes::{Change, ChangeKind};
pub use self::list::{FileType, ListedFile};
pub use self::options::ReadOptions;
