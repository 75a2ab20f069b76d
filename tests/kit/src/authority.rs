//! A certificate authority for one test, and the registry over HTTPS.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::http::Connection;
use crate::registry::{Handshake, Registry};

/// A root certificate with its key, which no machine trusts by itself.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Creates an authority with a new key.
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "pullet test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        Authority { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    /// Returns the root certificate in PEM, for `--ca-file`.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Returns the configuration of a server with a certificate for these DNS names or addresses.
    pub fn server(&self, names: &[&str]) -> Arc<ServerConfig> {
        self.issue(names).server(None)
    }

    /// Issues a certificate for these names, which is valid from 2000 to 4000.
    pub fn issue(&self, names: &[&str]) -> Leaf {
        self.issue_for(names, 2000, 4000)
    }

    /// Issues a certificate that is valid from the first day of one year to the first day of another.
    pub fn issue_for(&self, names: &[&str], from: i32, to: i32) -> Leaf {
        self.issue_to(&KeyPair::generate().unwrap(), names, from, to)
    }

    /// Issues a certificate with a key of this algorithm: P-256, P-384 or Ed25519.
    pub fn issue_with(&self, algorithm: &str, names: &[&str]) -> Leaf {
        let algorithm = match algorithm {
            "P-256" => &rcgen::PKCS_ECDSA_P256_SHA256,
            "P-384" => &rcgen::PKCS_ECDSA_P384_SHA384,
            "Ed25519" => &rcgen::PKCS_ED25519,
            _ => panic!("unknown algorithm {algorithm}"),
        };
        self.issue_to(&KeyPair::generate_for(algorithm).unwrap(), names, 2000, 4000)
    }

    fn issue_to(&self, key: &KeyPair, names: &[&str], from: i32, to: i32) -> Leaf {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let leaf = params.signed_by(key, &self.issuer).unwrap();
        Leaf { certificate: leaf.pem(), key: key.serialize_pem() }
    }

    /// Returns a self-signed certificate that is also marked as an authority, as `openssl req -x509` makes it.
    pub fn self_signed(names: &[&str]) -> Leaf {
        Authority::self_signed_with(&KeyPair::generate().unwrap().serialize_pem(), names, 2000, 4000)
    }

    /// Returns the same with this private key in PEM, valid from the first day of one year to the first day of another.
    pub fn self_signed_with(key: &str, names: &[&str], from: i32, to: i32) -> Leaf {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let key = KeyPair::from_pem(key).unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        Leaf { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }
}

/// A certificate and its key, in PEM.
pub struct Leaf {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// Whether a server wants a certificate from its clients, and the authority that must have issued it.
#[derive(Clone, Copy)]
pub enum Clients<'a> {
    /// Asks for a certificate, and serves clients without one too.
    Asked(&'a Authority),
    /// Refuses clients without a certificate.
    Required(&'a Authority),
}

impl Leaf {
    /// Returns the configuration of a server with this certificate, also if the key does not belong to it.
    pub fn server(&self, clients: Option<Clients<'_>>) -> Arc<ServerConfig> {
        self.server_of(rustls::crypto::ring::default_provider(), clients)
    }

    /// Returns the configuration of a server that agrees on keys in this group only, such as `secp256r1`.
    pub fn server_with_group(&self, group: &str) -> Arc<ServerConfig> {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.kx_groups.retain(|known| format!("{:?}", known.name()) == group);
        assert_eq!(provider.kx_groups.len(), 1, "unknown group {group}");
        self.server_of(provider, None)
    }

    fn server_of(&self, provider: CryptoProvider, clients: Option<Clients<'_>>) -> Arc<ServerConfig> {
        let provider = Arc::new(provider);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let verifier = clients.map(|clients| {
            let (Clients::Asked(authority) | Clients::Required(authority)) = clients;
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            match clients {
                Clients::Asked(_) => verifier.allow_unauthenticated().build().unwrap(),
                Clients::Required(_) => verifier.build().unwrap(),
            }
        });
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let certified = CertifiedKey::new(chain, provider.key_provider.load_private_key(key).unwrap());
        Arc::new(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified))))
    }
}

/// Over HTTPS.
impl Registry {
    /// Starts a registry over HTTPS, for `localhost` and 127.0.0.1.
    pub fn tls(authority: &Authority) -> Registry {
        Registry::tls_for(authority, &["localhost", "127.0.0.1"])
    }

    /// Starts a registry over HTTPS with a certificate for other names.
    pub fn tls_for(authority: &Authority, names: &[&str]) -> Registry {
        Registry::tls_with(authority.server(names))
    }

    /// Starts a registry over HTTPS with this configuration.
    pub fn tls_with(config: Arc<ServerConfig>) -> Registry {
        Registry::tls_at("127.0.0.1", config)
    }

    /// Starts a registry over HTTPS at another address of loopback, as a URL has it.
    pub fn tls_at(host: &str, config: Arc<ServerConfig>) -> Registry {
        Registry::with_handshake(host, "https", handshake(config))
    }

    /// Starts a registry over HTTPS at an address and port, with a certificate for these names.
    pub fn tls_on(address: &str, authority: &Authority, names: &[&str]) -> Registry {
        Registry::listen(address, "https", handshake(authority.server(names)))
    }
}

fn handshake(config: Arc<ServerConfig>) -> Handshake {
    Box::new(move |stream| Box::new(StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream)))
}

impl Connection for StreamOwned<ServerConnection, TcpStream> {
    fn finish(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
        let _ = self.sock.shutdown(Shutdown::Write);
    }

    fn has_client_certificate(&self) -> bool {
        self.conn.peer_certificates().is_some()
    }

    fn is_resumed(&self) -> bool {
        self.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }
}
