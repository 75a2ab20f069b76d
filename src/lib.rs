//! A `docker pull` for small machines. It fetches an image by name, verifies it, and puts it into a store that other
//! tools can read, or unpacks it as a root filesystem.
//!
//! ```text
//! Reference ─→ Client::resolve ─→ Resolved ─→ Client::fetch ─→ AdmittedImage ─→ unpack ─→ a root filesystem
//!              manifest, platform              config, layers   in a Store
//! ```
//!
//! All functions block. Memory use is a few fixed buffers, independent of the size of the image. Threads are started
//! only if [`Options::jobs`] allows more than one, with two exceptions: `Client::boot`, and TLS while it waits for the
//! kernel's first random numbers.
//!
//! # Names
//!
//! A [`Reference`] is parsed and normalised as in Docker:
//!
//! ```
//! use pullet::Reference;
//!
//! let name: Reference = "ghcr.io/owner/app:1.2".parse()?;
//! assert_eq!((name.domain(), name.path(), name.tag()), ("ghcr.io", "owner/app", Some("1.2")));
//! let refused = "Alpine".parse::<Reference>();
//! assert!(refused.is_err_and(|e| e.to_string().contains("lower-case")));
//! # Ok::<(), pullet::Error>(())
//! ```
//!
//! # Pulling
//!
//! [`Client::pull`] is the function that most programs need. It does not fetch blobs again that the store has; for an
//! image that is up to date it sends one request.
//!
//! ```no_run
//! use pullet::{Client, Options, Silent, Store, UnpackOptions};
//! use std::path::Path;
//!
//! let client = Client::new(Options::new().platform("linux/arm64".parse()?))?;
//! let store = Store::open("/var/lib/pullet");
//! let pulled = client.pull(&"debian:bookworm".parse()?, &store, &Silent)?;
//! pulled.image.unpack(Path::new("/srv/root"), &UnpackOptions::new(), &Silent)?;
//! # Ok::<(), pullet::Error>(())
//! ```
//!
//! [`Client::resolve`] only resolves a name, for example to see whether there is an update. It writes nothing.
//!
//! # Credentials
//!
//! Credentials come from [`Options::credentials`], else from the files and helper programs that Docker, podman and
//! skopeo use on this machine. [`Client::login`] stores them there.
//!
//! # Trust
//!
//! No input from a registry is trusted. A blob enters the store only after its digest is verified. An [`Image`] can
//! only be obtained from a fetch or from the store. A target folder appears only after the diff_id of every layer is
//! verified. Sizes and counts have [`Limits`].
//!
//! # Errors
//!
//! An [`Error`] has a [`kind`](Error::kind) for programs, a text for people, and sometimes a remedy: [`Error::advice`]
//! or [`Error::hint`].
//!
//! ```
//! use pullet::{ErrorKind, Platform};
//!
//! let error = "linux/".parse::<Platform>().unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Usage);
//! assert!(!error.kind().is_transient());
//! ```
//!
//! # Progress
//!
//! To show progress, implement [`Progress`]. The working thread calls it.
//!
//! ```
//! use pullet::{Event, LayerState, Progress};
//!
//! struct Lines;
//!
//! impl Progress for Lines {
//!     fn report(&self, event: Event<'_>) {
//!         if let Event::Layer { layer, state: LayerState::Complete, .. } = event {
//!             println!("{} of {}", layer.index + 1, layer.total);
//!         }
//!     }
//! }
//! ```

mod advice;
#[cfg(feature = "boot")]
mod boot;
mod cancel;
mod client;
mod date;
mod digest;
mod error;
mod escape;
mod host;
mod images;
mod layer;
mod limits;
mod oci;
mod progress;
mod registry;
mod store;
mod target;
#[cfg(feature = "trust")]
mod trust;
mod unpack;
mod verify;
mod workers;

