//! Threads. This is the only file that starts any. Except in `run_within`, all are scoped threads, which end before
//! the function that started them returns.

mod ring;

use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use self::ring::Ring;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};

/// The stack of a thread in bytes. It is small because buffers are on the heap.
const STACK: usize = 1 << 20;

/// A function that runs on a thread, and the flag that cancels it.
pub(crate) struct Worker<W> {
    pub(crate) cancel: Cancel,
    pub(crate) work: W,
}

/// Processes `items` with one thread for each worker. Calls `take` with each result on the calling thread, in the order
/// of the items, as soon as the result is there.
///
/// Returns the first failure by index. Workers that process a later item are cancelled. Workers that process an earlier
/// one continue, because it may fail too, and because its result is still needed. An item that is refused for good ends all
/// work, because no other result is of use then.
pub(crate) fn in_order<T: Sync, R: Send, W: FnMut(&T) -> Result<R> + Send>(
    workers: Vec<Worker<W>>,
    items: &[T],
    mut take: impl FnMut(&T, R) -> Result<()>,
) -> Result<()> {
    let board = Board::new(items.len(), workers.iter().map(|worker| worker.cancel.clone()));
    thread::scope(|scope| {
        // The scope waits for all threads, so they must stop however this closure ends.
        let _stop = StopOnDrop(&board);
        for (number, Worker { mut work, .. }) in workers.into_iter().enumerate().take(items.len()) {
            let board = &board;
            let run = move || board.serve(number, |index| items.get(index).map(&mut work));
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run).map_err(unspawned)?;
        }
        for (index, item) in items.iter().enumerate() {
            take(item, board.wait_for(index)?)?;
        }
        Ok(())
    })
}

/// The items to process and the results, shared by the workers.
struct Board<R> {
    state: Mutex<State<R>>,
    changed: Condvar,
}

struct State<R> {
    /// The index of the next item to begin.
    next: usize,
    /// No item from this index on is begun: the number of items, or the index of the first failure.
    end: usize,
    /// The item that is refused for good.
    refused: Option<usize>,
    workers: Vec<Current>,
    results: Vec<Option<Result<R>>>,
}

/// The index of the item that a worker processes, and the flag that cancels the worker.
struct Current {
    index: usize,
    cancel: Cancel,
}

impl<R> Board<R> {
    fn new(count: usize, flags: impl Iterator<Item = Cancel>) -> Self {
        let workers = flags.map(|cancel| Current { index: 0, cancel }).collect();
        let results = (0..count).map(|_| None).collect();
        Self {
            state: Mutex::new(State { next: 0, end: count, refused: None, workers, results }),
            changed: Condvar::new(),
        }
    }

