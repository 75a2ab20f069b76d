//! Options for reading the merged root filesystem of an image.

use crate::cancel::Cancel;
use crate::limits::Limits;

/// Options for reading the merged root filesystem of an image.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ReadOptions {
    pub(super) limits: Limits,
    pub(super) cancel: Cancel,
}

impl ReadOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bounds on untrusted input. Default: [`Limits::default`].
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// A flag that stops the work. Default: a flag that is never raised.
    pub fn cancel(self, cancel: Cancel) -> Self {
        Self { cancel, ..self }
    }
}
