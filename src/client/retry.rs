//! The memory of a retry loop: how often it failed since the last progress. The loops themselves stand above it, the
//! policy is the registry's.

use std::hash::{BuildHasher as _, RandomState};

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};
use crate::registry::{Verdict, is_progress, verdict};

/// How much retry is left with one piece of work.
pub(crate) struct RetryState<'a> {
    retries: u32,
    attempt: u32,
    cancel: &'a Cancel,
    progress: &'a dyn Progress,
}

impl<'a> RetryState<'a> {
    pub(crate) fn new(retries: u32, cancel: &'a Cancel, progress: &'a dyn Progress) -> Self {
        Self { retries, attempt: 0, cancel, progress }
    }

    /// Does `work` until it succeeds or trying again cannot help.
    pub(crate) fn with<T>(mut self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match work() {
                Ok(done) => return Ok(done),
                Err(error) => self.wait_or_fail(error)?,
            }
        }
    }

    /// Takes note that an attempt brought `gained` of the `missing` bytes.
    pub(crate) fn progressed(&mut self, gained: u64, missing: u64) {
        if is_progress(gained, missing) {
            self.attempt = 0;
        }
    }

    /// Waits before the next attempt, or gives the error back if there is to be none.
    pub(crate) fn wait_or_fail(&mut self, error: Error) -> Result<()> {
        let dice = RandomState::new().hash_one(self.attempt);
        let Verdict::Wait(wait) = verdict(&error, self.attempt, self.retries, dice) else { return Err(error) };
        // A wait beyond the deadline would only hide why it was waited.
        if self.cancel.remaining().is_some_and(|left| left <= wait) {
            return Err(error);
        }
        self.attempt += 1;
        let (attempt, retries) = (self.attempt, self.retries);
        self.progress.report(Event::Retry { reason: &error.to_string(), wait, attempt, retries });
        self.cancel.wait(wait)
    }
}
