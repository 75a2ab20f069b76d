//! How an image is written, and what came of it.

use crate::digest::Digest;
use crate::oci::media_type::Compression;

/// How a blob is unpacked on its way to a file or a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decompression {
    /// As the media type of the blob says: `…+gzip`, `…+zstd`, or not at all.
    #[default]
    Auto,
    /// As gzip.
    Gzip,
    /// As zstd.
    Zstd,
    /// Not at all.
    None,
}

/// Options for writing an image to a file or a device: [`RawTarget::open`](crate::RawTarget::open).
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct WriteOptions {
    pub(crate) decompression: Decompression,
    pub(crate) unpacked_digest: Option<Digest>,
    pub(crate) unpacked_size: Option<u64>,
    pub(crate) skip_same: bool,
    pub(crate) readback: Option<bool>,
    pub(crate) partlabel: Option<String>,
}

impl WriteOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How the blob is unpacked. Default: as its media type says.
    pub fn decompression(self, decompression: Decompression) -> Self {
        Self { decompression, ..self }
    }

    /// The digest of the unpacked image. An image with another one fails with
    /// [`ErrorKind::Mismatch`](crate::ErrorKind::Mismatch) before its head is written. Default: the one in the annotations of
    /// the blob, if there is one; the digest of the blob itself is always verified.
    pub fn unpacked_digest(self, digest: Digest) -> Self {
        Self { unpacked_digest: Some(digest), ..self }
    }

    /// The size of the unpacked image in bytes, so that it can be compared with the size of the device before anything is
    /// fetched. Default: the one in the annotations of the blob, or the size of a blob that is not compressed.
    pub fn unpacked_size(self, size: u64) -> Self {
        Self { unpacked_size: Some(size), ..self }
    }

    /// Whether to compare the image with what is there, and write only blocks that differ. An existing file is then written in
    /// place, by the rules for devices. Default: no.
    pub fn skip_same(self, enabled: bool) -> Self {
        Self { skip_same: enabled, ..self }
    }

    /// Whether to read the whole image back before its head is written. Default: yes for devices, no for files.
    pub fn readback(self, enabled: bool) -> Self {
        Self { readback: Some(enabled), ..self }
    }

    /// Refuses anything but a partition with this label. Default: none.
    pub fn expect_partlabel(self, label: impl Into<String>) -> Self {
        Self { partlabel: Some(label.into()), ..self }
    }
}

impl Decompression {
    /// The compression of a blob of this media type.
    pub(crate) fn of(self, media_type: &str) -> Compression {
        match self {
            Self::Gzip => Compression::Gzip,
            Self::Zstd => Compression::Zstd,
            Self::None => Compression::None,
            Self::Auto => crate::oci::media_type::compression(media_type),
        }
    }
}

/// How an image was read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readback {
    /// Not at all.
    Skipped,
    /// From the device.
    Direct,
    /// Through the page cache, because the kernel could not do without it. It was asked to drop its pages before.
    Cached,
}

impl Readback {
    /// A stable word for JSON output and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Direct => "direct",
            Self::Cached => "cached",
        }
    }
}

/// An image that is in its place.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Written {
    /// The digest of the image, unpacked.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The blocks of 4 KiB that it has.
    pub blocks: u64,
    /// The blocks that were written, with the head, which is written twice.
    pub written: u64,
    /// The blocks that were made zero without writing them.
    pub punched: u64,
    /// How it was read back.
    pub readback: Readback,
}
