//! Checks the names of archive entries as text: relative, no `..`, no NUL byte, bounded length. Links in the tree are
//! invisible here; `unpack` confines the paths that lead through them.

use crate::error::{Error, ErrorKind, Result};

/// The maximum length of a path in bytes (`PATH_MAX` of Linux).
const PATH_LIMIT: usize = 4096;
/// The maximum length of a component in bytes (`NAME_MAX` of Linux).
pub(crate) const COMPONENT_LIMIT: usize = 255;
const WHITEOUT_PREFIX: &[u8] = b".wh.";
const METADATA_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The directory in the root where AUFS keeps the files that have hard links.
pub(crate) const AUFS_LINKS: &[u8] = b".wh..wh.plnk";

/// A relative path without `.` and `..`, with single slashes. Empty for the root itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SafePath(Vec<u8>);

/// The meaning of an entry's name (image-spec, layer.md, "Whiteouts").
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NameKind<'a> {
    /// The entry is a file, directory or link of the image.
    Plain,
    /// The entry removes this name from the lower layers, in its directory.
    Whiteout(&'a [u8]),
    /// The entry removes everything that lower layers have in its directory.
    OpaqueWhiteout,
    /// The entry is metadata of AUFS and no part of the image.
    AufsMetadata,
    /// The entry is in the directory of AUFS for the files that have hard links. The directory is no part of the image,
    /// but hard links of the same layer refer to its files.
    AufsLinkedFile,
}

impl SafePath {
    /// Removes leading slashes and `.` components. Rejects empty names, `..`, NUL bytes, and names that are too long.
    pub(crate) fn parse(name: &[u8]) -> Result<Self> {
        Self::parse_within(name, 0)
    }

    /// Parses the name of an entry like [`parse`](Self::parse). The prefix of a whiteout does not count for the limits,
    /// because the file that it removes may have the longest possible name.
    pub(crate) fn parse_entry(name: &[u8]) -> Result<Self> {
        let is_whiteout = name.rsplit(|&b| b == b'/').next().is_some_and(|last| last.starts_with(WHITEOUT_PREFIX));
        Self::parse_within(name, if is_whiteout { WHITEOUT_PREFIX.len() } else { 0 })
    }

