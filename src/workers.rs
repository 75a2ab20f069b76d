//! Threads: the only file that has any. One job is a plain loop and spawns none; several are scoped threads of std that
//! end before their caller goes on.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::num::NonZeroUsize;
#[cfg(feature = "tls")]
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
#[cfg(feature = "tls")]
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::error::{Error, Result};

/// Buffers between a reader on a thread of its own and who uses what it reads.
const BUFFERS: usize = 8;
/// Bytes in each of them.
const BUFFER: usize = 64 << 10;
/// Bytes of stack that a worker gets: its buffers are on the heap.
const STACK: usize = 1 << 20;

/// As many jobs as this process has processors, 4 at most: more connections than that are bad manners to a registry.
pub fn auto_jobs() -> NonZeroUsize {
    const MOST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).min(MOST)
}

/// Gives each of the items to one of the workers, each of which has a thread of its own, and what came of it to `take`: in
/// the items' order, in the calling thread, as soon as it is there.
///
/// The first failure by index is the one that is returned. Workers that are at something behind it are cancelled by
/// their flags; those at something before it go on, for that may fail too, and what they do is not lost.
pub(crate) fn in_order<T: Sync, R: Send, W: FnMut(&T) -> Result<R> + Send>(
    workers: Vec<(Cancel, W)>,
    items: &[T],
    mut take: impl FnMut(&T, R) -> Result<()>,
) -> Result<()> {
    let board = Board::new(items.len(), workers.iter().map(|(cancel, _)| cancel.clone()));
    thread::scope(|scope| {
        // However this function is left: workers must not be waited for who have nobody to work for.
        let _stop = StopAtEnd(&board);
        for (number, (_, mut work)) in workers.into_iter().enumerate().take(items.len()) {
            let board = &board;
            let worker = move || board.serve(number, |index| items.get(index).map(&mut work));
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, worker).map_err(unspawned)?;
        }
        items.iter().enumerate().try_for_each(|(index, item)| take(item, board.wait_for(index)?))
    })
}

/// What is to be done, what is being done and what came of it.
struct Board<R> {
    state: Mutex<State<R>>,
    changed: Condvar,
}

struct State<R> {
    next: usize,
    /// Nothing from this index on is begun: the end, or the first that failed.
    end: usize,
    /// What each worker is at, and the flag that stops it.
    workers: Vec<(usize, Cancel)>,
    results: Vec<Option<Result<R>>>,
}

impl<R> Board<R> {
    fn new(count: usize, flags: impl Iterator<Item = Cancel>) -> Self {
        let workers = flags.map(|flag| (0, flag)).collect();
        let results = (0..count).map(|_| None).collect();
        Self { state: Mutex::new(State { next: 0, end: count, workers, results }), changed: Condvar::new() }
    }

    /// Works until nothing is left to begin.
    fn serve(&self, worker: usize, mut work: impl FnMut(usize) -> Option<Result<R>>) {
        while let Some(index) = self.begin(worker) {
            let Some(result) = work(index) else { return };
            let mut state = self.state();
            if result.is_err() {
                state.end_at(index);
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
        state.workers.get_mut(worker)?.0 = index;
        Some(index)
    }

    fn wait_for(&self, index: usize) -> Result<R> {
        let mut state = self.state();
        loop {
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
    /// Stops all work from `index` on.
    fn end_at(&mut self, index: usize) {
        self.end = self.end.min(index);
        self.workers.iter().filter(|(at, _)| *at >= index).for_each(|(_, flag)| flag.cancel());
    }
}

struct StopAtEnd<'a, R>(&'a Board<R>);

impl<R> Drop for StopAtEnd<'_, R> {
    fn drop(&mut self) {
        self.0.state().end_at(0);
    }
}

/// Does `work` on a thread of its own: what that one gives up for good, its caller keeps.
#[cfg(feature = "boot")]
pub(crate) fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).map_err(unspawned)?;
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Does `work`, which hears no flag, on a thread of its own; `false` if it takes longer than `limit`. Then, or when it is
/// cancelled, it is left alone: nobody can end it.
#[cfg(feature = "tls")]
pub(crate) fn within(limit: Duration, cancel: &Cancel, work: impl FnOnce() + Send + 'static) -> Result<bool> {
    const LOOK: Duration = Duration::from_millis(100);
    let until = Instant::now() + limit;
    let (done, wait) = sync_channel(1);
    let worker = move || {
        work();
        let _ = done.send(());
    };
    thread::Builder::new().stack_size(STACK).spawn(worker).map_err(unspawned)?;
    loop {
        cancel.check()?;
        let left = until.saturating_duration_since(Instant::now());
        match wait.recv_timeout(left.min(LOOK)) {
            Err(RecvTimeoutError::Timeout) if left.is_zero() => return Ok(false),
            Err(RecvTimeoutError::Timeout) => {}
            _ => return Ok(true),
        }
    }
}

/// Reads on a thread of its own, ahead of `consume`, through a fixed ring of buffers: what makes the bytes and what uses
/// them then take the time of the slower one and not of both.
pub(crate) fn ahead<T>(reader: impl Read + Send, consume: impl FnOnce(&mut dyn Read) -> Result<T>) -> Result<T> {
    let ring = Ring::new();
    thread::scope(|scope| {
        let fill = || ring.fill(reader);
        thread::Builder::new().stack_size(STACK).spawn_scoped(scope, fill).map_err(unspawned)?;
        consume(&mut Ahead { ring: &ring, current: Buffer::default(), at: 0 })
    })
}

/// Buffers that go round between two threads. Each sleeps until half of them are there for it: to be woken for every
/// single one costs more than what is done with it.
struct Ring {
    buffers: Mutex<Buffers>,
    changed: Condvar,
}

struct Buffers {
    filled: VecDeque<Buffer>,
    empty: Vec<Vec<u8>>,
    /// Nothing more comes: the end, or why not.
    end: Option<io::Result<()>>,
    is_unwanted: bool,
}

/// Bytes, and how many of them count.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    length: usize,
}

