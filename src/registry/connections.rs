//! The connections of one client: for each registry a client of its own, and where the registry may be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::auth::Granted;
use super::http::Http;
use super::machine::{Findings, Machine};
#[cfg(not(feature = "tls"))]
use super::no_tls::{Tls, Trust};
use super::pace::PaceLimits;
#[cfg(feature = "tls")]
use super::tls::{Tls, Trust};
use super::tls_config::TlsConfig;
use super::url::Url;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// What this room needs to know.
#[derive(Clone)]
pub(crate) struct Config {
    /// Token endpoints that the user lists, as `HOST[:PORT]`.
    pub(crate) realms: Vec<String>,
    pub(crate) tls: TlsConfig,
    pub(crate) limits: Limits,
    pub(crate) pace: PaceLimits,
    pub(crate) cancel: Cancel,
    pub(crate) machine: Arc<dyn Machine>,
}

/// The connections of one client, for each registry its own.
pub(crate) struct Connections {
    pub(super) config: Config,
    trust: Arc<Trust>,
    pub(super) findings: Arc<Findings>,
    registries: Mutex<Vec<(String, Arc<Http>)>>,
    /// What let us in to a repository, by its name: the next session begins with it. Never written to disk.
    granted: Mutex<HashMap<String, Granted>>,
}

impl Connections {
    pub(crate) fn new(mut config: Config) -> Result<Self> {
        // One that is malformed would let nobody in and look as if it did.
        for (what, listed) in [("insecure registry", &config.tls.insecure), ("token realm", &config.realms)] {
            if let Some(malformed) = listed.iter().find(|authority| !is_authority(authority)) {
                let text = format!("malformed {what} \"{malformed}\"");
                return Err(Error::new(ErrorKind::Usage, text).with_hint("HOST[:PORT] is expected"));
            }
        }
        let findings = Arc::new(Findings::default());
        let trust = Trust::new(&config.tls, Arc::clone(&config.machine), Arc::clone(&findings))?;
        // What was made of them stays; that there were any is all that is asked from here on.
        config.tls.ca_pem.iter_mut().for_each(|pem| *pem = Vec::new());
        config.tls.client_pem.iter_mut().for_each(|pems| *pems = Default::default());
        let (trust, registries, granted) = (Arc::new(trust), Mutex::default(), Mutex::default());
        Ok(Self { config, trust, findings, registries, granted })
    }

    /// Forgets what tokens were granted.
    pub(crate) fn forget(&self) {
        self.granted().clear();
    }

    pub(super) fn granted(&self) -> MutexGuard<'_, HashMap<String, Granted>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client for the registry at `host`, which `domain` is the name of.
    pub(super) fn http(&self, host: &str, domain: &str) -> Result<Arc<Http>> {
        let registries = &mut *self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, http)) = registries.iter().find(|(known, _)| known == host) {
            return Ok(Arc::clone(http));
        }
        let mut names = vec![host.to_owned(), domain.to_owned()];
        names.dedup();
        let tls = Tls::new(Arc::clone(&self.trust), Url::root(true, host)?, names);
        let http = Arc::new(Http::new(
            tls,
            Arc::clone(&self.config.machine),
            Arc::clone(&self.findings),
            self.config.pace.clone(),
            self.config.cancel.clone(),
        ));
        registries.push((host.to_owned(), Arc::clone(&http)));
        Ok(http)
    }

    /// Where the registry at `host` may be, in the order in which it is asked. Only what is listed as insecure, and
    /// loopback as with Docker, may speak plain HTTP. The latter is asked so first, unless something was said of TLS.
    pub(super) fn roots(&self, host: &str) -> Result<Vec<Url>> {
        let (secure, plain) = (Url::root(true, host)?, Url::root(false, host)?);
        let TlsConfig { ca_pem, client_pem, insecure } = &self.config.tls;
        let is_listed = |url: &Url| insecure.iter().any(|authority| url.is_at(authority));
        let is_tls_told = ca_pem.is_some() || client_pem.is_some() || is_listed(&secure);
        let roots = match (is_loopback(host), is_listed(&plain)) {
            (true, _) if !is_tls_told => vec![plain, secure],
            (true, _) | (_, true) => vec![secure, plain],
            (false, false) => vec![secure],
        };
        #[cfg(not(feature = "tls"))]
        let roots = super::no_tls::plain(roots)?;
        Ok(roots)
    }
}

/// `HOST[:PORT]` and nothing else.
fn is_authority(text: &str) -> bool {
    !text.contains(['/', '?', '#', '@']) && Url::root(true, text).is_ok()
}

/// `localhost`, 127.0.0.0/8 and ::1, as dockerd takes them for insecure by default.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_loopback_apart() {
        for (authority, expected) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("10.0.0.1:5000", false),
            ("localhost.evil.io", false),
            ("127.0.0.1.evil.io", false),
            ("[2001:db8::1]", false),
        ] {
            assert_eq!(is_loopback(authority), expected, "{authority}");
        }
    }
}
