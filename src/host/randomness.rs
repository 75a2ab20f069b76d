//! Whether the kernel has random numbers: early at boot it may have none yet, and whoever asks for some waits without an
//! end and without a word.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// Whether there are any; nothing is waited for. A kernel that cannot be asked (before 3.17) makes nobody wait.
pub(crate) fn is_random() -> bool {
    getrandom(&mut [0_u8], GetRandomFlags::NONBLOCK) != Err(Errno::AGAIN)
}

/// Waits until there are. While somebody waits, the kernel gathers what it needs by itself (since 5.4): who looks again and
/// again may look for much longer.
pub(crate) fn wait_for_randomness() {
    let _ = getrandom(&mut [0_u8], GetRandomFlags::empty());
}
