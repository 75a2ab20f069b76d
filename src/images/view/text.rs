//! The texts of a merged tree: names and targets of links, one after the other in one buffer.

use super::table::index_of;
use crate::advice::Limit;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// Bytes that may be kept for each entry of the limit, on average.
const BYTES_PER_ENTRY: u64 = 32;

/// Texts with their lengths in front.
#[derive(Clone)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    /// Bytes that the extended attributes of directories take.
    others: u64,
    limit: u64,
}

impl Texts {
    pub(super) fn new(limits: &Limits) -> Self {
        let limit = limits.entries.saturating_mul(BYTES_PER_ENTRY).min(u64::from(u32::MAX));
        Self { bytes: Vec::new(), others: 0, limit }
    }

    /// Adds a text and returns its position.
    pub(super) fn add(&mut self, text: &[u8]) -> Result<u32> {
        let too_long = |_| Error::new(ErrorKind::Internal, "merge layers: text too long");
        let length = u16::try_from(text.len()).map_err(too_long)?;
        let position = index_of(self.bytes.len())?;
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(text);
        self.check()?;
        Ok(position)
    }

    /// Counts bytes that are kept elsewhere.
    pub(super) fn count(&mut self, bytes: u64) -> Result<()> {
        self.others = self.others.saturating_add(bytes);
        self.check()
    }

    /// Returns the text at a position.
    pub(super) fn at(&self, position: u32) -> Result<&[u8]> {
        let lost = || Error::new(ErrorKind::Internal, "merge layers: no text at this position");
        let rest = self.bytes.get(position as usize..).ok_or_else(lost)?;
        let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(lost)?;
        rest.get(..usize::from(u16::from_le_bytes(*length))).ok_or_else(lost)
    }

    fn check(&self) -> Result<()> {
        if self.others.saturating_add(self.bytes.len() as u64) > self.limit {
            let what = "bytes of names and attributes of directories and links";
            return Err(Limits::exceeded_adjustable(Limit::Entries, what, self.limit));
        }
        Ok(())
    }
}
