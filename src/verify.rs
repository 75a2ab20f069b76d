//! Verification of blobs, documents and layers, all by one reader. It counts and hashes the bytes and rejects content
//! that is too long. Its `finish` returns a `Proof`, without which the store commits no blob.

use std::io::{self, Read};

use crate::advice::Limit;
use crate::cancel::Cancel;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Limits, read_capped, within};

/// The expected size of the content of a [`Verified`] reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// This many bytes, as a descriptor says.
    Exactly(u64),
    /// Unknown, but at most this many bytes. The text names the limit in the error.
    AtMost(u64, &'static str),
}

/// The proof that content with this digest was read and verified. Only [`Verified::finish`] creates one.
pub(crate) struct Proof {
    digest: Digest,
}

impl Proof {
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// The state of a verification. Another reader can continue from it.
pub(crate) struct VerifyState {
    /// `None` if the digest of the content is unknown.
    expected: Option<Digest>,
    hasher: Hasher,
    size: Size,
    /// Bytes that were read so far.
    count: u64,
    /// True once the end of the content was reached.
    ended: bool,
}

impl VerifyState {
    /// The state before the first byte.
    pub(crate) fn new(expected: Digest, size: Size) -> Self {
        Self { hasher: expected.hasher(), expected: Some(expected), size, count: 0, ended: false }
    }

    /// The state before the first byte of content whose digest is unknown. The proof will be for its sha256.
    #[cfg(feature = "manage")]
    pub(crate) fn unknown(size: Size) -> Self {
        Self { hasher: Hasher::sha256(), expected: None, size, count: 0, ended: false }
    }

    /// Takes the next bytes of the content from another place. They count as read, so the proof covers them.
    #[cfg(feature = "device")]
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.count += bytes.len() as u64;
    }

    /// The number of bytes that were read so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

/// A reader that hashes and counts the bytes that pass through it. It retries after `EINTR` and fails when cancelled.
/// It never returns more than the expected size, and reads one extra byte to distinguish complete content from content
/// that is too long.
pub(crate) struct Verified<R> {
    inner: R,
    state: VerifyState,
    cancel: Cancel,
}

impl<R: Read> Verified<R> {
    pub(crate) fn new(inner: R, expected: Digest, size: Size, cancel: Cancel) -> Self {
        Self::resume(VerifyState::new(expected, size), inner, cancel)
    }

    /// Continues a verification with `inner`, whose first byte follows the last one that was verified.
    pub(crate) fn resume(state: VerifyState, inner: R, cancel: Cancel) -> Self {
        Self { inner, state, cancel }
    }

    /// Stops reading. Another reader can continue from the returned state.
    pub(crate) fn suspend(self) -> VerifyState {
        self.state
    }

    /// The number of bytes that were read so far.
    pub(crate) fn count(&self) -> u64 {
        self.state.count
    }

    /// Reads to the end, because the digest covers bytes that a parser does not need.
    pub(crate) fn drain(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        while self.read(scratch)? > 0 {}
        Ok(())
    }

    /// Reads and verifies a small document. `describe` converts an error that `inner` returned.
    pub(crate) fn document(mut self, limit: usize, describe: impl FnOnce(io::Error) -> Error) -> Result<Vec<u8>> {
        let bytes = read_capped(&mut self, limit).map_err(|e| Error::through_read(e, describe))?;
        let bytes = within(bytes, "bytes of document", limit)?;
        self.finish()?;
        Ok(bytes)
    }

    /// Checks that the end was reached and that size and digest are as expected.
    pub(crate) fn finish(mut self) -> Result<Proof> {
        if !self.state.ended && self.read(&mut [0]).map_err(|e| Error::through_read(e, unread))? > 0 {
            return Err(Error::new(ErrorKind::Internal, "finish verification: not read to the end"));
        }
        let VerifyState { expected, hasher, .. } = self.state;
        let got = hasher.finish();
        if let Some(expected) = expected
            && got != expected
        {
            return Err(mismatch(format!("digest mismatch: expected {expected}, got {got}")));
        }
        Ok(Proof { digest: got })
    }

    /// The number of bytes that may still come.
    fn remaining(&self) -> u64 {
        let (Size::Exactly(limit) | Size::AtMost(limit, _)) = self.state.size;
        limit - self.state.count
    }

    /// Checks that nothing follows the expected size.
    fn expect_end(&mut self) -> io::Result<usize> {
        if read_through_interrupts(&mut self.inner, &mut [0])? > 0 {
            let error = match self.state.size {
                Size::Exactly(size) => mismatch(format!("size mismatch: expected {size} bytes, got more")),
                Size::AtMost(limit, what) => Limits::exceeded_adjustable(Limit::Unpacked, what, limit),
            };
            return Err(error.into());
        }
        self.state.ended = true;
        Ok(0)
    }

