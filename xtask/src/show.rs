//! Formats sizes, times and counts for people, and colours text on a terminal.

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::Duration;

/// A size in B, KiB or MiB.
pub fn bytes(count: u64) -> String {
    match count {
        0..=1023 => format!("{count} B"),
        1024..=1_048_575 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.2} MiB", mebibytes(count)),
    }
}

pub fn mebibytes(count: u64) -> f64 {
    count as f64 / (1024.0 * 1024.0)
}

pub fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        short if short < 1.0 => format!("{:.0} ms", short * 1000.0),
        long => format!("{long:.1} s"),
    }
}

/// `1 file`, `2 files`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The first twelve digits of a digest, as Docker shows it.
pub fn short(digest: &str) -> &str {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

pub fn bold(text: impl Display) -> String {
    painted("1", text)
}

pub fn dim(text: impl Display) -> String {
    painted("2", text)
}

pub fn green(text: impl Display) -> String {
    painted("32", text)
}

pub fn red(text: impl Display) -> String {
    painted("31", text)
}

/// Colours the text if standard output is a terminal and `NO_COLOR` is not set (<https://no-color.org>).
fn painted(code: &str, text: impl Display) -> String {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if std::io::stdout().is_terminal() && !is_plain { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_sizes_times_and_counts() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 20), "5.00 MiB");
        assert_eq!(seconds(Duration::from_millis(41)), "41 ms");
        assert_eq!(seconds(Duration::from_millis(2345)), "2.3 s");
        assert_eq!(count(1, "request"), "1 request");
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
    }
}
