//! What an image is written to: a file or a block device. Reads and writes bypass the page cache where the kernel can do that,
//! so that a failed write is reported at once, no dirty pages pile up, and a read returns what the device has.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Advice, FallocateFlags, OFlags, fadvise, fallocate, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use super::buffer::ALIGNMENT;

/// Bytes that are written through the page cache between two flushes.
const MOST_DIRTY: u64 = 4 << 20;

/// A place for an image. Tests replace it by a device that loses writes.
pub(super) trait Medium {
    /// Fills `buffer` from `offset` on. Returns fewer bytes only at the end.
    fn read(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all bytes.
    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes a range zero without writing zeros, and frees its space if possible. Returns false if the medium cannot promise
    /// that the range reads as zeros.
    fn punch(&mut self, offset: u64, length: u64) -> bool;

    /// Makes all writes durable. Must not be repeated after a failure: the kernel reports a lost write once.
    fn flush(&mut self) -> io::Result<()>;

    /// The size in bytes.
    fn length(&mut self) -> io::Result<u64>;

    /// Sets the length of a file. A device has a fixed one.
    fn set_length(&mut self, length: u64) -> io::Result<()>;

    /// Removes the content from the page cache, as far as possible, so that the next reads come from the device.
    fn drop_cache(&mut self);

    /// Returns true if the reads of whole blocks bypass the page cache.
    fn reads_directly(&self) -> bool;
}

/// A file or a block device.
pub(super) struct Disk {
    file: File,
    is_device: bool,
    /// False once the kernel has refused it.
    can_be_direct: bool,
    can_punch: bool,
    /// Whether the descriptor bypasses the page cache now.
    is_direct: bool,
    /// Bytes that were written through the page cache since the last flush.
    dirty: u64,
}

impl Disk {
    pub(super) fn new(file: File, is_device: bool) -> Self {
        Self { file, is_device, can_be_direct: true, can_punch: true, is_direct: false, dirty: 0 }
    }

    /// Switches the page cache off or on. Returns whether it is off.
    fn bypass_cache(&mut self, wanted: bool) -> bool {
        let wanted = wanted && self.can_be_direct;
        if wanted != self.is_direct {
            let set = fcntl_getfl(&self.file).and_then(|flags| {
                let mut flags = flags.difference(OFlags::DIRECT);
                flags.set(OFlags::DIRECT, wanted);
                fcntl_setfl(&self.file, flags)
            });
            match set {
                Ok(()) => self.is_direct = wanted,
                Err(_) => self.can_be_direct = false,
            }
        }
        self.is_direct
    }

    /// Chooses how to transfer memory at this address: directly if everything is aligned. Returns true if it will be direct.
    fn choose(&mut self, bytes: &[u8], offset: u64) -> bool {
        let is_aligned = bytes.as_ptr().addr().is_multiple_of(ALIGNMENT)
            && bytes.len().is_multiple_of(ALIGNMENT)
            && offset.is_multiple_of(ALIGNMENT as u64);
        self.bypass_cache(is_aligned)
    }

    /// Returns true if a transfer should be repeated: after a signal, or through the page cache because the file cannot do
    /// without it.
    fn should_repeat(&mut self, error: &io::Error, was_direct: bool) -> bool {
        let is_refused = was_direct && error.raw_os_error() == Some(Errno::INVAL.raw_os_error());
        self.can_be_direct &= !is_refused;
        is_refused || error.kind() == io::ErrorKind::Interrupted
    }

    /// Bounds the memory that waits to be written.
    fn written(&mut self, length: usize, was_direct: bool) -> io::Result<()> {
        if !was_direct {
            self.dirty += length as u64;
        }
        if self.dirty < MOST_DIRTY {
            return Ok(());
        }
        self.flush()?;
        self.drop_cache();
        Ok(())
    }
}

impl Medium for Disk {
    fn read(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut count = 0;
        while let Some(rest) = buffer.get_mut(count..).filter(|rest| !rest.is_empty()) {
            let at = offset + count as u64;
            let is_direct = self.choose(rest, at);
            match self.file.read_at(rest, at) {
                Ok(0) => break,
                Ok(n) => count += n,
                Err(e) if self.should_repeat(&e, is_direct) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        // The end of an image need not be the end of a block. The kernel keeps the rest of the block.
        let whole = bytes.len() - bytes.len() % ALIGNMENT;
        let (mut rest, mut at) = (bytes, offset);
        while !rest.is_empty() {
            let is_tail = bytes.len() - rest.len() >= whole;
            let next = if is_tail { rest } else { rest.get(..whole - (bytes.len() - rest.len())).unwrap_or(rest) };
            let is_direct = self.choose(next, at);
            match self.file.write_at(next, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.written(n, is_direct)?;
                    rest = rest.get(n..).unwrap_or_default();
                    at += n as u64;
                }
                Err(e) if self.should_repeat(&e, is_direct) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn punch(&mut self, offset: u64, length: u64) -> bool {
        // On a device, the kernel does this only if the device promises zeros.
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.can_punch = self.can_punch && fallocate(&self.file, mode, offset, length).is_ok();
        self.can_punch
    }

    fn flush(&mut self) -> io::Result<()> {
        self.dirty = 0;
        self.file.sync_data()
    }

    fn length(&mut self) -> io::Result<u64> {
        self.file.seek(SeekFrom::End(0))
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        if self.is_device { Ok(()) } else { self.file.set_len(length) }
    }

    fn drop_cache(&mut self) {
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    fn reads_directly(&self) -> bool {
        self.can_be_direct
    }
}
