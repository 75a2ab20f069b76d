//! TLS for the HTTP client: a connector that wraps a connection to an https URL. The only file that names rustls.
//! Our own and not ureq's, because ureq's takes either its roots or the caller's, shows a client certificate to every
//! server, and lets nobody choose the clock. Nothing is read or parsed before the first connection that needs it, but
//! for what the user named: that is an error at once if it is none.

use std::fmt;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use super::super::system::{Notice, Notices, System};
use super::super::url::Url;
use super::config::{Insecure, Peer, TlsConfig};
use crate::advice::Advice;
use crate::date;
use crate::error::{Error, ErrorKind, Result};

/// Servers whose sessions are kept for resumption: a registry, its token endpoint, its storage. rustls makes room for
/// all of them ahead, and for 256 by default.
const SESSIONS: usize = 8;

/// What all registries of one client have in common.
pub(crate) struct Trust {
    machine: Arc<dyn System>,
    notices: Arc<Notices>,
    /// Of `--ca-file`.
    extra: RootCertStore,
    client: Option<Arc<CertifiedKey>>,
    insecure: Arc<Insecure>,
    roots: OnceLock<Arc<RootCertStore>>,
}

/// Wraps connections in TLS where the URL asks for it, for one registry and all to whom it leads.
#[derive(Clone)]
pub(crate) struct Tls(Arc<Inner>);

struct Inner {
    trust: Arc<Trust>,
    peer: Peer,
    state: Mutex<State>,
}

/// What was built so far.
#[derive(Default)]
struct State {
    site: Option<Site>,
    configs: Vec<(Kind, Arc<ClientConfig>)>,
}

/// What is configured for the registry itself.
#[derive(Clone)]
struct Site {
    authorities: Vec<CertificateDer<'static>>,
    client: Option<Arc<CertifiedKey>>,
}

/// In what the handling of one server differs from that of another.
#[derive(Clone, Copy, PartialEq)]
struct Kind {
    shows_client: bool,
    is_verified: bool,
}

impl Trust {
    pub(crate) fn new(
        config: &TlsConfig,
        insecure: Arc<Insecure>,
        machine: Arc<dyn System>,
        notices: Arc<Notices>,
    ) -> Result<Self> {
        let mut extra = RootCertStore::empty();
        if let Some(pem) = &config.ca_pem {
            for authority in authorities(pem).map_err(|why| usage(&format!("read CA certificates: {why}")))? {
                extra.add(authority).map_err(|e| usage(&format!("read CA certificates: {e}")))?;
            }
        }
        let client = match &config.client_pem {
            Some([certificate, key]) => {
                Some(certified_key(certificate, key).map_err(|why| usage(&format!("read client certificate: {why}")))?)
            }
            None => None,
        };
        Ok(Self { machine, notices, extra, client, insecure, roots: OnceLock::new() })
    }

    /// The roots for everybody: the machine's, else the built-in ones, and those of `--ca-file`. What is kept of each
    /// is its name and its key; the text of a bundle is never in memory as a whole.
    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let build = || {
            let mut roots = RootCertStore::empty();
            let mut take = |file: &mut dyn Read| {
                let certificates = CertificateDer::pem_reader_iter(file).filter_map(std::result::Result::ok);
                certificates.filter(|certificate| add(&mut roots, certificate)).count()
            };
            self.machine.roots(&mut take).into_iter().for_each(|finding| self.notices.add(finding));
            if roots.is_empty() {
                self.built_in(&mut roots);
            }
            roots.extend(self.extra.roots.iter().cloned());
            roots.roots.shrink_to_fit();
            Arc::new(roots)
        };
        Arc::clone(self.roots.get_or_init(build))
    }

    #[cfg(feature = "webpki-roots")]
    fn built_in(&self, roots: &mut RootCertStore) {
        let (what, from) = ("TLS roots".to_owned(), "pullet itself: this machine has none".to_owned());
        self.notices.add(Notice::Configured { what, from });
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }

    #[cfg(not(feature = "webpki-roots"))]
    fn built_in(&self, _: &mut RootCertStore) {
        if self.extra.is_empty() {
            let text = "this machine has no root certificates: install them, or name a CA file";
            self.notices.add(Notice::Note(text.to_owned()));
        }
    }
}

