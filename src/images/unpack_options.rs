//! Options of an unpacking.

use std::num::NonZeroUsize;

use crate::cancel::Cancel;
use crate::limits::Limits;
use crate::unpack::UnpackConfig;

/// The choices of an unpacking.
#[derive(Clone, Debug)]
pub struct UnpackOptions {
    devices: bool,
    pub(crate) jobs: usize,
    limits: Limits,
    pub(crate) cancel: Cancel,
}

impl Default for UnpackOptions {
    fn default() -> Self {
        Self { devices: true, jobs: 1, limits: Limits::default(), cancel: Cancel::default() }
    }
}

impl UnpackOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether device nodes are made, where this process may. Default: yes.
    pub fn devices(self, devices: bool) -> Self {
        Self { devices, ..self }
    }

    /// Bounds on what is taken in. Default: [`Limits::default`].
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// A flag that stops the work. Default: one that nobody raises.
    pub fn cancel(self, cancel: Cancel) -> Self {
        Self { cancel, ..self }
    }

    /// How many threads may work at once. With more than one, layers are inflated on a thread of their own. Default: 1,
    /// which starts none.
    pub fn jobs(self, jobs: NonZeroUsize) -> Self {
        Self { jobs: jobs.get(), ..self }
    }

    pub(crate) fn bounds(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn config(&self) -> UnpackConfig {
        UnpackConfig { devices: self.devices, limits: self.limits.clone(), cancel: self.cancel.clone() }
    }
}
