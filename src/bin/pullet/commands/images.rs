//! `pullet images`: the images in the store, as Docker lists them.

use pullet::{Escaped, Image, Reference, Sandbox};
use rustix::time::{ClockId, clock_gettime};

use crate::args::Common;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{report, sandbox, text};

/// Prints the table.
pub(crate) fn run(common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    sandbox::enter(&Sandbox::new(), reporter);
    let images = report::store(common)?.images()?;
    if common.is_quiet {
        return text::print(images.iter().map(|image| format!("{}\n", image.id().short())).collect::<String>());
    }
    let header = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header).chain(images.iter().map(row)).collect();
    text::print(table(&rows))
}

fn row(image: &Image) -> [String; 5] {
    let (repository, tag) = match image.name().parse::<Reference>() {
        Ok(name) => (name.familiar_repository(), name.tag().unwrap_or("<none>").to_owned()),
        Err(_) => (Escaped(image.name()).to_string(), "<none>".to_owned()),
    };
    let created = image.created().and_then(seconds).map_or_else(|| "N/A".to_owned(), ago);
    [repository, tag, image.id().short(), created, text::bytes(image.size())]
}

/// Columns three blanks apart, as Docker's.
fn table(rows: &[[String; 5]]) -> String {
    let mut widths = [0; 5];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 5]| {
        let cells: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}   ")).collect();
        format!("{}\n", cells.trim_end())
    };
    rows.iter().map(line).collect()
}

/// Seconds since the epoch of an RFC 3339 time, its offset respected.
fn seconds(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign @ ("+" | "-"), rest) => {
            let minutes = rest.get(..2)?.parse::<i64>().ok()? * 60 + rest.get(3..5)?.parse::<i64>().ok()?;
            if sign == "-" { -minutes } else { minutes }
        }
        _ => return None,
    };
    // Days from the civil date: March is the year's first month, so that February's length comes last.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day - 719_469;
    Some(((days * 24 + hour) * 60 + minute - offset) * 60 + second)
}

/// Docker's words for how long ago something was (`go-units`' `HumanDuration`).
fn ago(created: i64) -> String {
    // Not std's clock: where a word has 32 bits that ends the program after 2038.
    let now = clock_gettime(ClockId::Realtime).tv_sec;
    let seconds = (now - created).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let words = match (seconds, minutes, hours, days) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, ..) => "About a minute".to_owned(),
        (_, ..60, ..) => format!("{minutes} minutes"),
        (_, _, 1, _) => "About an hour".to_owned(),
        (_, _, ..48, _) => format!("{hours} hours"),
        (.., ..14) => format!("{days} days"),
        (.., ..60) => format!("{} weeks", days / 7),
        (.., ..730) => format!("{} months", days / 30),
        _ => format!("{} years", days / 365),
    };
    format!("{words} ago")
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn reads_rfc_3339() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2024-02-29T12:00:00.123456789Z", Some(1_709_208_000)),
            ("2024-02-29T13:00:00+01:00", Some(1_709_208_000)),
            ("2000-03-01T00:00:00Z", Some(951_868_800)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800)),
            ("2024", None),
            ("not a time at all, no", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
