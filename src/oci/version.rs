//! Versions of images, which have an order: semantic versions (semver.org 2.0.0) and counters. The time at which an image was
//! made is no order, because an old image can be built again.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// The annotation with the version of an image (image-spec, annotations.md). Only a signed one proves anything.
#[cfg(feature = "trust")]
pub(crate) const VERSION_ANNOTATION: &str = "org.opencontainers.image.version";

/// The most bytes of a version.
const LENGTH_LIMIT: usize = 128;

/// A semantic version such as `1.2.3-rc.1`, or a counter such as `42`.
///
/// ```
/// use std::cmp::Ordering;
/// use pullet::Version;
///
/// let (old, new): (Version, Version) = ("1.9.0".parse()?, "1.10.0-rc.1".parse()?);
/// assert_eq!(old.compare(&new), Some(Ordering::Less));
/// assert_eq!(old.compare(&"7".parse()?), None);
/// # Ok::<(), pullet::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Version {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Counter(u64),
    /// Major, minor and patch, and the identifiers of a pre-release. The build metadata have no order.
    Semantic([u64; 3], Vec<Identifier>),
}

/// An identifier of a pre-release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    // The order of the variants is that of section 11.4.3.
    Number(u64),
    Text(String),
}

impl Version {
    /// Returns the order of two versions; `None` for a semantic version and a counter, which have none.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (&self.kind, &other.kind) {
            (Kind::Counter(one), Kind::Counter(other)) => Some(one.cmp(other)),
            (Kind::Semantic(one, before), Kind::Semantic(other, after)) => {
                Some(one.cmp(other).then_with(|| compare_pre_releases(before, after)))
            }
            _ => None,
        }
    }
}

/// Section 11: a pre-release comes before its release, and of two the one with more identifiers comes later if the others
/// are equal.
fn compare_pre_releases(one: &[Identifier], other: &[Identifier]) -> Ordering {
    match (one.is_empty(), other.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => one.cmp(other),
    }
}

impl FromStr for Version {
    type Err = Error;

    /// Parses a version. Fails with [`ErrorKind::Usage`].
    fn from_str(text: &str) -> Result<Self> {
        let invalid = |why: &str| Error::new(ErrorKind::Usage, format!("invalid version \"{text}\": {why}"));
        if text.len() > LENGTH_LIMIT {
            return Err(Error::new(ErrorKind::Usage, format!("invalid version: more than {LENGTH_LIMIT} bytes")));
        }
        let kind = if text.bytes().all(|b| b.is_ascii_digit()) {
            Kind::Counter(parse_number(text).map_err(invalid)?)
        } else {
            parse_semantic(text).map_err(invalid)?
        };
        Ok(Self { text: text.to_owned(), kind })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_semantic(text: &str) -> std::result::Result<Kind, &'static str> {
    const EXPECTED: &str = "neither a semantic version such as 1.2.3 nor a counter such as 42";
    let (rest, build) = match text.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (text, None),
    };
    if build.is_some_and(|build| !build.split('.').all(is_identifier)) {
        return Err(EXPECTED);
    }
    let (core, pre_release) = match rest.split_once('-') {
        Some((core, pre_release)) => (core, Some(pre_release)),
        None => (rest, None),
    };
    let mut parts = core.split('.');
    let mut numbers = [0; 3];
    for number in &mut numbers {
        let part = parts.next().filter(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        *number = parse_number(part.ok_or(EXPECTED)?)?;
    }
    if parts.next().is_some() {
        return Err(EXPECTED);
    }
    let mut identifiers = Vec::new();
    for part in pre_release.into_iter().flat_map(|text| text.split('.')) {
        if !is_identifier(part) {
            return Err(EXPECTED);
        }
        identifiers.push(if part.bytes().all(|b| b.is_ascii_digit()) {
            Identifier::Number(parse_number(part)?)
        } else {
            Identifier::Text(part.to_owned())
        });
    }
    Ok(Kind::Semantic(numbers, identifiers))
}

/// Parses decimal digits.
fn parse_number(digits: &str) -> std::result::Result<u64, &'static str> {
    if digits.len() > 1 && digits.starts_with('0') {
        return Err("a number has a leading zero");
    }
    match digits.parse() {
        Ok(number) => Ok(number),
        Err(_) if digits.is_empty() => Err("it is empty"),
        Err(_) => Err("a number is too large"),
    }
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn orders_versions_by_the_rules_of_semver() {
        // The examples of section 11, and the edges.
        let ascending = [
            "0.0.0-0",
            "0.0.0",
            "0.9.0",
            "1.0.0-0",
            "1.0.0-2",
            "1.0.0-10",
            "1.0.0--",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.9.0",
            "1.10.0",
            "2.0.0",
            "2.1.0",
            "2.1.1",
            "18446744073709551615.0.0",
        ];
        for (at, one) in ascending.iter().enumerate() {
            for (other_at, other) in ascending.iter().enumerate() {
                let expected = Some(at.cmp(&other_at));
                assert_eq!(version(one).compare(&version(other)), expected, "{one} {other}");
            }
        }
        assert_eq!(version("1.0.0+a").compare(&version("1.0.0+b.001")), Some(Ordering::Equal));
        assert_eq!(version("1.0.0-a+b").compare(&version("1.0.0-a")), Some(Ordering::Equal));
    }

    #[test]
    fn orders_counters_as_numbers_and_not_among_semantic_versions() {
        assert_eq!(version("9").compare(&version("10")), Some(Ordering::Less));
        assert_eq!(version("0").compare(&version("0")), Some(Ordering::Equal));
        assert_eq!(version("18446744073709551615").compare(&version("1")), Some(Ordering::Greater));
        assert_eq!(version("1").compare(&version("1.0.0")), None);
        assert_eq!(version("1.0.0").compare(&version("1")), None);
    }

    #[test]
    fn rejects_anything_else() {
        for text in [
            "",
            " ",
            "1.2",
            "1.2.3.4",
            "v1.2.3",
            "=1.2.3",
            "01",
            "01.2.3",
            "1.02.3",
            "1.2.03",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3-a..b",
            "1.2.3-a_b",
            "1.2.3+",
            "1.2.3+a+b",
            "1.2.3+a..b",
            "+1",
            "-1",
            "1.-2.3",
            "1.+2.3",
            "1..3",
            "1.2.3 ",
            "1.2.3\n",
            "18446744073709551616",
            "18446744073709551616.0.0",
            "1.0.0-18446744073709551616",
            "latest",
            "٣",
        ] {
            assert!(text.parse::<Version>().is_err_and(|e| e.kind() == ErrorKind::Usage), "{text:?}");
        }
        assert!(format!("1.0.0-{}", "a".repeat(122)).parse::<Version>().is_ok());
        assert!(format!("1.0.0-{}", "a".repeat(123)).parse::<Version>().is_err());
    }
}
