//! Progress: events that the working thread reports directly, without a channel. Parsers never report.

use std::time::Duration;

use crate::digest::Digest;

/// An event during the work. Texts may be untrusted: print them through [`Escaped`](crate::Escaped).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A response arrived.
    #[non_exhaustive]
    Answered {
        /// `GET` or `POST`.
        method: &'a str,
        /// The URL of the request: scheme, host, port and path, without query and user information.
        url: &'a str,
        /// The status of the response.
        status: u16,
    },
    /// A pull begins.
    #[non_exhaustive]
    Pulling {
        /// The tag, or the digest if there is no tag.
        label: &'a str,
        /// The path of the repository, such as `library/alpine`.
        path: &'a str,
    },
    /// It is decided what to fetch, and no byte of a layer has been requested yet; or an image is about to be unpacked from
    /// the store, and nothing is missing.
    #[non_exhaustive]
    Plan {
        /// The number of layers of the image.
        layers: usize,
        /// The size of all layers in bytes.
        size: u64,
        /// The layers that will be fetched.
        missing: usize,
        /// The size of those layers in bytes.
        bytes: u64,
        /// How many of these bytes an interrupted run has left in the store. They are not verified yet.
        kept: u64,
        /// True if the bytes that arrive are kept when this run is interrupted, so that the next run continues there.
        is_resumable: bool,
    },
    /// The state of a layer in the store changed.
    #[non_exhaustive]
    Layer {
        /// The layer.
        layer: Layer,
        /// Its new state.
        state: LayerState,
    },
    /// A layer is being unpacked.
    #[non_exhaustive]
    Unpacking {
        /// The layer.
        layer: Layer,
        /// Bytes of its blob that were read so far.
        read: u64,
    },
    /// An attempt failed and will be retried.
    #[non_exhaustive]
    Retry {
        /// The error of the failed attempt.
        reason: &'a str,
        /// The time until the retry.
        wait: Duration,
        /// The number of the retry, counted from 1.
        attempt: u32,
        /// The most retries without progress.
        retries: u32,
    },
    /// A file, variable or option decided something. For verbose output.
    #[non_exhaustive]
    Configured {
        /// The decision, without secrets.
        what: &'a str,
        /// The file, variable or option.
        from: &'a str,
    },
    /// A watch polled a digest, or its handler has ended.
    #[non_exhaustive]
    Watch {
        /// The digest that the name points to.
        digest: Digest,
        /// What that means.
        state: WatchState,
    },
    /// Information for the user: a wait, or what was done.
    Note(&'a str),
    /// A warning for the user: something is not as it should be. The work continues.
    Warning(&'a str),
}

/// What a watch did about a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchState {
    /// The digest was handled before.
    Unchanged,
    /// The digest failed before, so it is not handled again.
    Skipped,
    /// The digest is new, and its handler is called now.
    Changed,
    /// The handler succeeded.
    Handled,
    /// The handler failed, and is never called with this digest again.
    Failed,
    /// The handler is called again after the next poll.
    Postponed,
}

/// A layer and its place in the image.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Layer {
    /// The place, counted from 0, the base layer.
    pub index: usize,
    /// The number of layers of the image.
    pub total: usize,
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
}

impl<'a> Event<'a> {
    /// The plan to unpack these layers from the store.
    pub(crate) fn unpack_plan(layers: impl ExactSizeIterator<Item = Layer>) -> Self {
        let count = layers.len();
        let size = layers.fold(0, |sum: u64, layer| sum.saturating_add(layer.size));
        Event::Plan { layers: count, size, missing: 0, bytes: 0, kept: 0, is_resumable: true }
    }
}

impl Layer {
    /// `layer 2 of 5 (0123456789ab)`, for errors.
    pub(crate) fn label(&self) -> String {
        format!("layer {} of {} ({})", self.index + 1, self.total, self.digest.short())
    }
}

/// The state of a layer in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerState {
    /// The store does not have it; it will be fetched.
    Waiting,
    /// It is being fetched; this many bytes have arrived.
    Downloading(u64),
    /// It is verified and committed to the store.
    Complete,
    /// The store had it already.
    Exists,
}

/// A receiver of events. Closures are receivers too:
///
/// ```
/// use pullet::{Event, Progress};
///
/// let print = |event: Event<'_>| println!("{event:?}");
/// print.report(Event::Note("hello"));
/// ```
pub trait Progress: Sync {
    /// Handles an event. The working thread calls this, so it should return soon.
    fn report(&self, event: Event<'_>);
}

impl<F: Fn(Event<'_>) + Sync> Progress for F {
    fn report(&self, event: Event<'_>) {
        self(event);
    }
}

/// Ignores all events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _: Event<'_>) {}
}
