//! Parses pax records (POSIX.1-2008, pax, "Extended Header") and the numbers of headers, in octal and base-256. No IO.
//!
//! Strict: malformed records are rejected, never skipped (GHSA-6gx3-4362-rf54).

use crate::error::{Error, ErrorKind, Result};

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Time {
    /// Seconds since the epoch; negative before it.
    pub(crate) seconds: i64,
    /// 0 to 999,999,999.
    pub(crate) nanoseconds: u32,
}

/// The records of a pax header. They override the header of the entry that follows; `None` does not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<Time>,
    pub(crate) atime: Option<Time>,
    /// Names and values, in the form that `setxattr` takes.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: Option<SparseRecords>,
}

/// The records that GNU tar writes for a sparse file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SparseRecords {
    /// Format 1.0: the map precedes the data.
    pub(crate) map_in_data: bool,
    major: Option<u64>,
    minor: Option<u64>,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) real_size: Option<u64>,
    /// Formats 0.0 and 0.1: offset, length, offset, length ….
    pub(crate) numbers: Vec<u64>,
}

const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";
const SPARSE_PREFIX: &[u8] = b"GNU.sparse.";

impl Pax {
    /// Parses the records of one `x` header. The last record of a keyword wins, and an empty value removes the keyword.
    /// The value of an xattr may be empty.
    pub(crate) fn parse(mut bytes: &[u8]) -> Result<Self> {
        let mut pax = Self::default();
        while !bytes.is_empty() {
            let record = next_record(&mut bytes)?;
            pax.set(record.key, record.value)?;
        }
        pax.check_sparse()?;
        Ok(pax)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"path" => self.path = text(value)?,
            b"linkpath" => self.link = text(value)?,
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = number(value)?,
            b"gid" => self.gid = number(value)?,
            b"mtime" => self.mtime = time(value)?,
            b"atime" => self.atime = time(value)?,
            other => {
                if let Some(name) = other.strip_prefix(XATTR_PREFIX) {
                    self.set_xattr(name, value)?;
                } else if let Some(keyword) = other.strip_prefix(SPARSE_PREFIX) {
                    self.set_sparse(keyword, value)?;
                }
            }
        }
        Ok(())
    }

    fn set_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        if name.is_empty() || name.contains(&0) {
            return Err(malformed("xattr with an invalid name"));
        }
        // A repeated name is kept and later set twice, because a search for it would take quadratic time.
        self.xattrs.push((name.to_vec(), value.to_vec()));
        Ok(())
    }

    fn set_sparse(&mut self, keyword: &[u8], value: &[u8]) -> Result<()> {
        let sparse = self.sparse.get_or_insert_default();
        match keyword {
            b"major" => sparse.major = number(value)?,
            b"minor" => sparse.minor = number(value)?,
            b"name" => sparse.name = text(value)?,
            b"size" | b"realsize" => sparse.real_size = number(value)?,
            b"numblocks" => sparse.numbers.clear(),
            b"offset" | b"numbytes" => sparse.numbers.extend(number(value)?),
            b"map" => {
                sparse.numbers.clear();
                for part in value.split(|&b| b == b',') {
                    let value = number(part)?.ok_or_else(|| malformed("empty number in a sparse map"))?;
                    sparse.numbers.push(value);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check_sparse(&mut self) -> Result<()> {
        let Some(sparse) = &mut self.sparse else { return Ok(()) };
        match (sparse.major, sparse.minor) {
            (Some(1), Some(0)) => sparse.map_in_data = true,
            (None, None) | (Some(0), Some(0 | 1)) => {}
            _ => return Err(malformed("sparse file of a format other than 0.0, 0.1 and 1.0")),
        }
        if sparse.real_size.is_none() {
            return Err(malformed("sparse file without its size"));
        }
        Ok(())
    }
}

/// Rejects a `g` header with keywords that move or rename the entries after it. Its other records are ignored, as
/// Docker does.
pub(crate) fn check_global(mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let Record { key, .. } = next_record(&mut bytes)?;
        if matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(SPARSE_PREFIX) {
            return Err(malformed(&format!("keyword \"{}\" in a global header", String::from_utf8_lossy(key))));
        }
    }
    Ok(())
}

struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
}

/// Takes the first record from `bytes`: `LENGTH KEY=VALUE\n`, where LENGTH is that of the whole record, in decimal.
fn next_record<'a>(bytes: &mut &'a [u8]) -> Result<Record<'a>> {
    // 20 digits hold any length.
    let space = bytes.iter().take(20).position(|&b| b == b' ').ok_or_else(invalid_record)?;
    let (digits, _) = bytes.split_at(space);
    let length = number(digits)?.and_then(|length| usize::try_from(length).ok()).ok_or_else(invalid_record)?;
    let (record, rest) = bytes.split_at_checked(length).ok_or_else(invalid_record)?;
    let content = record.get(space + 1..).and_then(|content| content.strip_suffix(b"\n")).ok_or_else(invalid_record)?;
    let mut parts = content.splitn(2, |&b| b == b'=');
    let (Some(key), Some(value)) = (parts.next(), parts.next()) else { return Err(invalid_record()) };
    if key.is_empty() || key.contains(&0) {
        return Err(invalid_record());
    }
    *bytes = rest;
    Ok(Record { key, value })
}

