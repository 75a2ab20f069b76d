//! A flag that another thread or a signal handler raises to stop the work, and the time by which it must be done.
//! Looked at before every read.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// A wait looks at the flag so often: a signal handler can raise it but wake nobody.
const LOOK: Duration = Duration::from_millis(100);

/// A shared flag with an optional deadline: cheap to clone, safe to raise from anywhere. Once raised it stays so.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    shared: Arc<Shared>,
    /// Another flag that counts as well.
    parent: Option<Arc<Cancel>>,
    deadline: Option<Instant>,
}

#[derive(Debug, Default)]
struct Shared {
    flag: Arc<AtomicBool>,
    /// How many are at work where they cannot look, and whether there is anybody.
    inattentive: AtomicUsize,
    is_inattentive: Arc<AtomicBool>,
    mutex: Mutex<()>,
    raised: Condvar,
}

impl Cancel {
    /// A flag that also ends the work at `deadline`, with [`ErrorKind::Network`]. The clock is monotonic.
    pub fn with_deadline(deadline: Instant) -> Self {
        Self::default().until(deadline)
    }

    /// The same flag, for work that must also be done by `deadline`.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// The flag itself: a signal handler may raise it, and may do nothing else.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.shared.flag)
    }

    /// Another flag, which is up while the work waits for something that hears no flag: the system's look-up of a host
    /// name. A signal handler may then end the process; nothing is lost by it that a kill would not lose.
    pub fn unattended_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.shared.is_inattentive)
    }

    /// Does `work`, which hears no flag and has nothing to tidy up, with [`unattended_flag`](Self::unattended_flag) up.
    /// Fails, and does not begin, if the flag is up already.
    pub fn unattended<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let Shared { inattentive, is_inattentive, .. } = &*self.shared;
        inattentive.fetch_add(1, Ordering::SeqCst);
        is_inattentive.store(true, Ordering::SeqCst);
        // In this order: a signal that found this flag down has raised the other.
        let done = self.check().map(|()| work());
        is_inattentive.store(inattentive.fetch_sub(1, Ordering::SeqCst) > 1, Ordering::SeqCst);
        done
    }

    /// Stops the work at its next read with [`ErrorKind::Interrupted`].
    pub fn cancel(&self) {
        self.shared.flag.store(true, Ordering::Relaxed);
        self.shared.raised.notify_all();
    }

    /// Whether [`cancel`](Cancel::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.shared.flag.load(Ordering::Relaxed) || self.parent.as_ref().is_some_and(|parent| parent.is_cancelled())
    }

    /// A flag for a part of the work: raising it leaves this one down, and this one counts for it too.
    pub(crate) fn child(&self) -> Self {
        Self { parent: Some(Arc::new(self.clone())), deadline: self.deadline, ..Self::default() }
    }

    pub(crate) fn check(&self) -> Result<()> {
        match (self.is_cancelled(), self.remaining()) {
            (true, _) => Err(Error::new(ErrorKind::Interrupted, "interrupted")),
            (false, Some(Duration::ZERO)) => Err(Error::new(ErrorKind::Network, "out of time").finally()),
            _ => Ok(()),
        }
    }

    /// The time that is left; `None` without a deadline.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits, unless it is cancelled or out of time meanwhile.
    pub(crate) fn wait(&self, duration: Duration) -> Result<()> {
        let until = Instant::now() + duration;
        let mut guard = self.shared.mutex.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let left = left.min(LOOK).min(self.remaining().unwrap_or(LOOK));
            (guard, _) = self.shared.raised.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_cancelled_or_out_of_time() {
        let long = Duration::from_secs(3600);
        let cancel = Cancel::default();
        cancel.cancel();
        assert_eq!(cancel.wait(long).map_err(|e| e.kind()), Err(ErrorKind::Interrupted));
        let late = Cancel::with_deadline(Instant::now());
        assert_eq!(late.wait(long).map_err(|e| (e.kind(), e.may_be_retried())), Err((ErrorKind::Network, false)));
        assert!(Cancel::default().wait(Duration::ZERO).is_ok());
    }
}
