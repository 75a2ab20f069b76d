//! Writes a tar archive entry by entry, in the ustar format with pax records where a header is too small.
//!
//! The same entries always give the same bytes: nothing is added from the clock, the environment or the filesystem.
//!
//! ```text
//! let mut tar = TarWriter::new(&mut out);
//! tar.entry(&entry)?;      // headers
//! tar.data(&bytes)?;       // for a regular file: the stored bytes, in as many calls as you like
//! tar.finish()?;           // two empty blocks
//! ```

use std::io::Write;

use super::blocks::BLOCK;
use super::entry::{EntryKind, Extent, TarEntry};
use super::header::{HeaderFields, encode};
use super::records::Time;
use crate::error::{Error, ErrorKind, Result};

/// The largest number in the 7 octal digits of a header's field for IDs and device numbers.
const MOST_ID: u32 = 0o777_7777;
/// The largest number in the 11 octal digits of a header's field for sizes and times.
const MOST_LONG: u64 = 0o777_7777_7777;
/// The bytes of a header's fields for the name and for the target of a link.
const MOST_NAME: usize = 100;
/// The name of a pax header, which is not a file of the archive.
const PAX_NAME: &[u8] = b"././@PaxHeader";

/// A writer of an archive's entries. [`Entries`](super::Entries) reads each of them back as it was.
pub(crate) struct TarWriter<'a> {
    out: &'a mut dyn Write,
    /// Bytes of the current entry's data that are still to be written.
    left: u64,
    /// Bytes of padding after the current entry's data.
    padding: usize,
}

impl<'a> TarWriter<'a> {
    /// Starts an archive. Small pieces are written, so `out` should have a buffer. An error of `out` that carries an
    /// [`Error`] is returned as it is; any other one is an [`ErrorKind::Disk`].
    pub(crate) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, left: 0, padding: 0 }
    }

    /// Writes the headers of an entry. For a regular file, exactly its stored bytes must follow with
    /// [`data`](Self::data): all of them, or those of its extents, in order, if it has any.
    ///
    /// Names are written as they are: a directory has a slash at its end only if its path has one. Fails with
    /// [`ErrorKind::Unsupported`] for a device number of more than 21 bits and for an extended attribute whose name is
    /// empty or has an equals sign, because the format cannot represent them.
    pub(crate) fn entry(&mut self, entry: &TarEntry) -> Result<()> {
        self.end_data()?;
        let map = sparse_map(&entry.kind);
        let stored = stored_size(&entry.kind, map.len() as u64);
        let records = records(entry, stored)?;
        if !records.is_empty() {
            let (name, size) = (PAX_NAME, records.len() as u64);
            self.write(&encode(&HeaderFields { name, type_flag: b'x', mode: 0o644, size, ..HeaderFields::default() }))?;
            self.write(&records)?;
            self.pad(padding(size))?;
        }
        self.write(&encode(&fields(entry, stored)?))?;
        self.left = stored;
        self.padding = padding(stored);
        self.data(&map)
    }

    /// Writes the next bytes of the current entry's data.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let excess = || Error::new(ErrorKind::Internal, "write archive: more data than the entry has");
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(excess)?;
        self.write(bytes)
    }

    /// Ends the archive with two empty blocks.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.end_data()?;
        self.pad(2 * BLOCK)?;
        self.out.flush().map_err(failed)
    }

    /// Pads the current entry's data up to the next block.
    fn end_data(&mut self) -> Result<()> {
        if self.left > 0 {
            let text = format!("write archive: {} bytes of an entry's data are missing", self.left);
            return Err(Error::new(ErrorKind::Internal, text));
        }
        let padding = std::mem::take(&mut self.padding);
        self.pad(padding)
    }

    fn pad(&mut self, count: usize) -> Result<()> {
        self.write([0; 2 * BLOCK].get(..count).unwrap_or(&[0; 2 * BLOCK]))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(failed)
    }
}

