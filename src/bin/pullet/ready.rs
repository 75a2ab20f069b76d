//! Waits for a descriptor that may block, such as a pipe or a terminal, and stops at a signal.

use std::os::fd::AsFd;

use pullet::Cancel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Bytes that a pipe takes without blocking when it is ready (`PIPE_BUF` of Linux).
pub(crate) const PIPE_BUFFER: usize = 4096;
/// Time between two checks of the cancel flag.
const CHECK_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Returns true when the descriptor is ready, and false if `cancel` is raised before.
pub(crate) fn wait(descriptor: impl AsFd, events: PollFlags, cancel: &Cancel) -> rustix::io::Result<bool> {
    loop {
        match poll(&mut [PollFd::new(&descriptor, events)], Some(&CHECK_INTERVAL)) {
            Ok(0) | Err(Errno::INTR) if cancel.is_cancelled() => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(e) => return Err(e),
        }
    }
}
