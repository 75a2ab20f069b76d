//! Public keys, and the signatures that they verify. The algorithm comes from the key alone, never from a signature or a
//! document, so that nothing untrusted can choose it. The only file that uses ring.

use std::fmt;

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};

use super::der::{self, Der, Malformed};
use super::pem;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// The sizes of an RSA modulus in bits. Smaller ones are insecure, and nothing signs images with larger ones.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
const ED25519_KEY: &[u8] = &[0x2b, 0x65, 0x70];
const ED448_KEY: &[u8] = &[0x2b, 0x65, 0x71];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];

/// A key that verifies signatures.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    kind: KeyKind,
    /// The key in the form that ring takes.
    bytes: Vec<u8>,
    fingerprint: Digest,
}

/// The algorithm of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    EcdsaP256,
    EcdsaP384,
    Ed25519,
    Rsa,
}

impl PublicKey {
    /// Parses the first PEM block of a file: a SubjectPublicKeyInfo (`PUBLIC KEY`) or a PKCS#1 key (`RSA PUBLIC KEY`). Fails
    /// with [`ErrorKind::Usage`] if it is malformed or something else, and with [`ErrorKind::Unsupported`] for a key of
    /// another algorithm.
    pub(crate) fn from_pem(file: &[u8]) -> Result<Self> {
        let block = pem::first_block(file).map_err(usage)?;
        match block.label {
            "PUBLIC KEY" => Self::from_spki(&block.content),
            "RSA PUBLIC KEY" => Self::from_pkcs1(&block.content),
            "CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => {
                let error = usage("it is a certificate and not a public key");
                Err(error.with_hint("openssl x509 -pubkey -noout -in FILE prints the public key of a certificate"))
            }
            label if label.ends_with("PRIVATE KEY") => {
                let error = usage(format!("it is a private key ({label}) and not a public key"));
                Err(error.with_hint("keep it secret, and give the public key: cosign writes it to cosign.pub"))
            }
            label => Err(usage(format!("it has a PEM block of type \"{label}\" and not a public key"))),
        }
    }

    /// Parses a SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
    pub(super) fn from_spki(spki: &[u8]) -> Result<Self> {
        let parts = SpkiParts::parse(spki).map_err(malformed)?;
        let kind = parts.kind()?;
        let is_intact = match kind {
            KeyKind::EcdsaP256 => is_uncompressed_point(parts.key, 32)?,
            KeyKind::EcdsaP384 => is_uncompressed_point(parts.key, 48)?,
            KeyKind::Ed25519 => parts.key.len() == 32,
            KeyKind::Rsa => check_rsa(parts.key).map(|()| true)?,
        };
        if !is_intact {
            return Err(malformed("the key has another length than its algorithm says"));
        }
        Ok(Self { kind, bytes: parts.key.to_vec(), fingerprint: Digest::sha256(spki) })
    }

    /// Parses an RSAPublicKey (RFC 8017, appendix A.1.1).
    fn from_pkcs1(key: &[u8]) -> Result<Self> {
        let mut bits = vec![0];
        bits.extend_from_slice(key);
        let algorithm = [der::encode(der::OID, RSA_ENCRYPTION), der::encode(der::NULL, &[])].concat();
        let parts = [der::encode(der::SEQUENCE, &algorithm), der::encode(der::BIT_STRING, &bits)].concat();
        Self::from_spki(&der::encode(der::SEQUENCE, &parts))
    }

    /// The SHA-256 of the key's SubjectPublicKeyInfo. Two files with the same key have the same fingerprint.
    pub(crate) fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }

    pub(crate) fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Returns true if `signature` is this key's signature of `message`.
    ///
    /// ECDSA signatures are in DER, which ring parses strictly; the other encoding in use, r and s without structure, is
    /// refused because nobody writes it into registries. P-384 is verified with SHA-384 and SHA-256, because cosign before
    /// 2.6 signs with the latter. RSA is PKCS#1 v1.5 with SHA-256, and Ed25519 the pure form.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithms: &[&'static dyn VerificationAlgorithm] = match self.kind {
            KeyKind::EcdsaP256 => &[&ECDSA_P256_SHA256_ASN1],
            KeyKind::EcdsaP384 => &[&ECDSA_P384_SHA384_ASN1, &ECDSA_P384_SHA256_ASN1],
            KeyKind::Ed25519 => &[&ED25519],
            KeyKind::Rsa => &[&RSA_PKCS1_2048_8192_SHA256],
        };
        algorithms
            .iter()
            .any(|algorithm| UnparsedPublicKey::new(*algorithm, &self.bytes).verify(message, signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.fingerprint)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::EcdsaP384 => "ECDSA P-384",
            Self::Ed25519 => "Ed25519",
            Self::Rsa => "RSA",
        })
    }
}

