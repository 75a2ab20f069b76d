//! Sparse files in the four formats that archivers have written: old GNU, and pax 0.0, 0.1 and 1.0.

use crate::archive::{Entry, base256, file, number, padded};

/// The offset of a piece of data in the file, and the data.
///
/// All but the last piece must be whole blocks, as archivers write them, because readers do not agree on where the next
/// piece begins after a part of a block.
pub type Piece<'a> = (u64, &'a [u8]);

/// Makes the entry of a sparse file from its name, its pieces and its size with holes.
pub type Format = fn(&str, &[Piece], u64) -> Entry;

/// All formats with their names.
pub const FORMATS: [(&str, Format); 4] =
    [("old GNU", old_gnu), ("pax 0.0", pax_0_0), ("pax 0.1", pax_0_1), ("pax 1.0", pax_1_0)];

/// Makes an entry of old GNU: type `S`, four pieces in the header, more in extension blocks behind it.
pub fn old_gnu(name: &str, pieces: &[Piece], real_size: u64) -> Entry {
    let data: Vec<u8> = pieces.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
    let slots: Vec<Vec<u8>> = map(pieces, real_size).iter().map(|(offset, size)| slot(*offset, *size)).collect();
    let (inside, behind) = slots.split_at(slots.len().min(4));
    let mut entry = file(name, "").kind(b'S').size(data.len() as i64).patch(257, b"ustar  \0");
    // The name must be short, because a pax header for a long one would stand between the entry and its map.
    for (place, bytes) in inside.iter().enumerate() {
        entry = entry.patch(386 + 24 * place, bytes);
    }
    entry = entry.patch(482, [u8::from(!behind.is_empty())]).patch(483, number(real_size as i64, 12));
    let mut body = Vec::new();
    let blocks: Vec<&[Vec<u8>]> = behind.chunks(21).collect();
    for (place, block) in blocks.iter().enumerate() {
        let mut bytes = block.concat();
        bytes.resize(512, 0);
        bytes[504] = u8::from(place + 1 < blocks.len());
        body.extend(bytes);
    }
    body.extend(data);
    entry.body(body)
}

/// Makes an entry of pax 0.0: two records for each piece, so the keys repeat.
pub fn pax_0_0(name: &str, pieces: &[Piece], real_size: u64) -> Entry {
    let map = map(pieces, real_size);
    let entry = data_entry(name, pieces)
        .pax("GNU.sparse.size", real_size.to_string())
        .pax("GNU.sparse.numblocks", map.len().to_string());
    map.iter().fold(entry, |entry, (offset, size)| {
        entry.pax("GNU.sparse.offset", offset.to_string()).pax("GNU.sparse.numbytes", size.to_string())
    })
}

/// Makes an entry of pax 0.1: the map in one record, the real name in another.
pub fn pax_0_1(name: &str, pieces: &[Piece], real_size: u64) -> Entry {
    let map = map(pieces, real_size);
    let numbers: Vec<String> = map.iter().map(|(offset, size)| format!("{offset},{size}")).collect();
    data_entry(&format!("GNUSparseFile.1/{name}"), pieces)
        .pax("GNU.sparse.size", real_size.to_string())
        .pax("GNU.sparse.numblocks", map.len().to_string())
        .pax("GNU.sparse.map", numbers.join(","))
        .pax("GNU.sparse.name", name)
}

/// Makes an entry of pax 1.0: the map as lines of text before the data.
pub fn pax_1_0(name: &str, pieces: &[Piece], real_size: u64) -> Entry {
    let map = map(pieces, real_size);
    let mut lines = format!("{}\n", map.len());
    map.iter().for_each(|(offset, size)| lines.push_str(&format!("{offset}\n{size}\n")));
    let mut body = padded(lines.as_bytes());
    pieces.iter().for_each(|(_, bytes)| body.extend_from_slice(bytes));
    pax_1_0_raw(name, &body, real_size)
}

/// Makes an entry of pax 1.0 with any body, which includes the map.
pub fn pax_1_0_raw(name: &str, body: &[u8], real_size: u64) -> Entry {
    file(format!("GNUSparseFile.1/{name}"), body)
        .pax("GNU.sparse.major", "1")
        .pax("GNU.sparse.minor", "0")
        .pax("GNU.sparse.name", name)
        .pax("GNU.sparse.realsize", real_size.to_string())
}

/// Returns the content of the file, holes included.
pub fn expanded(pieces: &[Piece], real_size: u64) -> Vec<u8> {
    let mut bytes = vec![0; real_size as usize];
    for (offset, data) in pieces {
        bytes[*offset as usize..][..data.len()].copy_from_slice(data);
    }
    bytes
}

fn data_entry(name: &str, pieces: &[Piece]) -> Entry {
    let data: Vec<u8> = pieces.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
    file(name, data)
}

/// Offsets and lengths. An empty piece marks a hole at the end, as in GNU tar.
fn map(pieces: &[Piece], real_size: u64) -> Vec<(u64, u64)> {
    let mut map: Vec<(u64, u64)> = pieces.iter().map(|(offset, bytes)| (*offset, bytes.len() as u64)).collect();
    if map.last().is_none_or(|(offset, size)| offset + size < real_size) {
        map.push((real_size, 0));
    }
    map
}

fn slot(offset: u64, size: u64) -> Vec<u8> {
    // One field is octal and one base-256, because readers must take both.
    [number(offset as i64, 12), base256(size as i64, 12)].concat()
}
