//! From a challenge to an `Authorization` header: Basic, and Bearer through a token endpoint. Decides whether a
//! realm may have the credentials; sends nothing anywhere else.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::challenge::Challenge;
use super::http::{Answer, Headers, Http, TOKEN_LIMIT};
use super::problem;
use super::url::Url;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Limits, within};

/// Registries whose token endpoint is known to stand on another host.
const REALMS: [(&str, &str); 2] = [("registry-1.docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// A user name and password for a registry. Shown to nobody: its `Debug` has no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// Fails with [`ErrorKind::Usage`] if the name is empty or has a colon, which Basic cannot carry (RFC 7617).
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Result<Self> {
        let (user, password) = (user.into(), password.into());
        match user.is_empty() || user.contains(':') {
            true => Err(Error::new(ErrorKind::Usage, "invalid credentials: the user name is empty or has a colon")),
            false => Ok(Self { user, password }),
        }
    }

    fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.user)
    }
}

/// What is known about how to be let in to one repository.
pub(super) struct Auth {
    credentials: Option<Credentials>,
    /// `repository:<path>:pull`, where a challenge names no scope.
    scope: String,
    header: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Auth {
    pub(super) fn new(credentials: Option<Credentials>, path: &str) -> Self {
        Self { credentials, scope: format!("repository:{path}:pull"), header: None }
    }

    /// The header that let us in last time, if any.
    pub(super) fn header(&self) -> Option<&str> {
        self.header.as_deref()
    }

    /// Answers the challenges of a 401 from the registry itself. `report` hears of the token request.
    pub(super) fn answer(
        &mut self,
        http: &Http,
        registry: &Url,
        challenges: &[Challenge],
        limits: &Limits,
        report: &dyn Fn(&Answer),
    ) -> Result<()> {
        let by_scheme = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let header = match (by_scheme("bearer"), by_scheme("basic"), &self.credentials) {
            (Some(bearer), _, _) => {
                let realm = self.realm(registry, bearer)?;
                format!("Bearer {}", self.token(http, &self.token_url(realm, bearer), limits, report)?)
            }
            (None, Some(_), Some(credentials)) => credentials.basic(),
            (None, Some(_), None) => return Err(denied(registry, "it asks for a user name and password")),
            (None, None, _) => return Err(denied(registry, "it refuses and says not how to be let in")),
        };
        self.header = Some(header);
        Ok(())
    }

    /// The challenge's token endpoint, if it may be asked.
    fn realm(&self, registry: &Url, bearer: &Challenge) -> Result<Url> {
        let realm = bearer.parameter("realm").ok_or_else(|| denied(registry, "its challenge names no realm"))?;
        let realm = Url::parse(realm).map_err(|e| e.context(format!("token realm of {registry}")))?;
        self.check_realm(registry, &realm).map(|()| realm)
    }

    /// Asks a token endpoint (distribution's token specification). A redirect is a refusal: it could lead anywhere.
    fn token(&self, http: &Http, url: &Url, limits: &Limits, report: &dyn Fn(&Answer)) -> Result<String> {
        let authorization = self.credentials.as_ref().map(Credentials::basic);
        let answer = http.get(url, Headers { authorization: authorization.as_deref(), ..Headers::default() })?;
        report(&answer);
        let status = answer.status();
        let patience = answer.patience();
        let body = answer.read(limits.token)?;
        let context = |e: Error| e.context(format!("GET {url}"));
        match status {
            200 => parse_token(&within(body, "bytes of token answer", limits.token)?).map_err(context),
            _ => Err(problem::refusal(&url.to_string(), status, &body.unwrap_or_default(), patience)),
        }
    }

    fn token_url(&self, realm: Url, bearer: &Challenge) -> Url {
        let mut url = realm;
        if let Some(service) = bearer.parameter("service") {
            url = url.with_query("service", service);
        }
        let scope = bearer.parameter("scope").filter(|scope| !scope.is_empty()).unwrap_or(&self.scope);
        for scope in scope.split(' ').filter(|scope| !scope.is_empty()) {
            url = url.with_query("scope", scope);
        }
        match &self.credentials {
            Some(credentials) => url.with_query("account", &credentials.user),
            None => url,
        }
    }

    /// A realm of the attacker's choice is how credentials leave (CVE-2026-48978, ggcr#2193), and how a client is
    /// made to knock at the inside of its network.
    fn check_realm(&self, registry: &Url, realm: &Url) -> Result<()> {
        if registry.is_https() && !realm.is_https() {
            return Err(denied(registry, "it asks for its token over plain HTTP"));
        }
        let same_host = registry.host() == realm.host();
        if !same_host && is_inside(realm.host()) && !is_inside(registry.host()) {
            return Err(denied(registry, "its token realm is an address inside a private network"));
        }
        let known = REALMS.contains(&(registry.host(), realm.host()));
        match self.credentials.is_some() && !known && !registry.same_origin(realm) {
            true => Err(denied(registry, &format!("it wants the credentials sent to {realm}, which is not its own"))),
            false => Ok(()),
        }
    }
}

/// `token` or `access_token` (Azure sends only the latter), of characters that a header may carry.
fn parse_token(body: &[u8]) -> Result<String> {
    let malformed = |why: &str| Error::new(ErrorKind::Network, format!("malformed token answer: {why}"));
    let answer: Token = serde_json::from_slice(body).map_err(|e| malformed(&e.to_string()))?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token).unwrap_or_default();
    let is_token68 = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    match token.as_bytes() {
        [] => Err(malformed("there is no token in it")),
        long if long.len() > TOKEN_LIMIT => Err(malformed("the token is too long for a header")),
        bytes if bytes.iter().all(|&b| is_token68(b)) => Ok(token),
        _ => Err(malformed("the token has characters that no token has")),
    }
}

