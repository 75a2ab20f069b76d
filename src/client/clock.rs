//! A clock that may be behind: what the store knows about the time, and which names need no clock.

use super::client::Client;
use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::reference::Reference;
use crate::registry::Moment;
use crate::store::{LockWait, Store};

impl Client {
    /// Reads the time of the last success from the store. A store that cannot be read fails where it is needed.
    pub(super) fn read_time(&self, store: &Store) {
        if self.connections.has_time_floor()
            && let Ok(Some(seconds)) = store.verified_time()
        {
            let from = format!("the last success, in the store {}", store.folder().display());
            self.connections.add_time_floor(Moment { seconds, from });
        }
    }

    /// Keeps the time of a success in the store. A failure to write it changes nothing about the success.
    pub(super) fn keep_time(&self, store: &Store, wait: LockWait<'_>) {
        if let Some(seconds) = self.connections.verified_time() {
            let _ = store.keep_verified_time(seconds, wait);
        }
    }

    /// Fails if a tag was resolved by a server whose certificate the machine's clock does not allow: the holder of an old
    /// key could say that the tag means an old image.
    pub(super) fn check_clock(&self, name: &Reference) -> Result<()> {
        if name.digest().is_some() || !self.connections.is_time_raised() {
            return Ok(());
        }
        let text = "this machine's clock is behind, so a tag proves nothing: the image must be named by its digest";
        Err(Error::new(ErrorKind::Tls, text).with_advice(Advice::PinDigest))
    }
}