fn invalid_record() -> Error {
    malformed("invalid pax record")
}

/// Parses a name; `None` if it is empty.
fn text(value: &[u8]) -> Result<Option<Vec<u8>>> {
    if value.contains(&0) {
        return Err(malformed("NUL byte in a name of a pax record"));
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

/// Parses decimal digits; `None` if there are none. Signs, blanks and overflow are errors.
pub(crate) fn number(value: &[u8]) -> Result<Option<u64>> {
    if value.is_empty() {
        return Ok(None);
    }
    let parsed = value.iter().try_fold(0_u64, |sum, &b| match b {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(b - b'0')),
        _ => None,
    });
    parsed.map(Some).ok_or_else(|| malformed("invalid number in a pax record"))
}

/// Parses decimal seconds with a fraction; `None` if the value is empty. Seconds saturate at 64 bits. Digits beyond the
/// nanosecond are rounded towards the past, as Go does.
fn time(value: &[u8]) -> Result<Option<Time>> {
    if value.is_empty() {
        return Ok(None);
    }
    let (negative, digits) = value.strip_prefix(b"-").map_or((false, value), |rest| (true, rest));
    let mut parts = digits.splitn(2, |&b| b == b'.');
    let (whole, fraction) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return Err(malformed("invalid time in a pax record"));
    }
    let seconds = whole.iter().fold(0_i64, |sum, &b| sum.saturating_mul(10).saturating_add(i64::from(b - b'0')));
    let padded = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = padded.fold(0_u32, |sum, b| sum * 10 + u32::from(b - b'0'));
    let is_inexact = fraction.iter().skip(9).any(|&b| b != b'0');
    Ok(Some(match (negative, nanoseconds + u32::from(negative && is_inexact)) {
        (false, nanoseconds) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        (true, 1_000_000_000) => Time { seconds: (-seconds).saturating_sub(1), nanoseconds: 0 },
        (true, nanoseconds) => Time { seconds: (-seconds).saturating_sub(1), nanoseconds: 1_000_000_000 - nanoseconds },
    }))
}

/// Parses a number of a header: octal digits surrounded by blanks or NUL bytes, or base-256 if the first bit is set.
/// `None` if the field is neither, or the number is negative or needs more than 64 bits.
pub(crate) fn header_number(field: &[u8]) -> Option<u64> {
    match field {
        [first, rest @ ..] if first & 0x80 != 0 => {
            let is_negative = first & 0x40 != 0;
            let mut bytes = std::iter::once(first & 0x3f).chain(rest.iter().copied());
            let value = bytes.try_fold(0_u64, |sum, b| (sum >> 56 == 0).then_some((sum << 8) | u64::from(b)));
            value.filter(|_| !is_negative)
        }
        _ => octal(field),
    }
}

/// Parses a time of a header like [`header_number`]. Times may be negative, and saturate at 64 bits.
pub(crate) fn header_time(field: &[u8]) -> Option<i64> {
    match field {
        [first, rest @ ..] if first & 0xc0 == 0xc0 => {
            let fold = |sum: i64, b: &u8| sum.checked_mul(256).and_then(|sum| sum.checked_add(i64::from(*b)));
            let start = i64::from(*first) - 256;
            Some(rest.iter().try_fold(start, fold).unwrap_or(i64::MIN))
        }
        [first, ..] if first & 0x80 != 0 => {
            Some(header_number(field).and_then(|n| i64::try_from(n).ok()).unwrap_or(i64::MAX))
        }
        _ => octal(field).map(|n| i64::try_from(n).unwrap_or(i64::MAX)),
    }
}

