//! Writes an image in an order in which no boot loader takes an incomplete one for valid: first the old head is made invalid
//! and that is made durable, then comes everything behind the head, then the head, and of the head the first block last.
//!
//! Nothing is written before the first difference to what is there is known, so a fetch that fails early leaves the old image
//! as it was.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::buffer::AlignedBuffer;
use super::medium::Medium;
use super::record::Record;
use crate::cancel::Cancel;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, ErrorKind, Result};

/// Bytes that are written last. They have the first superblock of all common filesystems (btrfs has it at 64 KiB), the
/// headers of kernels, and the partition table.
pub(crate) const HEAD: usize = 68 << 10;
/// Bytes that are written at once.
const WINDOW: usize = 512 << 10;
/// The unit in bytes in which images are compared and counted.
pub(super) const BLOCK: usize = 4096;
/// Differing blocks that are fewer bytes apart than this are written together, because flash has larger pages.
const GAP: usize = 16 << 10;
/// Bytes between two records of how far the image is.
const RECORD_INTERVAL: u64 = 16 << 20;

/// What the writer knows about its medium.
pub(super) struct Place {
    /// For errors.
    pub(super) path: PathBuf,
    /// The size of a device in bytes; `None` for a file, which grows.
    pub(super) capacity: Option<u64>,
    /// The logical sector in bytes.
    pub(super) sector: usize,
    /// True for a device that may have a partition table.
    pub(super) is_whole_disk: bool,
    /// True for a new file, which nobody sees before it is complete.
    pub(super) is_new: bool,
}

/// Counts of blocks of 4 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// Blocks that were written.
    pub(crate) written: u64,
    /// Blocks that were made zero without writing zeros.
    pub(crate) punched: u64,
}

/// Writes one image.
pub(crate) struct Writer {
    medium: Box<dyn Medium + Send>,
    place: Place,
    /// The digest of the blob, for the record.
    blob: Digest,
    /// The first bytes of the image, which are written last.
    head: AlignedBuffer,
    head_length: usize,
    /// Bytes of the image that are not written yet.
    window: AlignedBuffer,
    /// How many there are.
    filled: usize,
    /// The offset of the first of them in the image.
    position: u64,
    /// What the medium has, for comparing.
    old: Option<AlignedBuffer>,
    /// The image is compared with the medium up to this offset, and only differences are written.
    compared_until: u64,
    /// True once the head on the medium is invalid, and that is durable.
    is_invalid: bool,
    /// The offset in the last record.
    recorded: u64,
    counts: Counts,
    /// The offset of the first block that differed.
    first_difference: Option<u64>,
}

impl Writer {
    pub(super) fn new(medium: Box<dyn Medium + Send>, place: Place, blob: Digest) -> Self {
        Self {
            medium,
            place,
            blob,
            head: AlignedBuffer::new(HEAD),
            head_length: 0,
            window: AlignedBuffer::new(WINDOW),
            filled: 0,
            position: HEAD as u64,
            old: None,
            compared_until: 0,
            is_invalid: false,
            recorded: 0,
            counts: Counts::default(),
            first_difference: None,
        }
    }

    /// Goes back to the first byte of the image. From then on it is compared with the medium up to `compared_until`.
    pub(crate) fn restart(&mut self, compared_until: u64) {
        (self.head_length, self.filled, self.position) = (0, 0, HEAD as u64);
        (self.compared_until, self.recorded, self.first_difference) = (compared_until, 0, None);
    }

    /// The record of an earlier run, if the medium has one instead of an image.
    pub(crate) fn record(&mut self) -> Result<Option<Record>> {
        if self.place.is_new {
            return Ok(None);
        }
        let n = self.medium.read(self.window.part_mut(0..BLOCK)?, 0).map_err(|e| self.failed("read", e))?;
        Ok(Record::parse(self.window.part(0..n)?))
    }

