//! Requests to a token endpoint (distribution's token specification, and its OAuth2 form for identity tokens). The
//! caller has checked that the endpoint may have the credentials.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::super::http::{Headers, HttpClient, Response, TOKEN_LIMIT};
use super::super::url::{Url, encode};
use super::super::{problem, redirect};
use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Limits, within};
use crate::oci::credentials::{Credentials, Secret, is_token};

/// Seconds that a token lives at least. The specification has this minimum and default, and Docker enforces it too.
const SHORTEST_LIFE: u64 = 60;
/// Upper bound in seconds, which prevents overflows. No device runs that long.
const LONGEST_LIFE: u64 = 10 * 365 * 86_400;

/// A request for a token.
pub(crate) struct TokenRequest<'a> {
    /// The token endpoint.
    pub(crate) realm: Url,
    pub(crate) service: Option<&'a str>,
    /// Scopes, separated by spaces.
    pub(crate) scope: &'a str,
    pub(crate) credentials: Option<&'a Credentials>,
}

/// A token and its lifetime.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) life: Duration,
}

#[derive(Deserialize)]
struct Fields {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<Value>,
}

impl TokenRequest<'_> {
    /// Sends the request: a GET, or a POST with an identity token. Calls `report` with each response.
    pub(crate) fn send(&self, http: &HttpClient, limits: &Limits, report: &dyn Fn(&Response)) -> Result<Token> {
        let response = self.send_and_follow(http, limits, report)?;
        let (status, method, url) = (response.status(), response.method(), response.url().to_string());
        let retry_after = response.retry_after();
        let body = response.read(limits.token)?;
        match status {
            200 => {
                let body = within(body, "bytes of token response", limits.token)?;
                parse(&body).map_err(|e| e.context(format!("{method} {url}")))
            }
            // Invalid credentials (`invalid_grant`) are a 400 (RFC 6749, section 5.2). A 404 must not count as a
            // missing image.
            400 | 404 => {
                let text = format!("{method} {url}: {status}: the token endpoint refuses the credentials");
                Err(self.with_advice(Error::new(ErrorKind::Denied, text)))
            }
            _ => {
                let error = problem::refusal(method, &url, status, &body.unwrap_or_default(), retry_after);
                Err(if error.kind() == ErrorKind::Denied { self.with_advice(error) } else { error })
            }
        }
    }

    /// Adds the way out of a refusal. To give credentials helps only if none were sent.
    fn with_advice(&self, error: Error) -> Error {
        let is_sent = self.credentials.is_some();
        error.with_advice(if is_sent { Advice::CheckCredentials } else { Advice::GiveCredentials })
    }

    /// Sends the request, and the same one again to where the endpoint redirects within its own origin, such as from
    /// `/token/` to `/token`. A redirect to another origin counts as a refusal, because it could lead anywhere.
    fn send_and_follow(&self, http: &HttpClient, limits: &Limits, report: &dyn Fn(&Response)) -> Result<Response> {
        let basic = self.credentials.and_then(Credentials::encoded).map(|encoded| format!("Basic {encoded}"));
        let form = match self.credentials.map(Credentials::secret) {
            Some(Secret::IdentityToken(token)) => Some(self.form(token)),
            _ => None,
        };
        let mut url = if form.is_some() { self.realm.clone() } else { self.url() };
        let mut redirects = 0;
        loop {
            let response = match &form {
                Some(form) => http.post_form(&url, form)?,
                None => http.get(&url, Headers { authorization: basic.as_deref(), ..Headers::default() })?,
            };
            report(&response);
            // A 303 asks for a GET, which has no form.
            if !redirect::is_redirect(&response) || (response.status() == 303 && form.is_some()) {
                return Ok(response);
            }
            let next = redirect::location(&response)?;
            if !next.same_origin(&self.realm) {
                return Ok(response);
            }
            redirects += 1;
            if redirects > limits.redirects {
                return Err(Limits::exceeded("redirects", limits.redirects).context(format!("token from {url}")));
            }
            // The connection can be used again only after the body has been read.
            let _ = response.read(limits.error_body);
            url = next;
        }
    }

    fn url(&self) -> Url {
        let mut url = self.realm.clone();
        if let Some(service) = self.service {
            url = url.with_query("service", service);
        }
        for scope in self.scope.split(' ').filter(|scope| !scope.is_empty()) {
            url = url.with_query("scope", scope);
        }
        match self.credentials {
            Some(credentials) => url.with_query("account", credentials.user()),
            None => url,
        }
    }

    /// Builds the form of a refresh (RFC 6749, section 6). It has no fields for Docker's `account` and `access_type`.
    fn form(&self, refresh_token: &str) -> String {
        let mut form = Vec::new();
        for (name, value) in [
            ("grant_type", "refresh_token"),
            ("service", self.service.unwrap_or_default()),
            ("client_id", "pullet"),
            ("scope", self.scope),
            ("refresh_token", refresh_token),
        ] {
            if !value.is_empty() {
                form.push(format!("{name}={}", encode(value)));
            }
        }
        form.join("&")
    }
}

