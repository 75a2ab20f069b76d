//! SIGINT and SIGTERM: the first one raises the flag, and the work ends where it next looks at it, tidied up; a second one,
//! or one that comes while nobody can look, ends the process at once. The only file that names signal_hook.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pullet::{Cancel, ErrorKind};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::Failure;

/// The handlers of this process.
pub(crate) struct Interrupt {
    pub(crate) cancel: Cancel,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Puts the handlers in place. Where that is not possible the signals do what they do by default.
    pub(crate) fn install() -> Self {
        let (cancel, signal) = (Cancel::default(), Arc::<AtomicUsize>::default());
        for number in [SIGINT, SIGTERM] {
            // In this order: the first signal must find the flag down.
            let _ = flag::register_conditional_shutdown(number, 128 + number, cancel.flag())
                .and_then(|_| flag::register_conditional_shutdown(number, 128 + number, cancel.unattended_flag()))
                .and_then(|_| flag::register_usize(number, Arc::clone(&signal), number.unsigned_abs() as usize))
                .and_then(|_| flag::register(number, cancel.flag()));
        }
        Self { cancel, signal }
    }

    /// Tells an interruption by SIGTERM from one at the keyboard.
    pub(crate) fn name(&self, failure: Failure) -> Failure {
        let is_term = self.signal.load(Ordering::SeqCst) == SIGTERM.unsigned_abs() as usize;
        match failure {
            Failure::Library(error) if error.kind() == ErrorKind::Interrupted && is_term => Failure::Terminated(error),
            other => other,
        }
    }
}