pub use advice::{Advice, Limit};
#[cfg(feature = "boot")]
pub use boot::{BootParameters, Booted};
pub use cancel::Cancel;
pub use client::{
    Artifact, ArtifactFile, Client, Configuration, Fact, Options, Pulled, RawDocument, Resolved, Sandbox, Streamed,
};
#[cfg(feature = "manage")]
pub use client::{Loaded, WatchOptions, WatchOutcome};
pub use date::{GO_ZERO_TIME, format_rfc_3339, parse_duration, parse_rfc_3339};
pub use digest::Digest;
pub use error::{Error, ErrorKind, Result};
pub use escape::Escaped;
pub use images::{AdmittedImage, Image, PruneOptions, RemoveOptions, Removed, Selector, UnpackOptions};
#[cfg(feature = "manage")]
pub use images::{
    ArchiveFormat, Change, ChangeKind, FileType, ImportOptions, Layered, ListedFile, ReadOptions, SaveOptions,
};
pub use limits::Limits;
pub use oci::credentials::Credentials;
pub use oci::descriptor::Descriptor;
pub use oci::platform::Platform;
pub use oci::reference::Reference;
pub use oci::version::Version;
pub use progress::{Event, Layer, LayerState, Progress, Silent, WatchState};
pub use store::{Check, Store};
#[cfg(feature = "device")]
pub use target::{Decompression, RawTarget, Readback, WriteOptions, Written};
#[cfg(feature = "manage")]
pub use target::{Release, ReleaseSource, Releases, Swap};
pub use unpack::Tally;

/// The folder of the default store: `$PULLET_STORE`, else `/var/lib/pullet` for root, else `$XDG_DATA_HOME/pullet`
/// (`~/.local/share/pullet`). `None` if none of these variables nor `$HOME` is set.
pub fn default_store() -> Option<std::path::PathBuf> {
    host::store_folder()
}

/// Returns the platform of this machine, for which images are chosen unless [`Options::platform`] names another one.
pub fn machine_platform() -> Platform {
    host::platform()
}

/// Returns the date of this build in seconds since 1970: `SOURCE_DATE_EPOCH` of the build, at least the date of the release.
pub fn build_date() -> i64 {
    host::build_date().0.try_into().unwrap_or(i64::MAX)
}

/// Describes the root certificates that are built in for machines without any: how many, and the version and date of
/// `webpki-roots`. `None` without the feature `webpki-roots`.
pub fn built_in_roots() -> Option<String> {
    #[cfg(feature = "webpki-roots")]
    return Some(registry::built_in_roots());
    #[cfg(not(feature = "webpki-roots"))]
    None
}

/// Adds the registry to a short name if this machine's `registries.conf` has exactly one
/// `unqualified-search-registries`. Returns other names unchanged; a short one then belongs to Docker Hub. Fails with
/// [`ErrorKind::Usage`] if the name or that file is malformed.
pub fn qualified(name: &str) -> Result<String> {
    name.parse::<Reference>()?;
    if !oci::reference::is_short(name) {
        return Ok(name.to_owned());
    }
    let Some(registry) = host::Mirrors::of_environment().unqualified_search()? else { return Ok(name.to_owned()) };
    let qualified = format!("{registry}/{name}");
    match qualified.parse::<Reference>() {
        Ok(parsed) if parsed.domain() == registry => Ok(qualified),
        _ => {
            let text = format!("unqualified-search-registries: \"{registry}\" is not a registry");
            Err(Error::new(ErrorKind::Usage, text))
        }
    }
}

/// The examples of the manual's page about the library, compiled as doc tests.
#[cfg(all(doctest, feature = "manage", feature = "trust"))]
#[doc = include_str!("../docs/library.md")]
pub struct Manual;

/// Entry points for the fuzz targets: parsers of untrusted input that are not public. Compiled with `--cfg fuzzing`
/// only, so they are not part of the API.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    #[cfg(feature = "boot")]
    pub use crate::boot::boot_line;
    pub use crate::host::{auth_json, helper_output, proxy_for};
    #[cfg(feature = "toml")]
    pub use crate::host::{daemon_json, hosts_toml, registries_conf};
    #[cfg(feature = "manage")]
    pub use crate::images::load_images;
    pub use crate::images::unpack;
    pub use crate::layer::{Format, archive, decode, numbers, pax, sparse_map};
    pub use crate::oci::fuzzing::{config, document, pretty, schema1};
    pub use crate::registry::{challenges, joined, refusal, retry_after, token_answer};
    pub use crate::store::index_json;
    #[cfg(feature = "manage")]
    pub use crate::store::watch_record;
    #[cfg(feature = "policy")]
    pub use crate::trust::policy_rule as policy;
    #[cfg(feature = "trust")]
    pub use crate::trust::{bundle_outline, key_der, key_file, referrers, signature_manifest, signed_content};
}
