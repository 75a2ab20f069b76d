//! Converts the status and body of a refusal to an error. Uses the distribution-spec's JSON if the body has it, and
//! otherwise the first line of the text. The body is untrusted, so only the status and known codes decide the kind.

use std::time::Duration;

use serde_json::Value;

use crate::advice::Advice;
use crate::error::{Error, ErrorKind};

/// Returns the error for a refused request. `retry_after` is the wait that the server requests.
pub(super) fn refusal(method: &str, url: &str, status: u16, body: &[u8], retry_after: Option<Duration>) -> Error {
    if status == 400 && is_client_certificate_missing(body) {
        let text = format!("{method} {url}: the server requires a client certificate, or another one");
        return Error::new(ErrorKind::Tls, text).with_advice(Advice::GiveClientCertificate);
    }
    let (code, message) = message(body);
    let details = match (code.is_empty(), message.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!(" ({message})"),
        (false, true) => format!(" ({code})"),
        (false, false) => format!(" ({code}: {message})"),
    };
    let kind = kind(status, &code);
    let text = format!("{method} {url}: {status} {}{details}", phrase(status));
    let error = Error::new(kind, text).with_retry_after(retry_after).refused();
    match (kind, retry_after) {
        (ErrorKind::RateLimited, Some(wait)) => {
            error.with_hint(format!("try again after {} s, as the registry requests", wait.as_secs()))
        }
        (ErrorKind::RateLimited, None) => error.with_advice(Advice::AuthenticateForHigherLimit),
        (ErrorKind::Denied, _) => error.with_advice(Advice::GiveCredentials),
        _ => error,
    }
}

/// Returns true if the body is the distribution-spec's JSON for errors, which only a registry sends.
pub(super) fn is_registry_error(body: &[u8]) -> bool {
    first_problem(body).is_some()
}

/// Returns the error for a server that does not have the v2 API.
pub(super) fn not_a_registry(url: &str) -> Error {
    let text = format!("GET {url}: 404 not found, also for /v2/: the server is not a v2 registry");
    let hint =
        "check the host and port; registries of the v1 protocol, which Docker removed in 2019, are not supported";
    Error::new(ErrorKind::Unsupported, text).with_hint(hint)
}

/// Returns true if the body says that a token has expired. The registries of AWS return that with status 400 instead of
/// 401 (aws/containers-roadmap#2835).
pub(super) fn is_expired_token(body: &[u8]) -> bool {
    let (code, message) = message(body);
    let text = format!("{code} {message}").to_ascii_lowercase();
    text.contains("expired") && text.contains("token")
}

/// Returns true for nginx's page about client certificates. nginx completes the handshake and then returns 400, while
/// other servers end the handshake.
fn is_client_certificate_missing(body: &[u8]) -> bool {
    let contains = |text: &[u8]| body.windows(text.len()).any(|part| part == text);
    contains(b"No required SSL certificate") || contains(b"SSL certificate error")
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

/// Returns code and message of the first error, or the first line of a plain text.
fn message(body: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(body);
    if let Some(first) = first_problem(text.as_bytes()) {
        let member = |name| clip(first.get(name).and_then(Value::as_str).unwrap_or_default());
        return (member("code"), member("message"));
    }
    if text.trim_start().starts_with(['<', '{']) {
        return (String::new(), String::new());
    }
    (String::new(), clip(text.trim().lines().next().unwrap_or_default()))
}

/// The first entry of the distribution-spec's JSON for errors.
fn first_problem(body: &[u8]) -> Option<Value> {
    let document: Value = serde_json::from_slice(body).ok()?;
    document.get("errors")?.as_array()?.first().filter(|problem| problem.is_object()).cloned()
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
        _ => "unexpected response",
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
    fn recognizes_the_errors_of_a_registry() {
        for (body, expected) in [
            (r#"{"errors":[{"code":"NAME_UNKNOWN","message":"","detail":[]}]}"#, true),
            (r#"{"errors":[{}]}"#, true),
            (r#"{"errors":[]}"#, false),
            (r#"{"error":"not found"}"#, false),
            ("404 page not found\n", false),
            ("", false),
        ] {
            assert_eq!(is_registry_error(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn reads_code_and_message_of_a_refusal() {
        let json = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#;
        check(404, json, ErrorKind::NotFound, "404 not found (MANIFEST_UNKNOWN: manifest unknown)");
        check(401, r#"{"errors":[{"code":"DENIED"}]}"#, ErrorKind::Denied, "401 unauthorized (DENIED)");
        check(429, "slow down\nplease", ErrorKind::RateLimited, "429 too many requests (slow down)");
        check(503, "<html>oh</html>", ErrorKind::Network, "503 service unavailable");
        check(418, "", ErrorKind::Unsupported, "418 unexpected response");
        check(500, "\u{1b}[2J", ErrorKind::Network, "500 internal server error (\\u{1b}[2J)");
        let nginx = "<html><center>No required SSL certificate was sent</center></html>";
        let error = refusal("GET", "https://r.io/v2/a", 400, nginx.as_bytes(), None);
        assert_eq!(error.kind(), ErrorKind::Tls);
        check(500, r#"{"errors":[]}"#, ErrorKind::Network, "500 internal server error");
    }

    #[test]
    fn recognizes_an_expired_token() {
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
            assert_eq!(is_expired_token(body.as_bytes()), expected, "{body}");
        }
    }
}
