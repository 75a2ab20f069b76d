//! The connections of one client: an HTTP client for each registry, shared certificates and authorizations, and the
//! endpoints of each name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::auth::CachedAuth;
use super::endpoint::{Endpoint, Mirror};
use super::http::{HttpClient, HttpConfig, PaceLimits};
use super::system::{Moment, Notice, Notices, System};
use super::tls::{InsecureRegistries, Peer, Tls, TlsConfig, Trust};
use super::url::Url;
use crate::advice::Advice;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::authority::Authority;
use crate::oci::reference::Reference;
use crate::oci::route::{Base, Place};

/// The settings for connections.
#[derive(Clone)]
pub(crate) struct ConnectionConfig {
    /// Token endpoints that the caller listed, as `HOST[:PORT]`.
    pub(crate) realms: Vec<String>,
    /// Mirrors that the caller listed, as `[HOST=]URL`.
    pub(crate) mirrors: Vec<String>,
    /// True if a registry itself is never contacted, only its mirrors.
    pub(crate) mirrors_only: bool,
    pub(crate) tls: TlsConfig,
    pub(crate) limits: Limits,
    pub(crate) pace: PaceLimits,
    pub(crate) cancel: Cancel,
    pub(crate) system: Arc<dyn System>,
}

/// The connections of one client.
pub(crate) struct Connections {
    pub(super) config: ConnectionConfig,
    pub(super) trust: Arc<Trust>,
    pub(super) insecure: Arc<InsecureRegistries>,
    mirrors: Vec<Mirror>,
    pub(super) notices: Arc<Notices>,
    clients: Mutex<Vec<(Peer, Arc<HttpClient>)>>,
    /// Accepted authorizations by [`Endpoint::cache_key`]. Later sessions start with them. Never written to disk.
    auth_cache: Arc<Mutex<HashMap<String, CachedAuth>>>,
}

impl Connections {
    pub(crate) fn new(mut config: ConnectionConfig) -> Result<Self> {
        // A malformed entry would have no effect, and the user would not notice.
        for (what, listed) in [("insecure registry", &config.tls.insecure), ("token realm", &config.realms)] {
            if let Some(malformed) = listed.iter().find(|authority| authority.parse::<Authority>().is_err()) {
                let text = format!("malformed {what} \"{malformed}\"");
                return Err(Error::new(ErrorKind::Usage, text).with_hint("HOST[:PORT] is expected"));
            }
        }
        let mirrors = config.mirrors.iter().map(|text| Mirror::parse(text)).collect::<Result<_>>()?;
        let notices = Arc::new(Notices::default());
        let insecure = Arc::new(InsecureRegistries::new(&config.tls, Arc::clone(&config.system), Arc::clone(&notices)));
        let trust = Trust::new(&config.tls, Arc::clone(&insecure), Arc::clone(&config.system), Arc::clone(&notices))?;
        // Certificates are parsed by now. Drop the PEM text but remember whether any was given.
        config.tls.ca_pem.iter_mut().for_each(|pem| *pem = Vec::new());
        config.tls.client_pem.iter_mut().for_each(|pems| *pems = Default::default());
        let (trust, clients, auth_cache) = (Arc::new(trust), Mutex::default(), Arc::default());
        Ok(Self { config, trust, insecure, mirrors, notices, clients, auth_cache })
    }

    /// Returns separate connections to the same registries, which end when `cancel` is raised. Certificates and
    /// authorizations are shared.
    pub(crate) fn with_cancel(&self, cancel: &Cancel) -> Self {
        let known = self.clients();
        let clients = known.iter().map(|(peer, http)| (peer.clone(), Arc::new(http.with_cancel(cancel)))).collect();
        Self {
            config: ConnectionConfig { cancel: cancel.clone(), ..self.config.clone() },
            trust: Arc::clone(&self.trust),
            insecure: Arc::clone(&self.insecure),
            mirrors: self.mirrors.clone(),
            notices: Arc::clone(&self.notices),
            clients: Mutex::new(clients),
            auth_cache: Arc::clone(&self.auth_cache),
        }
    }

    /// Adds a moment that has certainly passed, in case the clock of this machine is behind it.
    pub(crate) fn add_time_floor(&self, moment: Moment) {
        self.trust.clock.add_floor(moment);
    }

    /// Returns true if certificates may be verified at a later time than that of this machine's clock.
    pub(crate) fn has_time_floor(&self) -> bool {
        self.config.tls.has_clock_floor
    }

    /// Returns true if the certificate of a server was accepted although this machine's clock does not allow it.
    pub(crate) fn is_time_raised(&self) -> bool {
        self.trust.clock.is_raised()
    }

    /// Returns the latest time at which a certificate was accepted, in seconds since 1970, if the time may be raised.
    pub(crate) fn verified_time(&self) -> Option<u64> {
        self.trust.clock.verified()
    }

    /// Clears the cached authorizations.
    pub(crate) fn forget_tokens(&self) {
        self.auth_cache().clear();
    }

