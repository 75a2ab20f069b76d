//! Filters of images, as Docker has them: `--filter KEY=VALUE`.

use pullet::{ErrorKind, Image, Reference, Selector, Store};
use serde_json::Value;

use crate::exit::Failure;
use crate::listing::now;

/// The conditions that an image must meet. Values of one key are alternatives for `reference` only.
#[derive(Default)]
pub(crate) struct ImageFilter {
    dangling: Option<bool>,
    references: Vec<String>,
    labels: Vec<Label>,
    /// Bounds of the time at which the image was made, in seconds since the Unix epoch.
    before: Option<i64>,
    since: Option<i64>,
}

struct Label {
    key: String,
    /// `None` accepts every value.
    value: Option<String>,
    is_negated: bool,
}

impl ImageFilter {
    /// Parses the values of `--filter`, of which only these keys are allowed. The store has the images of `before` and
    /// `since`.
    pub(crate) fn parse(filters: &[String], keys: &[&str], store: &Store) -> Result<Self, Failure> {
        let mut parsed = Self::default();
        for filter in filters {
            let Some((key, value)) = filter.split_once('=') else {
                return Err(Failure::usage(format!("invalid filter {filter:?}: expected KEY=VALUE")));
            };
            if !keys.contains(&key.trim_end_matches('!')) || (key.ends_with('!') && key != "label!") {
                let text = format!("invalid filter {filter:?}: expected one of {}", keys.join(", "));
                return Err(Failure::usage(text));
            }
            let invalid = |expected: &str| Failure::usage(format!("invalid filter {filter:?}: expected {expected}"));
            match key {
                "dangling" => parsed.dangling = Some(parse_bool(value).ok_or_else(|| invalid("true or false"))?),
                "reference" => parsed.references.push(value.to_owned()),
                "before" => parsed.limit_before(created(store, value)?),
                "since" => parsed.limit_since(created(store, value)?),
                "until" => parsed.limit_before(parse_time(value).ok_or_else(|| {
                    invalid("a duration such as 24h or 1h30m, a date such as 2026-01-31, or seconds since 1970")
                })?),
                _ => parsed.labels.push(Label::parse(value, key == "label!")),
            }
        }
        Ok(parsed)
    }

    /// Accepts no images without a name, unless a filter says whether it accepts them.
    pub(crate) fn hide_dangling(&mut self) {
        self.dangling = self.dangling.or(Some(false));
    }

    /// Adds a pattern of names, of which one must match.
    pub(crate) fn reference(&mut self, pattern: &str) {
        self.references.push(pattern.to_owned());
    }

    fn limit_before(&mut self, time: i64) {
        self.before = Some(self.before.map_or(time, |before| before.min(time)));
    }

    fn limit_since(&mut self, time: i64) {
        self.since = Some(self.since.map_or(time, |since| since.max(time)));
    }

    /// Whether the image meets all conditions. One that was made at an unknown time meets none about the time.
    pub(crate) fn accepts(&self, image: &Image) -> Result<bool, pullet::Error> {
        if self.dangling.is_some_and(|dangling| dangling != image.name().is_empty()) {
            return Ok(false);
        }
        let created = image.created_unix();
        if self.before.is_some_and(|before| created.is_none_or(|created| created >= before))
            || self.since.is_some_and(|since| created.is_none_or(|created| created <= since))
        {
            return Ok(false);
        }
        if !self.references.is_empty() && !self.matches_reference(image) {
            return Ok(false);
        }
        if self.labels.is_empty() {
            return Ok(true);
        }
        let config: Value = serde_json::from_slice(&image.config_json()?).unwrap_or_default();
        let labels = config.pointer("/config/Labels").unwrap_or(&Value::Null);
        Ok(self.labels.iter().all(|label| label.accepts(labels)))
    }

    /// Compares the patterns with the short name, the repository, and the repository with the digest.
    fn matches_reference(&self, image: &Image) -> bool {
        let Ok(name) = image.name().parse::<Reference>() else { return false };
        let repository = name.familiar_repository();
        let pinned = format!("{repository}@{}", image.digest());
        let names = [name.familiar(), repository, pinned];
        self.references.iter().any(|pattern| names.iter().any(|name| is_match(pattern, name)))
    }
}

impl Label {
    fn parse(text: &str, is_negated: bool) -> Self {
        match text.split_once('=') {
            Some((key, value)) => Self { key: key.to_owned(), value: Some(value.to_owned()), is_negated },
            None => Self { key: text.to_owned(), value: None, is_negated },
        }
    }