/// Parses octal digits surrounded by blanks or NUL bytes; an empty field is 0.
fn octal(field: &[u8]) -> Option<u64> {
    let is_blank = |b: &u8| *b == b' ' || *b == 0;
    let start = field.iter().position(|b| !is_blank(b)).unwrap_or(field.len());
    let digits = field.get(start..).unwrap_or_default();
    let end = digits.iter().position(is_blank).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    let value = digits.iter().try_fold(0_u64, |sum, &b| match b {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(b - b'0')),
        _ => None,
    });
    value.filter(|_| rest.iter().all(is_blank))
}

/// Returns the error for an archive that is malformed in this way.
pub(crate) fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Unsafe, format!("malformed archive: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> String {
        let rest = format!(" {key}={value}\n");
        (1..9)
            .map(|digits| format!("{}{rest}", rest.len() + digits))
            .find(|r| r.split(' ').next().is_some_and(|n| n.parse() == Ok(r.len())))
            .unwrap_or_default()
    }

    #[test]
    fn parses_the_records_that_pax_writes() {
        let text = [
            ("path", "a/b"),
            ("path", "c"),
            ("linkpath", "x"),
            ("linkpath", ""),
            ("size", "8589934592"),
            ("uid", "4294967294"),
            ("mtime", "1.5"),
            ("comment", "ignored"),
            ("SCHILY.xattr.user.a", "v"),
        ]
        .map(|(k, v)| record(k, v))
        .concat();
        let pax = Pax::parse(text.as_bytes()).unwrap_or_default();
        assert_eq!(pax.path.as_deref(), Some(&b"c"[..]));
        assert_eq!((pax.link, pax.size, pax.uid), (None, Some(8_589_934_592), Some(4_294_967_294)));
        assert_eq!(pax.mtime, Some(Time { seconds: 1, nanoseconds: 500_000_000 }));
        assert_eq!(pax.xattrs, [(b"user.a".to_vec(), b"v".to_vec())]);
    }

    #[test]
    fn rejects_malformed_records() {
        for bad in [
            "x",
            "5 a=b",
            "6 a=b",
            "7 a=b\n",
            "05 a=b\n\n",
            "-6 a=b\n",
            "+6 a=b\n",
            "0 \n",
            "1 ",
            "5 ab\n",
            "6 =ab\n",
            " 6 a=b\n",
            "6  a=b\n",
            "99999999999999999999 a=b\n",
            "999 a=b\n",
            "6 a=b\n6 a=b",
        ] {
            assert!(Pax::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for (key, value) in [
            ("size", "-1"),
            ("size", "+1"),
            ("size", "1x"),
            ("size", " 1"),
            ("size", "18446744073709551616"),
            ("uid", "-1"),
            ("mtime", "x"),
            ("mtime", "1.x"),
            ("mtime", "--1"),
            ("path", "a\0b"),
            ("SCHILY.xattr.", "x"),
            ("GNU.sparse.major", "2"),
        ] {
            assert!(Pax::parse(record(key, value).as_bytes()).is_err(), "{key}={value:?}");
        }
        assert!(check_global(record("comment", "x").as_bytes()).is_ok());
        assert!(check_global(record("path", "x").as_bytes()).is_err());
    }

    #[test]
    fn parses_times_with_fractions_and_signs() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("1.000000001", 1, 1),
            ("1.0000000019", 1, 1),
            ("-1.5", -2, 500_000_000),
            ("-1.9999999999", -2, 0),
            ("-3", -3, 0),
            ("1.", 1, 0),
            ("99999999999999999999", i64::MAX, 0),
        ] {
            assert_eq!(time(text.as_bytes()).ok().flatten(), Some(Time { seconds, nanoseconds }), "{text}");
        }
    }

    #[test]
    fn parses_the_numbers_of_headers() {
        assert_eq!(header_number(b"0000644\0"), Some(0o644));
        assert_eq!(header_number(b"   644 \0"), Some(0o644));
        assert_eq!(header_number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(header_number(b"77777777"), Some(0o77_777_777));
        assert_eq!(header_number(b"\x80\0\0\x02\0\0\0\0"), Some(0x2_0000_0000));
        for bad in [
            &b"0000648\0"[..],
            b"-000644\0",
            b"644\x001\0\0\0",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x80\x01\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(header_number(bad), None, "{bad:?}");
        }
        assert_eq!(header_time(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Some(-1));
        assert_eq!(header_time(b"\x80\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Some(i64::MAX));
        assert_eq!(header_time(b"00000000001\0"), Some(1));
    }
}