impl Ring {
    fn new() -> Self {
        let empty = (0..BUFFERS).map(|_| vec![0; BUFFER]).collect();
        let buffers = Buffers { filled: VecDeque::with_capacity(BUFFERS), empty, end: None, is_unwanted: false };
        Self { buffers: Mutex::new(buffers), changed: Condvar::new() }
    }

    /// Ends when the reader does, or when nobody wants more.
    fn fill(&self, mut reader: impl Read) {
        while let Some(mut bytes) = self.next_empty() {
            let read = read_whole(&mut reader, &mut bytes);
            let mut buffers = self.buffers();
            match read {
                Ok(length) if length > 0 => buffers.filled.push_back(Buffer { bytes, length }),
                ended => buffers.end = Some(ended.map(drop)),
            }
            let (is_time, is_end) = (buffers.filled.len() == BUFFERS / 2, buffers.end.is_some());
            drop(buffers);
            if is_time || is_end {
                self.changed.notify_all();
            }
            if is_end {
                return;
            }
        }
    }

    fn next_empty(&self) -> Option<Vec<u8>> {
        let mut buffers = self.buffers();
        if buffers.empty.is_empty() {
            let is_early = |buffers: &mut Buffers| buffers.empty.len() < BUFFERS / 2 && !buffers.is_unwanted;
            buffers = self.changed.wait_while(buffers, is_early).unwrap_or_else(PoisonError::into_inner);
        }
        if buffers.is_unwanted { None } else { buffers.empty.pop() }
    }

    /// The next buffer for the one that was used; an empty one behind the last.
    fn next_filled(&self, used: Buffer) -> io::Result<Buffer> {
        let mut buffers = self.buffers();
        if !used.bytes.is_empty() {
            buffers.empty.push(used.bytes);
        }
        if buffers.empty.len() == BUFFERS / 2 {
            self.changed.notify_all();
        }
        if buffers.filled.is_empty() {
            let is_early = |buffers: &mut Buffers| buffers.filled.len() < BUFFERS / 2 && buffers.end.is_none();
            buffers = self.changed.wait_while(buffers, is_early).unwrap_or_else(PoisonError::into_inner);
        }
        match buffers.filled.pop_front() {
            Some(buffer) => Ok(buffer),
            // Whoever reads on behind an error finds the end.
            None => buffers.end.replace(Ok(())).unwrap_or(Ok(())).map(|()| Buffer::default()),
        }
    }

    fn buffers(&self) -> MutexGuard<'_, Buffers> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads until the buffer is full, for each exchange has its cost. An error behind some bytes comes again, or is met
/// again, with the next read.
fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while let Some(rest) = buffer.get_mut(count..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(n) => count += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(count)
}

struct Ahead<'r> {
    ring: &'r Ring,
    current: Buffer,
    at: usize,
}

impl Read for Ahead<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.length {
            self.at = 0;
            self.current = self.ring.next_filled(std::mem::take(&mut self.current))?;
        }
        let there = self.current.bytes.get(self.at..self.current.length).unwrap_or_default();
        let n = there.len().min(buf.len());
        buf.get_mut(..n).unwrap_or_default().copy_from_slice(there.get(..n).unwrap_or_default());
        self.at += n;
        Ok(n)
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        self.ring.buffers().is_unwanted = true;
        self.ring.changed.notify_all();
    }
}

