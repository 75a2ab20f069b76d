//! Reads the entries of a tar archive, one after the other, in fixed memory. The only file that names the tar crate,
//! and only as a header codec: its own reader has no bound on extension records and its unpacker no whiteouts.
//! Lenient where archives in the wild are (no end blocks, rubbish behind the end), strict where parsers could differ.

use std::io::Read;

use tar::Header;

use super::records::{Pax, Time, check_global, header_number, header_time, malformed, number, sparse_map};
use crate::error::{Error, Result};
use crate::limits::Limits;

const BLOCK: usize = 512;
/// Bytes that are taken from the decoder at once.
const BUFFER: usize = 64 << 10;

/// One entry, its extension records applied.
#[derive(Debug)]
pub(crate) struct TarEntry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// The permission bits, setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) atime: Time,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug)]
pub(crate) enum EntryKind {
    Regular(FileContent),
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    Directory,
    Fifo,
    /// Block or character device, major and minor number.
    Device {
        is_block: bool,
        number: (u32, u32),
    },
}

/// What a regular file holds.
#[derive(Debug)]
pub(crate) struct FileContent {
    /// Bytes of the file, holes included.
    pub(crate) size: u64,
    /// Offset and length of the parts that are not holes; `None` for a plain file.
    pub(crate) sparse: Option<Vec<(u64, u64)>>,
}

/// The archive's reader.
pub(crate) struct Entries<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Of the current entry: bytes of data, then of padding, that were not handed out.
    data: u64,
    padding: u64,
    extension_limit: usize,
    /// Bytes of headers and records since the last entry.
    extension_bytes: usize,
}

/// Records that wait for their entry.
#[derive(Default)]
struct Pending {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl<R: Read> Entries<R> {
    pub(crate) fn new(reader: R, limits: &Limits) -> Self {
        let extension_limit = limits.extensions;
        Self {
            reader,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            data: 0,
            padding: 0,
            extension_limit,
            extension_bytes: 0,
        }
    }

    /// The next entry; `None` at the end of the archive. Data of the one before that was not taken is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<TarEntry>> {
        self.skip_data()?;
        self.extension_bytes = 0;
        let mut pending = Pending::default();
        while let Some(block) = self.block()? {
            if block == [0; BLOCK] {
                return pending.none_left();
            }
            let header = Header::from_byte_slice(&block);
            check_sum(&block)?;
            match header.as_old().linkflag {
                [b'x'] => self.take_pax(header, &mut pending)?,
                [b'L'] => self.take_long(header, &mut pending, |pending| &mut pending.name)?,
                [b'K'] => self.take_long(header, &mut pending, |pending| &mut pending.link)?,
                [b'g'] => self.take_global(header, &pending)?,
                _ => return self.entry(header, pending).map(Some),
            }
        }
        pending.none_left()
    }

    /// The next bytes of the current entry's data, as many as the buffer holds; empty at their end.
    pub(crate) fn data(&mut self) -> Result<&[u8]> {
        if self.data == 0 {
            return Ok(&[]);
        }
        if self.start == self.end && self.fill()? == 0 {
            return Err(truncated());
        }
        let n = usize::try_from(self.data).unwrap_or(usize::MAX).min(self.end - self.start);
        let taken = self.start..self.start + n;
        self.start += n;
        self.data -= n as u64;
        Ok(self.buffer.get(taken).unwrap_or_default())
    }

    /// The reader below, for what follows the end.
    pub(crate) fn into_inner(self) -> R {
        self.reader
    }

    /// Skips what is left of the entry. umoci 0.4 ends its archives without the last padding; nothing is missing then.
    fn skip_data(&mut self) -> Result<()> {
        while !self.data()?.is_empty() {}
        self.data = std::mem::take(&mut self.padding);
        while self.data > 0 && (self.start < self.end || self.fill()? > 0) {
            self.data()?;
        }
        self.data = 0;
        Ok(())
    }

    fn fill(&mut self) -> Result<usize> {
        self.start = 0;
        self.end = 0;
        let n = self.reader.read(&mut self.buffer).map_err(unread)?;
        self.end = n;
        Ok(n)
    }

