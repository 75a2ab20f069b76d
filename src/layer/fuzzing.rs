//! Entry points for the fuzz targets: the decoders, and the parsers of archives.

use std::io::Read;

use super::decoder::Decoder;
use super::entries::Entries;
use super::entry::EntryKind;
use super::records::{Pax, check_global, header_number, header_time};
use super::sparse;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::limits::Limits;
use crate::oci::media_type::Compression;

/// The compression of a layer.
#[derive(Clone, Copy, Debug)]
pub enum Format {
    /// gzip, any number of members.
    Gzip,
    /// zstd, any number of frames.
    Zstd,
}

/// Decodes `blob`, at most `limit` bytes, in reads of `step` bytes.
pub fn decode(blob: &[u8], format: Format, limit: usize, step: usize) -> std::result::Result<Vec<u8>, String> {
    let compression = match format {
        Format::Gzip => Compression::Gzip,
        Format::Zstd => Compression::Zstd,
    };
    let mut decoder =
        Decoder::new(blob, compression, &Limits::default(), &Cancel::default()).map_err(|e| e.to_string())?;
    let (mut decoded, mut buffer) = (Vec::new(), vec![0; step.max(1)]);
    while decoded.len() < limit {
        let n = decoder.read(&mut buffer).map_err(|e| e.to_string())?;
        if n == 0 {
            break;
        }
        decoded.extend(buffer.iter().take(n));
    }
    decoded.truncate(limit);
    Ok(decoded)
}

/// Parses the records of a pax header. Returns the count of xattrs and of the numbers of the sparse map.
pub fn pax(bytes: &[u8]) -> Result<(usize, usize)> {
    let _ = check_global(bytes);
    let pax = Pax::parse(bytes)?;
    Ok((pax.xattrs.len(), pax.sparse.map_or(0, |sparse| sparse.numbers.len())))
}

/// Parses a field of a header as a number and as a time.
pub fn numbers(field: &[u8]) -> (Option<u64>, Option<i64>) {
    (header_number(field), header_time(field))
}

/// Checks the map of a sparse file. Returns the offset and length of each extent.
pub fn sparse_map(numbers: &[u64], real_size: u64) -> Result<Vec<(u64, u64)>> {
    let extents = sparse::sparse_map(numbers, real_size)?;
    Ok(extents.into_iter().map(|extent| (extent.offset, extent.length)).collect())
}

/// Reads all entries of an archive. Returns the path and the stored bytes of each.
pub fn archive(mut tar: &[u8]) -> Result<Vec<(Vec<u8>, u64)>> {
    let mut entries = Entries::new(&mut tar, &Limits::default());
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
