//! SIGINT and SIGTERM. The first signal raises the cancel flag, and the work stops in order at its next check. A second
//! signal, or one during a call that ignores the flag, ends the process at once. The only file that uses signal_hook.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pullet::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::Failure;

/// The signal handlers of this process.
pub(crate) struct Interrupt {
    pub(crate) cancel: Cancel,
    /// The last signal.
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Installs the handlers. If that fails, the signals keep their default effect.
    pub(crate) fn install() -> Self {
        let (cancel, signal) = (Cancel::default(), Arc::<AtomicUsize>::default());
        for number in [SIGINT, SIGTERM] {
            // The shutdowns come first, because the first signal must find the flag not yet raised.
            let _ = flag::register_conditional_shutdown(number, 128 + number, cancel.flag())
                .and_then(|_| flag::register_conditional_shutdown(number, 128 + number, cancel.unattended_flag()))
                .and_then(|_| flag::register_usize(number, Arc::clone(&signal), number.unsigned_abs() as usize))
                .and_then(|_| flag::register(number, cancel.flag()));
        }
        Self { cancel, signal }
    }

    /// Marks an interruption by SIGTERM, which has another exit code than SIGINT.
    pub(crate) fn name_signal(&self, failure: Failure) -> Failure {
        if self.signal.load(Ordering::SeqCst) == SIGTERM.unsigned_abs() as usize {
            return failure.by_sigterm();
        }
        failure
    }
}
