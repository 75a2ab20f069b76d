//! Digests. Parsed to a type where they come in, because paths and URLs must never contain unchecked text
//! (CVE-2024-3727). The only file that uses sha2.

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

use crate::error::{Error, ErrorKind, Result};

/// A content digest, `sha256:` with 64 or `sha512:` with 128 lower-case hexadecimal digits (image-spec, descriptor.md).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Value);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Value {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

impl Digest {
    /// The sha256 of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(Value::Sha256(sha2::Sha256::digest(bytes).into()))
    }

    /// The algorithm: `sha256` or `sha512`.
    pub fn algorithm(&self) -> &'static str {
        match self.0 {
            Value::Sha256(_) => "sha256",
            Value::Sha512(_) => "sha512",
        }
    }

    /// The hexadecimal digits after the colon.
    pub fn hex(&self) -> String {
        const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('?');
        self.bytes().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    /// The first 12 digits, as Docker shows a digest to people.
    pub fn short(&self) -> String {
        self.hex().chars().take(12).collect()
    }

    /// Returns true if this is the digest of `bytes`.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish() == *self
    }

    /// The first 16 bytes.
    #[cfg(feature = "manage")]
    pub(crate) fn start(&self) -> [u8; 16] {
        self.bytes().first_chunk::<16>().copied().unwrap_or_default()
    }

    /// A hasher of this digest's algorithm.
    pub(crate) fn hasher(&self) -> Hasher {
        match self.0 {
            Value::Sha256(_) => Hasher::sha256(),
            Value::Sha512(_) => Hasher::Sha512(sha2::Sha512::new()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Value::Sha256(bytes) => bytes,
            Value::Sha512(bytes) => bytes,
        }
    }
}

/// A hash in progress; [`finish`](Hasher::finish) returns the digest.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    pub(crate) fn sha256() -> Self {
        Self::Sha256(sha2::Sha256::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(match self {
            Self::Sha256(hasher) => Value::Sha256(hasher.finalize().into()),
            Self::Sha512(hasher) => Value::Sha512(hasher.finalize().into()),
        })
    }
}

impl FromStr for Digest {
    type Err = Error;

    /// Fails with [`ErrorKind::Unsupported`] for another algorithm and [`ErrorKind::Usage`] for anything malformed.
    fn from_str(text: &str) -> Result<Self> {
        let malformed = |why: &str| Error::new(ErrorKind::Usage, format!("parse digest \"{text}\": {why}"));
        let (algorithm, hex) = text.split_once(':').ok_or_else(|| malformed("it has no colon"))?;
        let value = match algorithm {
            "sha256" => decode(hex).map(Value::Sha256),
            "sha512" => decode(hex).map(Value::Sha512),
            other if other.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+._-".contains(&b)) => {
                let text = format!("parse digest \"{text}\": unsupported algorithm");
                return Err(Error::new(ErrorKind::Unsupported, text).with_hint("sha256 and sha512 are supported"));
            }
            _ => return Err(malformed("its algorithm is malformed")),
        };
        value.map(Self).ok_or_else(|| malformed("it does not have the lower-case hexadecimal digits of its algorithm"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn decode<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn hashes_and_displays() {
        let digest = Digest::sha256(b"");
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(digest.short(), "e3b0c44298fc");
        assert!(digest.matches(b"") && !digest.matches(b"x"));
    }

    #[test]
    fn rejects_malformed_digests() {
        let sha512 = format!("sha512:{}", "0f".repeat(64));
        for good in [EMPTY, sha512.as_str()] {
            assert_eq!(good.parse::<Digest>().map(|d| d.to_string()).ok().as_deref(), Some(good));
        }
        let upper = EMPTY.to_uppercase().replace("SHA256", "sha256");
        let confused = EMPTY.replace("sha256", "sha512");
        for bad in ["", "sha256", "sha256:", "sha256:abc", &upper, &confused, "../../etc", "sha256:../../../etc/passwd"]
        {
            assert_eq!(bad.parse::<Digest>().map_err(|e| e.kind()).err(), Some(ErrorKind::Usage), "{bad}");
        }
        let md5 = "md5:d41d8cd98f00b204e9800998ecf8427e".parse::<Digest>();
        assert_eq!(md5.map_err(|e| e.kind()).err(), Some(ErrorKind::Unsupported));
    }
}
