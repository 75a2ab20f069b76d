//! Results, to standard output: it stays clean enough to pipe, and a reader that goes away is no fault.

use std::io::{self, Write as _};

use crate::exit::Failure;

/// Writes `text` as it is.
pub(crate) fn print(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref().as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Failure::BrokenPipe),
        Err(e) => Err(Failure::Output(e)),
    }
}

/// Bytes for people, decimal as Docker shows them: `1.23MB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    match (unit, value) {
        (0, _) => format!("{count}B"),
        (_, v) if v < 9.995 => format!("{v:.2}{}", UNITS[unit]),
        (_, v) if v < 99.95 => format!("{v:.1}{}", UNITS[unit]),
        (_, v) => format!("{v:.0}{}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_for_people() {
        for (count, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.00kB"),
            (1_234_567, "1.23MB"),
            (45_600_000, "45.6MB"),
            (999_600, "1.00MB"),
        ] {
            assert_eq!(super::bytes(count), text);
        }
    }
}
