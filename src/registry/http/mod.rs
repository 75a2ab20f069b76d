//! HTTP/1.1 through ureq: sockets, name lookups, proxies, and one exchange at a time. Redirects, authentication and the
//! meaning of a status are the caller's.

mod budget;
mod client;
mod error;
mod head;
mod pace;
mod resolver;
mod response;
mod socket;
#[cfg(feature = "socks")]
mod socks;

pub(crate) use self::budget::Budget;
pub(super) use self::client::{Headers, HttpClient, HttpConfig, TOKEN_LIMIT};
pub(crate) use self::pace::{PaceLimits, RateLimit};
pub(crate) use self::response::Body;
pub(super) use self::response::{ByteRange, RangeResponse, Response};