impl Tls {
    pub(crate) fn new(trust: Arc<Trust>, peer: Peer) -> Self {
        Self(Arc::new(Inner { trust, peer, state: Mutex::default() }))
    }

    /// The configuration for one server. Those that do not differ are the same, and share their sessions.
    fn config(&self, url: &Url) -> Result<Arc<ClientConfig>> {
        let Inner { trust, peer, state } = &*self.0;
        let state = &mut *state.lock().unwrap_or_else(PoisonError::into_inner);
        let site = match &state.site {
            Some(site) => site.clone(),
            None => state.site.insert(self.site()?).clone(),
        };
        let is_own = peer.origin.same_origin(url);
        let is_verified = !(is_own && peer.is_insecure) && trust.insecure.says(url)?.is_none();
        let kind = Kind { shows_client: is_own && site.client.is_some(), is_verified };
        if let Some((_, config)) = state.configs.iter().find(|(known, _)| *known == kind) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.build(kind, site)?);
        state.configs.push((kind, Arc::clone(&config)));
        Ok(config)
    }

    /// Reads what is configured for the registry. The client certificate that the user named comes first.
    fn site(&self) -> Result<Site> {
        let Inner { trust, peer, .. } = &*self.0;
        let names: Vec<&str> = peer.names.iter().map(String::as_str).collect();
        let (found, notices) = trust.machine.certificates(&names, &peer.files)?;
        notices.into_iter().for_each(|finding| trust.notices.add(finding));
        let faulty = |name: &str, why: &str| Error::new(ErrorKind::Tls, format!("read {name}: {why}"));
        let mut site = Site { authorities: Vec::new(), client: trust.client.clone().filter(|_| peer.is_named) };
        for (name, pem) in &found.authorities {
            site.authorities.extend(authorities(pem).map_err(|why| faulty(name, &why))?);
        }
        if let (None, Some([(name, certificate), (_, key)])) = (&site.client, &found.client) {
            site.client = Some(certified_key(certificate, key).map_err(|why| faulty(name, &why))?);
        }
        Ok(site)
    }

    fn build(&self, kind: Kind, site: Site) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clock = Arc::new(Clock(Arc::clone(&self.0.trust.machine)));
        let builder = ClientConfig::builder_with_details(Arc::clone(&provider), clock)
            .with_safe_default_protocol_versions()
            .map_err(|e| tls_error(&e))?;
        let builder = match kind.is_verified {
            true => builder.with_root_certificates(self.roots(site.authorities)?),
            false => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider))),
        };
        let mut config = match site.client.filter(|_| kind.shows_client) {
            Some(client) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(client))),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(config)
    }

    /// The roots for this registry. Those who it leads to are checked against them too, as Docker does: they are often
    /// of the same authority.
    fn roots(&self, authorities: Vec<CertificateDer<'static>>) -> Result<Arc<RootCertStore>> {
        let mut roots = self.0.trust.roots();
        for authority in authorities {
            Arc::make_mut(&mut roots).add(authority).map_err(|e| tls_error(&e))?;
        }
        Ok(roots)
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
        let config = Url::parse(&details.uri.to_string()).and_then(|url| self.config(&url)).map_err(other)?;
        let mut connection = ClientConnection::new(config, name).map_err(|e| other(tls_error(&e)))?;
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

fn usage(text: &str) -> Error {
    Error::new(ErrorKind::Usage, text)
}

/// Adds a root unless it is there; whether it is a good one.
fn add(roots: &mut RootCertStore, certificate: &CertificateDer<'_>) -> bool {
    if roots.add(certificate.clone()).is_err() {
        return false;
    }
    // Folders of roots often have each twice, and the bundle beside them.
    if roots.roots.split_last().is_some_and(|(last, before)| before.contains(last)) {
        roots.roots.pop();
    }
    true
}

/// The certificates in a file that somebody named, of which each must be one.
fn authorities(pem: &[u8]) -> std::result::Result<Vec<CertificateDer<'static>>, String> {
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(none) if none.is_empty() => Err("there is no PEM certificate in it".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(error.to_string()),
    }
}

