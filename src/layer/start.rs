//! Judges a blob by its first bytes, so that one that cannot be unpacked need not be received.
//!
//! A copy that was damaged where it is stored begins with the same bytes each time, and its fault is a wrong digest. So bytes
//! are refused only if they are the sound start of something: of another format, or of a zstd frame that no decoder here can
//! read. The decoder and the parser judge, so nothing is refused that they would accept.

use std::io::{self, Read};

use super::decoder::Decoder;
use super::entries::Entries;
use super::identify::ZSTD_MAGIC;
use super::records::malformed;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::media_type::Compression;

/// The most bytes of a blob that are judged: up to the end of EROFS's magic number.
pub(crate) const START: usize = 1028;

/// The start of a gzip member, with the only method that exists.
const GZIP: &[u8] = &[0x1f, 0x8b, 8];
/// The starts of gzip, zstd, xz, bzip2, lz4, ZIP, squashfs and HTML.
const KNOWN: [&[u8]; 9] =
    [GZIP, ZSTD_MAGIC, b"\xfd7zXZ", b"BZh", b"\x04\x22\x4d\x18", b"PK\x03\x04", b"hsqs", b"<!", b"<html"];
/// The magic number of EROFS, at byte 1024.
const EROFS: &[u8] = &[0xe2, 0xe1, 0xf5, 0xe0];

/// The most bytes of the header of a zstd frame. Behind it, an error is more likely damage.
const ZSTD_HEADER: usize = 18;
/// The bytes of the first header of a tar.
const TAR_HEADER: usize = 512;

/// The number of bytes that decide about a blob that begins with these. It is small for a blob of the right format, so that its
/// transfer is not held back.
pub(crate) fn deciding_length(start: &[u8], compression: Compression) -> usize {
    match compression {
        Compression::Gzip if start.starts_with(GZIP) => GZIP.len(),
        Compression::Zstd if start.starts_with(ZSTD_MAGIC) => ZSTD_HEADER,
        Compression::None if is_tar(start) => TAR_HEADER,
        _ => START,
    }
}

/// Returns the error with which decompressing a blob will fail, or reading it as an archive if it is not compressed, if its first
/// bytes decide that.
pub(crate) fn refusal(start: &[u8], compression: Compression, limits: &Limits) -> Option<Error> {
    let start = match compression {
        Compression::Gzip if start.starts_with(GZIP) => return None,
        // What is refused of a sound frame is a dictionary, or a window that no decoder has.
        Compression::Zstd if start.starts_with(ZSTD_MAGIC) => start.get(..ZSTD_HEADER).unwrap_or(start),
        _ if is_known(start) || (is_tar(start) && compression != Compression::None) => start,
        _ => return None,
    };
    let error = read(&mut Start(start), compression, limits).err()?;
    let is_certain = matches!(error.kind(), ErrorKind::Unsafe | ErrorKind::Unsupported);
    is_certain.then_some(error)
}

/// Returns true for the start of a format that is not an uncompressed tar.
fn is_known(start: &[u8]) -> bool {
    KNOWN.iter().any(|known| start.starts_with(known)) || start.get(1024..) == Some(EROFS)
}

fn is_tar(start: &[u8]) -> bool {
    start.get(257..262) == Some(b"ustar")
}

fn read(start: &mut (dyn Read + Send), compression: Compression, limits: &Limits) -> Result<()> {
    let mut decoder = Decoder::new(start, compression, limits, &Cancel::default())?;
    if compression == Compression::None {
        return Entries::new(&mut decoder, limits).next().map(drop);
    }
    decoder.read(&mut [0]).map(drop).map_err(|e| Error::through_read(e, |e| malformed(&e.to_string())))
}

/// The first bytes of a blob, then an error, because the blob goes on.
struct Start<'a>(&'a [u8]);

impl Read for Start<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(Error::new(ErrorKind::Internal, "the blob goes on").into());
        }
        self.0.read(buf)
    }
}
