//! A kit for tests of programs that pull from container registries.
//!
//! It has both sides of such a test. The first side is what the program meets:
//!
//! - [`registry`], a registry on loopback, over HTTPS with [`authority`]; its responses go wrong by a script of [`fault`]s;
//! - [`proxy`], [`link`] and [`canned`], which stand between program and registry, or in the place of a registry;
//! - [`image`], [`schema1`] and [`signature`] for what is pushed, out of layers that [`archive`] and [`sparse`] write, and [`noise`] fills.
//!
//! The other side is what the program does:
//!
//! - [`home`] and [`process`] run pullet and check how it ended;
//! - [`listing`] and [`tree`] look at what it unpacked, the first as short text, the second with all metadata;
//! - [`bench`](mod@bench) has the checks that need both sides;
//! - [`schema`] checks the JSON that it prints;
//! - [`debian`] runs other programs for comparison.
//!
//! pullet is a black box here: the kit does not use its library. Failed assertions panic, and so does everything that
//! cannot be set up.

pub mod archive;
#[cfg(feature = "tls")]
pub mod authority;
pub mod bench;
pub mod canned;
pub mod debian;
pub mod device;
pub mod digest;
pub mod fault;
pub mod home;
pub mod http;
pub mod image;
pub mod link;
pub mod listing;
pub mod noise;
pub mod process;
pub mod proxy;
pub mod registry;
pub mod schema;
pub mod schema1;
pub mod signature;
pub mod sparse;
pub mod tree;