/// An address literal, or a name, that is loopback, private or link-local.
fn is_inside(host: &str) -> bool {
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified(),
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
                || ip.to_ipv4_mapped().is_some()
        }
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

fn denied(registry: &Url, why: &str) -> Error {
    Error::new(ErrorKind::Denied, format!("GET {registry}: not authorised: {why}")).with_hint(problem::DENIED_HINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm_is_allowed(credentials: bool, registry: &str, realm: &str) -> bool {
        let credentials = credentials.then(|| Credentials { user: "u".into(), password: "p".into() });
        match (Url::parse(registry), Url::parse(realm)) {
            (Ok(registry), Ok(realm)) => Auth::new(credentials, "a").check_realm(&registry, &realm).is_ok(),
            _ => panic!("{registry} {realm}"),
        }
    }

    #[test]
    fn credentials_go_only_to_realms_that_may_have_them() {
        for (credentials, registry, realm, allowed) in [
            (true, "https://r.io/", "https://r.io/token", true),
            (true, "https://r.io/", "https://r.io:8443/token", false),
            (true, "https://r.io/", "https://auth.r.io/token", false),
            (true, "https://registry-1.docker.io/", "https://auth.docker.io/token", true),
            (true, "https://registry-1.docker.io/", "https://auth.docker.io.evil.io/token", false),
            (true, "https://evil.io/", "https://auth.docker.io/token", false),
            (false, "https://r.io/", "https://auth.other.io/token", true),
            (false, "https://r.io/", "http://r.io/token", false),
            (false, "https://r.io/", "https://169.254.169.254/latest", false),
            (false, "https://r.io/", "https://[::ffff:10.0.0.1]/", false),
            (false, "https://10.0.0.1/", "https://10.0.0.2/token", true),
            (false, "http://127.0.0.1:5000/", "http://127.0.0.1:5001/token", true),
            (true, "http://127.0.0.1:5000/", "http://127.0.0.1:5001/token", false),
        ] {
            assert_eq!(realm_is_allowed(credentials, registry, realm), allowed, "{credentials} {registry} {realm}");
        }
    }

    #[test]
    fn takes_either_member_and_only_clean_tokens() {
        let parse = |text: &str| parse_token(text.as_bytes()).ok();
        assert_eq!(parse(r#"{"token":"a.b-c_d=="}"#).as_deref(), Some("a.b-c_d=="));
        assert_eq!(parse(r#"{"access_token":"b"}"#).as_deref(), Some("b"));
        assert_eq!(parse(r#"{"token":"","access_token":"b","expires_in":1e99}"#).as_deref(), Some("b"));
        for bad in [r#"{}"#, r#"{"token":"a\r\nX: y"}"#, r#"{"token":"a b"}"#, "<html>", r#"{"token":7}"#, ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse(&format!(r#"{{"token":"{}"}}"#, "a".repeat(TOKEN_LIMIT + 1))), None);
    }
}
