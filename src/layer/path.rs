//! Names of archive entries, made safe by their text alone: relative, no `..`, no NUL, bounded. Where a name leads
//! through links is not seen here; `root` confines that.

use crate::error::{Error, ErrorKind, Result};

/// Bytes of one path, as Linux has it.
const PATH_LIMIT: usize = 4096;
/// Bytes of one component, as Linux has it.
const COMPONENT_LIMIT: usize = 255;
const WHITEOUT_PREFIX: &[u8] = b".wh.";
const METADATA_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// A relative path of plain components, separated by single slashes. Empty for the root itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SafePath(Vec<u8>);

/// What the name of an entry asks for (image-spec, layer.md, "Whiteouts").
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// Make it.
    Create,
    /// Remove what lower layers have of this name in the folder.
    Whiteout(&'a [u8]),
    /// Remove all that lower layers have in the folder.
    Opaque,
    /// AUFS's own bookkeeping, no part of the image.
    Metadata,
}

impl SafePath {
    /// Strips leading slashes and `.` components; refuses what no archive needs and what attacks are made of.
    pub(crate) fn parse(name: &[u8]) -> Result<Self> {
        let refuse = |why: &str| {
            let text = format!("unsafe name \"{}\": {why}", String::from_utf8_lossy(name.get(..200).unwrap_or(name)));
            Err(Error::new(ErrorKind::Unsafe, text))
        };
        if name.is_empty() {
            return refuse("it is empty");
        }
        if name.len() > PATH_LIMIT {
            return refuse(&format!("limit exceeded: more than {PATH_LIMIT} bytes of path"));
        }
        let mut path = Vec::with_capacity(name.len());
        for component in name.split(|&b| b == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return refuse("it has a \"..\" component"),
                long if long.len() > COMPONENT_LIMIT => {
                    return refuse(&format!("limit exceeded: more than {COMPONENT_LIMIT} bytes of component"));
                }
                nul if nul.contains(&0) => return refuse("it has a NUL byte"),
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

    /// The folder's path; empty for what lies in the root.
    pub(crate) fn parent(&self) -> &[u8] {
        self.split().0
    }

    /// The last component.
    pub(crate) fn name(&self) -> &[u8] {
        self.split().1
    }

    /// Tells whiteouts from entries. A whiteout of nothing, of `.` or of `..`, and entries inside of a whiteout, are
    /// refused.
    pub(crate) fn request(&self) -> Result<Request<'_>> {
        let (parent, name) = self.split();
        let refuse = |why: &str| {
            let text = format!("unsafe whiteout \"{}\": {why}", String::from_utf8_lossy(&self.0));
            Err(Error::new(ErrorKind::Unsafe, text))
        };
        for component in parent.split(|&b| b == b'/') {
            if component.starts_with(METADATA_PREFIX) {
                return Ok(Request::Metadata);
            }
            if component.starts_with(WHITEOUT_PREFIX) {
                return refuse("it lies in a folder that is a whiteout itself");
            }
        }
        match name.strip_prefix(WHITEOUT_PREFIX) {
            None => Ok(Request::Create),
            Some(b"" | b"." | b"..") => refuse("it removes no name"),
            Some(_) if name == OPAQUE => Ok(Request::Opaque),
            Some(_) if name.starts_with(METADATA_PREFIX) => Ok(Request::Metadata),
            Some(hidden) => Ok(Request::Whiteout(hidden)),
        }
    }

    fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|&b| b == b'/') {
            Some(slash) => (self.0.get(..slash).unwrap_or_default(), self.0.get(slash + 1..).unwrap_or_default()),
            None => (&[], &self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_and_refuses() {
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
    fn tells_whiteouts_apart() {
        let check = |name: &str, expected: Option<Request<'_>>| {
            let path = SafePath::parse(name.as_bytes()).unwrap_or_default();
            assert_eq!(path.request().ok(), expected, "{name}");
        };
        check("a/b", Some(Request::Create));
        check("a/.wh.b", Some(Request::Whiteout(b"b")));
        check(".wh.b", Some(Request::Whiteout(b"b")));
        check("a/.wh..wh..opq", Some(Request::Opaque));
        check(".wh..wh.plnk", Some(Request::Metadata));
        check(".wh..wh.plnk/1.2", Some(Request::Metadata));
        check(".wh...x", Some(Request::Whiteout(b"..x")));
        for bad in [".wh.", "a/.wh..", ".wh...", ".wh.a/b"] {
            check(bad, None);
        }
    }
}
