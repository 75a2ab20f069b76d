//! The certificates that all registries of one client have in common. The caller's are parsed at once, so that a
//! malformed one is an error; the system's are read before the first connection that needs them.

use std::io::Read;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::super::system::{Notice, Notices, System};
use super::clock::Clock;
use super::config::{InsecureRegistries, TlsConfig};
use super::verifier::Roots;
use crate::error::{Error, ErrorKind, Result};

/// Root certificates, the caller's client certificate, and the servers that are not verified.
pub(crate) struct Trust {
    pub(crate) system: Arc<dyn System>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) insecure: Arc<InsecureRegistries>,
    pub(crate) clock: Arc<Clock>,
    /// The client certificate that the caller gave.
    pub(crate) client: Option<Arc<CertifiedKey>>,
    /// The authorities that the caller gave.
    extra: Roots,
    roots: OnceLock<Arc<Roots>>,
}

impl Trust {
    /// Fails with [`ErrorKind::Usage`] if the caller's certificates cannot be used.
    pub(crate) fn new(
        config: &TlsConfig,
        insecure: Arc<InsecureRegistries>,
        system: Arc<dyn System>,
        notices: Arc<Notices>,
    ) -> Result<Self> {
        let usage = |what: &str, cause: &str| Error::new(ErrorKind::Usage, format!("read {what}: {cause}"));
        let mut extra = Roots::empty();
        if let Some(pem) = &config.ca_pem {
            for authority in parse_certificates(pem).map_err(|cause| usage("CA certificates", &cause))? {
                extra.add(authority).map_err(|e| usage("CA certificates", &e.to_string()))?;
            }
        }
        let client = match &config.client_pem {
            Some([certificate, key]) => {
                Some(parse_client_certificate(certificate, key).map_err(|cause| usage("client certificate", &cause))?)
            }
            None => None,
        };
        let clock = Clock::new(Arc::clone(&system), Arc::clone(&notices), config.has_clock_floor);
        Ok(Self { system, notices, insecure, clock: Arc::new(clock), client, extra, roots: OnceLock::new() })
    }

    /// Returns the roots for every registry: the system's, or the built-in ones if there are none, and the caller's.
    pub(crate) fn roots(&self) -> Arc<Roots> {
        Arc::clone(self.roots.get_or_init(|| Arc::new(self.load_roots())))
    }

    /// Parses the system's files while reading them, because a bundle would need much memory: only names, keys and
    /// hashes are kept.
    fn load_roots(&self) -> Roots {
        let mut roots = Roots::empty();
        let mut load = |file: &mut dyn Read| {
            let mut count = 0;
            for certificate in CertificateDer::pem_reader_iter(file).flatten() {
                if roots.add(certificate).is_ok() {
                    count += 1;
                }
            }
            count
        };
        for notice in self.system.roots(&mut load) {
            self.notices.add(notice);
        }
        if roots.authorities.is_empty() {
            self.add_built_in_roots(&mut roots);
        }
        roots.extend(&self.extra);
        roots.shrink();
        roots
    }

    #[cfg(feature = "webpki-roots")]
    fn add_built_in_roots(&self, roots: &mut Roots) {
        let (what, from) = ("TLS roots".to_owned(), "pullet itself, because this machine has none".to_owned());
        self.notices.add(Notice::Configured { what, from });
        roots.authorities.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }

    #[cfg(not(feature = "webpki-roots"))]
    fn add_built_in_roots(&self, _: &mut Roots) {
        if self.extra.authorities.is_empty() {
            let text = "this machine has no root certificates: install them or give a CA file";
            self.notices.add(Notice::Warning(text.to_owned()));
        }
    }
}

/// Parses a PEM file that was configured. Every certificate in it must be valid.
pub(crate) fn parse_certificates(pem: &[u8]) -> std::result::Result<Vec<CertificateDer<'static>>, String> {
    let parsed: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = parsed.map_err(|e| e.to_string())?;
    if certificates.is_empty() {
        return Err("no PEM certificate found".to_owned());
    }
    Ok(certificates)
}

/// Parses a client certificate with its chain, and the private key that belongs to it.
pub(crate) fn parse_client_certificate(
    certificate: &[u8],
    key: &[u8],
) -> std::result::Result<Arc<CertifiedKey>, String> {
    let chain = parse_certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| "no PEM private key found; a key with a passphrase is not supported".to_owned())?;
    match CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()) {
        Ok(key) => Ok(Arc::new(key)),
        Err(rustls::Error::InconsistentKeys(_)) => Err("the certificate and the key do not match".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
