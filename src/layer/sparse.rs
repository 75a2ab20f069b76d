//! Sparse files: reads the map of a file's extents in each of the forms that GNU tar has written, and checks it.

use super::blocks::Blocks;
use super::entry::{Extent, FileContent};
use super::header::{self, TarHeader};
use super::records::{SparseRecords, malformed, number};
use crate::error::Result;

/// Reads the map of the formats 0.0, 0.1 and 1.0, which use pax records. `stored` is the size of the entry's data.
pub(super) fn pax_sparse(blocks: &mut Blocks<'_>, records: SparseRecords, stored: u64) -> Result<FileContent> {
    // The records were checked: they have the size.
    let real_size = records.real_size.unwrap_or_default();
    blocks.set_data(stored);
    let numbers = if records.map_in_data { map_in_data(blocks)? } else { records.numbers };
    content(blocks, &numbers, real_size)
}

/// Reads the map of the old GNU format: four pairs in the header, then 21 in each block that follows it.
pub(super) fn gnu_sparse(blocks: &mut Blocks<'_>, header: &TarHeader<'_>, stored: u64) -> Result<FileContent> {
    let sparse = header.gnu_sparse()?;
    let mut numbers = Vec::new();
    push_pairs(&mut numbers, sparse.pairs)?;
    let mut is_extended = sparse.is_extended;
    while is_extended {
        let block = blocks.map_block()?;
        push_pairs(&mut numbers, &block)?;
        is_extended = block.get(504) != Some(&0);
    }
    blocks.set_data(stored);
    content(blocks, &numbers, sparse.real_size)
}

/// Reads the map of format 1.0, which precedes the file's content: decimal numbers, one per line, of which the first is
/// the number of pairs. The map is padded to a whole block.
fn map_in_data(blocks: &mut Blocks<'_>) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    let mut expected = None;
    let mut line = Vec::new();
    loop {
        for byte in blocks.map_block_in_data()? {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            let value = number(&line)?.ok_or_else(|| malformed("empty line in a sparse map"))?;
            line.clear();
            match expected {
                None => expected = Some(value.checked_mul(2).ok_or_else(|| malformed("sparse map too long"))?),
                Some(_) => numbers.push(value),
            }
            if expected == Some(numbers.len() as u64) {
                return Ok(numbers);
            }
        }
    }
}

/// Appends the pairs of offset and length in `field`, 24 bytes each. Bytes at the end that make no pair are ignored.
/// The first unused pair ends the list, as in GNU tar and Go.
fn push_pairs(numbers: &mut Vec<u64>, field: &[u8]) -> Result<()> {
    let (pairs, _) = field.as_chunks::<24>();
    for pair in pairs {
        let (offset, length) = pair.split_at(12);
        if offset.first() == Some(&0) {
            break;
        }
        numbers.push(header::number("sparse offset", offset)?);
        numbers.push(header::number("sparse length", length)?);
    }
    Ok(())
}

/// Checks the map against the stored data. It must account for each byte, because another parser would read the rest as
/// the next header.
fn content(blocks: &Blocks<'_>, numbers: &[u64], real_size: u64) -> Result<FileContent> {
    let extents = sparse_map(numbers, real_size)?;
    if extents.iter().map(|extent| extent.length).sum::<u64>() != blocks.data_left() {
        return Err(malformed("sparse map does not match the stored data"));
    }
    Ok(FileContent { size: real_size, extents: Some(extents) })
}

/// Makes extents of offset, length, offset, length …. They must be ascending, must not overlap, and must lie within the
/// file. Empty ones are left out.
pub(super) fn sparse_map(numbers: &[u64], real_size: u64) -> Result<Vec<Extent>> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(malformed("sparse map with an odd number of values"));
    }
    let mut extents = Vec::new();
    let mut end = 0;
    for &[offset, length] in pairs {
        let next_end = offset.checked_add(length).filter(|next| offset >= end && *next <= real_size);
        end = next_end.ok_or_else(|| malformed("sparse map is out of order or exceeds the file"))?;
        if length > 0 {
            extents.push(Extent { offset, length });
        }
    }
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_maps_ascend_within_the_file() {
        let expected = vec![Extent { offset: 0, length: 2 }, Extent { offset: 8, length: 2 }];
        assert_eq!(sparse_map(&[0, 2, 4, 0, 8, 2], 10).ok(), Some(expected));
        for (numbers, size) in [(&[0, 2, 1, 2][..], 10), (&[8, 3], 10), (&[1], 10), (&[u64::MAX, 2], u64::MAX)] {
            assert!(sparse_map(numbers, size).is_err(), "{numbers:?}");
        }
    }
}