    /// The next whole block; `None` if the archive ends before it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            if self.start == self.end && self.fill()? == 0 {
                return if filled == 0 { Ok(None) } else { Err(truncated()) };
            }
            let n = (BLOCK - filled).min(self.end - self.start);
            let (Some(to), Some(from)) =
                (block.get_mut(filled..filled + n), self.buffer.get(self.start..self.start + n))
            else {
                return Err(truncated());
            };
            to.copy_from_slice(from);
            self.start += n;
            filled += n;
        }
        Ok(Some(block))
    }

    /// The body of an extension header. All of one entry's share one bound, so that no number of them costs memory.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = size_field(header)?;
        let left = self.extension_limit.saturating_sub(self.extension_bytes + BLOCK);
        let Some(size) = usize::try_from(size).ok().filter(|size| *size <= left) else {
            return Err(Limits::exceeded("bytes of extension records of one entry", self.extension_limit));
        };
        self.extension_bytes += BLOCK + size;
        let mut body = Vec::new();
        self.set_data(size as u64);
        while self.data > 0 {
            body.extend_from_slice(self.data()?);
        }
        self.skip_data()?;
        Ok(body)
    }

    fn set_data(&mut self, size: u64) {
        self.data = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    /// A pax header is for the file behind it. Before another extension header, parsers differ on whose size it
    /// changes (GHSA-3pv8-6f4r-ffg2), so such mixtures are refused.
    fn take_pax(&mut self, header: &Header, pending: &mut Pending) -> Result<()> {
        pending.expect_empty()?;
        pending.pax = Some(Pax::parse(&self.extension(header)?)?);
        Ok(())
    }

    fn take_long(
        &mut self,
        header: &Header,
        pending: &mut Pending,
        slot: impl Fn(&mut Pending) -> &mut Option<Vec<u8>>,
    ) -> Result<()> {
        if pending.pax.is_some() || slot(pending).is_some() {
            return Err(malformed("mixed or doubled extension headers"));
        }
        let mut text = self.extension(header)?;
        text.truncate(text.iter().position(|&b| b == 0).unwrap_or(text.len()));
        *slot(pending) = Some(text);
        Ok(())
    }

    fn take_global(&mut self, header: &Header, pending: &Pending) -> Result<()> {
        pending.expect_empty()?;
        check_global(&self.extension(header)?)
    }

    fn entry(&mut self, header: &Header, pending: Pending) -> Result<TarEntry> {
        let pax = pending.pax.unwrap_or_default();
        let path = pax.path.or(pending.name).unwrap_or_else(|| name_field(header));
        let link = pax.link.or(pending.link).unwrap_or_else(|| until_nul(&header.as_old().linkname).to_vec());
        let size = pax.size.map_or_else(|| size_field(header), within_i64)?;
        let old = header.as_old();
        let sparse_name = pax.sparse.as_ref().and_then(|sparse| sparse.name.clone());
        let is_folder = path.ends_with(b"/");
        let has_pax_sparse = pax.sparse.is_some();
        let kind = match old.linkflag {
            [0] if is_folder => EntryKind::Directory,
            [0 | b'0' | b'7'] => match pax.sparse {
                Some(sparse) => self.pax_sparse(sparse, size)?,
                None => self.plain(size),
            },
            [b'S'] => self.gnu_sparse(header, size)?,
            [b'1'] => EntryKind::HardLink(link),
            [b'2'] => EntryKind::Symlink(link),
            [kind @ (b'3' | b'4')] => EntryKind::Device { is_block: kind == b'4', number: device(header)? },
            [b'5'] => EntryKind::Directory,
            [b'6'] => EntryKind::Fifo,
            [other] => return Err(malformed(&format!("an entry of unknown type {other:#04x}"))),
        };
        if !matches!(kind, EntryKind::Regular(_)) && size != 0 {
            return Err(malformed("an entry without content that has a size"));
        }
        if has_pax_sparse && !matches!(old.linkflag, [0 | b'0' | b'7']) {
            return Err(malformed("pax records of a sparse file at something else"));
        }
        let mtime = pax.mtime.map_or_else(|| time_field(&old.mtime), Ok)?;
        Ok(TarEntry {
            path: sparse_name.unwrap_or(path),
            kind,
            mode: field("mode", &old.mode).map(|mode| (mode & 0o7777) as u32)?,
            uid: id("uid", pax.uid.map_or_else(|| field("uid", &old.uid), Ok)?)?,
            gid: id("gid", pax.gid.map_or_else(|| field("gid", &old.gid), Ok)?)?,
            mtime,
            atime: pax.atime.unwrap_or(mtime),
            xattrs: pax.xattrs,
        })
    }

    fn plain(&mut self, size: u64) -> EntryKind {
        self.set_data(size);
        EntryKind::Regular(FileContent { size, sparse: None })
    }

    fn pax_sparse(&mut self, sparse: super::records::SparseRecords, stored: u64) -> Result<EntryKind> {
        let real_size = sparse.real_size.unwrap_or_default();
        self.set_data(stored);
        let numbers = if sparse.map_in_data { self.map_in_data()? } else { sparse.numbers };
        self.sparse(&numbers, real_size)
    }

    /// GNU's format 1.0: decimal numbers, a line each, the first tells how many pairs follow; padded to a block.
    fn map_in_data(&mut self) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        let mut wanted = None;
        let mut line = Vec::new();
        while wanted.is_none_or(|wanted| numbers.len() as u64 != wanted) {
            self.charge_block()?;
            if self.data < BLOCK as u64 {
                return Err(malformed("a sparse map that does not end"));
            }
            let block = self.block()?.ok_or_else(truncated)?;
            self.data -= BLOCK as u64;
            for byte in block {
                match byte {
                    b'\n' if wanted.is_none() => {
                        wanted = Some(parse_line(&mut line)?.checked_mul(2).ok_or_else(truncated)?)
                    }
                    b'\n' => numbers.push(parse_line(&mut line)?),
                    byte => line.push(byte),
                }
                if wanted.is_some_and(|wanted| numbers.len() as u64 == wanted) {
                    break;
                }
            }
        }
        Ok(numbers)
    }

    /// The old GNU format: four pairs in the header, 21 in each block that may follow it.
    fn gnu_sparse(&mut self, header: &Header, stored: u64) -> Result<EntryKind> {
        let gnu = header.as_gnu().ok_or_else(|| malformed("a sparse file that is not of GNU format"))?;
        let real_size = field("size", &gnu.realsize)?;
        let mut numbers = Vec::new();
        push_pairs(&mut numbers, gnu.sparse.iter().map(|pair| (&pair.offset, &pair.numbytes)))?;
        let mut more = gnu.isextended != [0];
        while more {
            self.charge_block()?;
            let block = self.block()?.ok_or_else(truncated)?;
            let (pairs, _) = block.as_chunks::<24>();
            let pairs = pairs
                .iter()
                .map(|pair| pair.as_chunks::<12>().0)
                .filter_map(|halves| halves.first().zip(halves.last()));
            push_pairs(&mut numbers, pairs)?;
            more = block.get(504) != Some(&0);
        }
        self.set_data(stored);
        self.sparse(&numbers, real_size)
    }

    /// The map must account for every stored byte: what is left over would be read as the next header by others.
    fn sparse(&mut self, numbers: &[u64], real_size: u64) -> Result<EntryKind> {
        let map = sparse_map(numbers, real_size)?;
        match map.iter().map(|(_, length)| length).sum::<u64>() == self.data {
            true => Ok(EntryKind::Regular(FileContent { size: real_size, sparse: Some(map) })),
            false => Err(malformed("a sparse map that does not match its data")),
        }
    }

    fn charge_block(&mut self) -> Result<()> {
        self.extension_bytes += BLOCK;
        match self.extension_bytes > self.extension_limit {
            true => Err(Limits::exceeded("bytes of extension records of one entry", self.extension_limit)),
            false => Ok(()),
        }
    }
}

