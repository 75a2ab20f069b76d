//! What a layer's blob holds, where no document says it: how it is compressed, by its first bytes, and the digest of
//! what comes out. Nothing is unpacked.

use std::io::{self, Cursor, Read};

use super::decoder::Decoder;
use super::records;
use crate::advice::Limit;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::oci::media_type::Compression;
use crate::verify::filled;

const BUFFER: usize = 16 << 10;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// What a blob holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdentifiedLayer {
    pub(crate) compression: Compression,
    pub(crate) diff_id: Digest,
    /// Bytes, uncompressed.
    pub(crate) size: u64,
}

/// Reads all of a blob that has at most `limit` bytes inside.
pub(crate) fn identify(mut blob: impl Read, limit: u64, limits: &Limits, cancel: &Cancel) -> Result<IdentifiedLayer> {
    let read = |e| Error::through_read(e, |e| records::malformed(&e.to_string()));
    let mut head = Vec::new();
    blob.by_ref().take(ZSTD.len() as u64).read_to_end(&mut head).map_err(read)?;
    let compression = match head.as_slice() {
        head if head.starts_with(GZIP) => Compression::Gzip,
        head if head.starts_with(ZSTD) => Compression::Zstd,
        _ => Compression::None,
    };
    let mut decoder = Decoder::new(Cursor::new(head).chain(blob), compression, limits)?;
    let mut hasher = Digest::sha256(b"").hasher();
    let mut buffer = vec![0; BUFFER];
    let mut size = 0;
    loop {
        cancel.check()?;
        let n = match decoder.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(read)?,
        };
        if n == 0 {
            return Ok(IdentifiedLayer { compression, diff_id: hasher.finish(), size });
        }
        size += n as u64;
        if size > limit {
            return Err(Limits::exceeded_adjustable(Limit::Unpacked, "bytes of unpacked layers", limits.unpacked));
        }
        hasher.update(filled(&buffer, n)?);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::error::ErrorKind;

    fn content(blob: &[u8], limit: u64) -> std::result::Result<IdentifiedLayer, ErrorKind> {
        identify(blob, limit, &Limits::default(), &Cancel::default()).map_err(|e| e.kind())
    }

    #[test]
    fn tells_compressions_apart_and_keeps_the_limit() {
        let tar = b"as good as a tar".repeat(4096);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let gzip = gzip.write_all(&tar).and_then(|()| gzip.finish()).unwrap_or_default();
        let found =
            |compression| IdentifiedLayer { compression, diff_id: Digest::sha256(&tar), size: tar.len() as u64 };
        let size = tar.len() as u64;
        assert_eq!(content(&tar, size), Ok(found(Compression::None)));
        assert_eq!(content(&gzip, size), Ok(found(Compression::Gzip)));
        assert_eq!(content(&gzip, size - 1), Err(ErrorKind::Unsafe));
        assert_eq!(content(gzip.get(..gzip.len() - 1).unwrap_or_default(), size), Err(ErrorKind::Unsafe));
        assert_eq!(content(&[0x1f], 9).map(|content| content.size), Ok(1));
        assert_eq!(content(&[], 0).map(|content| content.diff_id), Ok(Digest::sha256(b"")));
    }
}
