//! The pace of a body. A minimum detects servers that send one byte at a time; the maximum is the caller's rate limit.

use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};

/// A body with fewer bytes per second, measured over the stall timeout, counts as stalled.
const FLOOR: u64 = 100;

/// Bounds on the pace of a body.
#[derive(Clone, Debug)]
pub(crate) struct PaceLimits {
    /// Longest wait for the next bytes, and the time over which the minimum is measured.
    pub(crate) stall: Duration,
    /// Most bytes per second.
    pub(crate) rate: Option<u64>,
}

impl Default for PaceLimits {
    fn default() -> Self {
        Self { stall: Duration::from_secs(60), rate: None }
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
    start: Instant,
    total: u64,
}

impl Pace {
    pub(crate) fn new(limits: PaceLimits, cancel: Cancel) -> Self {
        Self { limits, cancel, waited: Duration::ZERO, received: 0, start: Instant::now(), total: 0 }
    }

    /// Returns how many bytes to read at once. A rate limit allows a tenth of a second's worth, which avoids bursts.
    pub(crate) fn share(&self, wanted: usize) -> usize {
        let share = self.limits.rate.map_or(u64::MAX, |rate| (rate / 10).max(1));
        wanted.min(usize::try_from(share).unwrap_or(usize::MAX))
    }

    /// Records a read that took `time` and returned `bytes`. Waits if that exceeds the rate limit; fails if the body
    /// has stalled.
    pub(crate) fn record(&mut self, time: Duration, bytes: usize) -> Result<()> {
        self.waited += time;
        self.received += bytes as u64;
        self.total += bytes as u64;
        if self.waited >= self.limits.stall {
            if bytes > 0 && self.received < FLOOR.saturating_mul(self.waited.as_secs().max(1)) {
                return Err(stalled(self.received, self.waited));
            }
            (self.waited, self.received) = (Duration::ZERO, 0);
        }
        match self.limits.rate {
            None => Ok(()),
            Some(rate) => self.cancel.wait(until_due(self.total, rate, self.start.elapsed())),
        }
    }
}

/// Returns how long to wait until `total` bytes are due at `rate`.
fn until_due(total: u64, rate: u64, elapsed: Duration) -> Duration {
    let due = u128::from(total) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(due).unwrap_or(u64::MAX)).saturating_sub(elapsed)
}

fn stalled(received: u64, waited: Duration) -> Error {
    Error::new(ErrorKind::Network, format!("stalled: {received} bytes in {} s", waited.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(PaceLimits { stall: Duration::from_secs(60), rate: None }, Cancel::default())
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

    #[test]
    fn a_rate_limit_causes_small_reads_and_waits() {
        let limited = Pace::new(PaceLimits { rate: Some(1000), ..PaceLimits::default() }, Cancel::default());
        assert_eq!((limited.share(65536), pace().share(65536)), (100, 65536));
        assert_eq!(until_due(1000, 1000, Duration::ZERO), Duration::from_secs(1));
        assert_eq!(until_due(1000, 1000, Duration::from_secs(2)), Duration::ZERO);
        assert_eq!(until_due(u64::MAX, 1, Duration::ZERO), Duration::from_nanos(u64::MAX));
    }
}
