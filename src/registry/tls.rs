//! TLS for the HTTP client: a connector that wraps a connection to an https URL. The only file that names rustls.
//! Our own and not ureq's, because ureq's takes either its roots or the caller's and lets nobody choose the clock.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use crate::error::{Error, ErrorKind, Result};

/// Wraps connections in TLS where the URL asks for it. The roots are read at the first such connection.
pub(super) struct Tls {
    extra_roots: Vec<CertificateDer<'static>>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Tls {
    /// `ca_pem`: certificates that are trusted beside the built-in roots.
    pub(super) fn new(ca_pem: Option<&[u8]>) -> Result<Self> {
        let malformed = |why: &str| Error::new(ErrorKind::Usage, format!("read CA certificates: {why}"));
        let mut extra_roots = Vec::new();
        for certificate in ca_pem.into_iter().flat_map(CertificateDer::pem_slice_iter) {
            extra_roots.push(certificate.map_err(|e| malformed(&e.to_string()))?);
        }
        match ca_pem.is_some() && extra_roots.is_empty() {
            true => Err(malformed("there is no PEM certificate in it")),
            false => Ok(Self { extra_roots, config: OnceLock::new() }),
        }
    }

    fn config(&self) -> Result<Arc<ClientConfig>> {
        if let Some(config) = self.config.get() {
            return Ok(config.clone());
        }
        let mut roots = RootCertStore::empty();
        #[cfg(feature = "webpki-roots")]
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        for certificate in &self.extra_roots {
            roots.add(certificate.clone()).map_err(|e| tls_error(&e))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| tls_error(&e))?;
        let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        Ok(self.config.get_or_init(|| config).clone())
    }

    fn wrap(
        &self,
        transport: Box<dyn Transport>,
        details: &ConnectionDetails,
    ) -> std::result::Result<TlsTransport, ureq::Error> {
        let host = details.uri.host().unwrap_or_default();
        let name = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']'))
            .map_err(|_| other(Error::new(ErrorKind::Usage, format!("\"{host}\" is no valid TLS server name"))))?
            .to_owned();
        let mut connection =
            ClientConnection::new(self.config().map_err(other)?, name).map_err(|e| other(tls_error(&e)))?;
        let mut socket = TransportAdapter::new(transport, details.current_time.clone());
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket).map_err(from_io)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(TlsTransport { buffers, stream: StreamOwned { conn: connection, sock: socket } })
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

/// A connection under TLS.
pub(super) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> std::result::Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
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

impl std::fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsTransport")
    }
}

fn other(error: Error) -> ureq::Error {
    ureq::Error::Other(Box::new(error))
}

/// rustls hides its errors in `io::Error`; what is none of its own stays what it was.
fn from_io(error: std::io::Error) -> ureq::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => other(tls_error(tls)),
        None => ureq::Error::from(error),
    }
}

fn tls_error(error: &rustls::Error) -> Error {
    use rustls::CertificateError as Certificate;
    let ours = |hint: &str| Error::new(ErrorKind::Tls, format!("TLS: {error}")).with_hint(hint);
    match error {
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer) => {
            ours("give the registry's CA certificate with --ca-file")
        }
        rustls::Error::InvalidCertificate(
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. },
        ) => ours("look at this machine's clock"),
        rustls::Error::InvalidMessage(_) => Error::new(ErrorKind::Network, format!("what answers is not TLS: {error}")),
        _ => Error::new(ErrorKind::Tls, format!("TLS: {error}")),
    }
}
