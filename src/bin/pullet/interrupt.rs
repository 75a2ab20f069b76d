//! SIGINT and SIGTERM. The first signal raises the cancel flag, and the work stops in order at its next check. A second
//! signal, or one during a call that ignores the flag, ends the process at once. The only file that uses signal_hook.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use pullet::{Cancel, ErrorKind};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::Failure;

/// Set while [`uninterruptible`] runs. The signal handlers share it.
static IS_UNINTERRUPTIBLE: OnceLock<Arc<AtomicBool>> = OnceLock::new();

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
                .and_then(|_| flag::register_conditional_shutdown(number, 128 + number, uninterruptible_flag()))
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

/// Runs `work`, which waits for standard input or a FIFO and so ignores the cancel flag. A signal meanwhile ends the process
/// at once; `work` must not need any cleaning up. Fails without running it if `cancel` is raised already.
pub(crate) fn uninterruptible<T>(cancel: &Cancel, work: impl FnOnce() -> T) -> Result<T, Failure> {
    let flag = uninterruptible_flag();
    flag.store(true, Ordering::SeqCst);
    // Check only now: a signal handler that found the flag not set has raised the cancel flag.
    let done =
        if cancel.is_cancelled() { Err(Failure::new(ErrorKind::Interrupted, "interrupted")) } else { Ok(work()) };
    flag.store(false, Ordering::SeqCst);
    done
}

fn uninterruptible_flag() -> Arc<AtomicBool> {
    Arc::clone(IS_UNINTERRUPTIBLE.get_or_init(Arc::default))
}
