//! Follows redirects. ureq does not, because it would not apply these rules to credentials and schemes.

use super::http::{Headers, HttpClient, Response};
use super::url::Url;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::progress::{Event, Progress};

/// Bytes of a `Location` header. Signed URLs of object stores have up to 2 KiB.
const LOCATION_LIMIT: usize = 8 << 10;

/// Follows redirects. Authorization and configured headers are dropped at the first redirect to another origin, and not
/// sent again even if a later one leads back.
pub(super) fn follow(
    http: &HttpClient,
    mut response: Response,
    mut headers: Headers<'_>,
    limits: &Limits,
    progress: &dyn Progress,
) -> Result<Response> {
    let mut redirects = 0;
    while is_redirect(&response) {
        redirects += 1;
        if redirects > limits.redirects {
            return Err(Limits::exceeded("redirects", limits.redirects).context(format!("GET {}", response.url())));
        }
        let next = location(&response)?;
        if !next.same_origin(response.url()) {
            headers = Headers { authorization: None, extra: &[], ..headers };
        }
        // The connection can be used again only after the body has been read.
        let _ = response.read(limits.error_body);
        response = http.get(&next, headers)?;
        report(progress, &response);
    }
    Ok(response)
}

pub(super) fn is_redirect(response: &Response) -> bool {
    matches!(response.status(), 301 | 302 | 303 | 307 | 308)
}

/// Reports that a response arrived.
pub(super) fn report(progress: &dyn Progress, response: &Response) {
    progress.report(Event::Answered {
        method: response.method(),
        url: &response.url().to_string(),
        status: response.status(),
    });
}

/// Returns the target of a redirect. There must be exactly one `Location`, with an http or https URL, and a redirect
/// from https to http is refused.
pub(super) fn location(response: &Response) -> Result<Url> {
    let refuse = |what: &str| {
        let text = format!("{} {}: refused redirect: {what}", response.method(), response.url());
        Err(Error::new(ErrorKind::Unsafe, text))
    };
    let mut locations = response.headers("location");
    let (Some(location), None) = (locations.next().filter(|text| !text.is_empty()), locations.next()) else {
        return refuse("expected exactly one Location");
    };
    if location.len() > LOCATION_LIMIT {
        return refuse(&format!("limit exceeded: more than {LOCATION_LIMIT} bytes of Location"));
    }
    match response.url().join(location) {
        Ok(next) if response.url().is_https() && !next.is_https() => refuse("it leads from https to http"),
        Ok(next) => Ok(next),
        Err(error) => refuse(&error.to_string()),
    }
}
