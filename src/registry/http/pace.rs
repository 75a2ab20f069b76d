//! The pace of a body: not below a floor, for a byte now and then is a stall too, and not above what was asked for.

use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};

/// Bytes a second, measured over the stall timeout, below which a body counts as stalled.
const FLOOR: u64 = 100;

/// What a body's pace may be.
#[derive(Clone, Debug)]
pub(crate) struct PaceLimits {
    /// Longest wait for the next bytes, and the time over which the floor is measured.
    pub(crate) stall: Duration,
    /// Bytes a second at most.
    pub(crate) rate: Option<u64>,
}

impl Default for PaceLimits {
    fn default() -> Self {
        Self { stall: Duration::from_secs(60), rate: None }
    }
}

/// The pace of one body.
#[derive(Clone)]
pub(super) struct Pace {
    limits: PaceLimits,
    cancel: Cancel,
    /// Since the floor was last looked at: time spent waiting for the network, and bytes that came.
    waited: Duration,
    came: u64,
    begun: Instant,
    total: u64,
}

impl Pace {
    pub(super) fn new(limits: PaceLimits, cancel: Cancel) -> Self {
        Self { limits, cancel, waited: Duration::ZERO, came: 0, begun: Instant::now(), total: 0 }
    }

    /// Bytes to ask for at once: under a rate limit a tenth of a second's worth, so that it is no bursts.
    pub(super) fn share(&self, wanted: usize) -> usize {
        let share = self.limits.rate.map_or(u64::MAX, |rate| (rate / 10).max(1));
        wanted.min(usize::try_from(share).unwrap_or(usize::MAX))
    }

    /// Takes note of a read that took `time` and brought `bytes`; waits if that was too fast.
    pub(super) fn note(&mut self, time: Duration, bytes: usize) -> Result<()> {
        self.waited += time;
        self.came += bytes as u64;
        self.total += bytes as u64;
        if self.waited >= self.limits.stall {
            if bytes > 0 && self.came < FLOOR.saturating_mul(self.waited.as_secs().max(1)) {
                return Err(stalled(self.came, self.waited));
            }
            (self.waited, self.came) = (Duration::ZERO, 0);
        }
        match self.limits.rate {
            None => Ok(()),
            Some(rate) => self.cancel.wait(too_early(self.total, rate, self.begun.elapsed())),
        }
    }
}

/// How much later `total` bytes should have come at `rate`.
fn too_early(total: u64, rate: u64, elapsed: Duration) -> Duration {
    let due = u128::from(total) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(due).unwrap_or(u64::MAX)).saturating_sub(elapsed)
}

fn stalled(came: u64, waited: Duration) -> Error {
    Error::new(ErrorKind::Network, format!("stalled: {came} bytes in {} s", waited.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(PaceLimits { stall: Duration::from_secs(60), rate: None }, Cancel::default())
    }

    #[test]
    fn a_byte_now_and_then_is_a_stall() {
        let mut slow = pace();
        let noted: Vec<bool> = (0..120).map(|_| slow.note(Duration::from_millis(500), 1).is_ok()).collect();
        assert_eq!(noted.iter().position(|ok| !ok), Some(119));
        let mut steady = pace();
        assert!((0..500).all(|_| steady.note(Duration::from_millis(500), 51).is_ok()));
        // The time that the disk took is not the network's.
        let mut fast = pace();
        assert!((0..500).all(|_| fast.note(Duration::ZERO, 1).is_ok()));
    }

    #[test]
    fn a_rate_makes_small_reads_and_waits() {
        let limited = Pace::new(PaceLimits { rate: Some(1000), ..PaceLimits::default() }, Cancel::default());
        assert_eq!((limited.share(65536), pace().share(65536)), (100, 65536));
        assert_eq!(too_early(1000, 1000, Duration::ZERO), Duration::from_secs(1));
        assert_eq!(too_early(1000, 1000, Duration::from_secs(2)), Duration::ZERO);
        assert_eq!(too_early(u64::MAX, 1, Duration::ZERO), Duration::from_nanos(u64::MAX));
    }
}
