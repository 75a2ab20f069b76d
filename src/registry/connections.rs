//! The connections of one client: for each registry a client of its own, and where the registry may be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::auth::CachedAuth;
use super::endpoint::{Endpoint, Mirror};
use super::http::{Http, PaceLimits};
use super::system::{Notice, Notices, System};
use super::tls::{Insecure, Peer, Tls, TlsConfig, Trust};
use super::url::Url;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::authority::Authority;
use crate::oci::reference::Reference;
use crate::oci::route::{Base, Place};

/// What this room needs to know.
#[derive(Clone)]
pub(crate) struct ConnectionConfig {
    /// Token endpoints that the user lists, as `HOST[:PORT]`.
    pub(crate) realms: Vec<String>,
    /// Mirrors that the user lists, as `[HOST=]URL`.
    pub(crate) mirrors: Vec<String>,
    pub(crate) tls: TlsConfig,
    pub(crate) limits: Limits,
    pub(crate) pace: PaceLimits,
    pub(crate) cancel: Cancel,
    pub(crate) machine: Arc<dyn System>,
}

/// The connections of one client, for each registry its own.
pub(crate) struct Connections {
    pub(super) config: ConnectionConfig,
    pub(super) trust: Arc<Trust>,
    pub(super) insecure: Arc<Insecure>,
    mirrors: Vec<Mirror>,
    pub(super) notices: Arc<Notices>,
    registries: Mutex<Vec<(Peer, Arc<Http>)>>,
    /// What let us in to a repository, by its name: the next session begins with it. Never written to disk.
    granted: Arc<Mutex<HashMap<String, CachedAuth>>>,
}

impl Connections {
    pub(crate) fn new(mut config: ConnectionConfig) -> Result<Self> {
        // One that is malformed would let nobody in and look as if it did.
        for (what, listed) in [("insecure registry", &config.tls.insecure), ("token realm", &config.realms)] {
            if let Some(malformed) = listed.iter().find(|authority| authority.parse::<Authority>().is_err()) {
                let text = format!("malformed {what} \"{malformed}\"");
                return Err(Error::new(ErrorKind::Usage, text).with_hint("HOST[:PORT] is expected"));
            }
        }
        let mirrors = config.mirrors.iter().map(|text| Mirror::parse(text)).collect::<Result<_>>()?;
        let notices = Arc::new(Notices::default());
        let insecure = Arc::new(Insecure::new(&config.tls, Arc::clone(&config.machine), Arc::clone(&notices)));
        let trust = Trust::new(&config.tls, Arc::clone(&insecure), Arc::clone(&config.machine), Arc::clone(&notices))?;
        // What was made of them stays; that there were any is all that is asked from here on.
        config.tls.ca_pem.iter_mut().for_each(|pem| *pem = Vec::new());
        config.tls.client_pem.iter_mut().for_each(|pems| *pems = Default::default());
        let (trust, registries, granted) = (Arc::new(trust), Mutex::default(), Arc::default());
        Ok(Self { config, trust, insecure, mirrors, notices, registries, granted })
    }

    /// Connections to the same registries that are nobody else's, and end with this flag. What is trusted, and what was
    /// granted, is shared.
    pub(crate) fn with_cancel(&self, cancel: &Cancel) -> Self {
        let known = self.registries();
        let registries = known.iter().map(|(peer, http)| (peer.clone(), Arc::new(http.with_cancel(cancel)))).collect();
        Self {
            config: ConnectionConfig { cancel: cancel.clone(), ..self.config.clone() },
            trust: Arc::clone(&self.trust),
            insecure: Arc::clone(&self.insecure),
            mirrors: self.mirrors.clone(),
            notices: Arc::clone(&self.notices),
            registries: Mutex::new(registries),
            granted: Arc::clone(&self.granted),
        }
    }

    /// Forgets what tokens were granted.
    pub(crate) fn forget(&self) {
        self.granted().clear();
    }

