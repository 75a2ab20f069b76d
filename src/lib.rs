//! A `docker pull` for small machines: a name goes in, a verified image comes out, in a store that other tools can read
//! or as a root filesystem.
//!
//! ```text
//! Reference ─→ Client::resolve ─→ Resolved ─→ Client::fetch ─→ Image ─→ Image::unpack ─→ a root filesystem
//!              manifest, platform              config, layers   in a Store
//! ```
//!
//! Everything blocks, no thread is started unless several jobs are asked for (but for `Client::boot`, and where TLS must wait
//! for the kernel's first random numbers), and memory is a few fixed buffers however
//! large the image is.
//!
//! # Names
//!
//! A [`Reference`] is parsed and normalised as Docker does it:
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
//! [`Client::pull`] is the paved path. What the store has is not fetched again; an image that is up to date costs one
//! request.
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
//! [`Client::resolve`] alone asks what a name is, and so whether there is an update, without writing anything.
//!
//! # Credentials
//!
//! What a registry asks for is given from [`Options::credentials`], else from where Docker, podman and skopeo have it on
//! this machine. [`Client::login`] puts it there.
//!
//! # Trust
//!
//! Nothing that came from outside is trusted. A blob has a name in the store only after its digest was proven; an
//! [`Image`] can be had only from a fetch or from the store; a tree appears under its name only after every layer's
//! diff_id was proven. Sizes and counts have [`Limits`].
//!
//! # Errors
//!
//! An [`Error`] has a [`kind`](Error::kind) for programs, a text for people, and sometimes a [`hint`](Error::hint):
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
//! Whoever wants to show progress implements [`Progress`]; it is called from the working thread.
//!
//! ```
//! use pullet::{Event, LayerState, Progress};
//!
//! struct Lines;
//!
//! impl Progress for Lines {
//!     fn report(&self, event: Event<'_>) {
//!         if let Event::Layer { layer, state: LayerState::Complete } = event {
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
mod unpack;
mod verify;
mod workers;

pub use advice::{Advice, Limit};
#[cfg(feature = "boot")]
pub use boot::{BootParameters, Booted};
pub use cancel::Cancel;
pub use client::{
    Artifact, ArtifactFile, Client, Configuration, Options, Pulled, RawDocument, Resolved, Sandbox, Streamed,
};
pub use digest::Digest;
pub use error::{Error, ErrorKind, Result};
pub use escape::Escaped;
pub use images::{Image, UnpackOptions};
pub use limits::Limits;
pub use oci::credentials::Credentials;
pub use oci::descriptor::Descriptor;
pub use oci::platform::Platform;
pub use oci::reference::Reference;
pub use progress::{Event, Layer, LayerState, Progress, Silent};
pub use store::{Check, Store};
pub use unpack::Tally;

/// The default store's folder: `$PULLET_STORE`, else `/var/lib/pullet` for root, else `$XDG_DATA_HOME/pullet`
/// (`~/.local/share/pullet`). `None` where none of them can be told.
pub fn default_store() -> Option<std::path::PathBuf> {
    host::store_folder()
}

/// A name with the registry that it is of. A short one is of Docker Hub and stays as it is, unless the machine's
/// `registries.conf` has exactly one of `unqualified-search-registries`: then it is of that one. Fails with
/// [`ErrorKind::Usage`] if the name or that file is malformed.
pub fn qualified(name: &str) -> Result<String> {
    name.parse::<Reference>()?;
    let registry = match oci::reference::is_short(name) {
        true => host::Mirrors::of_environment().unqualified_search()?,
        false => None,
    };
    let Some(registry) = registry else { return Ok(name.to_owned()) };
    let qualified = format!("{registry}/{name}");
    match qualified.parse::<Reference>() {
        Ok(parsed) if parsed.domain() == registry => Ok(qualified),
        _ => {
            let text = format!("unqualified-search-registries: \"{registry}\" is no registry");
            Err(Error::new(ErrorKind::Usage, text))
        }
    }
}

/// Entry points for the targets in `fuzz/`: parsers of untrusted input that are not public. Compiled with
/// `--cfg fuzzing` only, so it is no part of the API.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    #[cfg(feature = "boot")]
    pub use crate::boot::boot_line;
    pub use crate::host::{auth_json, helper_output, proxy_for};
    pub use crate::images::unpack;
    pub use crate::layer::{Format, archive, decode, numbers, pax, sparse_map};
    pub use crate::oci::fuzzing::{config, document, pretty, schema1};
    pub use crate::registry::{challenges, joined, refusal, retry_after, token_answer};
}