impl Pending {
    fn expect_empty(&self) -> Result<()> {
        match (&self.name, &self.link, &self.pax) {
            (None, None, None) => Ok(()),
            _ => Err(malformed("mixed or doubled extension headers")),
        }
    }

    fn none_left(&self) -> Result<Option<TarEntry>> {
        match self.expect_empty() {
            Ok(()) => Ok(None),
            Err(_) => Err(malformed("an extension header without an entry")),
        }
    }
}

fn push_pairs<'a>(numbers: &mut Vec<u64>, pairs: impl Iterator<Item = (&'a [u8; 12], &'a [u8; 12])>) -> Result<()> {
    // The first unused pair ends the list, as in GNU tar and Go.
    for (offset, length) in pairs.take_while(|(offset, _)| offset.first() != Some(&0)) {
        numbers.extend([field("sparse offset", offset)?, field("sparse length", length)?]);
    }
    Ok(())
}

fn parse_line(line: &mut Vec<u8>) -> Result<u64> {
    let value = number(line)?.ok_or_else(|| malformed("a sparse map with an empty line"));
    line.clear();
    value
}

/// The sum of a header's bytes, its own field taken for blanks; of unsigned bytes, or of signed ones as some old tars
/// have it.
fn check_sum(block: &[u8; BLOCK]) -> Result<()> {
    let stored = header_number(block.get(148..156).unwrap_or_default());
    let blanks = u32::from(b' ') * 8;
    let own = block.get(148..156).unwrap_or_default();
    let sum = |bytes: &[u8]| bytes.iter().map(|&b| u32::from(b)).sum::<u32>();
    let unsigned = sum(block) - sum(own) + blanks;
    // Of each byte from 128 on, the signed sum has 256 less.
    let high = |bytes: &[u8]| bytes.iter().map(|&b| u32::from(b >> 7)).sum::<u32>();
    let signed = || i64::from(unsigned) - 256 * i64::from(high(block) - high(own));
    match stored.is_some_and(|stored| stored == u64::from(unsigned) || i64::try_from(stored) == Ok(signed())) {
        true => Ok(()),
        false => Err(malformed("a header whose checksum is wrong")),
    }
}