    /// The number of bytes of the image so far.
    pub(crate) fn size(&self) -> u64 {
        if self.head_length < HEAD { self.head_length as u64 } else { self.position + self.filled as u64 }
    }

    /// Memory for the next bytes of the image. Writes the bytes that fill it, so it may fail for want of space.
    pub(crate) fn space(&mut self) -> Result<&mut [u8]> {
        if self.head_length < HEAD {
            return self.head.part_mut(self.head_length..HEAD);
        }
        if self.filled == self.window_length() {
            self.store()?;
        }
        let length = self.window_length();
        self.window.part_mut(self.filled..length)
    }

    /// Takes `n` bytes that are in the [`space`](Self::space).
    pub(crate) fn advance(&mut self, n: usize) {
        if self.head_length < HEAD {
            self.head_length += n;
        } else {
            self.filled += n;
        }
    }

    /// Reads the next bytes of the image from the medium, up to `until`, and keeps them as they are there. The head must be
    /// complete, and no other bytes may wait to be written.
    pub(crate) fn keep_existing(&mut self, until: u64) -> Result<&[u8]> {
        let length = usize::try_from(until - self.position).unwrap_or(usize::MAX).min(self.window_length());
        let n =
            self.medium.read(self.window.part_mut(0..length)?, self.position).map_err(|e| self.failed("read", e))?;
        self.position += n as u64;
        self.recorded = self.position;
        self.window.part(0..n)
    }

    /// Writes what waits to be written behind the head, and makes it durable.
    pub(crate) fn complete(&mut self) -> Result<()> {
        self.store()?;
        let size = self.size();
        self.check_capacity(size)?;
        if !self.place.is_new && self.has_other_length(size)? {
            self.invalidate()?;
        }
        self.medium.set_length(size).map_err(|e| self.failed("set length of", e))?;
        if self.is_invalid {
            self.flush()?;
        }
        Ok(())
    }

    /// Hashes the image: the head, which is not written yet, and everything behind it as the medium returns it.
    pub(crate) fn read_back(&mut self, mut hasher: Hasher, cancel: &Cancel) -> Result<Digest> {
        if self.place.is_new {
            self.flush()?;
        }
        self.medium.drop_cache();
        hasher.update(self.head.part(0..self.head_length)?);
        let size = self.size();
        let mut position = HEAD as u64;
        while position < size {
            cancel.check()?;
            let length = usize::try_from(size - position).unwrap_or(usize::MAX).min(WINDOW);
            // Whole blocks, because only those are read directly.
            let whole = length.next_multiple_of(BLOCK);
            let n = self.medium.read(self.window.part_mut(0..whole)?, position).map_err(|e| self.failed("read", e))?;
            if n < length {
                return Err(self.failed("read", io::ErrorKind::UnexpectedEof.into()));
            }
            hasher.update(self.window.part(0..length)?);
            position += length as u64;
        }
        Ok(hasher.finish())
    }

    /// Writes the head and makes it durable. With `verify`, reads it back and writes it once more if it differs.
    pub(crate) fn publish_head(&mut self, verify: bool) -> Result<()> {
        let length = self.head_length;
        if length == 0 || (!self.place.is_new && !self.is_invalid && self.has_head()?) {
            return Ok(());
        }
        self.invalidate()?;
        for _ in 0..2 {
            let first = length.min(BLOCK);
            self.write_head(first..length)?;
            self.write_head(0..first)?;
            self.counts.written += blocks(length);
            if !verify || self.has_head()? {
                return Ok(());
            }
        }
        let error = self.lost_writes(0);
        self.is_invalid = false;
        let _ = self.invalidate();
        Err(error)
    }

    /// Fails if an image of this size does not fit.
    pub(crate) fn check_size(&self, size: u64) -> Result<()> {
        match self.place.capacity {
            Some(capacity) if size > capacity => Err(too_small(&self.place.path, capacity, &size.to_string())),
            _ => Ok(()),
        }
    }

