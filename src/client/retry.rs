//! Counts failed attempts and waits between them. The registry module decides whether an error is worth a retry.

use std::hash::{BuildHasher as _, RandomState};

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Event, Progress};
use crate::registry::{Repository, Verdict, is_progress, verdict};

/// The attempts at one piece of work since its last progress.
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

    /// Repeats `work` until it succeeds or a retry cannot help.
    pub(crate) fn run<T>(mut self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match work() {
                Ok(done) => return Ok(done),
                Err(error) => self.wait_or_fail(error)?,
            }
        }
    }

    /// Records that an attempt fetched `gained` of `missing` bytes. Enough progress resets the count of attempts.
    pub(crate) fn progressed(&mut self, gained: u64, missing: u64) {
        if is_progress(gained, missing) {
            self.attempt = 0;
        }
    }

    /// Waits before the next attempt, or returns the error if there will be none.
    pub(crate) fn wait_or_fail(&mut self, error: Error) -> Result<()> {
        let random = RandomState::new().hash_one(self.attempt);
        let Verdict::Wait(wait) = verdict(&error, self.attempt, self.retries, random) else { return Err(error) };
        // The error says more than "out of time", which would come after a wait beyond the deadline.
        if self.cancel.remaining().is_some_and(|left| left <= wait) {
            return Err(error);
        }
        self.attempt += 1;
        let (attempt, retries) = (self.attempt, self.retries);
        self.progress.report(Event::Retry { reason: &error.to_string(), wait, attempt, retries });
        self.cancel.wait(wait)
    }
}

/// Decides whether content with a wrong digest or size is requested again. Every other endpoint gets one try, then the last
/// one gets a second try, because the fault may have been on the way or in a partial download.
#[derive(Default)]
pub(crate) struct MismatchRetry {
    was_repeated: bool,
}

impl MismatchRetry {
    /// Returns true if the same content should be requested again from its first byte.
    pub(crate) fn should_repeat(&mut self, error: &Error, repository: &mut Repository<'_>) -> bool {
        if error.kind() != ErrorKind::Mismatch || !error.may_be_retried() {
            return false;
        }
        repository.fail_over(error) || !std::mem::replace(&mut self.was_repeated, true)
    }
}
