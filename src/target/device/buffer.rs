//! Memory for reads and writes that bypass the page cache.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};

/// The alignment in bytes of direct reads and writes: of the memory, the offset and the length. Larger than the sectors of
/// common devices.
pub(super) const ALIGNMENT: usize = 4096;

/// Bytes at an aligned address.
pub(super) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
}

impl AlignedBuffer {
    /// A buffer of `length` zeros. Pages that are never touched cost no memory.
    pub(super) fn new(length: usize) -> Self {
        let memory = vec![0; length + ALIGNMENT];
        // At most the alignment, unless the address cannot be aligned. Then reads and writes go through the page cache.
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start }
    }

    pub(super) fn part(&self, range: Range<usize>) -> Result<&[u8]> {
        self.memory.get(self.start + range.start..self.start + range.end).ok_or_else(out_of_bounds)
    }

    pub(super) fn part_mut(&mut self, range: Range<usize>) -> Result<&mut [u8]> {
        self.memory.get_mut(self.start + range.start..self.start + range.end).ok_or_else(out_of_bounds)
    }
}

pub(super) fn out_of_bounds() -> Error {
    Error::new(ErrorKind::Internal, "write image: out of bounds of a buffer")
}