    /// Parses a name that may exceed the limits by `excess` bytes.
    fn parse_within(name: &[u8], excess: usize) -> Result<Self> {
        let reject = |why: &str| {
            let text = format!("unsafe name \"{}\": {why}", String::from_utf8_lossy(name.get(..200).unwrap_or(name)));
            Err(Error::new(ErrorKind::Unsafe, text))
        };
        if name.is_empty() {
            return reject("empty");
        }
        if name.len() > PATH_LIMIT + excess {
            return reject(&format!("limit exceeded: more than {PATH_LIMIT} bytes of path"));
        }
        let mut path = Vec::with_capacity(name.len());
        for component in name.split(|&b| b == b'/') {
            let is_whiteout = component.starts_with(WHITEOUT_PREFIX);
            let limit = if is_whiteout { COMPONENT_LIMIT + excess } else { COMPONENT_LIMIT };
            match component {
                b"" | b"." => continue,
                b".." => return reject("\"..\" component"),
                long if long.len() > limit => {
                    return reject(&format!("limit exceeded: more than {COMPONENT_LIMIT} bytes of component"));
                }
                nul if nul.contains(&0) => return reject("NUL byte"),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(component);
        }
        Ok(Self(path))
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path of the directory that contains this path; empty for the root.
    pub(crate) fn parent(&self) -> &[u8] {
        match self.0.iter().rposition(|&b| b == b'/') {
            Some(slash) => self.0.split_at(slash).0,
            None => &[],
        }
    }

    /// Returns the last component.
    pub(crate) fn name(&self) -> &[u8] {
        self.0.rsplit(|&b| b == b'/').next().unwrap_or(&self.0)
    }

    /// Distinguishes whiteouts from other entries. Rejects a whiteout of nothing, of `.`, of `..` or of a name that is too
    /// long, and entries within a whiteout.
    pub(crate) fn kind(&self) -> Result<NameKind<'_>> {
        let reject = |why: &str| {
            let text = format!("unsafe whiteout \"{}\": {why}", String::from_utf8_lossy(&self.0));
            Err(Error::new(ErrorKind::Unsafe, text))
        };
        if self.parent() == AUFS_LINKS {
            return Ok(NameKind::AufsLinkedFile);
        }
        for component in self.parent().split(|&b| b == b'/') {
            if component.starts_with(METADATA_PREFIX) {
                return Ok(NameKind::AufsMetadata);
            }
            if component.starts_with(WHITEOUT_PREFIX) {
                return reject("its directory is a whiteout");
            }
        }
        let name = self.name();
        match name.strip_prefix(WHITEOUT_PREFIX) {
            None => Ok(NameKind::Plain),
            Some(b"" | b"." | b"..") => reject("it names nothing to remove"),
            Some(long) if long.len() > COMPONENT_LIMIT => reject("the name to remove is too long"),
            Some(_) if name == OPAQUE => Ok(NameKind::OpaqueWhiteout),
            Some(_) if name.starts_with(METADATA_PREFIX) => Ok(NameKind::AufsMetadata),
            Some(hidden) => Ok(NameKind::Whiteout(hidden)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizes_safe_names_and_rejects_unsafe_ones() {
        let parse = |name: &[u8]| SafePath::parse(name).ok().map(|path| path.0);
        for (name, path) in [
            (&b"a/b"[..], Some(&b"a/b"[..])),
            (b"./a//b/", Some(b"a/b")),
            (b"/etc/x", Some(b"etc/x")),
            (b"./", Some(b"")),
            (b"/", Some(b"")),
            (b"a/..b/...", Some(b"a/..b/...")),
            (b"\xff\xfe", Some(b"\xff\xfe")),
            (b"", None),
            (b"..", None),
            (b"a/../b", None),
            (b"/..", None),
            (b"a\0b", None),
        ] {
            assert_eq!(parse(name).as_deref(), path, "{name:?}");
        }
        assert!(parse(&[b'a'; 255]).is_some() && parse(&[b'a'; 256]).is_none());
        assert!(parse(&b"a/".repeat(2048)).is_some() && parse(&b"a/".repeat(2049)).is_none());
    }

    #[test]
    fn distinguishes_whiteouts() {
        let check = |name: &str, expected: Option<NameKind<'_>>| {
            let path = SafePath::parse(name.as_bytes()).unwrap_or_default();
            assert_eq!(path.kind().ok(), expected, "{name}");
        };
        check("a/b", Some(NameKind::Plain));
        check("a/.wh.b", Some(NameKind::Whiteout(b"b")));
        check(".wh.b", Some(NameKind::Whiteout(b"b")));
        check("a/.wh..wh..opq", Some(NameKind::OpaqueWhiteout));
        check(".wh..wh.plnk", Some(NameKind::AufsMetadata));
        check(".wh..wh.plnk/1.2", Some(NameKind::AufsLinkedFile));
        check(".wh..wh.plnk/1/2", Some(NameKind::AufsMetadata));
        check("a/.wh..wh.plnk/1.2", Some(NameKind::AufsMetadata));
        check(".wh...x", Some(NameKind::Whiteout(b"..x")));
        for bad in [".wh.", "a/.wh..", ".wh...", ".wh.a/b"] {
            check(bad, None);
        }
    }

    #[test]
    fn the_whiteout_of_the_longest_name_is_accepted() {
        let kind = |name: &str| SafePath::parse_entry(name.as_bytes()).ok().map(|path| path.kind().is_ok());
        for (length, expected) in [(252, true), (255, true), (256, false)] {
            let name = "n".repeat(length);
            assert_eq!(kind(&format!("d/.wh.{name}")).unwrap_or_default(), expected, "{length}");
        }
        assert_eq!(kind(&"n".repeat(256)), None);
        assert_eq!(kind(&format!("{}/.wh.x", "n".repeat(256))), None, "the directory of a whiteout");
    }
}
