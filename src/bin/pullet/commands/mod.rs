//! The commands, one file each.

#[cfg(feature = "manage")]
pub(crate) mod artifact;
#[cfg(feature = "boot")]
pub(crate) mod boot;
#[cfg(feature = "manage")]
pub(crate) mod config;
#[cfg(feature = "manage")]
pub(crate) mod digest;
#[cfg(feature = "manage")]
pub(crate) mod images;
#[cfg(feature = "manage")]
pub(crate) mod login;
#[cfg(feature = "manage")]
pub(crate) mod manifest;
pub(crate) mod pull;
#[cfg(feature = "manage")]
pub(crate) mod tags;
pub(crate) mod unpack;
#[cfg(feature = "manage")]
pub(crate) mod verify;