    /// Processes items until none is left to begin.
    fn serve(&self, worker: usize, mut work: impl FnMut(usize) -> Option<Result<R>>) {
        while let Some(index) = self.begin(worker) {
            let Some(result) = work(index) else { return };
            let mut state = self.state();
            if let Err(error) = &result {
                state.fail(index, error);
            }
            if let Some(slot) = state.results.get_mut(index) {
                *slot = Some(result);
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    fn begin(&self, worker: usize) -> Option<usize> {
        let mut state = self.state();
        let index = state.next;
        if index >= state.end {
            return None;
        }
        state.next += 1;
        state.workers.get_mut(worker)?.index = index;
        Some(index)
    }

    fn wait_for(&self, index: usize) -> Result<R> {
        let mut state = self.state();
        loop {
            let index = state.refused.unwrap_or(index);
            if let Some(result) = state.results.get_mut(index).and_then(Option::take) {
                return result;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> State<R> {
    fn fail(&mut self, index: usize, error: &Error) {
        let is_refused = error.kind() == ErrorKind::Unsafe && !error.may_be_retried();
        if is_refused && self.refused.is_none() {
            self.refused = Some(index);
        }
        self.end_at(if is_refused { 0 } else { index });
    }

    /// Cancels all work from `index` on.
    fn end_at(&mut self, index: usize) {
        self.end = self.end.min(index);
        for worker in self.workers.iter().filter(|worker| worker.index >= index) {
            worker.cancel.cancel();
        }
    }
}

struct StopOnDrop<'a, R>(&'a Board<R>);

impl<R> Drop for StopOnDrop<'_, R> {
    fn drop(&mut self) {
        self.0.state().end_at(0);
    }
}

/// Runs `work` on a new thread, so that rights that `work` gives up are not lost to the caller.
#[cfg(feature = "boot")]
pub(crate) fn on_new_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).map_err(unspawned)?;
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs `work`, and meanwhile `report` on a new thread if it takes longer than `limit`.
#[cfg(feature = "boot")]
pub(crate) fn report_if_slow<T>(limit: Duration, report: impl FnOnce() + Send, work: impl FnOnce() -> T) -> Result<T> {
    let done = Signal::default();
    let until = Instant::now() + limit;
    let timer = || {
        while !done.wait(until.saturating_duration_since(Instant::now())) {
            if Instant::now() >= until {
                return report();
            }
        }
    };
    thread::scope(|scope| {
        thread::Builder::new().stack_size(STACK).spawn_scoped(scope, timer).map_err(unspawned)?;
        let result = work();
        done.raise();
        Ok(result)
    })
}

/// A flag that one thread raises and another one waits for. It takes less code than a channel.
#[derive(Default)]
struct Signal {
    is_raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn raise(&self) {
        *self.is_raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits up to `limit`, and returns true if the flag is raised.
    fn wait(&self, limit: Duration) -> bool {
        let is_raised = self.is_raised.lock().unwrap_or_else(PoisonError::into_inner);
        *is_raised || *self.changed.wait_timeout(is_raised, limit).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Runs `work` on a new thread and returns its result, or `None` if it takes longer than `limit`. The thread is
/// abandoned then, and also when `cancel` is raised or out of time, because nothing can interrupt `work`: it blocks in
/// a call to the system.
pub(crate) fn run_within<T: Send + 'static>(
    limit: Option<Duration>,
    cancel: &Cancel,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Option<T>> {
    let result = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&result);
    let work = move || *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(work());
    if !finishes_within(limit, cancel, Box::new(work))? {
        return Ok(None);
    }
    let result = result.lock().unwrap_or_else(PoisonError::into_inner).take();
    result.map(Some).ok_or_else(|| Error::new(ErrorKind::Internal, "a thread ended without a result"))
}

/// Returns false if `work` takes longer than `limit`. Not generic, because its code would be there for each type of
/// result.
fn finishes_within(limit: Option<Duration>, cancel: &Cancel, work: Box<dyn FnOnce() + Send>) -> Result<bool> {
    const CHECK_INTERVAL: Duration = Duration::from_millis(100);
    let start = Instant::now();
    let done = Arc::new(Signal::default());
    let signal = Arc::clone(&done);
    let run = move || {
        work();
        signal.raise();
    };
    let thread = thread::Builder::new().stack_size(STACK).spawn(run).map_err(unspawned)?;
    loop {
        cancel.check()?;
        let left = limit.map_or(CHECK_INTERVAL, |limit| limit.saturating_sub(start.elapsed()));
        let wait = left.min(CHECK_INTERVAL).min(cancel.remaining().unwrap_or(CHECK_INTERVAL));
        // A thread that panicked has finished without a signal.
        if done.wait(wait) || thread.is_finished() {
            return Ok(true);
        }
        if left.is_zero() {
            return Ok(false);
        }
    }
}

/// Reads `reader` on a new thread, through a fixed number of buffers, while `consume` runs. Producing and consuming the
/// bytes then takes as long as the slower of the two, not as long as both.
pub(crate) fn read_ahead<T>(reader: impl Read + Send, consume: impl FnOnce(&mut dyn Read) -> Result<T>) -> Result<T> {
    let ring = Ring::new();
    thread::scope(|scope| {
        let fill = || ring.fill(reader);
        thread::Builder::new().stack_size(STACK).spawn_scoped(scope, fill).map_err(unspawned)?;
        consume(&mut ring.reader())
    })
}

fn unspawned(error: io::Error) -> Error {
    Error::disk("start", "a thread", error)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn failure(text: &str) -> Error {
        Error::new(ErrorKind::Network, text)
    }

    /// `jobs` workers that all do the same.
    fn workers<'a, T, R>(
        jobs: usize,
        work: impl Fn(&T, &Cancel) -> Result<R> + Clone + Send + 'a,
    ) -> Vec<Worker<impl FnMut(&T) -> Result<R> + Send + 'a>> {
        let worker = |_| {
            let (cancel, work) = (Cancel::default(), work.clone());
            Worker { cancel: cancel.clone(), work: move |item: &T| work(item, &cancel) }
        };
        (0..jobs).map(worker).collect()
    }

    #[test]
    fn takes_results_in_the_order_of_the_items() {
        for jobs in [1, 2, 3, 8, 30] {
            let items: Vec<usize> = (0..20).collect();
            let mut taken = Vec::new();
            let take = |item: &usize, result| {
                taken.push((*item, result));
                Ok(())
            };
            assert!(in_order(workers(jobs, |item: &usize, _| Ok(item * 2)), &items, take).is_ok());
            assert_eq!(taken, items.iter().map(|item| (*item, item * 2)).collect::<Vec<_>>(), "{jobs} jobs");
        }
    }

    /// The later item fails first, because the earlier one waits for it.
    #[test]
    fn returns_the_first_failure_by_index() {
        let later_failed = (Mutex::new(false), Condvar::new());
        let work = |item: &usize, _: &Cancel| {
            let (mutex, condvar) = &later_failed;
            if *item == 1 {
                *mutex.lock().unwrap_or_else(PoisonError::into_inner) = true;
                condvar.notify_all();
            }
            let guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
            let _guard = condvar.wait_while(guard, |failed| !*failed).unwrap_or_else(PoisonError::into_inner);
            Err::<(), _>(failure(&format!("{item} failed")))
        };
        let failed = in_order(workers(2, work), &[0, 1], |_, ()| Ok(())).map_err(|e| e.to_string());
        assert_eq!(failed, Err("0 failed".to_owned()));
    }

    /// Work that ends only by cancellation.
    fn endless(cancel: &Cancel) -> Result<()> {
        cancel.wait(std::time::Duration::from_secs(3600))
    }

    #[test]
    fn cancels_items_after_a_failure_and_begins_no_more() {
        let begun = AtomicUsize::new(0);
        let work = |item: &usize, cancel: &Cancel| {
            begun.fetch_add(1, Ordering::SeqCst);
            if *item == 0 { Err(failure("0 failed")) } else { endless(cancel) }
        };
        let failed = in_order(workers(2, work), &[0, 1, 2, 3], |_, ()| Ok(())).map_err(|e| e.to_string());
        assert_eq!(failed, Err("0 failed".to_owned()));
        assert!(begun.load(Ordering::SeqCst) <= 2, "too many were begun");
    }

    #[test]
    fn cancels_all_work_when_take_fails() {
        let work = |item: &usize, cancel: &Cancel| if *item == 0 { Ok(()) } else { endless(cancel) };
        let take = |_: &usize, ()| Err(failure("not taken"));
        let failed = in_order(workers(3, work), &[0, 1, 2], take).map_err(|e| e.to_string());
        assert_eq!(failed, Err("not taken".to_owned()));
    }
}
