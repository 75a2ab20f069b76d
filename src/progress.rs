//! How the work tells what it does: events, called directly from the thread that knows. Parsers never report.

use std::time::Duration;

use crate::digest::Digest;

/// Something that happened. Texts may be foreign: print them through [`Escaped`](crate::Escaped).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request was answered. The URL carries neither query nor user information.
    Answered {
        /// `GET` or `POST`.
        method: &'a str,
        /// Scheme, host, port and path.
        url: &'a str,
        /// The answer's status.
        status: u16,
    },
    /// A pull of `path` begins; `label` is its tag, or its digest where it has none.
    Pulling {
        /// Tag or digest.
        label: &'a str,
        /// The repository's path, as `library/alpine`.
        path: &'a str,
    },
    /// A layer on its way into the store.
    Layer {
        /// Which one.
        layer: Layer,
        /// How far it is.
        state: LayerState,
    },
    /// A layer on its way into the tree.
    Unpacking {
        /// Which one.
        layer: Layer,
        /// Bytes of its blob that were read.
        read: u64,
    },
    /// An attempt failed and is made again after a wait.
    Retry {
        /// Why it failed.
        reason: &'a str,
        /// The wait.
        wait: Duration,
        /// Which retry this is, from 1.
        attempt: u32,
        /// How many there may be without progress.
        retries: u32,
    },
    /// Something is so because it was configured so; for who wants to know why.
    Configured {
        /// What was decided. Has no secret in it.
        what: &'a str,
        /// The file, variable or option that decided it.
        from: &'a str,
    },
    /// Something that a person should know once and that stops nothing.
    Note(&'a str),
}

/// A layer's place in its image.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// From 0, the base layer.
    pub index: usize,
    /// Layers of the image.
    pub total: usize,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's bytes.
    pub size: u64,
}

impl Layer {
    /// `layer 2 of 5 (0123456789ab)`, for errors.
    pub(crate) fn label(&self) -> String {
        format!("layer {} of {} ({})", self.index + 1, self.total, self.digest.short())
    }
}

/// How far a layer is on its way into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerState {
    /// The store lacks it; it will be fetched.
    Waiting,
    /// So many bytes of it have arrived.
    Downloading(u64),
    /// Verified and committed.
    Complete,
    /// The store had it; nothing is fetched.
    Exists,
}

/// Whoever wants to know. Called from the working thread, so it should return soon.
pub trait Progress: Sync {
    /// Something happened.
    fn report(&self, event: Event<'_>);
}

/// Reports nothing; the library's default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _: Event<'_>) {}
}
