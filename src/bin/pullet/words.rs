//! Words as values: numbers, times, rates, paths, names and credentials. A malformed one is refused with what was expected.

use std::ffi::OsString;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::ValueExt as _;
use pullet::{Cancel, Credentials, Reference};

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

/// A number of threads, or `auto`. More than a few dozen would be a slip of the finger.
pub(crate) fn jobs(parser: &mut lexopt::Parser, topic: Option<Topic>) -> Result<NonZeroUsize, Failure> {
    const MOST: usize = 64;
    let text = string(parser, topic)?;
    let jobs = if text == "auto" { Some(pullet::auto_jobs()) } else { text.parse().ok() };
    jobs.filter(|jobs| jobs.get() <= MOST)
        .ok_or_else(|| misused(topic, format!("--jobs {text:?} is neither auto nor a number from 1 to {MOST}")))
}

/// Whole seconds, at least one.
pub(crate) fn seconds(parser: &mut lexopt::Parser, topic: Option<Topic>, option: &str) -> Result<Duration, Failure> {
    match number::<u32>(parser, topic, option)? {
        0 => Err(misused(topic, format!("{option} takes at least one second"))),
        seconds => Ok(Duration::from_secs(u64::from(seconds))),
    }
}

/// Bytes, with `k`, `m`, `g` or `t` behind for the binary thousands of them, as curl takes them. At least one.
pub(crate) fn bytes(parser: &mut lexopt::Parser, topic: Option<Topic>, option: &str) -> Result<u64, Failure> {
    let text = string(parser, topic)?;
    let shift = match text.bytes().last().map(|unit| unit.to_ascii_lowercase()) {
        Some(b'k') => 10,
        Some(b'm') => 20,
        Some(b'g') => 30,
        Some(b't') => 40,
        _ => 0,
    };
    let digits = if shift == 0 { &text } else { text.get(..text.len() - 1).unwrap_or_default() };
    let is_number = digits.bytes().all(|b| b.is_ascii_digit());
    let count = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)).filter(|&n| n > 0 && is_number);
    count.ok_or_else(|| misused(topic, format!("{option} {text:?} is no number of bytes such as 500k or 2m")))
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
    words.iter().map(|word| name(word, &parse)).collect()
}

/// A NAME; a short one may be of another registry than Docker Hub by the machine's configuration.
pub(crate) fn name(word: &OsString, parse: impl Fn(&str) -> pullet::Result<Reference>) -> Result<Reference, Failure> {
    Ok(parse(&pullet::qualified(text(word)?)?)?)
}

fn text(word: &OsString) -> Result<&str, Failure> {
    let hint = "a NAME is plain text: see pullet --help";
    word.to_str().ok_or_else(|| Failure::Usage(format!("invalid reference {word:?}: not UTF-8"), hint.to_owned()))
}

/// `USER[:PASSWORD]`, or `-` for the same on standard input, where no process list shows it.
pub(crate) fn credentials(text: &str, cancel: &Cancel) -> Result<Credentials, Failure> {
    let mut typed = text.to_owned();
    if text == "-" {
        typed.clear();
        let read = cancel.unattended(|| std::io::stdin().take(64 << 10).read_to_string(&mut typed))?;
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
