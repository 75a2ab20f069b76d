//! Where a redirect leads, and whether it may be followed there.

use super::http::{Headers, Http, Response};
use super::url::Url;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::progress::{Event, Progress};

/// Bytes of a redirect's `Location`: signed URLs of object stores have up to 2 KiB.
const LOCATION_LIMIT: usize = 8 << 10;

/// Follows redirects. What `headers` has for the server stays behind at the first hop to another origin, and is never picked
/// up again.
pub(super) fn follow(
    http: &Http,
    mut answer: Response,
    mut headers: Headers<'_>,
    limits: &Limits,
    progress: &dyn Progress,
) -> Result<Response> {
    let mut hops = 0;
    while matches!(answer.status(), 301 | 302 | 303 | 307 | 308) {
        hops += 1;
        if hops > limits.redirects {
            return Err(Limits::exceeded("redirects", limits.redirects).context(format!("GET {}", answer.url())));
        }
        let next = location(&answer)?;
        if !next.same_origin(answer.url()) {
            headers = Headers { authorization: None, extra: &[], ..headers };
        }
        let _ = answer.read(limits.error_body);
        answer = http.get(&next, headers)?;
        report(progress, &answer);
    }
    Ok(answer)
}

pub(super) fn report(progress: &dyn Progress, answer: &Response) {
    progress.report(Event::Answered {
        method: answer.method(),
        url: &answer.url().to_string(),
        status: answer.status(),
    });
}

/// Where a redirect leads: exactly one `Location`, to http or https, and never from https down to http.
fn location(answer: &Response) -> Result<Url> {
    let refuse = |what: &str| {
        let text = format!("GET {}: refused redirect: {what}", answer.url());
        Err(Error::new(ErrorKind::Unsafe, text))
    };
    let mut locations = answer.headers("location");
    let (Some(location), None) = (locations.next().filter(|text| !text.is_empty()), locations.next()) else {
        return refuse("it has not exactly one Location");
    };
    if location.len() > LOCATION_LIMIT {
        return refuse(&format!("limit exceeded: more than {LOCATION_LIMIT} bytes of Location"));
    }
    match answer.url().join(location) {
        Ok(next) if answer.url().is_https() && !next.is_https() => refuse("it leads from https to http"),
        Ok(next) => Ok(next),
        Err(error) => refuse(&error.to_string()),
    }
}
