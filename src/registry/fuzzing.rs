//! What of this room a fuzzer is let at: the parsers of answers.

use std::time::Duration;

use super::auth::{parse_challenges, parse_token};
use super::url::Url;
use super::{problem, retry};
use crate::error::Result;

/// The schemes and realms of all challenges, a header a line.
pub fn challenges(headers: &str) -> Vec<(String, Option<String>)> {
    let found = parse_challenges(headers.split('\n')).into_iter();
    found.map(|found| (found.scheme.clone(), found.parameter("realm").map(str::to_owned))).collect()
}

/// Where `reference`, found at `base`, leads: the whole URL and its origin.
pub fn joined(base: &str, reference: &str) -> Option<(String, String)> {
    let joined = Url::parse(base).ok()?.join(reference).ok()?;
    let origin = joined.at("/").whole();
    Some((joined.whole(), origin))
}

/// What `Retry-After` asks for in an answer of that date.
pub fn retry_after(value: &str, date: &str) -> Option<Duration> {
    retry::asked(value, Some(date))
}

/// The token in an endpoint's answer.
pub fn token_answer(body: &[u8]) -> Result<String> {
    parse_token(body).map(|token| token.text)
}

/// The text of a refusal with this body.
pub fn refusal(status: u16, body: &[u8]) -> String {
    problem::is_of_a_registry(body);
    problem::says_expired(body);
    problem::refusal("GET", "https://registry.example/", status, body, None).to_string()
}
