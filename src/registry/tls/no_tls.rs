//! Stands in for `tls` where pullet is built without it: for a registry on a link that is trusted. What needs TLS is
//! refused, before anything is asked where that can be told, and never spoken to in plain HTTP instead.

use std::sync::Arc;

use ureq::unversioned::transport::{ConnectionDetails, Connector, Transport};

use super::super::system::{Notices, System};
use super::super::url::Url;
use super::config::{Insecure, Peer, TlsConfig};
use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Result};

/// What all registries of one client have in common: nothing.
pub(crate) struct Trust;

/// Lets connections through that are not to be wrapped.
#[derive(Clone, Debug)]
pub(crate) struct Tls;

impl Trust {
    pub(crate) fn new(config: &TlsConfig, _: Arc<Insecure>, _: Arc<dyn System>, _: Arc<Notices>) -> Result<Self> {
        match config.ca_pem.is_some() || config.client_pem.is_some() {
            true => Err(absent("a certificate is of no use")),
            false => Ok(Self),
        }
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
        match details.needs_tls() {
            true => Err(ureq::Error::Other(Box::new(absent("no connection")))),
            false => Ok(chained),
        }
    }
}

/// Where a registry may be without TLS.
pub(crate) fn plain(mut roots: Vec<Url>) -> Result<Vec<Url>> {
    let refusal = roots.first().map(|root| absent(&root.to_string()));
    roots.retain(|root| !root.is_https());
    match refusal {
        Some(refusal) if roots.is_empty() => Err(refusal),
        _ => Ok(roots),
    }
}

fn absent(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what}: this pullet is built without TLS"))
        .with_advice(Advice::AllowPlainHttp)
}
