//! HTTP over TCP: one exchange at a time, without redirects and without authentication.

mod client;
mod pace;
mod socket;

pub(crate) use self::client::Body;
pub(super) use self::client::{Headers, Http, Response, Rest, TOKEN_LIMIT};
pub(crate) use self::pace::PaceLimits;