    pub(super) fn auth_cache(&self) -> MutexGuard<'_, HashMap<String, CachedAuth>> {
        self.auth_cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self) -> MutexGuard<'_, Vec<(Peer, Arc<HttpClient>)>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the endpoints of a name in order: the caller's mirrors, the mirrors of the first file that mentions the
    /// name, the registry itself unless only mirrors may be used.
    pub(super) fn endpoints(&self, name: &Reference) -> Result<Vec<Endpoint>> {
        let route = self.config.system.route(name)?.unwrap_or_default();
        let listed = self.mirrors.iter().filter(|mirror| mirror.is_for(name)).map(|mirror| mirror.place.clone());
        let mut endpoints = Vec::new();
        for place in listed.chain(route.mirrors) {
            endpoints.push(self.endpoint(place, name, true)?);
        }
        if self.config.mirrors_only {
            // A mirror that is the registry itself is not one.
            endpoints.retain(|endpoint| !endpoint.is_named);
            if endpoints.is_empty() {
                let text = format!("no mirror of {} is configured, and only mirrors may be used", name.domain());
                return Err(Error::new(ErrorKind::Usage, text).with_advice(Advice::ConfigureMirror));
            }
        } else {
            endpoints.push(self.endpoint(route.origin.unwrap_or_else(registry_by_name), name, false)?);
        }
        for endpoint in endpoints.iter().filter(|endpoint| !endpoint.from.is_empty()) {
            let kind = if endpoint.is_mirror { "mirror" } else { "endpoint" };
            let what = format!("{kind} {} for {}", endpoint.display_url(), name.domain());
            self.notices.add(Notice::Configured { what, from: endpoint.from.clone() });
        }
        self.note_unused_settings(name, &endpoints);
        Ok(endpoints)
    }

    /// Returns the names under which the credentials of a name's endpoints are stored, with true for the registry that
    /// the name names.
    pub(crate) fn names(&self, name: &Reference) -> Result<Vec<(Reference, bool)>> {
        Ok(self.endpoints(name)?.into_iter().map(|endpoint| (endpoint.name, endpoint.is_named)).collect())
    }

    /// Returns the registry itself. A configuration that moves the registry to another host is ignored.
    pub(super) fn origin_endpoint(&self, name: &Reference) -> Result<Endpoint> {
        let origin = self.config.system.route(name)?.and_then(|route| route.origin);
        let moved = origin.clone().map(|origin| self.endpoint(origin, name, false)).transpose()?;
        let endpoint = match moved.filter(|endpoint| endpoint.name.domain() == name.domain()) {
            Some(endpoint) => endpoint,
            None => self.endpoint(registry_by_name(), name, false)?,
        };
        self.note_unused_settings(name, std::slice::from_ref(&endpoint));
        Ok(endpoint)
    }

    /// Adds a note for each insecure registry that the caller listed in vain.
    fn note_unused_settings(&self, name: &Reference, endpoints: &[Endpoint]) {
        let base_urls: Vec<Url> = endpoints.iter().flat_map(|endpoint| endpoint.base_urls.clone()).collect();
        self.insecure.note_unused(name, &base_urls);
    }

    fn endpoint(&self, place: Place, name: &Reference, is_mirror: bool) -> Result<Endpoint> {
        let has_tls_settings = place.is_insecure || place.files != Default::default();
        Endpoint::new(place, name, is_mirror, &|host, is_insecure| self.base_urls(host, is_insecure, has_tls_settings))
    }

    /// Returns the HTTP client for a registry or mirror.
    pub(super) fn http(&self, peer: &Peer, is_mirror: bool) -> Arc<HttpClient> {
        let clients = &mut *self.clients();
        if let Some((_, http)) = clients.iter().find(|(known, _)| known == peer) {
            return Arc::clone(http);
        }
        let http = Arc::new(HttpClient::new(HttpConfig {
            tls: Tls::new(Arc::clone(&self.trust), peer.clone()),
            system: Arc::clone(&self.config.system),
            notices: Arc::clone(&self.notices),
            pace: self.config.pace.clone(),
            cancel: self.config.cancel.clone(),
            is_mirror,
        }));
        clients.push((peer.clone(), Arc::clone(&http)));
        http
    }

    /// Returns the base URLs of the registry at `host`, in the order in which they are tried. Plain HTTP is only for
    /// registries that are listed as insecure and, as in Docker, for loopback. Loopback is tried with plain HTTP first,
    /// unless there are settings for TLS.
    fn base_urls(&self, host: &str, is_insecure: bool, has_tls_settings: bool) -> Result<Vec<Url>> {
        let (secure, plain) = (Url::root(true, host)?, Url::root(false, host)?);
        let TlsConfig { ca_pem, client_pem, .. } = &self.config.tls;
        let prefers_tls =
            has_tls_settings || ca_pem.is_some() || client_pem.is_some() || self.insecure.source(&secure)?.is_some();
        let base_urls = if is_loopback(host) {
            if prefers_tls { vec![secure, plain] } else { vec![plain, secure] }
        } else if is_insecure || self.insecure.source(&plain)?.is_some() {
            vec![secure, plain]
        } else {
            vec![secure]
        };
        #[cfg(not(feature = "tls"))]
        let base_urls = super::tls::plain_only(base_urls)?;
        Ok(base_urls)
    }
}

/// Returns the place of a registry that nothing configures.
fn registry_by_name() -> Place {
    Place::new(Base::Named, "")
}

/// Returns true for `localhost`, 127.0.0.0/8 and ::1, which dockerd also treats as insecure by default.
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
    fn recognizes_loopback_hosts() {
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
