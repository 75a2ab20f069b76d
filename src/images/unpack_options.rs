//! Options of an unpacking.

use std::num::NonZeroUsize;

use crate::cancel::Cancel;
use crate::limits::Limits;
use crate::unpack::{Overlay, UnpackConfig};

/// Options of an unpacking.
#[derive(Clone, Debug)]
#[must_use]
pub struct UnpackOptions {
    devices: bool,
    pub(super) jobs: usize,
    #[cfg(feature = "manage")]
    pub(super) is_in_place: bool,
    overlay: Option<Overlay>,
    pub(super) limits: Limits,
    pub(super) cancel: Cancel,
}

impl Default for UnpackOptions {
    fn default() -> Self {
        Self {
            devices: true,
            jobs: 1,
            #[cfg(feature = "manage")]
            is_in_place: false,
            overlay: None,
            limits: Limits::default(),
            cancel: Cancel::default(),
        }
    }
}

impl UnpackOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to create device nodes, if this process may. Default: yes.
    pub fn devices(self, devices: bool) -> Self {
        Self { devices, ..self }
    }

    /// Bounds on untrusted input. Default: [`Limits::default`].
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// A flag that stops the work. Default: a flag that is never raised.
    pub fn cancel(self, cancel: Cancel) -> Self {
        Self { cancel, ..self }
    }

    /// How many threads may work at once. With more than one, layers are decompressed on a separate thread. Default: 1,
    /// which starts no thread.
    pub fn jobs(self, jobs: NonZeroUsize) -> Self {
        Self { jobs: jobs.get(), ..self }
    }

    /// Whether to fill the target, which must be an empty folder, or a mount point with nothing but an empty `lost+found`, in
    /// place of making it appear by a rename. The tree is verified before its first entry is moved to the target, but the moves
    /// are not one step: until all of it is durable, the target has an entry whose name begins with `.pullet-incomplete`. The
    /// next such call removes what a killed one left. Not for trees in layers. Default: no.
    #[cfg(feature = "manage")]
    pub fn in_place(self, enabled: bool) -> Self {
        Self { is_in_place: enabled, ..self }
    }

    /// The options that the unpack module needs.
    pub(super) fn config(&self) -> UnpackConfig {
        let (limits, cancel) = (self.limits.clone(), self.cancel.clone());
        UnpackConfig { devices: self.devices, overlay: self.overlay, limits, cancel }
    }

    /// The options for one of several trees that overlayfs mounts together. They have all device nodes, because they are
    /// shared.
    #[cfg(feature = "manage")]
    pub(super) fn for_overlay(&self, overlay: Overlay) -> Self {
        Self { overlay: Some(overlay), devices: true, is_in_place: false, ..self.clone() }
    }

    /// The options for one of several threads, which can be cancelled alone and starts no thread itself.
    #[cfg(feature = "manage")]
    pub(super) fn for_worker(&self) -> Self {
        Self { jobs: 1, cancel: self.cancel.child(), ..self.clone() }
    }
}
