//! Where a redirect leads, and whether it may be followed there.

use super::http::Answer;
use super::url::Url;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a redirect's `Location`: signed URLs of object stores have up to 2 KiB.
const LOCATION_LIMIT: usize = 8 << 10;

/// Where a redirect leads: exactly one `Location`, to http or https, and never from https down to http.
pub(super) fn location(answer: &Answer) -> Result<Url> {
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
