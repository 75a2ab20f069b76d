//! A second tar reader for the comparison. It reads whole archives in memory and is written from the descriptions of the formats.
//!
//! It supports ustar, GNU long names, base-256 numbers and old sparse files, and PAX records with the sparse format 1.0. It trusts
//! its input, which the tests create, and shares no code and no crate with the program under test.

use std::collections::BTreeMap;

const BLOCK: usize = 512;

/// One member, with its PAX and GNU extensions applied.
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    /// The type flag; `0` for every kind of plain file.
    pub(crate) flag: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) link: Vec<u8>,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) content: Vec<u8>,
}

/// The members of an archive in their order.
pub(crate) fn entries(archive: &[u8]) -> Vec<Entry> {
    let mut reader = Reader { rest: archive };
    std::iter::from_fn(|| reader.next_entry()).collect()
}

struct Reader<'a> {
    rest: &'a [u8],
}

/// The extension headers before a member.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Extension {
    fn number(&self, key: &str) -> Option<u64> {
        let text = self.records.get(key.as_bytes())?;
        Some(std::str::from_utf8(text).unwrap().parse().unwrap())
    }
}

impl<'a> Reader<'a> {
    fn next_entry(&mut self) -> Option<Entry> {
        let mut extension = Extension::default();
        loop {
            let header = self.take(BLOCK);
            if header.is_empty() || header.iter().all(|byte| *byte == 0) {
                return None;
            }
            let size = extension.number("size").unwrap_or_else(|| number(&header[124..136]));
            match header[156] {
                b'x' => extension.records.extend(records(self.body(size))),
                b'L' => extension.path = Some(text(self.body(size)).to_vec()),
                b'K' => extension.link = Some(text(self.body(size)).to_vec()),
                b'g' => _ = self.body(size),
                _ => return Some(self.member(header, size, extension)),
            }
        }
    }

    fn member(&mut self, header: &[u8], size: u64, extension: Extension) -> Entry {
        let flag = header[156];
        let content = match flag {
            b'S' => self.old_sparse(header, size),
            b'0' | b'7' | 0 => plain(self.body(size), &extension),
            // The size of a hard link is that of its target. No content follows.
            _ => Vec::new(),
        };
        let Extension { path, link, records } = &extension;
        let record = |key: &str| records.get(key.as_bytes()).cloned();
        let path = record("GNU.sparse.name").or_else(|| record("path")).or_else(|| path.clone());
        let owner = |key: &str, field| u32::try_from(extension.number(key).unwrap_or_else(|| number(field))).unwrap();
        let time = record("mtime").map(|text| decimal(&text));
        Entry {
            path: path.unwrap_or_else(|| name(header)),
            flag: if matches!(flag, 0 | b'7' | b'S') { b'0' } else { flag },
            mode: u32::try_from(number(&header[100..108])).unwrap() & 0o7777,
            uid: owner("uid", &header[108..116]),
            gid: owner("gid", &header[116..124]),
            mtime: time.unwrap_or_else(|| (number(&header[136..148]).cast_signed(), 0)),
            link: record("linkpath").or_else(|| link.clone()).unwrap_or_else(|| text(&header[157..257]).to_vec()),
            device: (
                u32::try_from(number(&header[329..337])).unwrap(),
                u32::try_from(number(&header[337..345])).unwrap(),
            ),
            xattrs: xattrs(records),
            content,
        }
    }

    /// Type `S`: four pieces in the header, 21 in each extension block, each an offset and a length.
    fn old_sparse(&mut self, header: &[u8], size: u64) -> Vec<u8> {
        let mut pieces = pieces(&header[386..482]);
        let mut more = header[482] != 0;
        while more {
            let block = self.take(BLOCK);
            pieces.extend(self::pieces(&block[..504]));
            more = block[504] != 0;
        }
        spread(self.body(size), &pieces, number(&header[483..495]))
    }

    fn body(&mut self, size: u64) -> &'a [u8] {
        let size = usize::try_from(size).unwrap();
        let body = self.take(size.next_multiple_of(BLOCK));
        &body[..size]
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}

/// The name field, after the prefix field if the header is POSIX.
fn name(header: &[u8]) -> Vec<u8> {
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() { [prefix, b"/", name].concat() } else { name.to_vec() }
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap()
}

/// Octal digits, or base 256 if the first bit is set. A negative number keeps its sign in the low 64 bits.
fn number(field: &[u8]) -> u64 {
    if field[0] & 0x80 == 0 {
        let digits = text(field).iter().filter(|byte| byte.is_ascii_digit());
        return digits.fold(0, |sum, digit| sum << 3 | u64::from(digit - b'0'));
    }
    let first = if field[0] == 0xff { u64::MAX } else { u64::from(field[0] & 0x7f) };
    field[1..].iter().fold(first, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Records `length key=value\n`. A value may contain any byte.
fn records(mut body: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    while let Some(blank) = body.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&body[..blank]).unwrap().parse().unwrap();
        let record = &body[blank + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').unwrap();
        found.insert(record[..equals].to_vec(), record[equals + 1..].to_vec());
        body = &body[length..];
    }
    found
}

fn xattrs(records: &BTreeMap<Vec<u8>, Vec<u8>>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let named = records.iter().filter_map(|(key, value)| Some((key.strip_prefix(b"SCHILY.xattr.")?, value)));
    named.map(|(name, value)| (name.to_vec(), value.clone())).collect()
}

/// A PAX time: `-0.25` is a quarter of a second before 1970, which is second -1 and 750 ms.
fn decimal(text: &[u8]) -> (i64, u32) {
    let text = std::str::from_utf8(text).unwrap();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanos: u32 = format!("{fraction:0<9}")[..9].parse().unwrap();
    let seconds: i64 = whole.parse().unwrap();
    if whole.starts_with('-') && nanos > 0 { (seconds - 1, 1_000_000_000 - nanos) } else { (seconds, nanos) }
}

/// The content, expanded if it is in the sparse format 1.0 of PAX: the map comes before the data, one number a line.
fn plain(body: &[u8], extension: &Extension) -> Vec<u8> {
    let Some(real) = extension.number("GNU.sparse.realsize") else {
        return body.to_vec();
    };
    let mut numbers = body.split(|byte| *byte == b'\n').map(|line| (line.len() + 1, line));
    let mut map_length = 0;
    let mut next = || -> u64 {
        let (length, line) = numbers.next().unwrap();
        map_length += length;
        std::str::from_utf8(line).unwrap().parse().unwrap()
    };
    let count = next();
    let pieces: Vec<(u64, u64)> = (0..count).map(|_| (next(), next())).collect();
    spread(&body[map_length.next_multiple_of(BLOCK)..], &pieces, real)
}

fn pieces(fields: &[u8]) -> Vec<(u64, u64)> {
    let pairs = fields.chunks(24).map(|pair| (number(&pair[..12]), number(&pair[12..])));
    pairs.filter(|(_, length)| *length > 0).collect()
}

fn spread(mut data: &[u8], pieces: &[(u64, u64)], real: u64) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(real).unwrap()];
    for (offset, length) in pieces {
        let (piece, rest) = data.split_at(usize::try_from(*length).unwrap());
        let offset = usize::try_from(*offset).unwrap();
        content[offset..offset + piece.len()].copy_from_slice(piece);
        data = rest;
    }
    content
}
