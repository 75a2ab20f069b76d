//! The pace of a body. A minimum detects servers that send one byte at a time; the maximum is the caller's rate limit.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::budget::Budget;
use crate::advice::Advice;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};

/// A body with fewer bytes per second, measured over the stall timeout, counts as stalled.
const FLOOR: u64 = 100;

/// How far a rate limit may lag behind. Bytes that were not used for longer than this are lost, so that a pause is not
/// followed by a burst.
const CREDIT: Duration = Duration::from_secs(1);

/// Bounds on the pace of a body.
#[derive(Clone, Debug)]
pub(crate) struct PaceLimits {
    /// Longest wait for the next bytes, and the time over which the minimum is measured.
    pub(crate) stall: Duration,
    /// The rate limit, which all bodies share.
    pub(crate) rate: Option<Arc<RateLimit>>,
    /// The bytes that all bodies together may still have.
    pub(crate) budget: Budget,
}

/// A limit on the rate of all bodies of one client together, whatever the number of connections.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// Bytes per second.
    rate: u64,
    start: Instant,
    /// The time since the start at which all bytes so far are due.
    due: Mutex<Duration>,
}

impl RateLimit {
    /// Creates a limit in bytes per second. It applies from now on.
    pub(crate) fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), start: Instant::now(), due: Mutex::default() }
    }

    /// Records `bytes` that were received `elapsed` after the start. Returns how long their receiver must wait.
    fn record(&self, bytes: usize, elapsed: Duration) -> Duration {
        let nanoseconds = u128::from(bytes as u64) * 1_000_000_000 / u128::from(self.rate);
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let due = &mut *self.due.lock().unwrap_or_else(PoisonError::into_inner);
        *due = elapsed.saturating_sub(CREDIT).max(*due).saturating_add(cost);
        due.saturating_sub(elapsed)
    }
}

/// Measures the pace of one body.
#[derive(Clone)]
pub(crate) struct Pace {
    limits: PaceLimits,
    cancel: Cancel,
    /// Time spent waiting for the network since the last check against the minimum.
    waited: Duration,
    /// Bytes received since the last check.
    received: u64,
}

impl Pace {
    pub(crate) fn new(limits: PaceLimits, cancel: Cancel) -> Self {
        Self { limits, cancel, waited: Duration::ZERO, received: 0 }
    }

    /// Returns how many bytes to read at once, and takes them out of the budget. A rate limit allows a tenth of a second's
    /// worth, which avoids bursts.
    pub(crate) fn share(&self, wanted: usize) -> Result<usize> {
        let share = self.limits.rate.as_ref().map_or(u64::MAX, |limit| (limit.rate / 10).max(1));
        self.limits.budget.take(wanted.min(usize::try_from(share).unwrap_or(usize::MAX)))
    }

    /// Puts back what a read did not use of its share.
    pub(crate) fn put_back(&self, unused: usize) {
        self.limits.budget.put_back(unused);
    }

    /// Records a read that took `time` and returned `bytes`. Waits if that exceeds the rate limit; fails if the body
    /// has stalled.
    pub(crate) fn record(&mut self, time: Duration, bytes: usize) -> Result<()> {
        self.waited += time;
        self.received += bytes as u64;
        if self.waited >= self.limits.stall {
            if bytes > 0 && self.received < FLOOR.saturating_mul(self.waited.as_secs().max(1)) {
                return Err(stalled(self.received, self.waited));
            }
            (self.waited, self.received) = (Duration::ZERO, 0);
        }
        match &self.limits.rate {
            None => Ok(()),
            Some(limit) => self.cancel.wait(limit.record(bytes, limit.start.elapsed())),
        }
    }
}

fn stalled(received: u64, waited: Duration) -> Error {
    Error::new(ErrorKind::Network, format!("stalled: {received} bytes in {} s", waited.as_secs()))
        .with_advice(Advice::AllowLongerStall)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(
            PaceLimits { stall: Duration::from_secs(60), rate: None, budget: Budget::default() },
            Cancel::default(),
        )
    }

    #[test]
    fn a_body_below_the_minimum_pace_is_stalled() {
        let mut slow = pace();
        let results: Vec<bool> = (0..120).map(|_| slow.record(Duration::from_millis(500), 1).is_ok()).collect();
        assert_eq!(results.iter().position(|ok| !ok), Some(119));
        let mut steady = pace();
        assert!((0..500).all(|_| steady.record(Duration::from_millis(500), 51).is_ok()));
        // Time spent on the disk does not count.
        let mut fast = pace();
        assert!((0..500).all(|_| fast.record(Duration::ZERO, 1).is_ok()));
    }

    fn limited(limit: &Arc<RateLimit>) -> Pace {
        Pace::new(PaceLimits { rate: Some(Arc::clone(limit)), ..pace().limits }, Cancel::default())
    }

    #[test]
    fn a_rate_limit_causes_small_reads_and_waits() {
        let limit = Arc::new(RateLimit::new(1000));
        assert_eq!((limited(&limit).share(65536).ok(), pace().share(65536).ok()), (Some(100), Some(65536)));
        let seconds = Duration::from_secs_f64;
        for (bytes, elapsed, expected) in [
            (1000, 0.0, 1.0),
            (1000, 1.0, 1.0),
            // A late reader may catch up, by one second at most.
            (100, 2.5, 0.0),
            (1000, 100.0, 0.0),
            (1000, 100.0, 1.0),
            (usize::MAX, 100.0, f64::INFINITY),
        ] {
            let wait = limit.record(bytes, seconds(elapsed));
            if expected.is_finite() {
                assert_eq!(wait, seconds(expected), "{bytes} bytes after {elapsed} s");
            } else {
                assert!(wait > seconds(1e9));
            }
        }
    }

    #[test]
    fn all_bodies_share_one_rate_limit() {
        let limit = Arc::new(RateLimit::new(1000));
        let bodies = [limited(&limit), limited(&limit), limited(&limit).clone()];
        let waits = bodies.iter().filter_map(|body| body.limits.rate.as_ref()).map(|rate| rate.record(1000, CREDIT));
        assert_eq!(waits.collect::<Vec<_>>(), [0, 1, 2].map(Duration::from_secs));
    }
}
