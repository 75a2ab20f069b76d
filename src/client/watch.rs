//! Polls the digest of a name, and calls a handler when it changes.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use super::client::Client;
use super::resolved::verified_digest;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::reference::Reference;
use crate::progress::{Event, Progress, WatchState};
use crate::store::{Store, WatchRecord};

/// The default time between two polls.
const INTERVAL: Duration = Duration::from_secs(300);
/// The longest wait that a registry can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How often the time between two polls doubles at most, while the registry refuses them.
const MOST_DOUBLINGS: u32 = 3;

/// Options of [`Client::watch`].
#[derive(Clone, Debug)]
#[must_use]
pub struct WatchOptions {
    record: PathBuf,
    is_in_store: bool,
    interval: Duration,
    is_once: bool,
}

impl WatchOptions {
    /// Keeps the record of what was handled and what failed in this file. Its folder must exist.
    pub fn new(record: impl Into<PathBuf>) -> Self {
        Self { record: record.into(), is_in_store: false, interval: INTERVAL, is_once: false }
    }

    /// Keeps the record in the store.
    pub fn in_store(store: &Store, name: &Reference) -> Self {
        Self { is_in_store: true, ..Self::new(store.watch_file(name)) }
    }

    /// The time between two polls, of which up to a quarter is added or taken at random, so that many machines do not poll
    /// at the same time. Default: 5 minutes.
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Whether to poll once only. Default: no.
    pub fn once(self, enabled: bool) -> Self {
        Self { is_once: enabled, ..self }
    }
}

/// How the handling of a new digest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchOutcome {
    /// It succeeded. The handler is not called again until the digest changes.
    Done,
    /// It failed for a reason that lies in the content. The handler is never called with this digest again.
    Failed,
    /// It failed for a reason that passes, such as the network. The handler is called again after the next poll.
    Later,
    /// It was cut short, as by a kill. The handler is called again after the next poll, at most ten times in a row.
    Cut,
    /// The watch must end. The handler is called again by the next watch.
    Stopped,
}

impl Client {
    /// Polls the digest that `name` points to, and calls `handle` when it is one that was neither handled before nor has
    /// failed. A poll is one conditional request, and [`Options::retries`](crate::Options::retries) more if it fails.
    ///
    /// The record is durable before and after each call of `handle`, so the process may be killed at any time: then `handle` is
    /// called with the same digest again, at most ten times without an end, after which the digest counts as failed. 32
    /// failed digests are remembered.
    ///
    /// An error that may pass is reported to `progress`, and the next poll follows: later than a server asked for
    /// (`Retry-After`), and after up to eight times the interval while a server refuses. Other errors end the watch: of the
    /// disk, of the options, and [`ErrorKind::Interrupted`]. The digest is the registry's claim. Nothing is fetched and no
    /// signature is verified, because [`Client::pull`] decides about the content.
    ///
    /// Returns after [`WatchOutcome::Stopped`], or after one poll if the options say so; then with the outcome, if `handle`
    /// was called.
    pub fn watch(
        &self,
        name: &Reference,
        options: &WatchOptions,
        progress: &dyn Progress,
        handle: &mut dyn FnMut(&Digest) -> WatchOutcome,
    ) -> Result<Option<WatchOutcome>> {
        if name.digest().is_some() {
            return Err(Error::new(ErrorKind::Usage, format!("watch {name}: a name with a digest never changes")));
        }
        let mut record = WatchRecord::open(&options.record, options.is_in_store, name, progress)?;
        let mut poll = Poll { known: record.handled, has_head: true };
        let mut refusals = 0;
        loop {
            let wait = match self.poll(name, &mut poll, progress) {
                Ok(digest) => {
                    refusals = 0;
                    let outcome = react(&mut record, digest, progress, handle)?;
                    self.options.cancel.check()?;
                    if options.is_once || outcome == Some(WatchOutcome::Stopped) {
                        return Ok(outcome);
                    }
                    pause(options.interval, 0, None)
                }
                Err(error) => {
                    self.options.cancel.check()?;
                    let error = error.context(format!("poll {name}"));
                    if options.is_once || !may_pass(error.kind()) {
                        return Err(error);
                    }
                    refusals = if error.is_refusal() { refusals + 1 } else { 0 };
                    let wait = pause(options.interval, refusals, error.retry_after());
                    progress.report(Event::Note(&format!("{error}; polling again in {:.1} s", wait.as_secs_f64())));
                    wait
                }
            };
            self.options.cancel.wait(wait)?;
        }
    }

