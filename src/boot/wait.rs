//! Waiting for hardware that appears late in a boot: a block device, or the network.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::mounts::is_block_device;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Event, Progress};

/// Time between two checks for a block device.
const DEVICE_INTERVAL: Duration = Duration::from_millis(100);

/// The time that a boot may wait in all, for devices and for the network.
pub(super) struct WaitLimit {
    pub(super) limit: Duration,
    pub(super) deadline: Instant,
}

impl WaitLimit {
    /// A limit that begins now.
    pub(super) fn start(limit: Duration) -> Self {
        Self { limit, deadline: Instant::now() + limit }
    }

    /// Waits until there is a block device at this path.
    pub(super) fn wait_for_device(&self, device: &Path, cancel: &Cancel, progress: &dyn Progress) -> Result<()> {
        if is_block_device(device) {
            return Ok(());
        }
        self.report(&device.display().to_string(), progress);
        while !is_block_device(device) {
            if !self.pause(DEVICE_INTERVAL, cancel)? {
                let text = format!("{} is not a block device after {} s", device.display(), self.limit.as_secs());
                return Err(Error::new(ErrorKind::Disk, text).with_hint("the initramfs must load the device's module"));
            }
        }
        Ok(())
    }

    /// Reports what this waits for.
    pub(super) fn report(&self, what: &str, progress: &dyn Progress) {
        progress.report(Event::Note(&format!("waiting up to {} s for {what}", self.limit.as_secs())));
    }

    /// Sleeps for the interval, or until the deadline. Returns false if the deadline has passed.
    pub(super) fn pause(&self, interval: Duration, cancel: &Cancel) -> Result<bool> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        cancel.wait(interval.min(remaining))?;
        Ok(Instant::now() < self.deadline)
    }
}

/// Passes events on while a request is repeated, and remembers whether a server responded. Notes of repeated attempts are
/// dropped until then, because they are those of the first attempt.
pub(super) struct FirstResponseProgress<'a> {
    progress: &'a dyn Progress,
    has_response: AtomicBool,
    is_repeated: AtomicBool,
}

impl<'a> FirstResponseProgress<'a> {
    pub(super) fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, has_response: AtomicBool::new(false), is_repeated: AtomicBool::new(false) }
    }

    /// Returns true if a server responded to any attempt.
    pub(super) fn has_response(&self) -> bool {
        self.has_response.load(Ordering::Relaxed)
    }

    /// Marks the following attempts as repeated.
    pub(super) fn repeat(&self) {
        self.is_repeated.store(true, Ordering::Relaxed);
    }
}

impl Progress for FirstResponseProgress<'_> {
    fn report(&self, event: Event<'_>) {
        if matches!(event, Event::Answered { .. }) {
            self.has_response.store(true, Ordering::Relaxed);
        }
        let is_repeated = self.is_repeated.load(Ordering::Relaxed) && !self.has_response();
        if is_repeated && matches!(event, Event::Note(_) | Event::Warning(_)) {
            return;
        }
        self.progress.report(event);
    }
}