    fn accepts(&self, labels: &Value) -> bool {
        let is_there = match (labels.get(&self.key), &self.value) {
            (Some(_), None) => true,
            (Some(value), Some(expected)) => value == expected.as_str(),
            (None, _) => false,
        };
        is_there != self.is_negated
    }
}

/// When the image of a `before` or `since` was made.
fn created(store: &Store, text: &str) -> Result<i64, Failure> {
    let selector: Selector = text.parse()?;
    let unknown = || Failure::new(ErrorKind::NotFound, format!("it is unknown when the image {text} was made"));
    store.select(&selector)?.created_unix().ok_or_else(unknown)
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// A time in seconds since the Unix epoch, from a duration before now, a date in UTC, or the seconds.
fn parse_time(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(seconds.into());
    }
    if let Some(seconds) = parse_duration(text) {
        return Some(now() - seconds);
    }
    ["", "Z", ":00Z", "T00:00:00Z"].iter().find_map(|end| pullet::parse_rfc_3339(&format!("{text}{end}")))
}

/// Seconds of a duration such as `1h30m`.
fn parse_duration(text: &str) -> Option<i64> {
    let (mut rest, mut seconds) = (text, 0_i64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let (digits, unit) = rest.split_at_checked(end)?;
        let size = match unit.chars().next()? {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(i64::from(digits.parse::<u32>().ok()?) * size)?;
        rest = unit.get(1..)?;
    }
    (!text.is_empty()).then_some(seconds)
}

/// Go's `path.Match`: `*` and `?` match no slash; `[a-z]` and `[^a-z]` match one character.
fn is_match(pattern: &str, name: &str) -> bool {
    let mut pattern_chars = pattern.chars();
    let Some(first) = pattern_chars.next() else { return name.is_empty() };
    let rest = pattern_chars.as_str();
    let mut name_chars = name.chars();
    match first {
        '*' => {
            let most = name.find('/').unwrap_or(name.len());
            name.char_indices()
                .map(|(at, _)| at)
                .chain([name.len()])
                .take_while(|at| *at <= most)
                .any(|at| name.get(at..).is_some_and(|name| is_match(rest, name)))
        }
        '?' => name_chars.next().is_some_and(|c| c != '/') && is_match(rest, name_chars.as_str()),
        '[' => match (rest.split_once(']'), name_chars.next()) {
            (Some((class, rest)), Some(c)) => is_in_class(class, c) && is_match(rest, name_chars.as_str()),
            _ => false,
        },
        '\\' if !rest.is_empty() => {
            let escaped = pattern_chars.next();
            name_chars.next() == escaped && is_match(pattern_chars.as_str(), name_chars.as_str())
        }
        first => name_chars.next() == Some(first) && is_match(rest, name_chars.as_str()),
    }
}

fn is_in_class(class: &str, c: char) -> bool {
    let (class, is_negated) = class.strip_prefix('^').map_or((class, false), |class| (class, true));
    let mut chars = class.chars().peekable();
    let mut is_in = false;
    while let Some(low) = chars.next() {
        let mut high = low;
        if chars.next_if_eq(&'-').is_some() {
            high = chars.next().unwrap_or(low);
        }
        is_in |= (low..=high).contains(&c);
    }
    is_in != is_negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_patterns_as_go_does() {
        for (pattern, name, expected) in [
            ("java", "java", true),
            ("java", "java:8", false),
            ("java:*", "java:8", true),
            ("j*", "java", true),
            ("*", "a/b", false),
            ("*/b", "a/b", true),
            ("a/*", "a/b/c", false),
            ("busy*:*libc", "busybox:uclibc", true),
            ("busy*:*libc", "busybox:latest", false),
            ("?ava", "java", true),
            ("?", "/", false),
            ("[a-k]ava", "java", true),
            ("[^a-k]ava", "java", false),
            ("[", "[", false),
            ("\\*", "*", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(is_match(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn parses_times() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1709208000", Some(1_709_208_000)),
            ("2024-02-29", Some(1_709_164_800)),
            ("2024-02-29T12:00", Some(1_709_208_000)),
            ("2024-02-29T12:00:00", Some(1_709_208_000)),
            ("2024-02-29T13:00:00+01:00", Some(1_709_208_000)),
            ("yesterday", None),
            ("10x", None),
            ("h", None),
            ("", None),
        ] {
            assert_eq!(parse_time(text), expected, "{text}");
        }
        assert_eq!(parse_duration("1h30m5s"), Some(5405));
        assert!(parse_time("24h").is_some_and(|time| (now() - 86400 - time).abs() < 60));
    }
}
