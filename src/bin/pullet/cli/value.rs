//! Values of options and arguments: numbers, times, rates, paths and names. An error says what was expected.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use pullet::Reference;
#[cfg(feature = "manage")]
use pullet::Selector;

use crate::exit::Failure;

/// The most threads that `--jobs` accepts. More is a typing error.
const MOST_JOBS: usize = 64;

/// The most jobs of `--jobs auto`. More connections from one client would be impolite to a registry.
const MOST_AUTOMATIC_JOBS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

/// The value of an option, as it was typed.
pub(crate) struct Value<'a> {
    /// The option, for errors.
    pub(crate) option: &'static str,
    pub(crate) text: &'a OsStr,
    /// The command whose help an error refers to.
    pub(crate) command: Option<&'static str>,
}

impl Value<'_> {
    /// Any text.
    pub(crate) fn text(&self) -> Result<&str, Failure> {
        self.text.to_str().ok_or_else(|| self.invalid("UTF-8"))
    }

    /// A path, which may be anything but empty.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        if self.text.is_empty() {
            return Err(self.invalid("a path"));
        }
        Ok(self.text.into())
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Failure> {
        let found = choices.iter().find(|(word, _)| self.text == *word);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.invalid(&format!("one of {}", words.join(", ")))
        })
    }

    /// A whole number.
    pub(crate) fn number<T: FromStr>(&self) -> Result<T, Failure> {
        self.text()?.parse().map_err(|_| self.invalid("a number"))
    }

    /// How many of something, at least one.
    #[cfg(feature = "manage")]
    pub(crate) fn count(&self) -> Result<NonZeroUsize, Failure> {
        self.text()?.parse().map_err(|_| self.invalid("a number, at least 1"))
    }

    /// A number of seconds, or of another unit with its suffix `s`, `m` or `h`. At least one second.
    pub(crate) fn duration(&self) -> Result<Duration, Failure> {
        pullet::parse_duration(self.text()?).ok_or_else(|| self.invalid("a time such as 30, 30s, 5m or 1h"))
    }

    /// A number of bytes, at least one. The suffixes `k`, `m`, `g` and `t` are powers of 1024, as with curl.
    pub(crate) fn bytes(&self) -> Result<u64, Failure> {
        let text = self.text()?;
        let shift = match text.bytes().last().map(|unit| unit.to_ascii_lowercase()) {
            Some(b'k') => 10,
            Some(b'm') => 20,
            Some(b'g') => 30,
            Some(b't') => 40,
            _ => 0,
        };
        let digits = if shift == 0 { text } else { text.get(..text.len() - 1).unwrap_or_default() };
        // `parse` would also accept a plus sign.
        let is_number = digits.bytes().all(|b| b.is_ascii_digit());
        let count = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(1 << shift));
        count
            .filter(|count| *count > 0 && is_number)
            .ok_or_else(|| self.invalid("a number of bytes such as 500k or 2m"))
    }

    /// A number of threads, or `auto`.
    pub(crate) fn jobs(&self) -> Result<NonZeroUsize, Failure> {
        if self.text == "auto" {
            let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
            return Ok(processors.min(MOST_AUTOMATIC_JOBS));
        }
        let jobs = self.text()?.parse::<NonZeroUsize>().ok();
        let jobs = jobs.filter(|jobs| jobs.get() <= MOST_JOBS);
        jobs.ok_or_else(|| self.invalid(&format!("`auto` or a number from 1 to {MOST_JOBS}")))
    }

    /// `KEY=VALUE`, with a key that is not empty.
    pub(crate) fn pair(&self) -> Result<(String, String), Failure> {
        let pair = self.text()?.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) = pair.ok_or_else(|| self.invalid("KEY=VALUE"))?;
        Ok((key.to_owned(), value.to_owned()))
    }

    fn invalid(&self, expected: &str) -> Failure {
        let text = format!("invalid value {:?} for {}: expected {expected}", self.text, self.option);
        Failure::misused(self.command, text)
    }
}

/// An image NAME. A short name can mean another registry than Docker Hub, if the machine's configuration says so.
pub(crate) fn name(word: &OsString) -> Result<Reference, Failure> {
    Ok(qualified(word)?.parse()?)
}

