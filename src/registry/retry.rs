//! The policy for retries: whether to try again, and after which wait. The loops are in `client/`, which knows how much
//! of a body arrived.

use std::time::Duration;

use crate::date;
use crate::error::{Error, ErrorKind};

/// Upper bound of the first wait. It doubles with each retry.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Upper bound of every wait that the registry did not request.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// If the registry requests a longer wait, the command fails with an error that names the time. Retrying while blocked
/// extends the block (docker/hub-feedback#2197).
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Whether to retry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Try again after this time.
    Wait(Duration),
    /// Do not try again: it cannot help, or all retries are used up.
    Stop,
}

/// Decides after the failure of attempt number `attempt`, counted from 0, of at most `retries` retries. `dice` is a
/// random number: waits are random, so that many clients do not return at the same time ("full jitter").
pub(crate) fn verdict(error: &Error, attempt: u32, retries: u32, dice: u64) -> Verdict {
    let is_transient = matches!(error.kind(), ErrorKind::Network | ErrorKind::RateLimited);
    if !is_transient || !error.may_be_retried() || attempt >= retries {
        return Verdict::Stop;
    }
    match error.retry_after() {
        Some(wait) if wait > LONGEST_RETRY_AFTER => Verdict::Stop,
        Some(wait) => Verdict::Wait(wait),
        None => {
            let longest = FIRST_WAIT.saturating_mul(1 << attempt.min(16)).min(LONGEST_WAIT);
            let nanoseconds = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX).max(1);
            Verdict::Wait(Duration::from_nanos(dice % nanoseconds))
        }
    }
}

/// Returns true if an attempt that received `gained` of `missing` bytes counts as progress, which resets the number of
/// retries. A single byte does not count, because then a download could continue forever.
pub(crate) fn is_progress(gained: u64, missing: u64) -> bool {
    gained > 0 && gained >= 1024.min(missing / 4)
}

/// Parses a `Retry-After` header: seconds, or a date, which is compared with the response's own `Date` (`sent`) and not
/// with this machine's clock, which may be wrong (RFC 9110, section 10.2.3).
pub(super) fn parse_retry_after(retry_after: &str, sent: Option<&str>) -> Option<Duration> {
    let text = retry_after.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let (then, now) = (date::parse_http(text)?, date::parse_http(sent?.trim())?);
    Some(Duration::from_secs(then.saturating_sub(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ErrorKind, retry_after: Option<u64>) -> Error {
        Error::new(kind, "x").with_retry_after(retry_after.map(Duration::from_secs))
    }

    #[test]
    fn retries_transient_errors_only() {
        let stop = |kind| verdict(&error(kind, None), 0, 5, 7) == Verdict::Stop;
        for kind in [ErrorKind::Denied, ErrorKind::Mismatch, ErrorKind::NotFound, ErrorKind::Tls, ErrorKind::Disk] {
            assert!(stop(kind), "{kind:?}");
        }
        assert!(!stop(ErrorKind::Network) && !stop(ErrorKind::RateLimited));
        assert_eq!(verdict(&error(ErrorKind::Network, None), 5, 5, 7), Verdict::Stop);
        assert_eq!(verdict(&error(ErrorKind::Network, None).finally(), 0, 5, 7), Verdict::Stop);
    }

    #[test]
    fn waits_are_random_below_a_doubling_bound() {
        let wait = |attempt, dice| verdict(&error(ErrorKind::Network, None), attempt, 100, dice);
        let nanoseconds = |ms: u64| ms * 1_000_000;
        assert_eq!(wait(0, 0), Verdict::Wait(Duration::ZERO));
        assert_eq!(wait(0, nanoseconds(250) - 1), Verdict::Wait(Duration::from_nanos(nanoseconds(250) - 1)));
        assert_eq!(wait(0, nanoseconds(250)), Verdict::Wait(Duration::ZERO));
        assert_eq!(wait(2, nanoseconds(999)), Verdict::Wait(Duration::from_millis(999)));
        assert_eq!(wait(99, nanoseconds(30_000) - 1), Verdict::Wait(Duration::from_nanos(nanoseconds(30_000) - 1)));
    }

    #[test]
    fn obeys_retry_after_up_to_a_minute() {
        let wait = |seconds| verdict(&error(ErrorKind::RateLimited, Some(seconds)), 0, 5, 7);
        assert_eq!(wait(3), Verdict::Wait(Duration::from_secs(3)));
        assert_eq!(wait(60), Verdict::Wait(Duration::from_secs(60)));
        assert_eq!(wait(61), Verdict::Stop);
    }

    #[test]
    fn parses_seconds_and_dates() {
        let now = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for (text, date, expected) in [
            ("120", None, Some(120)),
            (" 0 ", None, Some(0)),
            ("99999999999999999999", None, Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", now, Some(60)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", now, Some(86_400)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", now, Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", None, None),
            ("soon", now, None),
            ("-1", now, None),
            ("", now, None),
            ("Sun, 99 Nov 1994 08:50:37 GMT", now, None),
        ] {
            assert_eq!(parse_retry_after(text, date), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn a_few_bytes_are_no_progress() {
        for (gained, missing, expected) in
            [(0, 10, false), (0, 1, false), (1, 1, true), (1, 1 << 20, false), (1024, 1 << 20, true), (5, 10, true)]
        {
            assert_eq!(is_progress(gained, missing), expected, "{gained} of {missing}");
        }
    }
}
