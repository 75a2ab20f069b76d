//! Authentication: from a challenge to an `Authorization` header. Basic, Bearer with a token from a token endpoint, or
//! a token that the caller gave. Decides which token endpoints may have the credentials.

mod challenge;
mod token;

use std::net::IpAddr;
use std::time::Instant;

pub(super) use self::challenge::{Challenge, parse as parse_challenges};
use self::token::TokenRequest;
#[cfg(fuzzing)]
pub(super) use self::token::parse as parse_token;
use super::http::{HttpClient, Response, TOKEN_LIMIT};
use super::url::Url;
use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::credentials::{Credentials, Secret};

/// Registries whose token endpoint is known to be on another host.
const REALMS: [(&str, &str); 2] = [("registry-1.docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// Credentials and the last accepted authorization for one repository.
#[derive(Clone)]
pub(super) struct Auth {
    credentials: Option<Credentials>,
    /// Token endpoints that the user trusts with the credentials, as `HOST[:PORT]`.
    realms: Vec<String>,
    /// The scope if a challenge has none: `repository:<path>:pull`, or nothing to check credentials only.
    scope: String,
    cached: Option<CachedAuth>,
}

/// An accepted authorization. It is sent to one origin only.
#[derive(Clone)]
pub(super) struct CachedAuth {
    registry: Url,
    challenges: Vec<Challenge>,
    header: String,
    /// The end of a token's life. Basic credentials and tokens that the caller gave have none.
    expires: Option<Instant>,
}

/// The answer to a challenge.
enum AuthScheme<'a> {
    /// The value of `Authorization`.
    Header(String),
    /// A token must be requested first.
    Token(TokenRequest<'a>),
}

impl Auth {
    pub(super) fn new(
        credentials: Option<Credentials>,
        realms: &[String],
        scope: String,
        cached: Option<CachedAuth>,
    ) -> Self {
        Self { credentials, realms: realms.to_vec(), scope, cached }
    }

    /// Returns the `Authorization` header for a request to `url`, if it was accepted at that origin and has not
    /// expired.
    pub(super) fn header(&self, url: &Url) -> Option<&str> {
        self.header_at(url, Instant::now())
    }

    /// Returns the registry whose token has expired, so that the caller renews it before the next request.
    pub(super) fn expired(&self) -> Option<Url> {
        let cached = self.cached.as_ref()?;
        cached.has_expired(Instant::now()).then(|| cached.registry.clone())
    }

    pub(super) fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    pub(super) fn cached(&self) -> Option<&CachedAuth> {
        self.cached.as_ref()
    }

    /// Answers the challenges of the registry, or the previous ones if `challenges` is empty. Calls `report` with the
    /// response of the token endpoint.
    ///
    /// Fails if the registry has refused the same header before, because repeated failures can lock an account.
    pub(super) fn authenticate(
        &mut self,
        http: &HttpClient,
        registry: &Url,
        mut challenges: Vec<Challenge>,
        limits: &Limits,
        report: &dyn Fn(&Response),
    ) -> Result<()> {
        let last = self.cached.take().filter(|cached| cached.registry.same_origin(registry));
        if let (Some(last), true) = (&last, challenges.is_empty()) {
            challenges.clone_from(&last.challenges);
        }
        let start = Instant::now();
        let (header, expires) = match self.choose(registry, &challenges)? {
            AuthScheme::Header(header) => (header, None),
            AuthScheme::Token(request) => {
                let token = request.send(http, limits, report)?;
                (format!("Bearer {}", token.text), start.checked_add(token.life))
            }
        };
        if expires.is_none() && last.is_some_and(|last| last.header == header) {
            let error = denied(registry, "the registry refuses the credentials");
            return Err(if self.credentials.is_some() { error.with_advice(Advice::CheckCredentials) } else { error });
        }
        if header.len() > TOKEN_LIMIT + "Bearer ".len() {
            return Err(Error::new(ErrorKind::Usage, "invalid credentials: too long for a header"));
        }
        self.cached = Some(CachedAuth { registry: registry.clone(), challenges, header, expires });
        Ok(())
    }

    /// Chooses the scheme: the caller's registry token, or the first Bearer challenge whose realm is allowed, or Basic.
    fn choose<'a>(&'a self, registry: &Url, challenges: &'a [Challenge]) -> Result<AuthScheme<'a>> {
        if let Some(Secret::RegistryToken(token)) = self.credentials.as_ref().map(Credentials::secret) {
            return Ok(AuthScheme::Header(format!("Bearer {token}")));
        }
        let mut refused = None;
        for bearer in challenges.iter().filter(|challenge| challenge.scheme == "bearer") {
            match self.token_request(registry, bearer) {
                Ok(request) => return Ok(AuthScheme::Token(request)),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        let has_basic = challenges.iter().any(|challenge| challenge.scheme == "basic");
        let encoded = self.credentials.as_ref().and_then(Credentials::encoded);
        if let (true, Some(encoded)) = (has_basic, encoded) {
            return Ok(AuthScheme::Header(format!("Basic {encoded}")));
        }
        if let Some(error) = refused {
            return Err(error);
        }
        let why = match (has_basic, self.credentials.is_some()) {
            (true, false) => "the registry requires a user name and password",
            (true, true) => "the registry requires a user name and password, but only a token is configured",
            (false, _) => "the registry returned 401 without a usable WWW-Authenticate challenge",
        };
        Err(denied(registry, why))
    }

    /// Builds the request for a Bearer challenge. Fails if its token endpoint is not allowed.
    fn token_request<'a>(&'a self, registry: &Url, bearer: &'a Challenge) -> Result<TokenRequest<'a>> {
        let realm = bearer.parameter("realm").ok_or_else(|| denied(registry, "the challenge names no realm"))?;
        let realm = Url::parse(realm).map_err(|e| e.context(format!("token realm of {registry}")))?;
        self.check_realm(registry, &realm)?;
        let scope = bearer.parameter("scope").filter(|scope| !scope.is_empty()).unwrap_or(&self.scope);
        Ok(TokenRequest { realm, service: bearer.parameter("service"), scope, credentials: self.credentials.as_ref() })
    }

    fn header_at(&self, url: &Url, now: Instant) -> Option<&str> {
        let cached = self.cached.as_ref()?;
        if !cached.registry.same_origin(url) || cached.has_expired(now) {
            return None;
        }
        Some(&cached.header)
    }

    /// Checks that a token endpoint may be asked, with the credentials if there are any. A malicious registry could
    /// otherwise obtain credentials of another (CVE-2026-48978, ggcr#2193), or send requests into the client's network.
    fn check_realm(&self, registry: &Url, realm: &Url) -> Result<()> {
        if registry.is_https() && !realm.is_https() {
            return Err(denied(registry, "its token realm uses plain HTTP"));
        }
        if self.realms.iter().any(|listed| realm.is_at(listed)) {
            return Ok(());
        }
        let is_same_host = registry.host() == realm.host();
        if !is_same_host && is_private(realm.host()) && !is_private(registry.host()) {
            return Err(denied(registry, "its token realm is an address inside a private network"));
        }
        let is_known = REALMS.contains(&(registry.host(), realm.host()));
        if self.credentials.is_some() && !is_known && !registry.same_origin(realm) {
            let text = format!("the credentials would go to {realm}, which is not the registry");
            return Err(denied(registry, &text).with_advice(Advice::TrustTokenRealm(realm.authority())));
        }
        Ok(())
    }
}

impl CachedAuth {
    fn has_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Returns true for loopback, private and link-local addresses, and for `localhost`. Other names are not looked up.
fn is_private(host: &str) -> bool {
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
    Error::new(ErrorKind::Denied, format!("GET {registry}: not authorized: {why}")).with_advice(Advice::GiveCredentials)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_kinds() -> [Option<Credentials>; 3] {
        [None, Credentials::new("u", "p").ok(), Credentials::identity_token("u", "t").ok()]
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn auth(credentials: Option<Credentials>) -> Auth {
        Auth::new(credentials, &[], "repository:a:pull".to_owned(), None)
    }

    #[test]
    fn credentials_go_to_allowed_realms_only() {
        for (with_credentials, registry, realm, allowed) in [
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
            for credentials in all_kinds().into_iter().filter(|some| some.is_some() == with_credentials) {
                let checked = auth(credentials).check_realm(&url(registry), &url(realm));
                assert_eq!(checked.is_ok(), allowed, "{with_credentials} {registry} {realm}");
            }
        }
    }

    #[test]
    fn a_listed_realm_may_have_the_credentials() {
        let listed = ["gitlab.r.io".to_owned(), "10.0.0.1:8443".to_owned(), "a.io:443".to_owned()];
        for (registry, realm, allowed) in [
            ("https://r.io/", "https://gitlab.r.io/jwt/auth", true),
            ("https://r.io/", "https://GitLab.r.io:443/jwt/auth", true),
            ("https://r.io/", "https://10.0.0.1:8443/token", true),
            ("https://r.io/", "https://10.0.0.1/token", false),
            ("https://r.io/", "https://a.io/token", true),
            ("https://r.io/", "http://gitlab.r.io/jwt/auth", false),
            ("https://r.io/", "https://gitlab.r.io:8443/jwt/auth", false),
            ("https://r.io/", "https://gitlab.r.io.evil.io/jwt/auth", false),
            ("https://r.io/", "https://x.gitlab.r.io/jwt/auth", false),
        ] {
            let auth = Auth::new(Credentials::new("u", "p").ok(), &listed, String::new(), None);
            assert_eq!(auth.check_realm(&url(registry), &url(realm)).is_ok(), allowed, "{registry} {realm}");
        }
    }

    #[test]
    fn chooses_a_scheme_among_challenges() {
        let check = |credentials: Option<Result<Credentials>>, header: &str, expected: &str| {
            let auth = auth(credentials.and_then(Result::ok));
            let challenges = challenge::parse([header]);
            let chosen = match auth.choose(&url("https://r.io/v2/"), &challenges) {
                Ok(AuthScheme::Header(header)) => header,
                Ok(AuthScheme::Token(request)) => format!("ask {} for {}", request.realm, request.scope),
                Err(error) => format!("{:?}", error.kind()),
            };
            assert_eq!(chosen, expected, "{header}");
        };
        let password = || Some(Credentials::new("u", "p"));
        let identity = || Some(Credentials::identity_token("u", "t"));
        let (own, other) = (r#"Bearer realm="https://r.io/t""#, r#"Bearer realm="https://x.io/t""#);
        check(None, own, "ask https://r.io/t for repository:a:pull");
        check(password(), &format!(r#"Basic realm="r", {own}, scope="s""#), "ask https://r.io/t for s");
        check(password(), &format!("{other}, {own}"), "ask https://r.io/t for repository:a:pull");
        check(password(), &format!(r#"{other}, Basic realm="r""#), "Basic dTpw");
        check(password(), other, "Denied");
        check(identity(), other, "Denied");
        check(identity(), r#"Basic realm="r""#, "Denied");
        check(identity(), own, "ask https://r.io/t for repository:a:pull");
        check(Some(Credentials::registry_token("t.t")), other, "Bearer t.t");
        check(None, r#"Basic realm="r""#, "Denied");
        check(None, "", "Denied");
    }

    #[test]
    fn a_header_is_for_one_origin_until_it_expires() {
        let now = Instant::now();
        let minute = std::time::Duration::from_secs(60);
        let cached = |expires| CachedAuth {
            registry: url("https://r.io/v2/"),
            challenges: Vec::new(),
            header: "Bearer t".to_owned(),
            expires,
        };
        let check = |expires: Option<Instant>, at: &str, now: Instant, expected: bool| {
            let auth = Auth::new(None, &[], String::new(), Some(cached(expires)));
            assert_eq!(auth.header_at(&url(at), now).is_some(), expected, "{at}");
        };
        check(None, "https://r.io/v2/a", now, true);
        check(None, "https://r.io/v2/a", now + 1000 * minute, true);
        check(None, "http://r.io/v2/a", now, false);
        check(None, "https://r.io:444/v2/a", now, false);
        check(Some(now + minute), "https://r.io/v2/a", now, true);
        check(Some(now + minute), "https://r.io/v2/a", now + minute, false);
    }
}