    /// Handles the end of `inner` before the expected size is reached.
    fn end_early(&mut self) -> io::Result<usize> {
        if let Size::Exactly(size) = self.state.size {
            let count = self.state.count;
            return Err(mismatch(format!("size mismatch: expected {size} bytes, got {count}")).into());
        }
        self.state.ended = true;
        Ok(0)
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() || self.state.ended {
            return Ok(0);
        }
        self.cancel.check()?;
        let most = usize::try_from(self.remaining()).unwrap_or(usize::MAX).min(buf.len());
        let Some(buf) = buf.get_mut(..most).filter(|buf| !buf.is_empty()) else {
            return self.expect_end();
        };
        let n = read_through_interrupts(&mut self.inner, buf)?;
        if n == 0 {
            return self.end_early();
        }
        self.state.hasher.update(filled(buf, n)?);
        self.state.count += n as u64;
        Ok(n)
    }
}

/// The first `n` bytes of `buffer`, which a read has filled. Fails if the reader returned more than the buffer holds,
/// because hashing or writing fewer bytes would go unnoticed.
pub(crate) fn filled(buffer: &[u8], n: usize) -> Result<&[u8]> {
    let overrun = || Error::new(ErrorKind::Internal, format!("read {n} bytes into a buffer of {}", buffer.len()));
    buffer.get(..n).ok_or_else(overrun)
}

fn read_through_interrupts(reader: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buf) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn mismatch(text: String) -> Error {
    Error::new(ErrorKind::Mismatch, text)
}

fn unread(cause: io::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("finish verification: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(bytes: &[u8], expected: &[u8], size: Size) -> std::result::Result<(), ErrorKind> {
        let mut reader = Verified::new(bytes, Digest::sha256(expected), size, Cancel::default());
        let kind = |e: io::Error| Error::through_read(e, unread).kind();
        reader.drain(&mut [0; 3]).map_err(kind)?;
        reader.finish().map(drop).map_err(|e| e.kind())
    }

    #[test]
    fn rejects_another_size_or_digest() {
        let at_most = |n| Size::AtMost(n, "bytes of test");
        assert_eq!(verify(b"12345", b"12345", Size::Exactly(5)), Ok(()));
        assert_eq!(verify(b"", b"", Size::Exactly(0)), Ok(()));
        assert_eq!(verify(b"12345", b"12345", at_most(5)), Ok(()));
        assert_eq!(verify(b"1234", b"12345", Size::Exactly(5)), Err(ErrorKind::Mismatch));
        assert_eq!(verify(b"123456", b"12345", Size::Exactly(5)), Err(ErrorKind::Mismatch));
        assert_eq!(verify(b"12344", b"12345", Size::Exactly(5)), Err(ErrorKind::Mismatch));
        assert_eq!(verify(b"123456", b"123456", at_most(5)), Err(ErrorKind::Unsafe));
    }

    #[test]
    fn continues_with_another_reader() {
        let mut first = Verified::new(&b"123"[..], Digest::sha256(b"12345"), Size::Exactly(5), Cancel::default());
        assert_eq!(first.read(&mut [0; 3]).ok(), Some(3));
        let state = first.suspend();
        assert_eq!(state.count(), 3);
        let mut second = Verified::resume(state, &b"45"[..], Cancel::default());
        assert!(second.drain(&mut [0; 8]).is_ok() && second.finish().is_ok());
    }

    #[test]
    fn a_reader_that_returns_too_much_is_an_error() {
        struct Overrun;
        impl Read for Overrun {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                Ok(buf.len() + 1)
            }
        }
        let mut reader = Verified::new(Overrun, Digest::sha256(b"1"), Size::Exactly(1), Cancel::default());
        let error = reader.read(&mut [0]).map_err(|e| Error::through_read(e, unread).kind());
        assert_eq!(error.err(), Some(ErrorKind::Internal));
    }

    #[test]
    fn finish_needs_the_end_and_a_cancelled_read_fails() {
        let mut early = Verified::new(&b"12345"[..], Digest::sha256(b"12345"), Size::Exactly(5), Cancel::default());
        assert_eq!(early.read(&mut [0; 2]).ok(), Some(2));
        assert_eq!(early.finish().map(drop).map_err(|e| e.kind()), Err(ErrorKind::Internal));
        let cancel = Cancel::default();
        let mut stopped = Verified::new(&b"1"[..], Digest::sha256(b"1"), Size::Exactly(1), cancel.clone());
        cancel.cancel();
        let error = stopped.read(&mut [0]).map_err(|e| Error::through_read(e, unread).kind());
        assert_eq!(error.err(), Some(ErrorKind::Interrupted));
    }
}
