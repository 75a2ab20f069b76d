//! Wraps connections to https URLs in TLS. It replaces ureq's own connector, which uses either its roots or the
//! caller's, shows a client certificate to every server, and has no choice of clock.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use super::super::url::Url;
use super::config::Peer;
use super::error::tls_error;
use super::trust::{Trust, parse_certificates, parse_client_certificate};
use super::unverified::Unverified;
use super::verifier::{Roots, Verifier};
use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Result};

/// Servers whose sessions are kept for resumption: a registry, its token endpoint, its storage. rustls allocates room
/// for all of them in advance, by default for 256.
const SESSIONS: usize = 8;

/// The TLS settings for one registry and the servers that it redirects to.
#[derive(Clone)]
pub(crate) struct Tls(Arc<Inner>);

struct Inner {
    trust: Arc<Trust>,
    peer: Peer,
    state: Mutex<State>,
}

/// Certificates and configurations that were loaded so far.
#[derive(Default)]
struct State {
    site: Option<Site>,
    configs: Vec<(Variant, Arc<ClientConfig>)>,
}

/// The certificates that are configured for the registry.
#[derive(Clone)]
struct Site {
    authorities: Vec<CertificateDer<'static>>,
    client: Option<Arc<CertifiedKey>>,
}

/// The settings that may differ between the servers of one registry.
#[derive(Clone, Copy, PartialEq)]
struct Variant {
    shows_client_certificate: bool,
    is_verified: bool,
}

impl Tls {
    pub(crate) fn new(trust: Arc<Trust>, peer: Peer) -> Self {
        Self(Arc::new(Inner { trust, peer, state: Mutex::default() }))
    }

    /// Returns the configuration for one server. Servers with equal settings share it, and its sessions.
    fn config(&self, url: &Url) -> Result<Arc<ClientConfig>> {
        let Inner { trust, peer, state } = &*self.0;
        let state = &mut *state.lock().unwrap_or_else(PoisonError::into_inner);
        let site = match &state.site {
            Some(site) => site.clone(),
            None => state.site.insert(self.load_site()?).clone(),
        };
        let is_own_origin = peer.origin.same_origin(url);
        let is_insecure = is_own_origin && peer.is_insecure || trust.insecure.source(url)?.is_some();
        let variant =
            Variant { shows_client_certificate: is_own_origin && site.client.is_some(), is_verified: !is_insecure };
        if let Some((_, config)) = state.configs.iter().find(|(known, _)| *known == variant) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.build(variant, site)?);
        state.configs.push((variant, Arc::clone(&config)));
        Ok(config)
    }

    /// Reads the certificates that are configured for the registry. The caller's client certificate takes precedence.
    fn load_site(&self) -> Result<Site> {
        let Inner { trust, peer, .. } = &*self.0;
        let names: Vec<&str> = peer.names.iter().map(String::as_str).collect();
        let (found, notices) = trust.system.certificates(&names, &peer.files)?;
        for notice in notices {
            trust.notices.add(notice);
        }
        let unreadable = |file: &str, cause: &str| Error::new(ErrorKind::Tls, format!("read {file}: {cause}"));
        let mut site = Site { authorities: Vec::new(), client: None };
        if peer.is_named {
            site.client.clone_from(&trust.client);
        }
        for (file, pem) in &found.authorities {
            site.authorities.extend(parse_certificates(pem).map_err(|cause| unreadable(file, &cause))?);
        }
        if let (None, Some([(file, certificate), (_, key)])) = (&site.client, &found.client) {
            let client = parse_client_certificate(certificate, key).map_err(|cause| unreadable(file, &cause))?;
            site.client = Some(client);
        }
        Ok(site)
    }

    fn build(&self, variant: Variant, site: Site) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clock = Arc::clone(&self.0.trust.clock);
        let builder = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::clone(&clock) as _)
            .with_safe_default_protocol_versions()
            .map_err(|e| tls_error(&e))?;
        let verifier: Arc<dyn ServerCertVerifier> = if variant.is_verified {
            let algorithms = provider.signature_verification_algorithms;
            Arc::new(Verifier { roots: self.roots(site.authorities)?, algorithms, clock })
        } else {
            Arc::new(Unverified(provider))
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match site.client {
            Some(client) if variant.shows_client_certificate => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(client)))
            }
            _ => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(config)
    }

    /// Returns the roots for this registry. They also apply to the servers that it redirects to, as in Docker, because
    /// those often have certificates of the same authority.
    fn roots(&self, authorities: Vec<CertificateDer<'static>>) -> Result<Arc<Roots>> {
        let mut roots = self.0.trust.roots();
        for authority in authorities {
            Arc::make_mut(&mut roots).add(authority).map_err(|e| tls_error(&e))?;
        }
        Ok(roots)
    }

    /// Runs the TLS handshake.
    fn wrap(
        &self,
        transport: Box<dyn Transport>,
        details: &ConnectionDetails,
    ) -> std::result::Result<TlsTransport, ureq::Error> {
        let host = details.uri.host().unwrap_or_default();
        let name = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']'))
            .map_err(|_| other(Error::new(ErrorKind::Usage, format!("\"{host}\" is not a valid TLS server name"))))?
            .to_owned();
        let url = Url::parse(&details.uri.to_string()).map_err(other)?;
        let config = self.config(&url).map_err(other)?;
        let mut connection = ClientConnection::new(config, name).map_err(|e| other(tls_error(&e)))?;
        let mut socket = TransportAdapter::new(transport, details.current_time.clone());
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket).map_err(|e| self.handshake_error(e, &url))?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(TlsTransport { buffers, stream: StreamOwned { conn: connection, sock: socket } })
    }
}

impl Tls {
    /// Converts the error of a handshake. A registry that does not use TLS can be listed as insecure; the servers to
    /// which it leads cannot, because a URL says whether they use TLS.
    fn handshake_error(&self, error: io::Error, url: &Url) -> ureq::Error {
        let Some(rustls::Error::InvalidMessage(_)) = rustls_error(&error) else { return from_io(error) };
        let error = Error::new(ErrorKind::Tls, "the server does not use TLS; it may use plain HTTP");
        if self.0.peer.origin.same_origin(url) {
            other(error.with_advice(Advice::ListAsInsecure(url.authority())))
        } else {
            other(error)
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl<In: Transport> Connector<In> for Tls {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> std::result::Result<Option<Self::Out>, ureq::Error> {
        match chained {
            Some(transport) if details.needs_tls() && !transport.is_tls() => {
                self.wrap(Box::new(transport), details).map(|transport| Some(Either::B(transport)))
            }
            other => Ok(other.map(Either::A)),
        }
    }
}

/// A TLS connection.
pub(crate) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> std::result::Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let output = self.buffers.output().get(..amount);
        let output = output.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.stream.write_all(output).map_err(from_io)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> std::result::Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf()).map_err(from_io)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

fn other(error: Error) -> ureq::Error {
    ureq::Error::Other(Box::new(error))
}

/// Unwraps rustls's errors from `io::Error`. Other errors are passed on.
fn from_io(error: io::Error) -> ureq::Error {
    match rustls_error(&error) {
        Some(tls) => other(tls_error(tls)),
        None => ureq::Error::from(error),
    }
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
