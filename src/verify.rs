//! Verification: one reader for blobs, documents and layers alike. It counts, hashes, refuses what is longer than
//! promised, and its `finish` gives the only key that commits a blob.

use std::io::{self, Read};

use crate::advice::Limit;
use crate::cancel::Cancel;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Limits, read_capped, within};

/// How many bytes a [`Verified`] reader may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Exactly so many, as a descriptor says.
    Exactly(u64),
    /// Not known; so many at most. The text names the limit in the error.
    AtMost(u64, &'static str),
}

/// The proof that some bytes had this digest and size. Only [`Verified::finish`] makes one.
pub(crate) struct Proof {
    digest: Digest,
}

impl Proof {
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// What is known of bytes that were read so far; a verification can go on from it with another reader.
pub(crate) struct VerifyState {
    expected: Digest,
    hasher: Hasher,
    size: Size,
    count: u64,
    ended: bool,
}

impl VerifyState {
    /// The check of something of which nothing was read yet.
    pub(crate) fn new(expected: Digest, size: Size) -> Self {
        Self { hasher: expected.hasher(), expected, size, count: 0, ended: false }
    }

    /// Bytes that were read so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

/// A reader that passes bytes on while it hashes and counts them. It absorbs `EINTR`, stops when cancelled, never
/// hands out a byte beyond the promised size, and probes for one to tell "exactly done" from "too long".
pub(crate) struct Verified<R> {
    inner: R,
    check: VerifyState,
    cancel: Cancel,
}

impl<R: Read> Verified<R> {
    pub(crate) fn new(inner: R, expected: Digest, size: Size, cancel: Cancel) -> Self {
        Self::resume(VerifyState::new(expected, size), inner, cancel)
    }

    /// Goes on where another reader of the same bytes left off.
    pub(crate) fn resume(check: VerifyState, inner: R, cancel: Cancel) -> Self {
        Self { inner, check, cancel }
    }

    /// What is known so far, for another reader to go on with.
    pub(crate) fn suspend(self) -> VerifyState {
        self.check
    }

    /// Bytes handed out so far.
    pub(crate) fn count(&self) -> u64 {
        self.check.count
    }

    /// Reads what is left to the end, for the bytes that a parser had no use for but the digest covers.
    pub(crate) fn drain(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        while self.read(scratch)? > 0 {}
        Ok(())
    }

    /// All bytes of something small, proven. `unread` names an error that is none of ours.
    pub(crate) fn document(mut self, limit: usize, unread: impl FnOnce(io::Error) -> Error) -> Result<Vec<u8>> {
        let bytes = read_capped(&mut self, limit).map_err(|e| Error::through_read(e, unread))?;
        let bytes = within(bytes, "bytes of document", limit)?;
        self.finish()?;
        Ok(bytes)
    }

    /// The proof, if the end was reached and size and digest are what was promised.
    pub(crate) fn finish(mut self) -> Result<Proof> {
        if !self.check.ended && self.read(&mut [0]).map_err(|e| Error::through_read(e, unread))? > 0 {
            return Err(Error::new(ErrorKind::Internal, "finish verification: not read to the end"));
        }
        let VerifyState { expected, hasher, .. } = self.check;
        let got = hasher.finish();
        if got != expected {
            return Err(mismatch(format!("digest mismatch: expected {expected}, got {got}")));
        }
        Ok(Proof { digest: got })
    }

    fn room(&self) -> u64 {
        let (Size::Exactly(limit) | Size::AtMost(limit, _)) = self.check.size;
        limit - self.check.count
    }

    fn probe(&mut self) -> io::Result<usize> {
        if read_through_interrupts(&mut self.inner, &mut [0])? > 0 {
            return Err(match self.check.size {
                Size::Exactly(size) => mismatch(format!("size mismatch: expected {size} bytes, got more")),
                Size::AtMost(limit, what) => Limits::exceeded_adjustable(Limit::Unpacked, what, limit),
            }
            .into());
        }
        self.check.ended = true;
        Ok(0)
    }

    fn ended(&mut self) -> io::Result<usize> {
        if let Size::Exactly(size) = self.check.size {
            let count = self.check.count;
            return Err(mismatch(format!("size mismatch: expected {size} bytes, got {count}")).into());
        }
        self.check.ended = true;
        Ok(0)
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() || self.check.ended {
            return Ok(0);
        }
        self.cancel.check()?;
        let room = usize::try_from(self.room()).unwrap_or(usize::MAX).min(buf.len());
        let Some(buf) = buf.get_mut(..room).filter(|buf| !buf.is_empty()) else {
            return self.probe();
        };
        let n = read_through_interrupts(&mut self.inner, buf)?;
        if n == 0 {
            return self.ended();
        }
        self.check.hasher.update(buf.get(..n).unwrap_or_default());
        self.check.count += n as u64;
        Ok(n)
    }
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

    fn verify(bytes: &[u8], promised: &[u8], size: Size) -> std::result::Result<(), ErrorKind> {
        let mut reader = Verified::new(bytes, Digest::sha256(promised), size, Cancel::default());
        let kind = |e: io::Error| Error::through_read(e, unread).kind();
        reader.drain(&mut [0; 3]).map_err(kind)?;
        reader.finish().map(drop).map_err(|e| e.kind())
    }

    #[test]
    fn proves_only_what_was_promised() {
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
    fn goes_on_with_another_reader() {
        let mut first = Verified::new(&b"123"[..], Digest::sha256(b"12345"), Size::Exactly(5), Cancel::default());
        assert_eq!(first.read(&mut [0; 3]).ok(), Some(3));
        let check = first.suspend();
        assert_eq!(check.count(), 3);
        let mut second = Verified::resume(check, &b"45"[..], Cancel::default());
        assert!(second.drain(&mut [0; 8]).is_ok() && second.finish().is_ok());
    }

    #[test]
    fn a_proof_needs_the_end_and_a_cancelled_read_stops() {
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
