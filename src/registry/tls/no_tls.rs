//! Replaces TLS in a build without the feature `tls`. Connections that need TLS are refused, before the first request
//! if possible, and never fall back to plain HTTP.

use std::sync::Arc;

use ureq::unversioned::transport::{ConnectionDetails, Connector, Transport};

use super::super::system::{Moment, Notices, System};
use super::super::url::Url;
use super::config::{InsecureRegistries, Peer, TlsConfig};
use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Result};

/// Certificates, of which there are none.
pub(crate) struct Trust {
    pub(crate) clock: Clock,
}

/// The time at which certificates are verified, which is never needed.
pub(crate) struct Clock;

/// Passes plain connections on.
#[derive(Clone, Debug)]
pub(crate) struct Tls;

impl Trust {
    /// Fails if the caller gave a certificate.
    pub(crate) fn new(
        config: &TlsConfig,
        _: Arc<InsecureRegistries>,
        _: Arc<dyn System>,
        _: Arc<Notices>,
    ) -> Result<Self> {
        if config.ca_pem.is_some() || config.client_pem.is_some() {
            return Err(no_tls("use certificates"));
        }
        if config.has_clock_floor {
            return Err(no_tls("verify certificates at a later time"));
        }
        Ok(Self { clock: Clock })
    }
}

impl Clock {
    pub(crate) fn add_floor(&self, _: Moment) {}

    pub(crate) fn is_raised(&self) -> bool {
        false
    }

    pub(crate) fn verified(&self) -> Option<u64> {
        None
    }
}

impl Tls {
    pub(crate) fn new(_: Arc<Trust>, _: Peer) -> Self {
        Self
    }
}

impl<In: Transport> Connector<In> for Tls {
    type Out = In;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> std::result::Result<Option<Self::Out>, ureq::Error> {
        if details.needs_tls() {
            return Err(ureq::Error::Other(Box::new(no_tls("connect"))));
        }
        Ok(chained)
    }
}

/// Removes https URLs from a registry's base URLs. Fails if none is left.
pub(crate) fn plain_only(mut base_urls: Vec<Url>) -> Result<Vec<Url>> {
    let refusal = base_urls.first().map(|url| no_tls(&url.to_string()));
    base_urls.retain(|url| !url.is_https());
    match refusal {
        Some(refusal) if base_urls.is_empty() => Err(refusal),
        _ => Ok(base_urls),
    }
}

fn no_tls(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what}: this pullet was built without TLS"))
        .with_advice(Advice::AllowPlainHttp)
}
