//! One question to a token endpoint (distribution's token specification, and its OAuth2 form for identity tokens) and
//! its answer. Whether the endpoint may be asked was decided before.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::super::http::{Headers, Http, Response, TOKEN_LIMIT};
use super::super::problem;
use super::super::url::{Url, encode};
use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Limits, within};
use crate::oci::credentials::{Credentials, Secret, is_token};

/// How long a token lives that does not say so; the specification has no shorter lives either, and Docker takes none.
const SHORTEST_LIFE: u64 = 60;
/// A life that is longer than any device runs.
const LONGEST_LIFE: u64 = 10 * 365 * 86_400;

/// What is asked for, of whom and as whom.
pub(crate) struct TokenRequest<'a> {
    pub(crate) realm: Url,
    pub(crate) service: Option<&'a str>,
    /// Scopes with blanks between.
    pub(crate) scope: &'a str,
    pub(crate) credentials: Option<&'a Credentials>,
}

/// A token for a header, and for how long.
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

/// Asks for a token. A redirect is a refusal: it could lead anywhere.
pub(crate) fn ask(
    http: &Http,
    question: &TokenRequest<'_>,
    limits: &Limits,
    report: &dyn Fn(&Response),
) -> Result<Token> {
    let answer = match question.credentials.map(Credentials::secret) {
        Some(Secret::IdentityToken(token)) => http.post_form(&question.realm, &question.form(token))?,
        _ => {
            let authorization = question.credentials.and_then(Credentials::encoded).map(|text| format!("Basic {text}"));
            http.get(&question.url(), Headers { authorization: authorization.as_deref(), ..Headers::default() })?
        }
    };
    report(&answer);
    let (status, method, url) = (answer.status(), answer.method(), answer.url().to_string());
    let patience = answer.patience();
    let body = answer.read(limits.token)?;
    match status {
        200 => parse(&within(body, "bytes of token answer", limits.token)?)
            .map_err(|e| e.context(format!("{method} {url}"))),
        // `invalid_grant` is a 400 (RFC 6749, section 5.2); what an endpoint does not find is no image.
        400 | 404 => {
            let text = format!("{method} {url}: {status}: the token endpoint refuses the credentials");
            Err(Error::new(ErrorKind::Denied, text).with_advice(Advice::GiveCredentials))
        }
        _ => Err(problem::refusal(method, &url, status, &body.unwrap_or_default(), patience)),
    }
}

impl TokenRequest<'_> {
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

    /// The refresh of RFC 6749, section 6. The names of Docker's `account` and `access_type` have no place here.
    fn form(&self, refresh_token: &str) -> String {
        let service = self.service.unwrap_or_default();
        let fields = [
            ("grant_type", "refresh_token"),
            ("service", service),
            ("client_id", "pullet"),
            ("scope", self.scope),
            ("refresh_token", refresh_token),
        ];
        let given = fields.iter().filter(|(_, value)| !value.is_empty());
        given.map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
    }
}

/// `token` or `access_token` (Azure sends only the latter), of characters that a header may carry. The answer is never
/// quoted in an error: a token may stand anywhere in it.
pub(crate) fn parse(body: &[u8]) -> Result<Token> {
    let malformed = |why: &str| Error::new(ErrorKind::Network, format!("malformed token answer: {why}"));
    let fields: Fields = serde_json::from_slice(body)
        .map_err(|e| malformed(&format!("not the JSON of one, at line {} column {}", e.line(), e.column())))?;
    let text = fields.token.filter(|token| !token.is_empty()).or(fields.access_token).unwrap_or_default();
    let seconds = fields.expires_in.and_then(|value| value.as_u64()).unwrap_or(SHORTEST_LIFE);
    let life = Duration::from_secs(seconds.clamp(SHORTEST_LIFE, LONGEST_LIFE));
    match text.as_str() {
        "" => Err(malformed("there is no token in it")),
        long if long.len() > TOKEN_LIMIT => Err(malformed("the token is too long for a header")),
        clean if is_token(clean) => Ok(Token { text, life }),
        _ => Err(malformed("the token has characters that no token has")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_either_member_and_only_clean_tokens() {
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
    fn a_life_is_at_least_a_minute_and_never_an_overflow() {
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
    fn an_answer_is_never_quoted() {
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
        let question = TokenRequest { realm, service: Some("r io"), scope, credentials: credentials.as_ref() };
        assert_eq!(
            question.form("a+b/c=&x"),
            "grant_type=refresh_token&service=r%20io&client_id=pullet\
             &scope=repository:a/b:pull%20repository:c:pull&refresh_token=a%2Bb/c%3D%26x"
        );
        assert_eq!(question.url().whole().matches("scope=").count(), 2);
    }
}
