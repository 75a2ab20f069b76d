//! Finds out what no document says about a layer: its compression, from its first bytes, and its diff_id. Nothing is
//! unpacked.

use std::io::{self, Chain, Cursor, Read};

use super::decoder::Decoder;
use super::records::malformed;
use crate::advice::Limit;
use crate::cancel::Cancel;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::oci::media_type::Compression;
use crate::verify::filled;

const BUFFER: usize = 16 << 10;
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
pub(crate) const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// The properties of a layer that only its bytes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdentifiedLayer {
    pub(crate) compression: Compression,
    pub(crate) diff_id: Digest,
    /// The uncompressed size in bytes.
    pub(crate) size: u64,
}

/// A stream whose first bytes were read to find its compression.
pub(crate) struct Sniffed<'a> {
    pub(crate) compression: Compression,
    /// The first bytes, then the rest.
    pub(crate) stream: Chain<Cursor<Vec<u8>>, &'a mut (dyn Read + Send)>,
}

/// Reads the first bytes of a stream. Errors from reading it must be typed.
pub(crate) fn sniff(stream: &mut (dyn Read + Send)) -> Result<Sniffed<'_>> {
    let mut head = Vec::new();
    stream.take(ZSTD_MAGIC.len() as u64).read_to_end(&mut head).map_err(unreadable)?;
    let compression = if head.starts_with(GZIP_MAGIC) {
        Compression::Gzip
    } else if head.starts_with(ZSTD_MAGIC) {
        Compression::Zstd
    } else {
        Compression::None
    };
    Ok(Sniffed { compression, stream: Cursor::new(head).chain(stream) })
}

/// Reads all of a blob. Fails if its uncompressed size exceeds `limit` bytes.
pub(crate) fn identify(
    blob: &mut (dyn Read + Send),
    limit: u64,
    limits: &Limits,
    cancel: &Cancel,
) -> Result<IdentifiedLayer> {
    let Sniffed { compression, mut stream } = sniff(blob)?;
    let blob: &mut (dyn Read + Send) = &mut stream;
    let mut decoder = Decoder::new(blob, compression, limits, cancel)?;
    let mut hasher = Hasher::sha256();
    let mut buffer = vec![0; BUFFER];
    let mut size = 0;
    loop {
        cancel.check()?;
        let n = match decoder.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(unreadable)?,
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

fn unreadable(error: io::Error) -> Error {
    Error::through_read(error, |e| malformed(&e.to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::error::ErrorKind;

    fn identified(mut blob: &[u8], limit: u64) -> std::result::Result<IdentifiedLayer, ErrorKind> {
        identify(&mut blob, limit, &Limits::default(), &Cancel::default()).map_err(|e| e.kind())
    }

    #[test]
    fn detects_the_compression_and_enforces_the_limit() {
        let tar = b"any bytes will do".repeat(4096);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let gzip = gzip.write_all(&tar).and_then(|()| gzip.finish()).unwrap_or_default();
        let found =
            |compression| IdentifiedLayer { compression, diff_id: Digest::sha256(&tar), size: tar.len() as u64 };
        let size = tar.len() as u64;
        assert_eq!(identified(&tar, size), Ok(found(Compression::None)));
        assert_eq!(identified(&gzip, size), Ok(found(Compression::Gzip)));
        assert_eq!(identified(&gzip, size - 1), Err(ErrorKind::Unsafe));
        assert_eq!(identified(gzip.get(..gzip.len() - 1).unwrap_or_default(), size), Err(ErrorKind::Unsafe));
        assert_eq!(identified(&[0x1f], 9).map(|content| content.size), Ok(1));
        assert_eq!(identified(&[], 0).map(|content| content.diff_id), Ok(Digest::sha256(b"")));
    }
}