fn unspawned(error: io::Error) -> Error {
    Error::disk("start", "a thread", error)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::ErrorKind;

    fn failure(text: &str) -> Error {
        Error::new(ErrorKind::Network, text)
    }

    /// So many workers that all do the same.
    fn crew<'a, T, R>(
        jobs: usize,
        work: impl Fn(&T, &Cancel) -> Result<R> + Clone + Send + 'a,
    ) -> Vec<(Cancel, impl FnMut(&T) -> Result<R> + Send + 'a)> {
        let worker = |_| {
            let (flag, work) = (Cancel::default(), work.clone());
            (flag.clone(), move |item: &T| work(item, &flag))
        };
        (0..jobs).map(worker).collect()
    }

    #[test]
    fn results_come_in_order_however_the_work_ends() {
        for jobs in [1, 2, 3, 8, 30] {
            let items: Vec<usize> = (0..20).collect();
            let mut taken = Vec::new();
            let take = |item: &usize, result| {
                taken.push((*item, result));
                Ok(())
            };
            assert!(in_order(crew(jobs, |item: &usize, _| Ok(item * 2)), &items, take).is_ok());
            assert_eq!(taken, items.iter().map(|item| (*item, item * 2)).collect::<Vec<_>>(), "{jobs} jobs");
        }
    }

    /// The later one fails first: it waits for nobody, and the earlier one waits for it.
    #[test]
    fn the_first_failure_by_index_is_the_one_that_is_told() {
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
        let failed = in_order(crew(2, work), &[0, 1], |_, ()| Ok(())).map_err(|e| e.to_string());
        assert_eq!(failed, Err("0 failed".to_owned()));
    }

    /// What would never end by itself.
    fn endless(cancel: &Cancel) -> Result<()> {
        cancel.wait(std::time::Duration::from_secs(3600))
    }

    #[test]
    fn what_stands_behind_a_failure_is_cancelled_and_not_begun() {
        let begun = AtomicUsize::new(0);
        let work = |item: &usize, cancel: &Cancel| {
            begun.fetch_add(1, Ordering::SeqCst);
            if *item == 0 { Err(failure("0 failed")) } else { endless(cancel) }
        };
        let failed = in_order(crew(2, work), &[0, 1, 2, 3], |_, ()| Ok(())).map_err(|e| e.to_string());
        assert_eq!(failed, Err("0 failed".to_owned()));
        assert!(begun.load(Ordering::SeqCst) <= 2, "more was begun");
    }

    #[test]
    fn a_failure_to_take_ends_the_work() {
        let work = |item: &usize, cancel: &Cancel| if *item == 0 { Ok(()) } else { endless(cancel) };
        let take = |_: &usize, ()| Err(failure("not taken"));
        let failed = in_order(crew(3, work), &[0, 1, 2], take).map_err(|e| e.to_string());
        assert_eq!(failed, Err("not taken".to_owned()));
    }

    /// Gives its bytes in pieces of odd sizes, then an error if it is to.
    struct Pieces {
        bytes: Vec<u8>,
        at: usize,
        fails: bool,
    }

    impl Read for Pieces {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            if rest.is_empty() && self.fails {
                return Err(failure("cut").into());
            }
            let n = rest.len().min(buf.len()).min(1 + self.at % 7919);
            buf.get_mut(..n).unwrap_or_default().copy_from_slice(rest.get(..n).unwrap_or_default());
            self.at += n;
            Ok(n)
        }
    }

    #[test]
    fn what_is_read_ahead_is_what_there_is() {
        for length in [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER * BUFFERS + 5] {
            let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let pieces = Pieces { bytes: bytes.clone(), at: 0, fails: false };
            let read = ahead(pieces, |reader| {
                let mut read = Vec::new();
                reader.read_to_end(&mut read).map_err(|e| Error::through_read(e, |e| failure(&e.to_string())))?;
                Ok(read)
            });
            assert!(read.is_ok_and(|read| read == bytes), "{length} bytes");
        }
    }

    #[test]
    fn an_error_of_the_reader_comes_through_whole() {
        let pieces = Pieces { bytes: vec![7; 5 * BUFFER], at: 0, fails: true };
        let read = ahead(pieces, |reader| {
            io::copy(reader, &mut io::sink()).map_err(|e| Error::through_read(e, |_| failure("another")))
        });
        assert_eq!(read.map_err(|e| (e.kind(), e.to_string())), Err((ErrorKind::Network, "cut".to_owned())));
    }

    #[test]
    fn who_stops_reading_is_not_waited_for() {
        let read = ahead(io::repeat(1), |reader| {
            reader.read_exact(&mut [0; 10]).map_err(|e| failure(&e.to_string()))?;
            Ok(())
        });
        assert!(read.is_ok());
    }
}
