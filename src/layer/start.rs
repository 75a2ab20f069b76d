//! Judges a blob by its first bytes, so that one that cannot be unpacked need not be received. The decoder and the parser
//! themselves judge, so that nothing is refused here that they would accept.

use std::io::{self, Read};

use super::decoder::Decoder;
use super::entries::Entries;
use super::records::malformed;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::media_type::Compression;

/// The bytes of a blob that are judged: the header of an archive's first entry if the blob is not compressed.
pub(crate) const START: usize = 512;

/// How a blob will be read.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    pub(crate) compression: Compression,
    /// True if the uncompressed bytes are a layer's archive.
    pub(crate) is_archive: bool,
}

/// Returns the error with which reading a blob of `size` bytes will fail, if its first bytes decide that.
pub(crate) fn refusal(start: &[u8], size: u64, format: Format, limits: &Limits) -> Option<Error> {
    let mut start = Start { bytes: start, is_whole: start.len() as u64 == size };
    let error = read(&mut start, format, limits).err()?;
    matches!(error.kind(), ErrorKind::Unsafe | ErrorKind::Unsupported).then_some(error)
}

fn read(start: &mut (dyn Read + Send), format: Format, limits: &Limits) -> Result<()> {
    let mut decoder = Decoder::new(start, format.compression, limits, &Cancel::default())?;
    if format.is_archive {
        return Entries::new(&mut decoder, limits).next().map(drop);
    }
    decoder.read(&mut [0]).map(drop).map_err(|e| Error::through_read(e, |e| malformed(&e.to_string())))
}

/// The first bytes of a blob, then an error unless they are all of it.
struct Start<'a> {
    bytes: &'a [u8],
    is_whole: bool,
}

impl Read for Start<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() && !self.is_whole {
            return Err(Error::new(ErrorKind::Internal, "the blob goes on").into());
        }
        self.bytes.read(buf)
    }
}
