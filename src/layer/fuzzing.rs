//! What of this room a fuzzer is let at: the decoders and the readers of archives.

use std::io::Read;

use super::decoder::Decoder;
use super::entries::{Entries, EntryKind};
use super::records::{Pax, check_global, header_number, header_time, sparse_map};
use crate::error::Result;
use crate::limits::Limits;
use crate::oci::media_type::Compression;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug)]
pub enum Format {
    /// Members of gzip.
    Gzip,
    /// Frames of zstd.
    Zstd,
}

/// Decodes all of `blob`, or its first `most` bytes, in reads of `step` bytes.
pub fn decode(blob: &[u8], format: Format, most: usize, step: usize) -> std::result::Result<Vec<u8>, String> {
    let compression = match format {
        Format::Gzip => Compression::Gzip,
        Format::Zstd => Compression::Zstd,
    };
    let mut decoder = Decoder::new(blob, compression, &Limits::default()).map_err(|e| e.to_string())?;
    let (mut decoded, mut buffer) = (Vec::new(), vec![0; step.max(1)]);
    while decoded.len() < most {
        let n = decoder.read(&mut buffer).map_err(|e| e.to_string())?;
        if n == 0 {
            break;
        }
        decoded.extend(buffer.iter().take(n));
    }
    decoded.truncate(most);
    Ok(decoded)
}

/// Parses the records of a pax header. Gives the number of xattrs and of a sparse map's numbers.
pub fn pax(bytes: &[u8]) -> Result<(usize, usize)> {
    let _ = check_global(bytes);
    let pax = Pax::parse(bytes)?;
    Ok((pax.xattrs.len(), pax.sparse.map_or(0, |sparse| sparse.numbers.len())))
}

/// A header's field as a number and as a time.
pub fn numbers(field: &[u8]) -> (Option<u64>, Option<i64>) {
    (header_number(field), header_time(field))
}

/// A sparse file's map, checked.
pub fn sparse(numbers: &[u64], real_size: u64) -> Result<Vec<(u64, u64)>> {
    sparse_map(numbers, real_size)
}

/// Reads all entries of an archive. Gives of each its path and the bytes of data that were stored.
pub fn archive(tar: &[u8]) -> Result<Vec<(Vec<u8>, u64)>> {
    let mut entries = Entries::new(tar, &Limits::default());
    let mut all = Vec::new();
    while let Some(entry) = entries.next()? {
        let mut stored = 0;
        if matches!(entry.kind, EntryKind::Regular(_)) {
            loop {
                match entries.data()?.len() {
                    0 => break,
                    n => stored += n as u64,
                }
            }
        }
        all.push((entry.path, stored));
    }
    Ok(all)
}
