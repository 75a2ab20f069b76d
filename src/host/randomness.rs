//! The state of the kernel's random number generator. Early at boot it may not be initialized yet, and then `getrandom`
//! blocks without a bound.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// Returns true if random numbers are available now; never blocks. Kernels before 3.17 have no `getrandom` and never
/// block, so they count as ready.
pub(crate) fn is_random() -> bool {
    getrandom(&mut [0_u8], GetRandomFlags::NONBLOCK) != Err(Errno::AGAIN)
}

/// Blocks until random numbers are available. Since Linux 5.4 a blocked call makes the kernel gather entropy itself, so
/// this is much faster than calling [`is_random`] in a loop.
pub(crate) fn wait_for_randomness() {
    let _ = getrandom(&mut [0_u8], GetRandomFlags::empty());
}
