//! What the ping, `GET /v2/`, tells of a registry that needs it: some refuse without a challenge and say only here how
//! to be let in; and a 404 without a registry's words may mean that there is no registry at all. An ordinary registry
//! is never asked: its refusals say what is the matter.

use super::auth::{Challenge, parse_challenges};
use super::http::Response;
use super::url::Url;
use crate::error::Result;

/// Below the path of the API.
pub(super) const PATH: &str = "/";
/// What says that a server speaks the v2 protocol, whatever else it says (distribution-spec, "Legacy Docker support
/// HTTP headers").
const VERSION_HEADER: &str = "docker-distribution-api-version";

/// What a ping told.
pub(super) struct Ping {
    pub(super) registry: Url,
    pub(super) challenges: Vec<Challenge>,
    status: u16,
    is_v2: bool,
}

impl Ping {
    /// Reads the answer to its end, or `limit` bytes of it: then the connection is left to the next request.
    pub(super) fn read(answer: Response, limit: usize) -> Result<Self> {
        let ping = Self {
            registry: answer.url().clone(),
            challenges: parse_challenges(answer.headers("www-authenticate")),
            status: answer.status(),
            is_v2: speaks_v2(&answer),
        };
        answer.read(limit)?;
        Ok(ping)
    }

    /// The registry lets in who answers its challenge.
    pub(super) fn asks_who_we_are(&self) -> bool {
        self.status == 401 && can_be_answered(&self.challenges)
    }

    /// There is no API of this version.
    pub(super) fn is_no_registry(&self) -> bool {
        self.status == 404 && !self.is_v2
    }
}

/// Whether the server says that it is a registry.
pub(super) fn speaks_v2(answer: &Response) -> bool {
    answer.header(VERSION_HEADER).is_some()
}

/// Whether there is a challenge of a kind that we know.
pub(super) fn can_be_answered(challenges: &[Challenge]) -> bool {
    challenges.iter().any(|challenge| matches!(challenge.scheme.as_str(), "bearer" | "basic"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_schemes_can_be_answered() {
        for (header, expected) in
            [("Bearer realm=a", true), ("Negotiate, Basic realm=a", true), ("Negotiate", false), ("", false)]
        {
            assert_eq!(can_be_answered(&parse_challenges([header])), expected, "{header}");
        }
    }
}
