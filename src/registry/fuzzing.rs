//! The parsers of responses, for the fuzzer.

use std::time::Duration;

use super::auth::{parse_challenges, parse_token};
use super::url::Url;
use super::{problem, retry};
use crate::error::Result;

/// Returns scheme and realm of all challenges. Each line is a header.
pub fn challenges(headers: &str) -> Vec<(String, Option<String>)> {
    let challenges = parse_challenges(headers.split('\n')).into_iter();
    challenges.map(|found| (found.scheme.clone(), found.parameter("realm").map(str::to_owned))).collect()
}

/// Resolves `reference` at `base`. Returns the full URL and its origin.
pub fn joined(base: &str, reference: &str) -> Option<(String, String)> {
    let joined = Url::parse(base).ok()?.join(reference).ok()?;
    let origin = joined.with_target("/").unredacted();
    Some((joined.unredacted(), origin))
}

/// Returns the wait of a `Retry-After` header in a response of that date.
pub fn retry_after(value: &str, date: &str) -> Option<Duration> {
    retry::parse_retry_after(value, Some(date))
}

/// Returns the token in the response of a token endpoint.
pub fn token_answer(body: &[u8]) -> Result<String> {
    parse_token(body).map(|token| token.text)
}

/// Returns the text of the error for a refusal with this body.
pub fn refusal(status: u16, body: &[u8]) -> String {
    problem::is_registry_error(body);
    problem::is_expired_token(body);
    problem::refusal("GET", "https://registry.example/", status, body, None).to_string()
}
