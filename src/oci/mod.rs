//! The types of the domain: names, platforms, media types, manifests, configs, credentials, routes. Parses untrusted
//! text and JSON into checked types. Performs no IO.

pub(crate) mod artifact;
pub(crate) mod authority;
#[cfg(feature = "manage")]
pub(crate) mod changes;
pub(crate) mod config;
pub(crate) mod credentials;
pub(crate) mod descriptor;
#[cfg(feature = "manage")]
pub(crate) mod docker_archive;
pub(crate) mod document;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
pub(crate) mod index;
pub(crate) mod json;
pub(crate) mod manifest;
pub(crate) mod media_type;
pub(crate) mod platform;
pub(crate) mod proxy;
pub(crate) mod reference;
pub(crate) mod route;
#[cfg(feature = "manage")]
pub(crate) mod runtime;
pub(crate) mod schema1;
pub(crate) mod strict;
pub(crate) mod version;