    fn poll(&self, name: &Reference, poll: &mut Poll, progress: &dyn Progress) -> Result<Digest> {
        let mut repository = self.open(name, progress)?;
        let (selector, known) = (name.selector(), poll.known);
        let digest = self.with_retries(&mut repository, progress, |repository| {
            if poll.has_head
                && let Some(digest) = repository.digest(&selector, known)?
            {
                return Ok(digest);
            }
            let digest = match (repository.changed_manifest(&selector, known)?, known) {
                (Some(response), _) => verified_digest(name, &response)?,
                (None, Some(known)) => known,
                (None, None) => return Err(Error::new(ErrorKind::Internal, "an unconditional request: unchanged")),
            };
            // Only now it is sure that the registry has the manifest, and HEAD is of no use.
            poll.has_head = false;
            Ok(digest)
        })?;
        poll.known = Some(digest);
        Ok(digest)
    }
}

/// What earlier polls found.
struct Poll {
    known: Option<Digest>,
    /// False if the registry does not say the digest to a HEAD request.
    has_head: bool,
}

/// Calls `handle` if the digest is new.
fn react(
    record: &mut WatchRecord,
    digest: Digest,
    progress: &dyn Progress,
    handle: &mut dyn FnMut(&Digest) -> WatchOutcome,
) -> Result<Option<WatchOutcome>> {
    let report = |state| progress.report(Event::Watch { digest, state });
    if record.handled == Some(digest) {
        report(WatchState::Unchanged);
        return Ok(None);
    }
    if record.has_failed(&digest) {
        report(WatchState::Skipped);
        return Ok(None);
    }
    if !record.begin(digest)? {
        report(WatchState::Failed);
        return Ok(Some(WatchOutcome::Failed));
    }
    report(WatchState::Changed);
    let outcome = handle(&digest);
    let state = match outcome {
        WatchOutcome::Done => {
            record.succeed(digest)?;
            WatchState::Handled
        }
        WatchOutcome::Failed => {
            record.fail(digest)?;
            WatchState::Failed
        }
        WatchOutcome::Later | WatchOutcome::Stopped => {
            record.postpone()?;
            WatchState::Postponed
        }
        // It stays recorded as begun.
        WatchOutcome::Cut => WatchState::Postponed,
    };
    report(state);
    Ok(Some(outcome))
}

/// Returns true for an error that may end without a change on this machine.
fn may_pass(kind: ErrorKind) -> bool {
    !matches!(
        kind,
        ErrorKind::Disk | ErrorKind::Internal | ErrorKind::Interrupted | ErrorKind::Unsupported | ErrorKind::Usage
    )
}

/// The time until the next poll: random around the interval, which doubles with each refusal.
fn pause(interval: Duration, refusals: u32, retry_after: Option<Duration>) -> Duration {
    let base = interval.saturating_mul(1 << refusals.saturating_sub(1).min(MOST_DOUBLINGS));
    let nanoseconds = u64::try_from((base / 2).as_nanos()).unwrap_or(u64::MAX).max(1);
    let random = Duration::from_nanos(RandomState::new().hash_one(refusals) % nanoseconds);
    let jittered = (base - base / 4).saturating_add(random);
    match retry_after {
        Some(asked) => jittered.max(asked.min(LONGEST_RETRY_AFTER).saturating_add(random)),
        None => jittered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_random_doubles_with_refusals_and_is_as_long_as_asked_for() {
        let interval = Duration::from_secs(100);
        for (refusals, least, most) in [(0, 75, 125), (1, 75, 125), (2, 150, 250), (4, 600, 1000), (99, 600, 1000)] {
            for _ in 0..100 {
                let pause = pause(interval, refusals, None).as_secs();
                assert!((least..=most).contains(&pause), "{refusals}: {pause}");
            }
        }
        let asked = |seconds| pause(interval, 1, Some(Duration::from_secs(seconds))).as_secs();
        assert!((75..=125).contains(&asked(0)) && (1000..=1050).contains(&asked(1000)));
        assert!((86400..=86450).contains(&asked(u64::MAX)));
        assert_ne!(pause(interval, 0, None), pause(interval, 0, None));
        assert!(pause(Duration::MAX, 9, Some(Duration::MAX)) > interval);
    }
}