/// Name, and the prefix before it where the header has one. Told by the magic alone, as Go does: some writers leave the
/// version out. Schily's star has a shorter prefix.
fn name_field(header: &Header) -> Vec<u8> {
    let name = until_nul(&header.as_old().name);
    let block = header.as_bytes();
    let prefix = match (block.get(257..263), block.get(508..)) {
        (Some(b"ustar\0"), Some(b"tar\0")) => block.get(345..476),
        (Some(b"ustar\0"), _) => block.get(345..500),
        _ => None,
    };
    match until_nul(prefix.unwrap_or_default()) {
        [] => name.to_vec(),
        prefix => [prefix, name].join(&b'/'),
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or_default()
}

fn size_field(header: &Header) -> Result<u64> {
    field("size", &header.as_old().size).and_then(within_i64)
}

/// Leaves room for the padding to be added.
fn within_i64(size: u64) -> Result<u64> {
    i64::try_from(size).map(|_| size).map_err(|_| malformed("a size out of range"))
}

fn time_field(bytes: &[u8]) -> Result<Time> {
    let seconds = header_time(bytes).ok_or_else(|| malformed("a header whose time is malformed"))?;
    Ok(Time { seconds, nanoseconds: 0 })
}

fn device(header: &Header) -> Result<(u32, u32)> {
    let block = header.as_bytes();
    let (Some(b"ustar\0" | b"ustar "), Some(major), Some(minor)) =
        (block.get(257..263), block.get(329..337), block.get(337..345))
    else {
        return Err(malformed("a device in an archive of the format that has none"));
    };
    // Linux has 12 bits for the major number and 20 for the minor one.
    match (field("device", major)?, field("device", minor)?) {
        (major @ ..=0xfff, minor @ ..=0xf_ffff) => Ok((major as u32, minor as u32)),
        (major, minor) => Err(malformed(&format!("device {major}:{minor} is out of range"))),
    }
}

fn field(what: &str, bytes: &[u8]) -> Result<u64> {
    header_number(bytes).ok_or_else(|| malformed(&format!("a header whose {what} is malformed")))
}

/// The largest id means "leave it" to chown.
fn id(what: &str, value: u64) -> Result<u32> {
    u32::try_from(value)
        .ok()
        .filter(|&id| id != u32::MAX)
        .ok_or_else(|| malformed(&format!("{what} {value} is out of range")))
}

fn unread(error: std::io::Error) -> Error {
    Error::through_read(error, |e| malformed(&format!("{e}")))
}

fn truncated() -> Error {
    malformed("it ends in the middle of an entry")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn header(name: &str, kind: u8, size: u64) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(size);
        header.as_old_mut().linkflag = [kind];
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn with_body(mut header: Vec<u8>, body: &[u8]) -> Vec<u8> {
        header.extend(body);
        header.resize(header.len().next_multiple_of(BLOCK), 0);
        header
    }

    fn names(archive: &[u8]) -> std::result::Result<Vec<String>, ErrorKind> {
        let mut entries = Entries::new(archive, &Limits::default());
        let mut names = Vec::new();
        while let Some(entry) = entries.next().map_err(|e| e.kind())? {
            names.push(String::from_utf8_lossy(&entry.path).into_owned());
        }
        Ok(names)
    }

    #[test]
    fn reads_long_names_and_lenient_ends() {
        let long = "n".repeat(300);
        let archive =
            [with_body(header("././@LongLink", b'L', 301), format!("{long}\0").as_bytes()), header("x", b'0', 0)]
                .concat();
        assert_eq!(names(&archive), Ok(vec![long]));
        let two = [with_body(header("a", b'0', 3), b"abc"), header("b", b'5', 0)].concat();
        for end in [vec![], vec![0; 512], vec![0; 1024], [vec![0; 512], b"garbage".to_vec()].concat()] {
            assert_eq!(names(&[two.clone(), end].concat()), Ok(vec!["a".to_owned(), "b".to_owned()]));
        }
        let unpadded = [header("a", b'0', 3), b"abc".to_vec()].concat();
        assert_eq!(names(&unpadded), Ok(vec!["a".to_owned()]));
    }

    #[test]
    fn refuses_what_parsers_read_differently() {
        let pax = |text: &str| with_body(header("p", b'x', text.len() as u64), text.as_bytes());
        let long = with_body(header("l", b'L', 2), b"n\0");
        let file = header("f", b'0', 0);
        let mut wrong_sum = file.clone();
        wrong_sum[0] = b'g';
        for bad in [
            [pax("8 uid=1\n"), long.clone(), file.clone()].concat(),
            [long.clone(), pax("8 uid=1\n"), file.clone()].concat(),
            [long.clone(), long.clone(), file.clone()].concat(),
            [pax("8 uid=1\n"), pax("8 uid=2\n"), file.clone()].concat(),
            [pax("8 uid=1\n")].concat(),
            [long, vec![0; 1024]].concat(),
            [wrong_sum].concat(),
            file[..100].to_vec(),
            with_body(header("f", b'0', 1024), b"short"),
            with_body(header("l", b'L', 2), b"n\0")[..600].to_vec(),
            header("f", b'5', 3),
            header("f", b'Q', 0),
        ] {
            assert_eq!(names(&bad), Err(ErrorKind::Unsafe));
        }
    }

    #[test]
    fn the_size_in_pax_rules_both_ways() {
        let inner = [header("hidden", b'0', 0), vec![0; 512]].concat();
        let pax = |size: usize| with_body(header("p", b'x', 13), format!("13 size={size}\n").as_bytes());
        let outer = |said: u64| [pax(1024), with_body(header("f", b'0', said), &inner), header("g", b'0', 0)].concat();
        for said in [0, 512, 4096] {
            assert_eq!(names(&outer(said)), Ok(vec!["f".to_owned(), "g".to_owned()]), "{said}");
        }
    }
}