/// A NAME, or the beginning of an image ID.
#[cfg(feature = "manage")]
pub(crate) fn selector(word: &OsString) -> Result<Selector, Failure> {
    let text = word.to_str().unwrap_or_default();
    match qualified(word) {
        Ok(name) => Ok(Selector::new(text, &name)?),
        // 64 hexadecimal digits are no name.
        Err(failure) => text.parse().map_err(|_| failure),
    }
}

/// A REPOSITORY: a NAME without tag and digest.
pub(crate) fn repository(word: &OsString) -> Result<Reference, Failure> {
    Ok(Reference::parse_repository(&qualified(word)?)?)
}

/// Prefixes with which other tools name images that are not in a registry.
const TRANSPORTS: [&str; 6] =
    ["oci:", "oci-archive:", "docker-archive:", "docker-daemon:", "containers-storage:", "dir:"];

/// The NAME with its registry. `docker://` in front, as skopeo and podman write it, changes nothing.
fn qualified(word: &OsString) -> Result<String, Failure> {
    let Some(typed) = word.to_str() else {
        return Err(Failure::misused(None, format!("invalid reference {word:?}: not UTF-8")));
    };
    let name = typed.strip_prefix("docker://").unwrap_or(typed);
    if let Some(bare) = ["https://", "http://"].iter().find_map(|scheme| name.strip_prefix(scheme)) {
        let failure = Failure::usage(format!("invalid reference {typed:?}: a name has no scheme"));
        return Err(failure.hint(format!("write {}", bare.trim_end_matches('/'))));
    }
    if name == typed
        && let Some(prefix) = TRANSPORTS.iter().find(|prefix| name.starts_with(*prefix))
    {
        let failure = Failure::usage(format!("invalid reference {typed:?}: {prefix} is not a registry"));
        return Err(failure.hint("pullet reads from registries only: write [HOST[:PORT]/]REPOSITORY[:TAG]"));
    }
    Ok(pullet::qualified(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value<'_> {
        Value { option: "--option", text: OsStr::new(text), command: None }
    }

    #[test]
    fn parses_bytes_with_their_units() {
        for (text, expected) in [
            ("1", Some(1)),
            ("500k", Some(500 << 10)),
            ("2M", Some(2 << 20)),
            ("3g", Some(3 << 30)),
            ("4T", Some(4 << 40)),
            ("18446744073709551615", Some(u64::MAX)),
            ("16777216t", None),
            ("0", None),
            ("", None),
            ("k", None),
            ("+1", None),
            ("-1", None),
            ("1kb", None),
            ("1.5m", None),
            ("2\u{b5}", None),
        ] {
            assert_eq!(value(text).bytes().ok(), expected, "{text}");
        }
    }

    #[test]
    fn parses_numbers_times_and_jobs() {
        for (text, number, seconds, jobs) in [
            ("1", Some(1), Some(1), Some(1)),
            ("0", Some(0), None, None),
            ("64", Some(64), Some(64), Some(64)),
            ("65", Some(65), Some(65), None),
            ("4294967296", None, None, None),
            ("30s", None, Some(30), None),
            ("5m", None, Some(300), None),
            ("1h", None, Some(3600), None),
            ("0s", None, None, None),
            ("1d", None, None, None),
            ("1.5h", None, None, None),
            ("1h5m", None, None, None),
            ("5ss", None, None, None),
            ("+5s", None, None, None),
            ("s", None, None, None),
            ("1193047h", None, None, None),
            ("", None, None, None),
        ] {
            assert_eq!(value(text).number::<u32>().ok(), number, "{text}");
            assert_eq!(value(text).duration().ok(), seconds.map(Duration::from_secs), "{text}");
            assert_eq!(value(text).jobs().ok().map(NonZeroUsize::get), jobs, "{text}");
        }
        assert!(value("auto").jobs().is_ok_and(|jobs| jobs <= MOST_AUTOMATIC_JOBS));
    }

    #[test]
    fn parses_choices_and_paths() {
        let choices = [("one", 1), ("two", 2)];
        assert_eq!(value("two").choice(&choices).ok(), Some(2));
        let failure = value("three").choice(&choices).err();
        let expected = "invalid value \"three\" for --option: expected one of one, two";
        assert_eq!(failure.and_then(|failure| failure.lines().map(|(text, _)| text == expected)), Some(true));
        assert_eq!(value("a b").path().ok(), Some(PathBuf::from("a b")));
        assert!(value("").path().is_err());
    }
}
