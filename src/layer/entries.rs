//! Reads the entries of a tar archive one after the other, in fixed memory.
//!
//! Lenient where real archives are (missing end blocks, garbage after the end). Strict where parsers could differ.

use std::io::Read;

use super::blocks::{BLOCK, Blocks};
use super::entry::{EntryKind, FileContent, TarEntry};
use super::header::{TarHeader, check_size};
use super::records::{Pax, SparseRecords, check_global, malformed};
use super::sparse::{gnu_sparse, pax_sparse};
use crate::error::Result;
use crate::limits::Limits;

/// A reader of an archive's entries.
pub(crate) struct Entries<R> {
    blocks: Blocks<R>,
}

/// The extension headers that were read since the last entry. They apply to the next one.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl<R: Read> Entries<R> {
    pub(crate) fn new(reader: R, limits: &Limits) -> Self {
        Self { blocks: Blocks::new(reader, limits) }
    }

    /// Returns the next entry; `None` at the end of the archive. Skips what is left of the previous entry's data.
    pub(crate) fn next(&mut self) -> Result<Option<TarEntry>> {
        self.blocks.begin_entry()?;
        let mut extensions = Extensions::default();
        while let Some(block) = self.blocks.block()? {
            if block == [0; BLOCK] {
                break;
            }
            let header = TarHeader::parse(&block)?;
            // A pax header applies to the file that follows it. If another extension header is in between, parsers
            // differ on whose size it changes (GHSA-3pv8-6f4r-ffg2), so such mixtures are rejected.
            match header.type_flag() {
                b'x' if extensions.is_empty() => extensions.pax = Some(Pax::parse(&self.body(&header)?)?),
                b'g' if extensions.is_empty() => check_global(&self.body(&header)?)?,
                b'L' if extensions.pax.is_none() && extensions.name.is_none() => {
                    extensions.name = Some(self.long_text(&header)?);
                }
                b'K' if extensions.pax.is_none() && extensions.link.is_none() => {
                    extensions.link = Some(self.long_text(&header)?);
                }
                b'x' | b'g' | b'L' | b'K' => return Err(malformed("mixed or repeated extension headers")),
                _ => return self.entry(&header, extensions).map(Some),
            }
        }
        if !extensions.is_empty() {
            return Err(malformed("extension header without an entry"));
        }
        Ok(None)
    }

    /// Returns the next bytes of the current entry's data, at most one buffer; empty at the end of the data.
    pub(crate) fn data(&mut self) -> Result<&[u8]> {
        self.blocks.data()
    }

    /// Returns the reader below, which may have more bytes after the end of the archive.
    pub(crate) fn into_inner(self) -> R {
        self.blocks.into_inner()
    }

    fn body(&mut self, header: &TarHeader<'_>) -> Result<Vec<u8>> {
        self.blocks.extension(header.size()?)
    }

    /// Reads the body of a GNU long name or long link, which ends at the first NUL byte.
    fn long_text(&mut self, header: &TarHeader<'_>) -> Result<Vec<u8>> {
        let mut text = self.body(header)?;
        if let Some(end) = text.iter().position(|&b| b == 0) {
            text.truncate(end);
        }
        Ok(text)
    }

    fn entry(&mut self, header: &TarHeader<'_>, extensions: Extensions) -> Result<TarEntry> {
        let pax = extensions.pax.unwrap_or_default();
        let path = pax.path.or(extensions.name).unwrap_or_else(|| header.name());
        let link = pax.link.or(extensions.link).unwrap_or_else(|| header.link_name());
        let size = pax.size.map_or_else(|| header.size(), check_size)?;
        let type_flag = header.type_flag();
        if pax.sparse.is_some() && !matches!(type_flag, 0 | b'0' | b'7') {
            return Err(malformed("sparse file records on an entry that is not a regular file"));
        }
        let sparse_name = pax.sparse.as_ref().and_then(|records| records.name.clone());
        let kind = match type_flag {
            // V7 marks a directory only by the slash at the end of its name.
            0 if path.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' => EntryKind::Regular(self.content(pax.sparse, size)?),
            b'S' => EntryKind::Regular(gnu_sparse(&mut self.blocks, header, size)?),
            b'1' => EntryKind::HardLink(link),
            b'2' => EntryKind::Symlink(link),
            b'3' => EntryKind::CharacterDevice(header.device_number()?),
            b'4' => EntryKind::BlockDevice(header.device_number()?),
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => return Err(malformed(&format!("unknown entry type {other:#04x}"))),
        };
        if size != 0 && !matches!(kind, EntryKind::Regular(_)) {
            return Err(malformed("non-zero size on an entry that has no content"));
        }
        let mtime = pax.mtime.map_or_else(|| header.mtime(), Ok)?;
        Ok(TarEntry {
            path: sparse_name.unwrap_or(path),
            kind,
            mode: header.mode()?,
            uid: check_id("uid", pax.uid.map_or_else(|| header.uid(), Ok)?)?,
            gid: check_id("gid", pax.gid.map_or_else(|| header.gid(), Ok)?)?,
            mtime,
            atime: pax.atime.unwrap_or(mtime),
            xattrs: pax.xattrs,
        })
    }

    fn content(&mut self, sparse: Option<SparseRecords>, size: u64) -> Result<FileContent> {
        if let Some(records) = sparse {
            return pax_sparse(&mut self.blocks, records, size);
        }
        self.blocks.set_data(size);
        Ok(FileContent { size, extents: None })
    }
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.pax.is_none()
    }
}

/// Checks that a user or group ID has 32 bits. The largest one is rejected, because to chown it means "do not change".
fn check_id(name: &str, value: u64) -> Result<u32> {
    match u32::try_from(value) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(malformed(&format!("{name} {value} is out of range"))),
    }
}

#[cfg(test)]
mod tests {
    use tar::Header;

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
    fn reads_long_names_and_accepts_missing_ends() {
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
    fn rejects_archives_that_parsers_read_differently() {
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
    fn the_size_in_a_pax_header_overrides_the_header_in_both_directions() {
        let inner = [header("hidden", b'0', 0), vec![0; 512]].concat();
        let pax = |size: usize| with_body(header("p", b'x', 13), format!("13 size={size}\n").as_bytes());
        let outer = |size: u64| [pax(1024), with_body(header("f", b'0', size), &inner), header("g", b'0', 0)].concat();
        for size in [0, 512, 4096] {
            assert_eq!(names(&outer(size)), Ok(vec!["f".to_owned(), "g".to_owned()]), "{size}");
        }
    }
}
