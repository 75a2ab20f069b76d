//! Cancellation: a flag that another thread or a signal handler sets, and an optional deadline. Checked before every
//! read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Result};

/// How often a wait checks the flag. A signal handler can set the flag, but cannot wake a thread.
const POLL: Duration = Duration::from_millis(100);

/// A shared cancellation flag with an optional deadline. It is cheap to clone and can be set from any thread. It cannot
/// be reset.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    shared: Arc<Shared>,
    /// A flag that cancels this work too.
    parent: Option<Arc<Cancel>>,
    deadline: Option<Instant>,
}

#[derive(Debug, Default)]
struct Shared {
    flag: Arc<AtomicBool>,
    mutex: Mutex<()>,
    raised: Condvar,
}

impl Cancel {
    /// A flag that also ends the work at `deadline`, with [`ErrorKind::Network`].
    pub fn with_deadline(deadline: Instant) -> Self {
        Self::default().until(deadline)
    }

    /// The same flag with this deadline.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// The flag itself, for a signal handler to set.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.shared.flag)
    }

    /// Stops the work at its next read with [`ErrorKind::Interrupted`].
    pub fn cancel(&self) {
        self.shared.flag.store(true, Ordering::Relaxed);
        self.shared.raised.notify_all();
    }

    /// Returns true if [`cancel`](Cancel::cancel) was called or the flag was set.
    pub fn is_cancelled(&self) -> bool {
        self.shared.flag.load(Ordering::Relaxed) || self.parent.as_ref().is_some_and(|parent| parent.is_cancelled())
    }

    /// A flag for a part of the work. Setting it does not set this one; setting this one cancels the part too.
    pub(crate) fn child(&self) -> Self {
        Self { parent: Some(Arc::new(self.clone())), deadline: self.deadline, ..Self::default() }
    }

    /// Fails if the work is cancelled or the deadline has passed.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        if self.remaining() == Some(Duration::ZERO) {
            let error = Error::new(ErrorKind::Network, "out of time").finally();
            return Err(error.with_advice(Advice::AllowMoreTime));
        }
        Ok(())
    }

    /// The time until the deadline; `None` without a deadline.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits for `duration`. Fails as soon as [`check`](Cancel::check) does.
    pub(crate) fn wait(&self, duration: Duration) -> Result<()> {
        let until = Instant::now() + duration;
        let mut guard = self.shared.mutex.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let left = left.min(POLL).min(self.remaining().unwrap_or(POLL));
            (guard, _) = self.shared.raised.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_on_cancellation_and_at_the_deadline() {
        let long = Duration::from_secs(3600);
        let cancel = Cancel::default();
        cancel.cancel();
        assert_eq!(cancel.wait(long).map_err(|e| e.kind()), Err(ErrorKind::Interrupted));
        let late = Cancel::with_deadline(Instant::now());
        assert_eq!(late.wait(long).map_err(|e| (e.kind(), e.may_be_retried())), Err((ErrorKind::Network, false)));
        assert!(Cancel::default().wait(Duration::ZERO).is_ok());
    }
}
