//! Limits on untrusted input. The size of every buffer in this crate is a constant or one of these fields.

use std::io::Read;

use crate::advice::{Advice, Limit};
use crate::error::{Error, ErrorKind, Result};

/// Limits on the resources that a registry or an image may use. An error for an exceeded limit says which one it was.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one manifest, index or image config. Default: 4 MiB, the limit of common registries.
    pub document: usize,
    /// Bytes of a token endpoint's response. Default: 64 KiB.
    pub token: usize,
    /// Bytes of an error response that are read for its message. Default: 8 KiB.
    pub error_body: usize,
    /// Layers of one image. Default: 1,000; overlayfs allows 500, Docker 127.
    pub layers: usize,
    /// Nesting depth of indexes. Default: 3.
    pub index_depth: usize,
    /// Redirects of one request. Default: 10.
    pub redirects: usize,
    /// Names in a repository's tag list. Default: 100,000.
    pub tags: usize,
    /// Total bytes of all unpacked layers of an image, including holes of sparse files. Default: 256 GiB.
    pub unpacked: u64,
    /// Archive entries in all layers of an image. Default: 10,000,000.
    pub entries: u64,
    /// Components of a path in the tree, links resolved. Default: 1,024.
    pub depth: usize,
    /// Bytes of the extension records (long names, pax) of one archive entry. Default: 1 MiB, as in Go.
    pub extensions: usize,
    /// Bytes that a zstd frame may refer back. A frame may declare a larger window that it does not use. Default: 8 MiB,
    /// which RFC 8878 recommends every decoder to support.
    pub zstd_window: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document: 4 << 20,
            token: 64 << 10,
            error_body: 8 << 10,
            layers: 1000,
            index_depth: 3,
            redirects: 10,
            tags: 100_000,
            unpacked: 256 << 30,
            entries: 10_000_000,
            depth: 1024,
            extensions: 1 << 20,
            zstd_window: 8 << 20,
        }
    }
}

impl Limits {
    /// The error for untrusted input that is larger than a limit: `name` says what was counted, as in "redirects".
    pub(crate) fn exceeded(name: &str, limit: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Unsafe, format!("limit exceeded: more than {limit} {name}"))
    }

    /// The error for input that exceeds a limit that the caller may raise.
    pub(crate) fn exceeded_adjustable(limit: Limit, name: &str, value: u64) -> Error {
        Self::exceeded(name, value).with_advice(Advice::RaiseLimit(limit))
    }
}

/// Reads `reader` to its end; `Ok(None)` if it has more than `limit` bytes. Reads one byte beyond the limit, so that a
/// body that is too long is never taken for a shorter one. Allocates as bytes arrive, not ahead.
pub(crate) fn read_capped(reader: impl Read, limit: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    reader.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

/// The bytes that [`read_capped`] read, or the error that names the limit.
pub(crate) fn within(bytes: Option<Vec<u8>>, name: &str, limit: usize) -> Result<Vec<u8>> {
    bytes.ok_or_else(|| Limits::exceeded(name, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_at_most_the_limit() {
        assert_eq!(read_capped(&b"12345"[..], 5).ok().flatten().as_deref(), Some(&b"12345"[..]));
        assert_eq!(read_capped(&b"123456"[..], 5).ok().flatten(), None);
        assert_eq!(read_capped(std::io::repeat(0), 1 << 16).ok().flatten(), None);
    }
}