/// The fields of an entry's header. Those that are too small for a value are left empty, because a pax record has it.
fn fields(entry: &TarEntry, stored: u64) -> Result<HeaderFields<'_>> {
    let mut fields = HeaderFields {
        name: &entry.path,
        mode: entry.mode,
        uid: if entry.uid > MOST_ID { 0 } else { entry.uid },
        gid: if entry.gid > MOST_ID { 0 } else { entry.gid },
        size: if stored > MOST_LONG { 0 } else { stored },
        mtime: whole_seconds(entry.mtime).unwrap_or(0),
        ..HeaderFields::default()
    };
    match &entry.kind {
        EntryKind::Regular(_) => fields.type_flag = b'0',
        EntryKind::HardLink(target) => (fields.type_flag, fields.link) = (b'1', target),
        EntryKind::Symlink(target) => (fields.type_flag, fields.link) = (b'2', target),
        EntryKind::CharacterDevice(device) => (fields.type_flag, fields.device) = (b'3', *device),
        EntryKind::BlockDevice(device) => (fields.type_flag, fields.device) = (b'4', *device),
        EntryKind::Directory => fields.type_flag = b'5',
        EntryKind::Fifo => fields.type_flag = b'6',
    }
    if fields.device.major.max(fields.device.minor) > MOST_ID {
        return Err(unsupported("device number out of range"));
    }
    Ok(fields)
}

