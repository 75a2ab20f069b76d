//! What the tests stand on: a registry that follows a script, images made in code, a way to run the binary.

pub mod archive;
pub mod authority;
pub mod bench;
pub mod blunt;
pub mod debian;
pub mod digest;
pub mod fault;
pub mod image;
pub mod listing;
pub mod proxy;
pub mod registry;
pub mod run;
pub mod sparse;
pub mod tree;
pub mod wire;
