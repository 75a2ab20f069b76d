//! A bound on the bytes that one client may receive in the bodies of all responses together. Each read takes its bytes out of
//! the budget first, so the bound holds for several connections at once.

#[cfg(feature = "manage")]
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(feature = "manage")]
use crate::advice::Advice;
use crate::error::Result;
#[cfg(feature = "manage")]
use crate::error::{Error, ErrorKind};

/// The bytes that may still be received. Without the feature `manage` there is no bound, and nothing is counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget {
    #[cfg(feature = "manage")]
    bound: Option<Arc<Bound>>,
}

#[cfg(feature = "manage")]
#[derive(Debug)]
struct Bound {
    total: u64,
    left: Mutex<u64>,
}

#[cfg(feature = "manage")]
impl Budget {
    /// A budget of this many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        Self { bound: Some(Arc::new(Bound { total: bytes, left: Mutex::new(bytes) })) }
    }

    fn change<T>(&self, none: T, change: impl FnOnce(&mut u64) -> T) -> T {
        match &self.bound {
            None => none,
            Some(bound) => change(&mut bound.left.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn left(&self) -> u64 {
        self.change(u64::MAX, |left| *left)
    }

    /// Returns true if nothing is left.
    pub(crate) fn is_used_up(&self) -> bool {
        self.left() == 0
    }

    /// Fails with [`ErrorKind::RateLimited`] if nothing is left. That is no fault of the server, and no other endpoint and no
    /// retry in this run can help.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.is_used_up() {
            return Ok(());
        }
        let total = self.bound.as_ref().map_or(0, |bound| bound.total);
        let text = format!("{total} bytes were received, and no more are allowed in one run");
        Err(Error::new(ErrorKind::RateLimited, text).finally().with_advice(Advice::FetchTheRest))
    }

    /// Takes up to `wanted` bytes out of the budget, for a read.
    pub(super) fn take(&self, wanted: usize) -> Result<usize> {
        self.check()?;
        Ok(self.change(wanted, |left| {
            let taken = wanted.min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= taken as u64;
            taken
        }))
    }

    /// Returns what a read did not use.
    pub(super) fn put_back(&self, unused: usize) {
        self.change((), |left| *left += unused as u64);
    }

    /// The last byte to request of a blob of `size` bytes from `offset` on: what lies behind it could not be received, but would
    /// already be on its way.
    pub(crate) fn last(&self, offset: u64, size: u64) -> u64 {
        size.min(offset.saturating_add(self.left())).saturating_sub(1)
    }
}

#[cfg(not(feature = "manage"))]
impl Budget {
    pub(crate) fn is_used_up(&self) -> bool {
        false
    }

    pub(crate) fn check(&self) -> Result<()> {
        Ok(())
    }

    pub(super) fn take(&self, wanted: usize) -> Result<usize> {
        Ok(wanted)
    }

    pub(super) fn put_back(&self, _: usize) {}

    pub(crate) fn last(&self, _: u64, size: u64) -> u64 {
        size.saturating_sub(1)
    }
}

#[cfg(all(test, feature = "manage"))]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_shared_and_ends() {
        let none = Budget::default();
        assert_eq!((none.take(7).ok(), none.last(3, 10), none.is_used_up()), (Some(7), 9, false));
        let budget = Budget::new(10);
        let other = budget.clone();
        assert_eq!((budget.last(0, 100), budget.last(95, 100), budget.last(0, 10), budget.last(0, 0)), (9, 99, 9, 0));
        assert_eq!((budget.take(6).ok(), other.take(6).ok()), (Some(6), Some(4)));
        let error = budget.check().unwrap_err();
        assert_eq!((error.kind(), error.may_be_retried(), other.is_used_up()), (ErrorKind::RateLimited, false, true));
        other.put_back(1);
        assert_eq!((budget.last(50, 100), budget.take(6).ok()), (50, Some(1)));
        assert!(other.take(1).is_err());
    }
}