/// The pax records of an entry: what its header has no room for. Empty for most entries.
fn records(entry: &TarEntry, stored: u64) -> Result<Vec<u8>> {
    let mut records = Vec::new();
    if entry.path.len() > MOST_NAME {
        push(&mut records, b"path", &entry.path);
    }
    if let EntryKind::HardLink(target) | EntryKind::Symlink(target) = &entry.kind
        && target.len() > MOST_NAME
    {
        push(&mut records, b"linkpath", target);
    }
    if stored > MOST_LONG {
        push_number(&mut records, b"size", stored);
    }
    if entry.uid > MOST_ID {
        push_number(&mut records, b"uid", entry.uid.into());
    }
    if entry.gid > MOST_ID {
        push_number(&mut records, b"gid", entry.gid.into());
    }
    if whole_seconds(entry.mtime).is_none() {
        push(&mut records, b"mtime", decimal(entry.mtime).as_bytes());
    }
    if entry.atime != entry.mtime {
        push(&mut records, b"atime", decimal(entry.atime).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        if name.is_empty() || name.contains(&b'=') {
            return Err(unsupported("extended attribute with a name that pax cannot represent"));
        }
        push(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    if let EntryKind::Regular(content) = &entry.kind
        && content.extents.is_some()
    {
        // GNU's format 1.0.
        push(&mut records, b"GNU.sparse.major", b"1");
        push(&mut records, b"GNU.sparse.minor", b"0");
        push(&mut records, b"GNU.sparse.name", &entry.path);
        push_number(&mut records, b"GNU.sparse.realsize", content.size);
    }
    Ok(records)
}

/// Appends the record `LENGTH KEY=VALUE\n`. The length counts its own digits.
fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + digits(length) {
        length = rest + digits(length);
    }
    for part in [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

fn push_number(records: &mut Vec<u8>, key: &[u8], number: u64) {
    push(records, key, number.to_string().as_bytes());
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// The seconds of a time that a header can represent: no fraction, not before 1970, 33 bits.
fn whole_seconds(time: Time) -> Option<u64> {
    u64::try_from(time.seconds).ok().filter(|seconds| time.nanoseconds == 0 && *seconds <= MOST_LONG)
}

/// Decimal seconds, with a sign and a fraction if necessary.
fn decimal(time: Time) -> String {
    let nanoseconds = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let (seconds, fraction) = (nanoseconds.unsigned_abs() / 1_000_000_000, nanoseconds.unsigned_abs() % 1_000_000_000);
    if fraction == 0 {
        return format!("{sign}{seconds}");
    }
    format!("{sign}{seconds}.{fraction:09}")
}

/// The map of a sparse file in GNU's format 1.0, padded to a whole block. Empty for any other entry.
fn sparse_map(kind: &EntryKind) -> Vec<u8> {
    let EntryKind::Regular(content) = kind else { return Vec::new() };
    let Some(extents) = &content.extents else { return Vec::new() };
    let mut map = format!("{}\n", extents.len()).into_bytes();
    for Extent { offset, length } in extents {
        map.extend_from_slice(format!("{offset}\n{length}\n").as_bytes());
    }
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

/// The size of an entry's data in the archive; `map` is that of its sparse map.
fn stored_size(kind: &EntryKind, map: u64) -> u64 {
    let EntryKind::Regular(content) = kind else { return 0 };
    match &content.extents {
        None => content.size,
        Some(extents) => extents.iter().fold(map, |sum, extent| sum.saturating_add(extent.length)),
    }
}

/// The bytes from the end of `size` bytes to the next block.
fn padding(size: u64) -> usize {
    let over = (size % BLOCK as u64) as usize;
    if over == 0 { 0 } else { BLOCK - over }
}

fn failed(error: std::io::Error) -> Error {
    Error::through_read(error, |e| Error::disk("write", "the archive", e))
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("write archive: {what}"))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use kit::noise::Noise;

    use super::super::entries::Entries;
    use super::super::entry::{DeviceNumber, FileContent};
    use super::*;
    use crate::limits::Limits;

    /// A value below a limit that is small, middling or large with the same probability.
    fn number(noise: &mut Noise, bits: u64) -> u64 {
        let bits = noise.below(bits + 1);
        noise.word() & ((1_u128 << bits) - 1) as u64
    }

    fn text(noise: &mut Noise) -> Vec<u8> {
        let length = [1, 10, 99, 100, 101, 155, 256, 3000][noise.below(8) as usize];
        let bytes = noise.bytes(length);
        bytes.into_iter().map(|b| if matches!(b, 0 | b'=') { b'x' } else { b }).collect()
    }

    fn time(noise: &mut Noise) -> Time {
        let seconds = number(noise, 63).cast_signed();
        let nanoseconds = if noise.below(2) == 0 { 0 } else { noise.below(1_000_000_000) as u32 };
        Time { seconds: if noise.below(3) == 0 { -seconds } else { seconds }, nanoseconds }
    }

    fn content(noise: &mut Noise) -> FileContent {
        let size = noise.below(2000);
        if noise.below(2) == 0 {
            return FileContent { size, extents: None };
        }
        let (mut extents, mut end) = (Vec::new(), 0);
        for _ in 0..noise.below(60) {
            let (offset, length) = (end + number(noise, 40), 1 + noise.below(600));
            extents.push(Extent { offset, length });
            end = offset + length;
        }
        FileContent { size: end + number(noise, 40), extents: Some(extents) }
    }

    fn random_entry(noise: &mut Noise) -> TarEntry {
        let device =
            |noise: &mut Noise| DeviceNumber { major: number(noise, 12) as u32, minor: number(noise, 20) as u32 };
        let kind = match noise.below(7) {
            0 => EntryKind::Regular(content(noise)),
            1 => EntryKind::HardLink(text(noise)),
            2 => EntryKind::Symlink(text(noise)),
            3 => EntryKind::CharacterDevice(device(noise)),
            4 => EntryKind::BlockDevice(device(noise)),
            5 => EntryKind::Directory,
            _ => EntryKind::Fifo,
        };
        let mtime = time(noise);
        TarEntry {
            path: text(noise),
            kind,
            mode: number(noise, 12) as u32,
            uid: number(noise, 32).min(u64::from(u32::MAX - 1)) as u32,
            gid: number(noise, 32).min(u64::from(u32::MAX - 1)) as u32,
            mtime,
            atime: if noise.below(2) == 0 { mtime } else { time(noise) },
            xattrs: (0..noise.below(4)).map(|_| (text(noise), noise.bytes(20))).collect(),
        }
    }

    /// The bytes that the archive stores for an entry, without a sparse map.
    fn data(entry: &TarEntry, noise: &mut Noise) -> Vec<u8> {
        noise.bytes(stored_size(&entry.kind, 0) as usize)
    }

    fn read_data(reader: &mut Entries<'_>) -> Vec<u8> {
        let mut data = Vec::new();
        loop {
            match reader.data().unwrap() {
                [] => return data,
                bytes => data.extend_from_slice(bytes),
            }
        }
    }

    #[test]
    fn every_entry_is_read_back_as_it_was() {
        let mut noise = Noise::new(1);
        for round in 0..300 {
            let entries: Vec<(TarEntry, Vec<u8>)> = (0..noise.below(6))
                .map(|_| {
                    let entry = random_entry(&mut noise);
                    let data = data(&entry, &mut noise);
                    (entry, data)
                })
                .collect();
            let mut archive = Vec::new();
            let mut writer = TarWriter::new(&mut archive);
            for (entry, data) in &entries {
                writer.entry(entry).unwrap();
                data.chunks(7).for_each(|chunk| writer.data(chunk).unwrap());
            }
            writer.finish().unwrap();
            assert_eq!(archive.len() % BLOCK, 0);
            let mut input = Cursor::new(&archive);
            let mut reader = Entries::new(&mut input, &Limits::default());
            for (entry, data) in &entries {
                let read = reader.next().unwrap().unwrap();
                assert_eq!(format!("{read:?}"), format!("{entry:?}"), "{round}");
                if matches!(entry.kind, EntryKind::Regular(_)) {
                    assert_eq!(&read_data(&mut reader), data, "{round}");
                }
            }
            assert!(reader.next().unwrap().is_none());
        }
    }

    fn plain(kind: EntryKind) -> TarEntry {
        let (path, xattrs) = (b"a".to_vec(), Vec::new());
        let (mtime, atime) = (Time::default(), Time::default());
        TarEntry { path, kind, mode: 0o644, uid: 0, gid: 0, mtime, atime, xattrs }
    }

    fn file(size: u64) -> TarEntry {
        plain(EntryKind::Regular(FileContent { size, extents: None }))
    }

    #[test]
    fn a_plain_entry_is_one_header_that_others_write_too() {
        let mut archive = Vec::new();
        let mut writer = TarWriter::new(&mut archive);
        writer.entry(&file(3)).unwrap();
        writer.data(b"abc").unwrap();
        writer.finish().unwrap();
        let expected = kit::archive::archive(&[kit::archive::file("a", "abc").owner(0, 0).mtime(0)]);
        // The numbers of a device are filled in for every type, as POSIX wants.
        let without_device = |bytes: &[u8]| {
            let mut header: [u8; BLOCK] = bytes[..BLOCK].try_into().unwrap();
            header[329..345].fill(0);
            kit::archive::set_checksum(&mut header);
            [&header, &bytes[BLOCK..]].concat()
        };
        assert_eq!(without_device(&archive), without_device(&expected));
    }

    #[test]
    fn a_size_of_more_than_eight_gibibytes_is_in_a_record() {
        let mut archive = Vec::new();
        TarWriter::new(&mut archive).entry(&file(1 << 33)).unwrap();
        let mut input = Cursor::new(&archive);
        let mut reader = Entries::new(&mut input, &Limits::default());
        let Some(TarEntry { kind: EntryKind::Regular(content), .. }) = reader.next().unwrap() else {
            panic!("no file")
        };
        assert_eq!(content.size, 1 << 33);
        assert!(archive.len() == 3 * BLOCK && archive[BLOCK..].starts_with(b"19 size=8589934592\n"));
    }

    #[test]
    fn refuses_what_the_format_cannot_represent_and_data_of_another_size() {
        let kind = |result: Result<()>| result.map_err(|e| e.kind());
        let mut out = Vec::new();
        let mut writer = TarWriter::new(&mut out);
        let device = DeviceNumber { major: 0, minor: MOST_ID + 1 };
        assert_eq!(kind(writer.entry(&plain(EntryKind::BlockDevice(device)))), Err(ErrorKind::Unsupported));
        let with_xattr = TarEntry { xattrs: vec![(b"user.a=b".to_vec(), Vec::new())], ..file(0) };
        assert_eq!(kind(writer.entry(&with_xattr)), Err(ErrorKind::Unsupported));
        assert_eq!(kind(writer.entry(&file(2))), Ok(()));
        assert_eq!(kind(writer.data(b"abc")), Err(ErrorKind::Internal));
        assert_eq!(kind(writer.data(b"a")), Ok(()));
        assert_eq!(kind(writer.entry(&file(0))), Err(ErrorKind::Internal));
        assert_eq!(kind(writer.finish()), Err(ErrorKind::Internal));
    }
}
