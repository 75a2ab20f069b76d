//! Civil dates: RFC 3339 and HTTP dates, to and from seconds since the Unix epoch; and durations as people write them. Reads
//! no clock and knows no time zones beyond a numeric offset.

use std::time::Duration;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;
/// Days in 400 years, after which the Gregorian calendar repeats.
const DAYS_PER_ERA: i64 = 146_097;
const SECONDS_PER_DAY: i64 = 86_400;
/// The first second of year 1, in seconds since the Unix epoch. It is the zero value of a time in Go, and means an unknown one.
pub const GO_ZERO_TIME: i64 = -62_135_596_800;

/// A date and time in UTC. Fields are in their usual ranges; a day may be one that its month does not have.
struct DateTime {
    year: i64,
    /// 1 to 12.
    month: i64,
    /// 1 to 31.
    day: i64,
    hour: i64,
    minute: i64,
    /// 0 to 60, because of leap seconds.
    second: i64,
}

/// Parses an RFC 3339 time, such as `2024-02-29T13:00:00.5+01:00`, to seconds since the Unix epoch. Drops the fraction.
///
/// ```
/// assert_eq!(pullet::parse_rfc_3339("2024-02-29T13:00:00+01:00"), Some(1_709_208_000));
/// ```
pub fn parse_rfc_3339(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| digits(text.get(range)?);
    let time = DateTime {
        year: number(0..4)?,
        month: number(5..7)?,
        day: number(8..10)?,
        hour: number(11..13)?,
        minute: number(14..16)?,
        second: number(17..19)?,
    };
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset_minutes = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        ("+", offset) => minutes(offset)?,
        ("-", offset) => -minutes(offset)?,
        _ => return None,
    };
    Some(time.seconds()? - offset_minutes * 60)
}

/// Parses a duration: seconds, or a number of another unit with its suffix `s`, `m` or `h`. Takes no less than one second, and
/// no more than 32 bits of seconds, because an `Instant` overflows if a larger number is added to it.
///
/// ```
/// # use std::time::Duration;
/// assert_eq!(pullet::parse_duration("5m"), Some(Duration::from_secs(300)));
/// ```
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.strip_suffix(['s', 'm', 'h']).unwrap_or(text);
    let unit = match text.as_bytes().last() {
        Some(b'm') => 60,
        Some(b'h') => 3600,
        _ => 1,
    };
    // `parse` would also accept a plus sign.
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds = digits.parse::<u32>().ok()?.checked_mul(unit)?;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// Parses an HTTP date, such as `Sun, 06 Nov 1994 08:49:37 GMT`, to seconds since the epoch. Ignores the name of the
/// day and takes no date before 1970. Servers no longer send the two obsolete forms of RFC 9110, section 5.6.7.
pub(crate) fn parse_http(text: &str) -> Option<u64> {
    let (_, date) = text.split_once(", ")?;
    let mut words = date.split(' ');
    let day = digits(words.next()?)?;
    let name = words.next()?;
    let month = MONTHS.iter().zip(1..).find(|(month, _)| **month == name).map(|(_, number)| number)?;
    let year = digits(words.next()?)?;
    let mut clock = words.next()?.split(':').map(digits);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let seconds = DateTime { year, month, day, hour, minute, second }.seconds()?;
    u64::try_from(seconds).ok()
}

/// Formats seconds since the Unix epoch as an RFC 3339 time in UTC.
///
/// ```
/// assert_eq!(pullet::format_rfc_3339(1_709_208_000), "2024-02-29T12:00:00Z");
/// ```
pub fn format_rfc_3339(seconds: i64) -> String {
    let DateTime { year, month, day, hour, minute, second } = DateTime::from_seconds(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Both conversions count days in years that begin with March, so that a leap day is the last day of its year.
impl DateTime {
    /// Seconds since the epoch; `None` if a field is out of range.
    fn seconds(&self) -> Option<i64> {
        let Self { year, month, day, hour, minute, second } = *self;
        let is_valid = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && (0..=24).contains(&hour)
            && (0..=60).contains(&minute)
            && (0..=60).contains(&second);
        if !is_valid {
            return None;
        }
        let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
        let leap_days = y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400);
        let days = 365 * y + leap_days + (153 * m + 2) / 5 + day - 1 - EPOCH;
        Some(days * SECONDS_PER_DAY + (hour * 60 + minute) * 60 + second)
    }

    fn from_seconds(seconds: i64) -> Self {
        let (days, second) = (seconds.div_euclid(SECONDS_PER_DAY) + EPOCH, seconds.rem_euclid(SECONDS_PER_DAY));
        let (era, day) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
        let y = (day - day / 1460 + day / 36_524 - day / (DAYS_PER_ERA - 1)) / 365;
        let day = day - (365 * y + y / 4 - y / 100);
        let m = (5 * day + 2) / 153;
        let month = if m < 10 { m + 3 } else { m - 9 };
        Self {
            year: era * 400 + y + i64::from(month <= 2),
            month,
            day: day - (153 * m + 2) / 5 + 1,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }
}

/// Minutes of an offset `HH:MM`.
fn minutes(offset: &str) -> Option<i64> {
    let (hours, minutes) = offset.split_once(':')?;
    Some(digits(hours)? * 60 + digits(minutes)?)
}

/// A number of at most four digits and without a sign.
fn digits(text: &str) -> Option<i64> {
    let is_number = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_rfc_3339() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2024-02-29T12:00:00.123456789Z", Some(1_709_208_000)),
            ("2024-02-29T13:00:00+01:00", Some(1_709_208_000)),
            ("2024-02-29T06:30:00-05:30", Some(1_709_208_000)),
            ("2000-03-01T00:00:00Z", Some(951_868_800)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800)),
            ("2024-13-01T00:00:00Z", None),
            ("2024-01-01T00:00:00", None),
            ("2024-01-01T00:00:00+0100", None),
            ("+024-01-01T00:00:00Z", None),
            ("2024", None),
            ("not a time at all, no", None),
        ] {
            assert_eq!(parse_rfc_3339(text), expected, "{text}");
        }
    }

    #[test]
    fn parses_http_dates() {
        for (text, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 29 Feb 2024 12:00:00 GMT", Some(1_709_208_000)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", None),
            ("Sun, 99 Nov 1994 08:50:37 GMT", None),
            ("Sun, 06 nov 1994 08:50:37 GMT", None),
            ("Sun, 06 Nov 1994 08:50", None),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun Nov  6 08:49:37 1994", None),
        ] {
            assert_eq!(parse_http(text), expected, "{text}");
        }
    }

    #[test]
    fn formats_and_parses_the_same_times() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(format_rfc_3339(seconds), expected);
            assert_eq!(parse_rfc_3339(expected), Some(seconds));
        }
    }
}
