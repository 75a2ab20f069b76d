//! The verifier for servers: webpki's rules, and the exact certificates that the user or the machine trusts.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error as RustlsError, RootCertStore, SignatureScheme};

use super::clock::Clock;
use crate::digest::Digest;

/// The certificates that are trusted.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    /// The names and keys of authorities, as webpki needs them.
    pub(crate) authorities: RootCertStore,
    /// The SHA-256 of each certificate, because a name and a key do not identify a certificate.
    fingerprints: Vec<Digest>,
}

impl Roots {
    pub(crate) fn empty() -> Self {
        Self { authorities: RootCertStore::empty(), fingerprints: Vec::new() }
    }

    /// Adds a certificate. Fails for a certificate that cannot be a root.
    pub(crate) fn add(&mut self, certificate: CertificateDer<'_>) -> Result<(), RustlsError> {
        let fingerprint = Digest::sha256(&certificate);
        // Folders of roots often contain each certificate twice, and a bundle of all of them.
        if !self.fingerprints.contains(&fingerprint) {
            self.authorities.add(certificate)?;
            self.fingerprints.push(fingerprint);
        }
        Ok(())
    }

    /// Adds the certificates of `other`.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.authorities.extend(other.authorities.roots.iter().cloned());
        self.fingerprints.extend(&other.fingerprints);
    }

    /// Releases the memory that adding has reserved.
    pub(crate) fn shrink(&mut self) {
        self.authorities.roots.shrink_to_fit();
        self.fingerprints.shrink_to_fit();
    }
}

/// Verifies servers.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) roots: Arc<Roots>,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
    pub(crate) clock: Arc<Clock>,
}

impl ServerCertVerifier for Verifier {
    /// webpki requires that an authority among the roots has issued the certificate, and refuses the certificate of an
    /// authority as that of a server. `openssl req -x509` creates a certificate that is both, and curl, OpenSSL and Go
    /// accept it if it is itself among the roots. So does this, for exactly these bytes: another certificate with the
    /// same name and key may have been created for another purpose.
    ///
    /// Name and period are verified in either case. webpki verifies the period first, so an error about the issuer
    /// means that the period is right.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        let Roots { authorities, fingerprints } = &*self.roots;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        let verify = |now| {
            match verify_server_cert_signed_by_trust_anchor(&certificate, authorities, intermediates, now, algorithms) {
                Err(error) if is_about_issuer(&error) && fingerprints.contains(&Digest::sha256(end_entity)) => {}
                other => other?,
            }
            verify_server_name(&certificate, server_name)
        };
        self.clock.verify(now, &verify)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Returns true if the certificate is refused because of its issuer: it is unknown or has another key,
/// or the certificate is one of an authority.
fn is_about_issuer(error: &RustlsError) -> bool {
    let is_other_issuer = matches!(
        error,
        RustlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)
    );
    is_other_issuer || is_authority_as_server(error)
}

/// Returns true if the server shows a certificate of an authority as its own. rustls passes on this error of webpki
/// without a type.
pub(crate) fn is_authority_as_server(error: &RustlsError) -> bool {
    match error {
        RustlsError::InvalidCertificate(CertificateError::Other(other)) => {
            format!("{other:?}").contains("CaUsedAsEndEntity")
        }
        _ => false,
    }
}
