//! The record of a release: a small JSON document.

use std::os::fd::OwnedFd;

use serde_json::{Map, Value};

use crate::date;
use crate::digest::Digest;
use crate::error::{Error, Result};

/// Where the tree of a release came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseSource {
    /// The full name of the image.
    pub name: String,
    /// The digest that the name resolved to.
    pub digest: Digest,
    /// When the tree was unpacked, in seconds since the Unix epoch; `None` if the clock is not known to be right.
    pub unpacked_unix: Option<i64>,
}

impl ReleaseSource {
    /// When the tree was unpacked (RFC 3339).
    pub fn unpacked(&self) -> Option<String> {
        self.unpacked_unix.map(date::format_rfc_3339)
    }
}

/// A release that is at the target or kept next to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Release {
    /// Its number. Later releases have higher ones.
    pub number: u64,
    /// Whether it is at the target.
    pub is_current: bool,
    /// `None` for a folder that something else made.
    pub source: Option<ReleaseSource>,
}

/// What is known of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The inode of its root, which a rename does not change.
    pub(super) inode: u64,
    /// The mode of its root.
    pub(super) mode: u32,
    /// The release that it replaced.
    pub(super) replaced: Option<u64>,
    pub(super) source: Option<ReleaseSource>,
}

impl Record {
    /// The record of a tree, without a source.
    pub(super) fn of_tree(tree: &OwnedFd) -> Result<Self> {
        let stat = rustix::fs::fstat(tree).map_err(|e| Error::disk("read", "the root of a release", e))?;
        Ok(Self { inode: stat.st_ino, mode: stat.st_mode & 0o7777, replaced: None, source: None })
    }

    pub(super) fn to_json(&self) -> String {
        let mut members = Map::new();
        members.insert("inode".to_owned(), self.inode.into());
        members.insert("mode".to_owned(), self.mode.into());
        if let Some(replaced) = self.replaced {
            members.insert("replaced".to_owned(), replaced.into());
        }
        if let Some(source) = &self.source {
            members.insert("name".to_owned(), source.name.as_str().into());
            members.insert("digest".to_owned(), source.digest.to_string().into());
            if let Some(time) = source.unpacked() {
                members.insert("unpacked".to_owned(), time.into());
            }
        }
        Value::Object(members).to_string()
    }

    /// Returns `None` for anything else than a record.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let string = |name: &str| value.get(name).and_then(Value::as_str);
        let mut source = None;
        if let (Some(name), Some(digest)) = (string("name"), string("digest")) {
            let unpacked_unix = string("unpacked").and_then(date::parse_rfc_3339);
            source = Some(ReleaseSource { name: name.to_owned(), digest: digest.parse().ok()?, unpacked_unix });
        }
        let mode = u32::try_from(number("mode")?).ok()? & 0o7777;
        Some(Self { inode: number("inode")?, mode, replaced: number("replaced"), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_and_anything_else_is_none() {
        let source =
            ReleaseSource { name: "r.io/a:1".into(), digest: Digest::sha256(b"x"), unpacked_unix: Some(1_700_000_000) };
        let plain = Record { inode: 7, mode: 0o755, replaced: None, source: None };
        let full = Record { replaced: Some(3), source: Some(source), ..plain.clone() };
        for record in [plain, full] {
            assert_eq!(Record::parse(record.to_json().as_bytes()), Some(record));
        }
        for text in ["", "{", "[]", "{}", r#"{"inode":1}"#, r#"{"inode":-1,"mode":1}"#] {
            assert_eq!(Record::parse(text.as_bytes()), None, "{text}");
        }
    }
}
