//! The ping, `GET /v2/`. It is sent only if a response leaves something open: some registries return 401 without a
//! challenge and send the challenge only here, and a 404 without the distribution-spec's JSON may mean that the server
//! is not a registry.

use super::auth::{Challenge, parse_challenges};
use super::http::Response;
use super::url::Url;
use crate::error::Result;

/// The path of the ping, below that of the API.
pub(super) const PATH: &str = "/";
/// The header by which a server says that it supports the v2 API (distribution-spec, "Legacy Docker support HTTP
/// headers").
const VERSION_HEADER: &str = "docker-distribution-api-version";

/// The response to a ping.
pub(super) struct Ping {
    pub(super) registry: Url,
    pub(super) challenges: Vec<Challenge>,
    status: u16,
    has_version_header: bool,
}

impl Ping {
    /// Reads up to `limit` bytes of the body, so that the connection can be used again.
    pub(super) fn read(response: Response, limit: usize) -> Result<Self> {
        let ping = Self {
            registry: response.url().clone(),
            challenges: parse_challenges(response.headers("www-authenticate")),
            status: response.status(),
            has_version_header: has_version_header(&response),
        };
        response.read(limit)?;
        Ok(ping)
    }

    /// Returns true if the registry sent a challenge that can be answered.
    pub(super) fn requires_authentication(&self) -> bool {
        self.status == 401 && is_supported(&self.challenges)
    }

    /// Returns true if the server does not have the v2 API.
    pub(super) fn is_no_registry(&self) -> bool {
        self.status == 404 && !self.has_version_header
    }
}

/// Returns true if the server says that it supports the v2 API.
pub(super) fn has_version_header(response: &Response) -> bool {
    response.header(VERSION_HEADER).is_some()
}

/// Returns true if one of the challenges has a supported scheme.
pub(super) fn is_supported(challenges: &[Challenge]) -> bool {
    challenges.iter().any(|challenge| matches!(challenge.scheme.as_str(), "bearer" | "basic"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supports_bearer_and_basic() {
        for (header, expected) in
            [("Bearer realm=a", true), ("Negotiate, Basic realm=a", true), ("Negotiate", false), ("", false)]
        {
            assert_eq!(is_supported(&parse_challenges([header])), expected, "{header}");
        }
    }
}