    pub(super) fn granted(&self) -> MutexGuard<'_, HashMap<String, CachedAuth>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn registries(&self) -> MutexGuard<'_, Vec<(Peer, Arc<Http>)>> {
        self.registries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a name is asked for, in order: the mirrors that the user lists, those of the first file that speaks of the
    /// name, the registry itself.
    pub(super) fn endpoints(&self, name: &Reference) -> Result<Vec<Endpoint>> {
        let route = self.config.machine.route(name)?.unwrap_or_default();
        let listed = self.mirrors.iter().filter(|mirror| mirror.is_for(name)).map(|mirror| mirror.place.clone());
        let mut endpoints = Vec::new();
        for place in listed.chain(route.mirrors) {
            endpoints.push(self.endpoint(place, name, true)?);
        }
        endpoints.push(self.endpoint(route.origin.unwrap_or_else(itself), name, false)?);
        for endpoint in endpoints.iter().filter(|endpoint| !endpoint.from.is_empty()) {
            let kind = if endpoint.is_mirror { "mirror" } else { "endpoint" };
            let what = format!("{kind} {} for {}", endpoint.shown(), name.domain());
            self.notices.add(Notice::Configured { what, from: endpoint.from.clone() });
        }
        Ok(endpoints)
    }

    /// The names by which the credentials of a name's endpoints are kept, and whether each is the registry that was named.
    pub(crate) fn names(&self, name: &Reference) -> Result<Vec<(Reference, bool)>> {
        Ok(self.endpoints(name)?.into_iter().map(|endpoint| (endpoint.name, endpoint.is_named)).collect())
    }

    /// The registry that was named, where it is asked under that name and not moved elsewhere.
    pub(super) fn registry_itself(&self, name: &Reference) -> Result<Endpoint> {
        let origin = self.config.machine.route(name)?.and_then(|route| route.origin);
        let moved = origin.clone().map(|origin| self.endpoint(origin, name, false)).transpose()?;
        match moved.filter(|endpoint| endpoint.name.domain() == name.domain()) {
            Some(endpoint) => Ok(endpoint),
            None => self.endpoint(itself(), name, false),
        }
    }

    fn endpoint(&self, place: Place, name: &Reference, is_mirror: bool) -> Result<Endpoint> {
        let is_told = place.is_insecure || place.files != Default::default();
        Endpoint::new(place, name, is_mirror, &|host, is_insecure| self.roots(host, is_insecure, is_told))
    }

    /// The client for a registry or mirror.
    pub(super) fn http(&self, peer: &Peer, is_mirror: bool) -> Arc<Http> {
        let registries = &mut *self.registries();
        if let Some((_, http)) = registries.iter().find(|(known, _)| known == peer) {
            return Arc::clone(http);
        }
        let http = Arc::new(Http::new(
            Tls::new(Arc::clone(&self.trust), peer.clone()),
            Arc::clone(&self.config.machine),
            Arc::clone(&self.notices),
            self.config.pace.clone(),
            self.config.cancel.clone(),
            is_mirror,
        ));
        registries.push((peer.clone(), Arc::clone(&http)));
        http
    }

    /// Where the registry at `host` may be, in the order in which it is asked. Only what is listed as insecure, and
    /// loopback as with Docker, may speak plain HTTP. The latter is asked so first, unless something was said of TLS.
    fn roots(&self, host: &str, is_insecure: bool, is_told: bool) -> Result<Vec<Url>> {
        let (secure, plain) = (Url::root(true, host)?, Url::root(false, host)?);
        let TlsConfig { ca_pem, client_pem, .. } = &self.config.tls;
        let is_tls_told = is_told || ca_pem.is_some() || client_pem.is_some() || self.insecure.says(&secure)?.is_some();
        let roots = match (is_loopback(host), is_insecure || self.insecure.says(&plain)?.is_some()) {
            (true, _) if !is_tls_told => vec![plain, secure],
            (true, _) | (_, true) => vec![secure, plain],
            (false, false) => vec![secure],
        };
        #[cfg(not(feature = "tls"))]
        let roots = super::tls::plain(roots)?;
        Ok(roots)
    }
}

/// A registry of which nothing more is said than its name.
fn itself() -> Place {
    Place::new(Base::Named, "")
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
