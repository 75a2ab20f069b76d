//! Counts failed attempts and waits between them. The registry module decides whether an error is worth a retry.

use std::hash::{BuildHasher as _, RandomState};
#[cfg(feature = "boot")]
use std::time::{Duration, Instant};

use super::options::Options;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Event, Progress};
use crate::registry::{Repository, Verdict, is_progress, verdict};

/// The attempts at one piece of work since its last progress.
pub(crate) struct RetryState<'a> {
    retries: u32,
    attempt: u32,
    #[cfg(feature = "boot")]
    outage: Outage,
    cancel: &'a Cancel,
    pub(super) progress: &'a dyn Progress,
}

impl<'a> RetryState<'a> {
    pub(crate) fn new(options: &Options, cancel: &'a Cancel, progress: &'a dyn Progress) -> Self {
        Self {
            retries: options.retries,
            attempt: 0,
            #[cfg(feature = "boot")]
            outage: Outage { limit: options.outage, since: None, is_reported: false },
            cancel,
            progress,
        }
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
            #[cfg(feature = "boot")]
            self.outage.end();
        }
    }

    /// Waits before the next attempt, or returns the error if there will be none.
    pub(crate) fn wait_or_fail(&mut self, error: Error) -> Result<()> {
        #[cfg(feature = "boot")]
        self.outage.begin();
        let random = RandomState::new().hash_one(self.attempt);
        let Verdict::Wait(wait) = verdict(&error, self.attempt, self.retries, random) else {
            #[cfg(feature = "boot")]
            return self.outage.wait_or_fail(error, self.cancel, self.progress);
            #[cfg(not(feature = "boot"))]
            return Err(error);
        };
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

/// A failure of the network, from the first error after progress on.
#[cfg(feature = "boot")]
struct Outage {
    limit: Duration,
    since: Option<Instant>,
    is_reported: bool,
}

#[cfg(feature = "boot")]
impl Outage {
    /// Time between two attempts.
    const INTERVAL: Duration = Duration::from_secs(1);

    fn begin(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    fn end(&mut self) {
        (self.since, self.is_reported) = (None, false);
    }

    /// Waits before the next attempt, or returns the error if the time is over or the network works.
    fn wait_or_fail(&mut self, error: Error, cancel: &Cancel, progress: &dyn Progress) -> Result<()> {
        let is_down = error.kind() == ErrorKind::Network && error.may_be_retried() && !error.is_refusal();
        let is_over = self.since.is_none_or(|since| since.elapsed() >= self.limit);
        if !is_down || is_over || cancel.remaining().is_some_and(|left| left <= Self::INTERVAL) {
            return Err(error);
        }
        if !std::mem::replace(&mut self.is_reported, true) {
            let text = format!("waiting up to {} s for the network: {error}", self.limit.as_secs());
            progress.report(Event::Note(&text));
        }
        cancel.wait(Self::INTERVAL)
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
