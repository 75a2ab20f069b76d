//! Talks to registries on behalf of the caller: resolves names, fetches images into a store, streams them to a tree,
//! and fetches artifacts and raw documents. Each file adds one operation to [`Client`].

mod artifact;
mod blob;
mod body;
mod client;
mod clock;
mod config;
mod configuration;
#[cfg(feature = "trust")]
mod demands;
mod document;
mod features;
mod fetch;
mod gate;
#[cfg(feature = "manage")]
mod load;
mod login;
#[cfg(not(feature = "trust"))]
mod no_signatures;
#[cfg(not(feature = "trust"))]
mod no_trust;
mod options;
mod pull;
#[cfg(feature = "device")]
mod raw;
mod resolve;
mod resolved;
mod retry;
mod sandbox;
#[cfg(feature = "trust")]
mod signatures;
#[cfg(feature = "manage")]
mod start;
mod stream;
mod system;
#[cfg(feature = "manage")]
mod watch;

pub use self::artifact::{Artifact, ArtifactFile};
pub use self::client::Client;
pub use self::configuration::{Configuration, Fact};
pub use self::document::RawDocument;
#[cfg(feature = "manage")]
pub use self::load::Loaded;
pub use self::options::Options;
pub use self::pull::Pulled;
#[cfg(feature = "boot")]
pub(crate) use self::pull::report_pulling;
pub use self::resolved::Resolved;
pub use self::sandbox::Sandbox;
pub use self::stream::Streamed;
#[cfg(feature = "manage")]
pub use self::watch::{WatchOptions, WatchOutcome};
