//! Makes a result appear at its target whole or not at all.
//!
//! Each kind of target has the same three steps:
//!
//! - `begin` checks the target and reserves the place where the result grows. Until the last step, the target is
//!   unchanged.
//! - `publish` makes the result durable and visible in one atomic step. It consumes the value.
//! - Dropping the value without `publish` abandons the result and removes what was written so far. If the process is
//!   killed
//!   before that, the next `begin` for the same target removes it.
//!
//! [`Staging`] is a directory tree, [`Files`] a set of verified files, and `NewFile` one file. Each appears by one rename.
//! [`Releases`] keeps several published trees and exchanges them. A target that no rename can replace, such as a mount point,
//! is filled in place: it is marked as incomplete meanwhile. `device/` writes one image to a device, where no rename helps:
//! the order of writes makes it valid at once.

#[cfg(feature = "device")]
mod device;
mod files;
#[cfg(feature = "manage")]
mod in_place;
#[cfg(feature = "manage")]
mod new_file;
#[cfg(feature = "manage")]
mod releases;
mod staging;

#[cfg(feature = "device")]
pub use self::device::{Decompression, RawTarget, Readback, WriteOptions, Written};
#[cfg(feature = "device")]
pub(crate) use self::device::{HEAD, Writer};
pub(crate) use self::files::Files;
#[cfg(feature = "manage")]
pub(crate) use self::new_file::NewFile;
#[cfg(feature = "manage")]
pub use self::releases::{Release, ReleaseSource, Releases, Swap};
pub(crate) use self::staging::Staging;
