//! The text of a version that the store keeps: the version, its repository, the key that has signed it, and the digest of the
//! image, each on a line.

use std::path::Path;

use super::disk::read_small;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::version::Version;

/// The most bytes of a file.
const STAMP_LIMIT: usize = 4 << 10;

/// The version of an image that a key has signed.
#[derive(Clone, Debug)]
pub(crate) struct SignedVersion {
    /// The fingerprint of the key.
    pub(crate) key: Digest,
    pub(crate) version: Version,
}

/// An image that was accepted.
pub(crate) struct AcceptedImage<'a> {
    pub(crate) repository: String,
    /// The digest to which its name resolved.
    pub(crate) digest: &'a Digest,
    pub(crate) versions: Vec<SignedVersion>,
}

/// The content of a file.
pub(super) struct Stamp {
    pub(super) version: Version,
    pub(super) repository: String,
    pub(super) key: Digest,
    /// The digest to which the name resolved.
    pub(super) digest: Digest,
}

impl Stamp {
    pub(super) fn text(&self) -> String {
        let Self { version, repository, key, digest } = self;
        format!("{version}\n{repository}\n{key}\n{digest}\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        Some(Self {
            version: lines.next()?.parse().ok()?,
            repository: lines.next()?.to_owned(),
            key: lines.next()?.parse().ok()?,
            digest: lines.next()?.parse().ok()?,
        })
    }
}

/// Reads a file; `None` if it does not exist. One that is damaged is an error, because it may have refused an image.
pub(super) fn read_stamp(path: &Path) -> Result<Option<Stamp>> {
    let Some(bytes) = read_small(path, STAMP_LIMIT)? else { return Ok(None) };
    match Stamp::parse(&String::from_utf8_lossy(&bytes)) {
        Some(stamp) => Ok(Some(stamp)),
        None => Err(Error::new(ErrorKind::Disk, format!("read {}: damaged", path.display()))),
    }
}