/// A client certificate with its chain, and the key that fits it.
fn certified_key(certificate: &[u8], key: &[u8]) -> std::result::Result<Arc<CertifiedKey>, String> {
    let chain = authorities(certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| "there is no private key in PEM to it; one with a passphrase is not supported".to_owned())?;
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(chain, key, &provider) {
        Ok(key) => Ok(Arc::new(key)),
        Err(rustls::Error::InconsistentKeys(_)) => Err("certificate and key do not belong together".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The machine's clock, where rustls would have std's.
struct Clock(Arc<dyn System>);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.now())))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Takes any certificate from a server whose user asked for that. It must still have the certificate's key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

const CLOCK_HINT: &str = "set this machine's clock if it is wrong; if it is not, the server needs another certificate";

fn tls_error(error: &rustls::Error) -> Error {
    use rustls::CertificateError as Certificate;
    let ours = |text: String| Error::new(ErrorKind::Tls, format!("TLS: {text}"));
    match error {
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer) => {
            ours("nobody whom this machine trusts has issued the certificate".to_owned())
                .with_advice(Advice::GiveAuthority)
        }
        // An authority that was made anew, with the name of the old one.
        rustls::Error::InvalidCertificate(Certificate::BadSignature) => {
            ours("the certificate is not signed by the authority that it names".to_owned())
                .with_advice(Advice::GiveAuthority)
        }
        rustls::Error::InvalidCertificate(Certificate::ExpiredContext { time, not_after }) => {
            let (now, end) = (date(*time), date(*not_after));
            ours(format!("the certificate expired at {end}, and by this machine's clock it is {now}"))
                .with_hint(CLOCK_HINT)
        }
        rustls::Error::InvalidCertificate(Certificate::NotValidYetContext { time, not_before }) => {
            let (now, start) = (date(*time), date(*not_before));
            ours(format!("the certificate is not valid before {start}, and by this machine's clock it is {now}"))
                .with_hint(CLOCK_HINT)
        }
        rustls::Error::InvalidCertificate(Certificate::NotValidForNameContext { expected, presented }) => {
            ours(format!("the certificate is {}, and not for {}", named(presented), expected.to_str()))
        }
        rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired) => {
            ours("the server asks for a client certificate".to_owned()).with_advice(Advice::GiveClientCertificate)
        }
        // What `openssl req -x509` makes, and Go takes.
        rustls::Error::InvalidCertificate(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            ours("the server shows the certificate of an authority as its own".to_owned())
                .with_hint("give the server one that is none (basicConstraints=CA:FALSE), signed by it")
        }
        rustls::Error::InvalidMessage(_) => Error::new(ErrorKind::Network, format!("what answers is not TLS: {error}")),
        _ => ours(error.to_string()),
    }
}

/// `for a.io, b.io`, out of names in the form of rustls: `DnsName("a.io")`.
fn named(presented: &[String]) -> String {
    const MOST: usize = 8;
    let bare = |name: &String| {
        let name = name.split_once('(').map_or(name.as_str(), |(_, rest)| rest.trim_end_matches(')'));
        name.trim_matches('"').to_owned()
    };
    let names: Vec<String> = presented.iter().take(MOST).map(bare).collect();
    match presented.len() {
        0 => "for no name at all".to_owned(),
        count if count > MOST => format!("for {} and {} more names", names.join(", "), count - MOST),
        _ => format!("for {}", names.join(", ")),
    }
}

/// A time as RFC 3339 writes it, in UTC.
fn date(time: UnixTime) -> String {
    date::format_rfc_3339(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_for_people() {
        let names = |count: usize| (0..count).map(|n| format!("DnsName(\"{n}.io\")")).collect::<Vec<_>>();
        assert_eq!(named(&names(0)), "for no name at all");
        assert_eq!(named(&names(2)), "for 0.io, 1.io");
        assert_eq!(named(&["IpAddress(127.0.0.1)".to_owned()]), "for 127.0.0.1");
        assert!(named(&names(99)).ends_with("7.io and 91 more names"));
    }
}
