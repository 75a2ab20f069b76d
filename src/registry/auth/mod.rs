//! From a challenge to an `Authorization` header: Basic, Bearer through a token endpoint, or a token that was given.
//! Decides whether a realm may have the credentials; sends nothing anywhere else.

use std::net::IpAddr;
use std::time::Instant;

mod challenge;
mod token;

pub(super) use self::challenge::{Challenge, parse as parse_challenges};
use self::token::TokenRequest;
#[cfg(fuzzing)]
pub(super) use self::token::parse as parse_token;
use super::http::{Http, Response, TOKEN_LIMIT};
use super::url::Url;
use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::credentials::{Credentials, Secret};

/// Registries whose token endpoint is known to stand on another host.
const REALMS: [(&str, &str); 2] = [("registry-1.docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// What is known about how to be let in to one repository.
#[derive(Clone)]
pub(super) struct Auth {
    credentials: Option<Credentials>,
    /// Token endpoints that the user trusts with them, as `HOST[:PORT]`.
    realms: Vec<String>,
    /// `repository:<path>:pull`, where a challenge names no scope; nothing where only the door is tried.
    scope: String,
    granted: Option<CachedAuth>,
}

/// What let us in last time, and at which origin: it is shown to no other.
#[derive(Clone)]
pub(super) struct CachedAuth {
    registry: Url,
    challenges: Vec<Challenge>,
    header: String,
    /// A token is not sent after this; what is no token from an endpoint has no end.
    expires: Option<Instant>,
}

impl Auth {
    pub(super) fn new(
        credentials: Option<Credentials>,
        realms: &[String],
        scope: String,
        granted: Option<CachedAuth>,
    ) -> Self {
        Self { credentials, realms: realms.to_vec(), scope, granted }
    }

    /// The header for a request to `url`, if that is where it was granted and it is not known to have expired.
    pub(super) fn header(&self, url: &Url) -> Option<&str> {
        self.header_at(url, Instant::now())
    }

    /// Where a token has expired that would have been sent, so that a new one is asked for before the request.
    pub(super) fn expired(&self) -> Option<Url> {
        let expired = self.granted.as_ref().filter(|granted| granted.is_over(Instant::now()));
        expired.map(|granted| granted.registry.clone())
    }

    pub(super) fn granted(&self) -> Option<&CachedAuth> {
        self.granted.as_ref()
    }

    /// Answers the challenges of a refusal by the registry itself; without any, those of the last time. `report`
    /// hears of the token request. What was refused already is not tried again: credential_store get locked.
    pub(super) fn answer(
        &mut self,
        http: &Http,
        registry: &Url,
        challenges: Vec<Challenge>,
        limits: &Limits,
        report: &dyn Fn(&Response),
    ) -> Result<()> {
        let last = self.granted.take().filter(|granted| granted.registry.same_origin(registry));
        let challenges = match (&last, challenges.is_empty()) {
            (Some(last), true) => last.challenges.clone(),
            _ => challenges,
        };
        let asked = Instant::now();
        let (header, expires) = match self.choose(registry, &challenges)? {
            AuthScheme::Header(header) => (header, None),
            AuthScheme::Request(question) => {
                let token = token::ask(http, &question, limits, report)?;
                (format!("Bearer {}", token.text), asked.checked_add(token.life))
            }
        };
        if expires.is_none() && last.is_some_and(|last| last.header == header) {
            return Err(denied(registry, "it refuses the credentials"));
        }
        if header.len() > TOKEN_LIMIT + "Bearer ".len() {
            return Err(Error::new(ErrorKind::Usage, "invalid credentials: they are too long for a header"));
        }
        self.granted = Some(CachedAuth { registry: registry.clone(), challenges, header, expires });
        Ok(())
    }

    /// A registry token as it is; else the first Bearer challenge whose realm may be asked; else Basic.
    fn choose<'a>(&'a self, registry: &Url, challenges: &'a [Challenge]) -> Result<AuthScheme<'a>> {
        let of = |scheme: &'static str| challenges.iter().filter(move |challenge| challenge.scheme == scheme);
        if let Some(Secret::RegistryToken(token)) = self.credentials.as_ref().map(Credentials::secret) {
            return Ok(AuthScheme::Header(format!("Bearer {token}")));
        }
        let mut refused = None;
        for bearer in of("bearer") {
            match self.question(registry, bearer) {
                Ok(question) => return Ok(AuthScheme::Request(question)),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match (refused, of("basic").next(), self.credentials.as_ref().map(Credentials::encoded)) {
            (_, Some(_), Some(Some(encoded))) => Ok(AuthScheme::Header(format!("Basic {encoded}"))),
            (Some(error), ..) => Err(error),
            (None, Some(_), None) => Err(denied(registry, "it asks for a user name and password")),
            (None, Some(_), Some(None)) => {
                Err(denied(registry, "it asks for a user name and password, and there is only a token"))
            }
            (None, None, _) => Err(denied(registry, "it refuses and says not how to be let in")),
        }
    }

    /// What to ask the challenge's token endpoint, if it may be asked.
    fn question<'a>(&'a self, registry: &Url, bearer: &'a Challenge) -> Result<TokenRequest<'a>> {
        let realm = bearer.parameter("realm").ok_or_else(|| denied(registry, "its challenge names no realm"))?;
        let realm = Url::parse(realm).map_err(|e| e.context(format!("token realm of {registry}")))?;
        self.check_realm(registry, &realm)?;
        let scope = bearer.parameter("scope").filter(|scope| !scope.is_empty()).unwrap_or(&self.scope);
        Ok(TokenRequest { realm, service: bearer.parameter("service"), scope, credentials: self.credentials.as_ref() })
    }

    fn header_at(&self, url: &Url, now: Instant) -> Option<&str> {
        let granted =
            self.granted.as_ref().filter(|granted| granted.registry.same_origin(url) && !granted.is_over(now));
        granted.map(|granted| granted.header.as_str())
    }

    /// A realm of the attacker's choice is how credentials leave (CVE-2026-48978, ggcr#2193), and how a client is
    /// made to knock at the inside of its network.
    fn check_realm(&self, registry: &Url, realm: &Url) -> Result<()> {
        if registry.is_https() && !realm.is_https() {
            return Err(denied(registry, "it asks for its token over plain HTTP"));
        }
        if self.realms.iter().any(|listed| realm.is_at(listed)) {
            return Ok(());
        }
        let same_host = registry.host() == realm.host();
        if !same_host && is_inside(realm.host()) && !is_inside(registry.host()) {
            return Err(denied(registry, "its token realm is an address inside a private network"));
        }
        let known = REALMS.contains(&(registry.host(), realm.host()));
        match self.credentials.is_some() && !known && !registry.same_origin(realm) {
            true => {
                let text = format!("it wants the credentials sent to {realm}, which is not its own");
                Err(denied(registry, &text).with_advice(Advice::TrustTokenRealm(realm.authority().to_string())))
            }
            false => Ok(()),
        }
    }
}

impl CachedAuth {
    fn is_over(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// How a challenge is answered.
enum AuthScheme<'a> {
    Header(String),
    Request(TokenRequest<'a>),
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
    Error::new(ErrorKind::Denied, format!("GET {registry}: not authorised: {why}")).with_advice(Advice::GiveCredentials)
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
    fn credentials_go_only_to_realms_that_may_have_them() {
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
    fn a_realm_that_the_user_lists_may_have_them_and_no_other() {
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
    fn a_way_is_chosen_among_challenges() {
        let check = |credentials: Option<Result<Credentials>>, header: &str, expected: &str| {
            let auth = auth(credentials.and_then(Result::ok));
            let challenges = challenge::parse([header]);
            let way = match auth.choose(&url("https://r.io/v2/"), &challenges) {
                Ok(AuthScheme::Header(header)) => header,
                Ok(AuthScheme::Request(question)) => format!("ask {} for {}", question.realm, question.scope),
                Err(error) => format!("{:?}", error.kind()),
            };
            assert_eq!(way, expected, "{header}");
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
    fn a_header_is_shown_where_it_was_granted_and_while_it_is_good() {
        let now = Instant::now();
        let minute = std::time::Duration::from_secs(60);
        let granted = |expires| CachedAuth {
            registry: url("https://r.io/v2/"),
            challenges: Vec::new(),
            header: "Bearer t".to_owned(),
            expires,
        };
        let check = |expires: Option<Instant>, at: &str, now: Instant, expected: bool| {
            let auth = Auth::new(None, &[], String::new(), Some(granted(expires)));
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
