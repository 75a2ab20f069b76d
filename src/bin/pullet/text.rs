//! Results on standard output, and numbers for people.

use std::io::{self, Write as _};

use pullet::ErrorKind;

use crate::exit::Failure;

/// Writes `text` to standard output. A reader that has closed it is not an error.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Failure::broken_pipe()),
        Err(e) => Err(Failure::new(ErrorKind::Disk, format!("write to standard output: {e}"))),
    }
}

/// A number of bytes in decimal units and three digits, as Docker shows it: `1.23MB`, `642kB`, `1kB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut units = ["kB", "MB", "GB", "TB", "PB", "EB"].into_iter();
    let mut unit = "B";
    while value >= 999.5 {
        value /= 1000.0;
        unit = units.next().unwrap_or("EB");
    }
    let digits = match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    };
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits}{unit}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn shows_bytes_in_three_digits() {
        for (count, text) in
            [(0, "0B"), (999, "999B"), (1000, "1kB"), (1_234_567, "1.23MB"), (45_600_000, "45.6MB"), (999_600, "1MB")]
        {
            assert_eq!(super::bytes(count), text);
        }
    }
}
