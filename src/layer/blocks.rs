//! Reads an archive as 512-byte blocks and as the data of its entries, through one buffer of fixed size.

use std::io::Read;

use super::records::malformed;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// The size of a header, and the multiple to which data is padded.
pub(super) const BLOCK: usize = 512;
/// Bytes requested from the decoder per read.
const BUFFER: usize = 64 << 10;

/// A buffered reader of an archive. It knows blocks and padding, but not the fields of a header.
pub(super) struct Blocks<'a> {
    reader: &'a mut dyn Read,
    /// The bytes from `start` to `end` are not consumed yet.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the current entry's data that are not consumed yet.
    data: u64,
    /// Bytes of padding after the current entry's data.
    padding: u64,
    extension_limit: usize,
    /// Bytes of extension headers and sparse maps since the last call of [`begin_entry`](Blocks::begin_entry).
    extension_bytes: usize,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(reader: &'a mut dyn Read, limits: &Limits) -> Self {
        Self {
            reader,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            data: 0,
            padding: 0,
            extension_limit: limits.extensions,
            extension_bytes: 0,
        }
    }

    /// Skips the rest of the current entry and resets the count of extension bytes.
    pub(super) fn begin_entry(&mut self) -> Result<()> {
        self.skip_data()?;
        self.extension_bytes = 0;
        Ok(())
    }

    /// Sets the size of the data that follows. After it, padding up to the next block is skipped.
    pub(super) fn set_data(&mut self, size: u64) {
        self.data = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    /// Returns the number of data bytes that are not consumed yet.
    pub(super) fn data_left(&self) -> u64 {
        self.data
    }

    /// Returns the next bytes of the current entry's data, at most one buffer; empty at the end of the data.
    pub(super) fn data(&mut self) -> Result<&[u8]> {
        self.data_up_to(usize::MAX)
    }

    /// Returns the next bytes of the current entry's data, at most `most`.
    pub(super) fn data_up_to(&mut self, most: usize) -> Result<&[u8]> {
        if self.data == 0 {
            return Ok(&[]);
        }
        if self.start == self.end && self.fill()? == 0 {
            return Err(truncated());
        }
        let n = usize::try_from(self.data).unwrap_or(usize::MAX).min(self.end - self.start).min(most);
        let range = self.start..self.start + n;
        self.start += n;
        self.data -= n as u64;
        self.buffer.get(range).ok_or_else(out_of_bounds)
    }

    /// Returns the next block; `None` if the archive ends before it.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            if self.start == self.end && self.fill()? == 0 {
                return if filled == 0 { Ok(None) } else { Err(truncated()) };
            }
            let n = (BLOCK - filled).min(self.end - self.start);
            let from = self.buffer.get(self.start..self.start + n).ok_or_else(out_of_bounds)?;
            block.get_mut(filled..filled + n).ok_or_else(out_of_bounds)?.copy_from_slice(from);
            self.start += n;
            filled += n;
        }
        Ok(Some(block))
    }

    /// Reads the `size` bytes of an extension header's body.
    ///
    /// All extension headers and sparse maps of one entry share one limit, so no number of them exhausts the memory.
    pub(super) fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        let left = self.extension_limit.saturating_sub(self.extension_bytes + BLOCK);
        let Some(length) = usize::try_from(size).ok().filter(|length| *length <= left) else {
            return Err(self.extension_limit_exceeded());
        };
        self.extension_bytes += BLOCK + length;
        let mut body = Vec::new();
        self.set_data(size);
        while self.data > 0 {
            body.extend_from_slice(self.data()?);
        }
        self.skip_data()?;
        Ok(body)
    }

    /// Reads a block of a sparse map that precedes the entry's data.
    pub(super) fn map_block(&mut self) -> Result<[u8; BLOCK]> {
        self.count_map_block()?;
        self.block()?.ok_or_else(truncated)
    }

    /// Reads a block of a sparse map that is the first part of the entry's data.
    pub(super) fn map_block_in_data(&mut self) -> Result<[u8; BLOCK]> {
        self.count_map_block()?;
        if self.data < BLOCK as u64 {
            return Err(malformed("unterminated sparse map"));
        }
        let block = self.block()?.ok_or_else(truncated)?;
        self.data -= BLOCK as u64;
        Ok(block)
    }

    fn count_map_block(&mut self) -> Result<()> {
        self.extension_bytes += BLOCK;
        if self.extension_bytes > self.extension_limit {
            return Err(self.extension_limit_exceeded());
        }
        Ok(())
    }

    fn extension_limit_exceeded(&self) -> Error {
        Limits::exceeded("bytes of extension records of one entry", self.extension_limit)
    }

    /// Skips the rest of the data and its padding. Padding that is missing at the end of the archive is accepted,
    /// because umoci 0.4 omits it.
    fn skip_data(&mut self) -> Result<()> {
        while !self.data()?.is_empty() {}
        self.data = std::mem::take(&mut self.padding);
        while self.data > 0 && (self.start < self.end || self.fill()? > 0) {
            self.data()?;
        }
        self.data = 0;
        Ok(())
    }

    /// Refills the empty buffer and returns the number of bytes in it; 0 at the end of the input.
    fn fill(&mut self) -> Result<usize> {
        self.start = 0;
        self.end = 0;
        let n =
            self.reader.read(&mut self.buffer).map_err(|e| Error::through_read(e, |e| malformed(&e.to_string())))?;
        self.end = n;
        Ok(n)
    }
}

fn truncated() -> Error {
    malformed("unexpected end in the middle of an entry")
}

fn out_of_bounds() -> Error {
    Error::new(ErrorKind::Internal, "read archive: position outside of the buffer")
}
