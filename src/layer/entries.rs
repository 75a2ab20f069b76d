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

/// A reader of an archive's entries. The reader below may have more bytes after the end of the archive.
pub(crate) struct Entries<'a> {
    blocks: Blocks<'a>,
}

/// The extension headers that were read since the last entry. They apply to the next one.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(reader: &'a mut dyn Read, limits: &Limits) -> Self {
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
            // Go and GNU tar agree: an extension header applies to the next entry and never to another extension header
            // (GHSA-3pv8-6f4r-ffg2), and the last header of a kind replaces the ones before it.
            match header.type_flag() {
                b'x' => extensions.pax = Some(Pax::parse(&self.body(&header)?)?),
                b'L' => extensions.name = Some(self.long_text(&header)?),
                b'K' => extensions.link = Some(self.long_text(&header)?),
                b'g' if extensions.is_empty() => check_global(&self.body(&header)?)?,
                // Ambiguous: Go forgets the extension headers before a global one, GNU tar applies them.
                b'g' => return Err(malformed("global header between an extension header and its entry")),
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

    /// Returns the next bytes of the current entry's data, at most `most`; empty at the end of the data.
    #[cfg(feature = "manage")]
    pub(crate) fn data_up_to(&mut self, most: usize) -> Result<&[u8]> {
        self.blocks.data_up_to(most)
    }

    /// Reads the current entry's data into `buf`. Returns 0 at its end.
    #[cfg(feature = "manage")]
    pub(crate) fn read_data(&mut self, buf: &mut [u8]) -> Result<usize> {
        let data = self.blocks.data_up_to(buf.len())?;
        buf.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        Ok(data.len())
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
        let path = agreed("name", pax.path, extensions.name)?.unwrap_or_else(|| header.name());
        let link = agreed("link target", pax.link, extensions.link)?.unwrap_or_else(|| header.link_name());
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
        // The size in the header of a link, directory, device or FIFO is ignored: Go, GNU tar, Python and libarchive expect
        // the next header right after it, and Bazel's rules_img repeats the file's size in a hard link. In a pax record the
        // size is ambiguous, because pax stores the content of hard links.
        if !matches!(kind, EntryKind::Regular(_)) && pax.size.is_some_and(|size| size != 0) {
            return Err(malformed("pax size on an entry that has no content"));
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

/// Returns the name or link target of a pax header and of a GNU long name. If an entry has both, they must be equal: Go
/// uses the one of GNU, GNU tar the one of pax.
fn agreed(what: &str, pax: Option<Vec<u8>>, gnu: Option<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    if pax.is_some() && gnu.is_some() && pax != gnu {
        return Err(malformed(&format!("the {what} of the pax header differs from the one of the GNU header")));
    }
    Ok(pax.or(gnu))
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

    fn names(mut archive: &[u8]) -> std::result::Result<Vec<String>, ErrorKind> {
        let mut entries = Entries::new(&mut archive, &Limits::default());
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
            [pax("9 path=x\n"), long.clone(), file.clone()].concat(),
            [long.clone(), pax("9 path=x\n"), file.clone()].concat(),
            [long.clone(), with_body(header("g", b'g', 0), b""), file.clone()].concat(),
            [pax("8 uid=1\n"), with_body(header("g", b'g', 0), b""), file.clone()].concat(),
            [pax("8 uid=1\n")].concat(),
            [long, vec![0; 1024]].concat(),
            [wrong_sum].concat(),
            file[..100].to_vec(),
            with_body(header("f", b'0', 1024), b"short"),
            with_body(header("l", b'L', 2), b"n\0")[..600].to_vec(),
            [pax("9 size=3\n"), header("f", b'5', 3)].concat(),
            [header("f", b'5', 3), vec![b'x'; 512]].concat(),
            header("f", b'Q', 0),
        ] {
            assert_eq!(names(&bad), Err(ErrorKind::Unsafe));
        }
    }

    #[test]
    fn reads_pairs_of_extension_headers_as_go_and_gnu_tar_do() {
        let pax = |text: &str| with_body(header("p", b'x', text.len() as u64), text.as_bytes());
        let long = |name: &str| with_body(header("l", b'L', name.len() as u64), name.as_bytes());
        let file = header("f", b'0', 0);
        for (archive, name) in [
            ([long("long"), pax("8 uid=1\n"), file.clone()].concat(), "long"),
            ([pax("8 uid=1\n"), long("long"), file.clone()].concat(), "long"),
            ([pax("13 path=long\n"), long("long"), file.clone()].concat(), "long"),
            ([long("a"), long("b"), file.clone()].concat(), "b"),
            ([pax("9 path=a\n"), pax("9 path=b\n"), file.clone()].concat(), "b"),
            ([pax("9 path=a\n"), pax("8 uid=1\n"), file.clone()].concat(), "f"),
            // The pax size is the file's, not the long name's.
            ([pax("9 size=1\n"), long("long"), with_body(file.clone(), b"x")].concat(), "long"),
        ] {
            assert_eq!(names(&archive), Ok(vec![name.to_owned()]));
        }
    }

    #[test]
    fn ignores_the_size_of_entries_without_content() {
        for kind in [b'1', b'2', b'3', b'4', b'5', b'6'] {
            let archive = [header("a", kind, 600), header("b", b'0', 0)].concat();
            assert_eq!(names(&archive), Ok(vec!["a".to_owned(), "b".to_owned()]), "{kind}");
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