/// Parses the response: `token`, or `access_token`, which is the only one that Azure sends. Errors never quote the
/// response, because any part of it may be the token.
pub(crate) fn parse(body: &[u8]) -> Result<Token> {
    let malformed = |why: &str| Error::new(ErrorKind::Network, format!("malformed token response: {why}"));
    let fields: Fields = serde_json::from_slice(body)
        .map_err(|e| malformed(&format!("invalid JSON at line {} column {}", e.line(), e.column())))?;
    let text = fields.token.filter(|token| !token.is_empty()).or(fields.access_token).unwrap_or_default();
    if text.is_empty() {
        return Err(malformed("it contains no token"));
    }
    if text.len() > TOKEN_LIMIT {
        return Err(malformed("the token is too long for a header"));
    }
    if !is_token(&text) {
        return Err(malformed("the token contains invalid characters"));
    }
    let seconds = fields.expires_in.and_then(|value| value.as_u64()).unwrap_or(SHORTEST_LIFE);
    let life = Duration::from_secs(seconds.clamp(SHORTEST_LIFE, LONGEST_LIFE));
    Ok(Token { text, life })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_either_field_and_only_valid_tokens() {
        let parse = |text: &str| parse(text.as_bytes()).ok().map(|token| token.text);
        assert_eq!(parse(r#"{"token":"a.b-c_d=="}"#).as_deref(), Some("a.b-c_d=="));
        assert_eq!(parse(r#"{"access_token":"b"}"#).as_deref(), Some("b"));
        assert_eq!(parse(r#"{"token":"","access_token":"b","expires_in":1e99}"#).as_deref(), Some("b"));
        for bad in [r#"{}"#, r#"{"token":"a\r\nX: y"}"#, r#"{"token":"a b"}"#, "<html>", r#"{"token":7}"#, ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse(&format!(r#"{{"token":"{}"}}"#, "a".repeat(TOKEN_LIMIT + 1))), None);
    }

    #[test]
    fn a_life_has_a_minimum_and_a_maximum() {
        for (expires_in, seconds) in [
            ("", 60),
            (r#","expires_in":300"#, 300),
            (r#","expires_in":0"#, 60),
            (r#","expires_in":-5"#, 60),
            (r#","expires_in":"300""#, 60),
            (r#","expires_in":1e99"#, 60),
            (r#","expires_in":18446744073709551615"#, LONGEST_LIFE),
        ] {
            let token = parse(format!(r#"{{"token":"a"{expires_in}}}"#).as_bytes()).ok();
            assert_eq!(token.map(|token| token.life.as_secs()), Some(seconds), "{expires_in}");
        }
    }

    #[test]
    fn errors_never_quote_the_response() {
        for body in [r#""s3cret""#, r#"{"token":{"s3cret":1}}"#, r#"{"token":"s3cret","token":"x"}"#, "s3cret"] {
            let error = parse(body.as_bytes()).map(|token| token.text).unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn an_identity_token_is_sent_in_a_form() {
        let credentials = Credentials::identity_token("u", "a+b/c=&x").ok();
        let realm = Url::parse("https://r.io/token").unwrap();
        let scope = "repository:a/b:pull repository:c:pull";
        let request = TokenRequest { realm, service: Some("r io"), scope, credentials: credentials.as_ref() };
        assert_eq!(
            request.form("a+b/c=&x"),
            "grant_type=refresh_token&service=r%20io&client_id=pullet\
             &scope=repository:a/b:pull%20repository:c:pull&refresh_token=a%2Bb/c%3D%26x"
        );
        assert_eq!(request.url().unredacted().matches("scope=").count(), 2);
    }
}
