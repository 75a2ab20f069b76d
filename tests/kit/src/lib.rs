//! What tests of a registry client stand on: a registry that follows a script of faults, images and hostile archives made
//! in code, and a way to run the program under test and to look at what it left.
//!
//! The kit treats the program as a black box: it does not link pullet's library.

pub mod archive;
#[cfg(feature = "tls")]
pub mod authority;
pub mod bench;
pub mod blunt;
pub mod debian;
pub mod digest;
pub mod fault;
pub mod home;
pub mod image;
pub mod listing;
pub mod process;
pub mod proxy;
pub mod registry;
pub mod schema1;
pub mod sparse;
pub mod tree;
pub mod wire;