/// The parts of a SubjectPublicKeyInfo.
struct SpkiParts<'a> {
    algorithm: &'a [u8],
    /// The object identifier of a curve, if the parameters are one.
    curve: Option<&'a [u8]>,
    /// True if the parameters are NULL.
    has_null: bool,
    key: &'a [u8],
}

impl<'a> SpkiParts<'a> {
    fn parse(spki: &'a [u8]) -> std::result::Result<Self, Malformed> {
        let mut outer = Der::new(spki);
        let mut info = Der::new(outer.element(der::SEQUENCE)?);
        outer.finish()?;
        let mut identifier = Der::new(info.element(der::SEQUENCE)?);
        let key = info.bit_string()?;
        info.finish()?;
        let algorithm = identifier.element(der::OID)?;
        let (mut curve, mut has_null) = (None, false);
        if algorithm == EC_PUBLIC_KEY {
            curve = Some(identifier.element(der::OID).map_err(|_| "it does not name its curve")?);
        } else if algorithm == RSA_ENCRYPTION {
            has_null = identifier.element(der::NULL)?.is_empty();
        }
        let is_known = [EC_PUBLIC_KEY, RSA_ENCRYPTION, ED25519_KEY].contains(&algorithm);
        if is_known && !identifier.is_empty() {
            return Err("its algorithm has unexpected parameters");
        }
        Ok(Self { algorithm, curve, has_null, key })
    }

    fn kind(&self) -> Result<KeyKind> {
        let name = match (self.algorithm, self.curve) {
            (EC_PUBLIC_KEY, Some(P256)) => return Ok(KeyKind::EcdsaP256),
            (EC_PUBLIC_KEY, Some(P384)) => return Ok(KeyKind::EcdsaP384),
            (ED25519_KEY, _) => return Ok(KeyKind::Ed25519),
            (RSA_ENCRYPTION, _) if self.has_null => return Ok(KeyKind::Rsa),
            (RSA_ENCRYPTION, _) => return Err(malformed("its algorithm has unexpected parameters")),
            (EC_PUBLIC_KEY, Some(P521)) => "an ECDSA key on the curve P-521".to_owned(),
            (EC_PUBLIC_KEY, curve) => format!("an ECDSA key on the curve {}", dotted(curve.unwrap_or_default())),
            (RSA_PSS, _) => "an RSA-PSS key".to_owned(),
            (ED448_KEY, _) => "an Ed448 key".to_owned(),
            (other, _) => format!("a key of algorithm {}", dotted(other)),
        };
        Err(unsupported(&name))
    }
}

/// Returns true for an uncompressed point of a curve whose coordinates have `size` bytes. ring checks that it is on the
/// curve when it verifies.
fn is_uncompressed_point(point: &[u8], size: usize) -> Result<bool> {
    match point.first() {
        Some(2 | 3) => Err(unsupported("an ECDSA key with a compressed point")),
        Some(4) => Ok(point.len() == 1 + 2 * size),
        _ => Err(malformed("its point has an unknown form")),
    }
}

fn check_rsa(key: &[u8]) -> Result<()> {
    let parse = || {
        let mut outer = Der::new(key);
        let mut numbers = Der::new(outer.element(der::SEQUENCE)?);
        outer.finish()?;
        let (modulus, exponent) = (numbers.positive()?, numbers.positive()?);
        numbers.finish()?;
        Ok((modulus, exponent))
    };
    let (modulus, exponent) = parse().map_err(malformed)?;
    let zeros = modulus.first().map_or(0, |first| first.leading_zeros());
    let bits = (modulus.len() * 8).saturating_sub(usize::try_from(zeros).unwrap_or_default());
    if !RSA_BITS.contains(&bits) {
        return Err(unsupported(&format!("an RSA key of {bits} bits")).with_hint("2048 to 4096 bits are supported"));
    }
    // An even modulus or exponent, or the exponent 1, is no key. ring takes exponents of up to 33 bits.
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !is_odd(modulus) || !is_odd(exponent) || exponent == [1] || exponent.len() > 4 {
        return Err(malformed("its numbers are not those of an RSA key"));
    }
    Ok(())
}

/// An object identifier in its usual form, such as 1.3.101.112.
fn dotted(oid: &[u8]) -> String {
    let mut text = String::new();
    let mut value: u64 = 0;
    for byte in oid {
        value = value.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if text.is_empty() {
            let first = (value / 40).min(2);
            text = format!("{first}.{}", value.wrapping_sub(first * 40));
        } else {
            text.push_str(&format!(".{value}"));
        }
        value = 0;
    }
    text
}

fn usage(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, text)
}

fn malformed(why: Malformed) -> Error {
    usage(format!("malformed public key: {why}"))
}

fn unsupported(what: &str) -> Error {
    let error = Error::new(ErrorKind::Unsupported, format!("{what} is not supported"));
    error.with_hint("ECDSA on P-256 or P-384, Ed25519, and RSA of 2048 to 4096 bits are supported")
}
