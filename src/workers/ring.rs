//! The buffers between a thread that reads and its consumer.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind};
use crate::verify::filled;

/// The number of buffers between a reading thread and its consumer.
const BUFFERS: usize = 8;
/// The size of each buffer in bytes.
const BUFFER: usize = 64 << 10;

/// Buffers that two threads pass back and forth. Each thread sleeps until half of them are ready for it, because waking
/// up for every buffer would cost more than processing it.
pub(super) struct Ring {
    buffers: Mutex<Buffers>,
    changed: Condvar,
}

struct Buffers {
    filled: VecDeque<Buffer>,
    empty: Vec<Vec<u8>>,
    /// Set when the reader has ended, to its error if it failed.
    end: Option<io::Result<()>>,
    /// True once the consumer is gone.
    is_abandoned: bool,
}

/// A buffer whose first `length` bytes are filled.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    length: usize,
}

impl Ring {
    pub(super) fn new() -> Self {
        let empty = (0..BUFFERS).map(|_| vec![0; BUFFER]).collect();
        let buffers = Buffers { filled: VecDeque::with_capacity(BUFFERS), empty, end: None, is_abandoned: false };
        Self { buffers: Mutex::new(buffers), changed: Condvar::new() }
    }

    /// Fills buffers until the reader ends or the consumer is gone.
    pub(super) fn fill(&self, mut reader: impl Read) {
        while let Some(mut bytes) = self.next_empty() {
            let read = read_full(&mut reader, &mut bytes);
            let mut buffers = self.buffers();
            match read {
                Ok(length) if length > 0 => buffers.filled.push_back(Buffer { bytes, length }),
                ended => buffers.end = Some(ended.map(drop)),
            }
            let is_end = buffers.end.is_some();
            let wakes_consumer = is_end || buffers.filled.len() == BUFFERS / 2;
            drop(buffers);
            if wakes_consumer {
                self.changed.notify_all();
            }
            if is_end {
                return;
            }
        }
    }

    /// Returns the consumer's end.
    pub(super) fn reader(&self) -> ReadAhead<'_> {
        ReadAhead { ring: self, current: Buffer::default(), at: 0 }
    }

    /// The next buffer to fill; `None` if the consumer is gone.
    fn next_empty(&self) -> Option<Vec<u8>> {
        let mut buffers = self.buffers();
        if buffers.empty.is_empty() {
            let must_wait = |buffers: &mut Buffers| buffers.empty.len() < BUFFERS / 2 && !buffers.is_abandoned;
            buffers = self.changed.wait_while(buffers, must_wait).unwrap_or_else(PoisonError::into_inner);
        }
        if buffers.is_abandoned { None } else { buffers.empty.pop() }
    }

    /// Takes back a buffer and returns the next filled one, or an empty one at the end.
    fn next_filled(&self, used: Buffer) -> io::Result<Buffer> {
        let mut buffers = self.buffers();
        if !used.bytes.is_empty() {
            buffers.empty.push(used.bytes);
        }
        if buffers.empty.len() == BUFFERS / 2 {
            self.changed.notify_all();
        }
        if buffers.filled.is_empty() {
            let must_wait = |buffers: &mut Buffers| buffers.filled.len() < BUFFERS / 2 && buffers.end.is_none();
            buffers = self.changed.wait_while(buffers, must_wait).unwrap_or_else(PoisonError::into_inner);
        }
        match buffers.filled.pop_front() {
            Some(buffer) => Ok(buffer),
            // A read after an error returns the end.
            None => buffers.end.replace(Ok(())).unwrap_or(Ok(())).map(|()| Buffer::default()),
        }
    }

    fn buffers(&self) -> MutexGuard<'_, Buffers> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads until the buffer is full or the reader ends, because passing on a buffer has a fixed cost. Bytes before an
/// error are dropped, because the consumer fails anyway.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
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

/// The consumer's end of a [`Ring`].
pub(super) struct ReadAhead<'r> {
    ring: &'r Ring,
    current: Buffer,
    /// How many bytes of `current` are consumed.
    at: usize,
}

impl Read for ReadAhead<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.length {
            self.at = 0;
            self.current = self.ring.next_filled(std::mem::take(&mut self.current))?;
        }
        let mut unread = filled(&self.current.bytes, self.current.length)?;
        unread = unread.get(self.at..).ok_or_else(|| Error::new(ErrorKind::Internal, "read ahead: position lost"))?;
        let n = unread.read(buf)?;
        self.at += n;
        Ok(n)
    }
}

impl Drop for ReadAhead<'_> {
    fn drop(&mut self) {
        self.ring.buffers().is_abandoned = true;
        self.ring.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::read_ahead;
    use super::*;

    fn failure(text: &str) -> Error {
        Error::new(ErrorKind::Network, text)
    }

    /// Returns its bytes in pieces of odd sizes, then an error if `fails`.
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
    fn reads_ahead_all_bytes_in_order() {
        for length in [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER * BUFFERS + 5] {
            let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let pieces = Pieces { bytes: bytes.clone(), at: 0, fails: false };
            let read = read_ahead(pieces, |reader| {
                let mut read = Vec::new();
                reader.read_to_end(&mut read).map_err(|e| Error::through_read(e, |e| failure(&e.to_string())))?;
                Ok(read)
            });
            assert!(read.is_ok_and(|read| read == bytes), "{length} bytes");
        }
    }

    #[test]
    fn passes_on_an_error_with_its_kind_and_text() {
        let pieces = Pieces { bytes: vec![7; 5 * BUFFER], at: 0, fails: true };
        let read = read_ahead(pieces, |reader| {
            io::copy(reader, &mut io::sink()).map_err(|e| Error::through_read(e, |_| failure("another")))
        });
        assert_eq!(read.map_err(|e| (e.kind(), e.to_string())), Err((ErrorKind::Network, "cut".to_owned())));
    }

    #[test]
    fn stops_reading_when_the_consumer_is_gone() {
        let read = read_ahead(io::repeat(1), |reader| {
            reader.read_exact(&mut [0; 10]).map_err(|e| failure(&e.to_string()))?;
            Ok(())
        });
        assert!(read.is_ok());
    }
}