    /// The error for a device that has other content than was written to it.
    pub(crate) fn lost_writes(&self, offset: u64) -> Error {
        let path = self.place.path.display();
        let text = format!("write {path}: hardware error: the device did not keep what was written, at byte {offset}");
        Error::new(ErrorKind::Disk, text)
            .with_hint("replace the device: it is worn out, broken, or smaller than it says")
    }

    /// The offset of the first block that differed from the medium.
    pub(crate) fn first_difference(&self) -> Option<u64> {
        self.first_difference
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns true if reads bypass the page cache.
    pub(crate) fn reads_directly(&self) -> bool {
        self.medium.reads_directly()
    }

    fn window_length(&self) -> usize {
        // A window ends at a multiple of its size, and the first one begins behind the head.
        let begun = self.position % WINDOW as u64;
        WINDOW - usize::try_from(begun).unwrap_or_default()
    }

    /// Writes the window, or the parts of it that differ from the medium.
    fn store(&mut self) -> Result<()> {
        let length = std::mem::take(&mut self.filled);
        if length == 0 {
            return Ok(());
        }
        let end = self.position + length as u64;
        self.check_capacity(end)?;
        self.write_window(length)?;
        self.position = end;
        if end - self.recorded >= RECORD_INTERVAL { self.keep_record() } else { Ok(()) }
    }

    /// Records how far the image is, once that is durable.
    pub(crate) fn keep_record(&mut self) -> Result<()> {
        if !self.is_invalid || self.position == self.recorded {
            return Ok(());
        }
        self.flush()?;
        self.write_record(self.position)
    }

    fn write_window(&mut self, length: usize) -> Result<()> {
        let is_zero = length.is_multiple_of(BLOCK) && is_zero(self.window.part(0..length)?);
        let is_compared = self.place.is_new || is_zero || self.position < self.compared_until;
        let runs = if is_compared { self.differences(length)? } else { std::iter::once(0..length).collect() };
        let Some(first) = runs.first() else { return Ok(()) };
        self.first_difference.get_or_insert(self.position + first.start as u64);
        self.invalidate()?;
        if is_zero && self.medium.punch(self.position, length as u64) {
            self.counts.punched += blocks(length);
            return Ok(());
        }
        for run in runs {
            let at = self.position + run.start as u64;
            self.counts.written += blocks(run.len());
            let written = self.medium.write(self.window.part(run)?, at);
            written.map_err(|e| self.failed("write", e))?;
        }
        Ok(())
    }

    /// Returns the parts of the window that differ from the medium.
    fn differences(&mut self, length: usize) -> Result<Runs> {
        let old = self.old.get_or_insert_with(|| AlignedBuffer::new(WINDOW));
        // A new file reads as zeros.
        let mut n = length;
        if !self.place.is_new {
            let whole = length.next_multiple_of(BLOCK);
            let read = self.medium.read(old.part_mut(0..whole)?, self.position);
            n = read.map_err(|e| Error::disk("read", &self.place.path, e))?.min(length);
        }
        Ok(differing(self.window.part(0..length)?, old.part(0..n)?))
    }

    /// Makes the head on the medium invalid, durably, before anything else is changed.
    fn invalidate(&mut self) -> Result<()> {
        if self.is_invalid || self.place.is_new {
            return Ok(());
        }
        let length = self.head_length;
        let first = length.min(BLOCK);
        let mut head = AlignedBuffer::new(HEAD);
        if length == HEAD {
            let text = Record { blob: self.blob, done: self.recorded }.text();
            head.part_mut(0..text.len())?.copy_from_slice(text.as_bytes());
        }
        // The first block alone, because a cut could leave it valid and the rest of the head cleared.
        self.medium.write(head.part(0..first)?, 0).map_err(|e| self.failed("write", e))?;
        self.flush()?;
        self.clear_backup_table(length)?;
        let cleared = self.medium.write(head.part(first..length)?, first as u64);
        cleared.map_err(|e| self.failed("write", e))?;
        self.flush()?;
        self.counts.written += blocks(length);
        self.is_invalid = true;
        Ok(())
    }

    /// Clears the copy of the partition table in the last sector of a disk, from which firmware would restore the old table.
    /// Only if the image replaces the table itself.
    fn clear_backup_table(&mut self, head_length: usize) -> Result<()> {
        let sector = self.place.sector;
        let Some(capacity) = self.place.capacity.filter(|_| self.place.is_whole_disk && head_length >= 2 * sector)
        else {
            return Ok(());
        };
        let Some(offset) = capacity.checked_sub(sector as u64).filter(|offset| *offset >= head_length as u64) else {
            return Ok(());
        };
        let mut last = vec![0; sector];
        let n = self.medium.read(&mut last, offset).map_err(|e| self.failed("read", e))?;
        if n < sector || !last.starts_with(b"EFI PART") {
            return Ok(());
        }
        self.counts.written += 1;
        self.medium.write(&vec![0; sector], offset).map_err(|e| self.failed("write", e))
    }

    fn write_record(&mut self, done: u64) -> Result<()> {
        let text = Record { blob: self.blob, done }.text();
        let mut block = AlignedBuffer::new(BLOCK);
        block.part_mut(0..text.len())?.copy_from_slice(text.as_bytes());
        let written = self.medium.write(block.part(0..BLOCK)?, 0);
        self.recorded = done;
        self.counts.written += 1;
        written.map_err(|e| self.failed("write", e))
    }

    fn write_head(&mut self, range: Range<usize>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let at = range.start as u64;
        let written = self.medium.write(self.head.part(range)?, at);
        written.map_err(|e| self.failed("write", e))?;
        self.flush()
    }

    /// Returns true if the medium has the head of the image.
    fn has_head(&mut self) -> Result<bool> {
        self.medium.drop_cache();
        let length = self.head_length;
        let mut found = AlignedBuffer::new(HEAD);
        let read = self.medium.read(found.part_mut(0..length.next_multiple_of(BLOCK))?, 0);
        let n = read.map_err(|e| self.failed("read", e))?.min(length);
        Ok(found.part(0..n)? == self.head.part(0..length)?)
    }

    /// Returns true for a file of another length than the image.
    fn has_other_length(&mut self, size: u64) -> Result<bool> {
        if self.place.capacity.is_some() {
            return Ok(false);
        }
        let length = self.medium.length().map_err(|e| self.failed("read", e))?;
        Ok(length != size)
    }

    fn check_capacity(&self, end: u64) -> Result<()> {
        match self.place.capacity {
            Some(capacity) if end > capacity => Err(too_small(&self.place.path, capacity, "more")),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.medium.flush().map_err(|e| self.failed("sync", e))
    }

    fn failed(&self, verb: &str, cause: io::Error) -> Error {
        Error::disk(verb, &self.place.path, cause)
    }
}

/// The error for an image of `needed` bytes.
pub(super) fn too_small(path: &Path, capacity: u64, needed: &str) -> Error {
    let text = format!("write {}: it has {capacity} bytes, and the image has {needed}", path.display());
    Error::new(ErrorKind::Disk, text)
}

/// Ranges of bytes, in order.
type Runs = Vec<Range<usize>>;

/// Compares block by block, and joins differing blocks that are close together. Bytes that `old` does not have differ.
fn differing(new: &[u8], old: &[u8]) -> Runs {
    let mut runs: Runs = Vec::new();
    for start in (0..new.len()).step_by(BLOCK) {
        let end = (start + BLOCK).min(new.len());
        if new.get(start..end) == old.get(start..end) {
            continue;
        }
        match runs.last_mut() {
            Some(last) if start - last.end < GAP => last.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

/// Returns true for whole blocks of zeros.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.as_chunks::<16>().0.iter().all(|chunk| u128::from_ne_bytes(*chunk) == 0)
}

/// The number of blocks that have this many bytes.
fn blocks(length: usize) -> u64 {
    length.div_ceil(BLOCK) as u64
}
