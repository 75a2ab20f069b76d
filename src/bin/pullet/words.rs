//! Words as values: numbers, times, rates, paths, names and credentials. A malformed one is refused with what was expected.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::ValueExt as _;
use pullet::{Credentials, Reference};

use crate::exit::Failure;
use crate::topic::{Topic, misused};

pub(crate) fn choice<T: Copy>(
    parser: &mut lexopt::Parser,
    topic: Option<Topic>,
    option: &str,
    known: &[(&str, T)],
) -> Result<T, Failure> {
    let value = parser.value().map_err(|e| misused(topic, e))?;
    let found = known.iter().find(|(word, _)| value == *word).map(|(_, choice)| *choice);
    let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
    found.ok_or_else(|| misused(topic, format!("{option} {value:?} is none of {}", words.join(", "))))
}

pub(crate) fn path(parser: &mut lexopt::Parser, topic: Option<Topic>) -> Result<PathBuf, Failure> {
    match parser.value() {
        Ok(value) if value.is_empty() => Err(misused(topic, "a path is empty")),
        Ok(value) => Ok(value.into()),
        Err(e) => Err(misused(topic, e)),
    }
}

pub(crate) fn string(parser: &mut lexopt::Parser, topic: Option<Topic>) -> Result<String, Failure> {
    parser.value().and_then(|value| value.string()).map_err(|e| misused(topic, e))
}

pub(crate) fn exactly<const N: usize>(
    words: Vec<OsString>,
    topic: Topic,
    otherwise: &str,
) -> Result<[OsString; N], Failure> {
    words.try_into().map_err(|_| misused(Some(topic), otherwise))
}

pub(crate) fn number<T: std::str::FromStr>(
    parser: &mut lexopt::Parser,
    topic: Option<Topic>,
    option: &str,
) -> Result<T, Failure> {
    let text = string(parser, topic)?;
    text.parse().map_err(|_| misused(topic, format!("{option} {text:?} is not a number that it takes")))
}

/// Whole seconds, at least one.
pub(crate) fn seconds(parser: &mut lexopt::Parser, topic: Option<Topic>, option: &str) -> Result<Duration, Failure> {
    match number::<u32>(parser, topic, option)? {
        0 => Err(misused(topic, format!("{option} takes at least one second"))),
        seconds => Ok(Duration::from_secs(u64::from(seconds))),
    }
}

/// Bytes a second, with `k` or `m` behind for 1,024 or 1,048,576 of them, as curl takes them.
pub(crate) fn rate(parser: &mut lexopt::Parser, topic: Option<Topic>) -> Result<u64, Failure> {
    let text = string(parser, topic)?;
    let (digits, unit) = match text.to_ascii_lowercase() {
        lower if lower.ends_with('k') => (lower.trim_end_matches('k').to_owned(), 1 << 10),
        lower if lower.ends_with('m') => (lower.trim_end_matches('m').to_owned(), 1 << 20),
        lower => (lower, 1),
    };
    let rate = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).filter(|&rate| rate > 0);
    rate.ok_or_else(|| misused(topic, format!("--limit-rate {text:?} is no rate such as 500k or 2m")))
}

/// At most one registry; Docker Hub without any.
pub(crate) fn host(topic: Topic, words: &[OsString]) -> Result<String, Failure> {
    match words {
        [] => Ok("docker.io".to_owned()),
        [host] => Ok(text(host)?.to_owned()),
        [_, more, ..] => Err(misused(Some(topic), format!("unexpected argument {more:?}"))),
    }
}

pub(crate) fn names(
    words: &[OsString],
    parse: impl Fn(&str) -> pullet::Result<Reference>,
) -> Result<Vec<Reference>, Failure> {
    words.iter().map(|word| Ok(parse(text(word)?)?)).collect()
}

pub(crate) fn text(word: &OsString) -> Result<&str, Failure> {
    let hint = "a NAME is plain text: see pullet --help";
    word.to_str().ok_or_else(|| Failure::Usage(format!("invalid reference {word:?}: not UTF-8"), hint.to_owned()))
}

/// `USER[:PASSWORD]`, or `-` for the same on standard input, where no process list shows it.
pub(crate) fn credentials(text: &str) -> Result<Credentials, Failure> {
    let mut typed = text.to_owned();
    if text == "-" {
        typed.clear();
        let read = std::io::stdin().take(64 << 10).read_to_string(&mut typed);
        read.map_err(|e| {
            Failure::Usage(
                format!("read credentials from standard input: {e}"),
                String::from("USER:PASSWORD is expected there"),
            )
        })?;
    }
    let (user, password) = typed.trim_end_matches(['\r', '\n']).split_once(':').unwrap_or((typed.trim_end(), ""));
    Ok(Credentials::new(user, password)?)
}
