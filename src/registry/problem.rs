//! Turns a refusal, status and body, into an error: the distribution-spec's JSON where there is some, else the text.
//! Never fails to produce a message, and takes no word of it for more than words.

use std::time::Duration;

use serde::Deserialize;

use crate::advice::Advice;
use crate::error::{Error, ErrorKind};

#[derive(Deserialize)]
struct Problems {
    errors: Vec<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The error for a refused request. `patience` is how long the server asks to wait.
pub(super) fn refusal(method: &str, url: &str, status: u16, body: &[u8], patience: Option<Duration>) -> Error {
    // nginx answers so where others end the handshake: it lets everybody in and then tells them to go.
    if status == 400
        && [&b"No required SSL certificate"[..], b"SSL certificate error"].iter().any(|&text| has(body, text))
    {
        let text = format!("{method} {url}: the server asks for a client certificate, or for another one");
        return Error::new(ErrorKind::Tls, text).with_advice(Advice::GiveClientCertificate);
    }
    let (code, message) = message(body);
    let said = match (code.is_empty(), message.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!(" ({message})"),
        (false, true) => format!(" ({code})"),
        (false, false) => format!(" ({code}: {message})"),
    };
    let kind = kind(status, &code);
    let text = format!("{method} {url}: {status} {}{said}", phrase(status));
    let error = Error::new(kind, text).with_retry_after(patience);
    match (kind, patience) {
        (ErrorKind::RateLimited, Some(when)) => {
            error.with_hint(format!("the registry says: try again after {} s", when.as_secs()))
        }
        (ErrorKind::RateLimited, None) => error.with_advice(Advice::AuthenticateForHigherLimit),
        (ErrorKind::Denied, _) => error.with_advice(Advice::GiveCredentials),
        _ => error,
    }
}

/// Whether a refusal's body is the distribution-spec's JSON, which only a registry sends.
pub(super) fn is_of_a_registry(body: &[u8]) -> bool {
    serde_json::from_slice::<Problems>(body).is_ok_and(|problems| !problems.errors.is_empty())
}

/// The error for a server that has no API of this version.
pub(super) fn no_registry(url: &str) -> Error {
    let text = format!("GET {url}: 404 not found, and so is /v2/: this is no registry of the v2 protocol");
    let hint =
        "look at the host and port; registries of the v1 protocol, which Docker gave up in 2019, are not supported";
    Error::new(ErrorKind::Unsupported, text).with_hint(hint)
}

/// Whether a body says that a token has expired: the registries of AWS answer so with a 400, and not with a 401
/// (aws/containers-roadmap#2835).
pub(super) fn says_expired(body: &[u8]) -> bool {
    let (code, message) = message(body);
    let said = format!("{code} {message}").to_ascii_lowercase();
    said.contains("expired") && said.contains("token")
}

fn has(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|part| part == text)
}

fn kind(status: u16, code: &str) -> ErrorKind {
    match (status, code) {
        (429, _) | (_, "TOOMANYREQUESTS") => ErrorKind::RateLimited,
        (401 | 403 | 451, _) => ErrorKind::Denied,
        (404 | 410, _) => ErrorKind::NotFound,
        (408 | 425 | 500..=599, _) => ErrorKind::Network,
        _ => ErrorKind::Unsupported,
    }
}

/// Code and message of the first error, or a line of the text.
fn message(body: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(body);
    if let Some(first) = serde_json::from_str::<Problems>(&text).ok().and_then(|p| p.errors.into_iter().next()) {
        return (clip(&first.code), clip(&first.message));
    }
    match text.trim_start().starts_with(['<', '{']) {
        true => Default::default(),
        false => (String::new(), clip(text.trim().lines().next().unwrap_or_default())),
    }
}

fn clip(text: &str) -> String {
    text.chars().take(200).collect()
}

fn phrase(status: u16) -> &'static str {
    match status {
        400 => "bad request",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not found",
        408 => "request timeout",
        410 => "gone",
        416 => "range not satisfiable",
        429 => "too many requests",
        451 => "unavailable for legal reasons",
        500 => "internal server error",
        502 => "bad gateway",
        503 => "service unavailable",
        504 => "gateway timeout",
        _ => "unexpected answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, kind: ErrorKind, text: &str) {
        let error = refusal("GET", "https://r.io/v2/a", status, body.as_bytes(), None);
        assert_eq!(error.kind(), kind);
        assert_eq!(error.to_string(), format!("GET https://r.io/v2/a: {text}"));
    }

    #[test]
    fn knows_a_registry_by_its_words() {
        for (body, expected) in [
            (r#"{"errors":[{"code":"NAME_UNKNOWN","message":"","detail":[]}]}"#, true),
            (r#"{"errors":[{}]}"#, true),
            (r#"{"errors":[]}"#, false),
            (r#"{"error":"not found"}"#, false),
            ("404 page not found\n", false),
            ("", false),
        ] {
            assert_eq!(is_of_a_registry(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn reads_the_registrys_words() {
        let json = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#;
        check(404, json, ErrorKind::NotFound, "404 not found (MANIFEST_UNKNOWN: manifest unknown)");
        check(401, r#"{"errors":[{"code":"DENIED"}]}"#, ErrorKind::Denied, "401 unauthorized (DENIED)");
        check(429, "slow down\nplease", ErrorKind::RateLimited, "429 too many requests (slow down)");
        check(503, "<html>oh</html>", ErrorKind::Network, "503 service unavailable");
        check(418, "", ErrorKind::Unsupported, "418 unexpected answer");
        check(500, "\u{1b}[2J", ErrorKind::Network, "500 internal server error (\\u{1b}[2J)");
        let nginx = "<html><center>No required SSL certificate was sent</center></html>";
        let error = refusal("GET", "https://r.io/v2/a", 400, nginx.as_bytes(), None);
        assert_eq!(error.kind(), ErrorKind::Tls);
        check(500, r#"{"errors":[]}"#, ErrorKind::Network, "500 internal server error");
    }

    #[test]
    fn knows_how_an_expired_token_is_told() {
        for (body, expected) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate"}]}"#,
                true,
            ),
            (r#"{"errors":[{"code":"TOKEN_EXPIRED"}]}"#, true),
            (r#"{"errors":[{"code":"DENIED","message":"no"}]}"#, false),
            ("the certificate has expired", false),
            ("<html>token expired</html>", false),
            ("", false),
        ] {
            assert_eq!(says_expired(body.as_bytes()), expected, "{body}");
        }
    }
}
