//! One signature of either format: is it made by a key, and for this image?

use std::collections::BTreeMap;

use super::bundle::Envelope;
use super::encoding::decode_base64;
use super::key::{KeyKind, PublicKey};
use super::payload;
use super::signed::{Refusal, Signed};
use crate::digest::Digest;

/// A signature that may be anything.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Candidate<'a> {
    /// A simple signature: the payload, and the base64 of the signature in the annotation of its layer.
    Simple { payload: &'a [u8], signature: &'a str },
    /// A Sigstore bundle.
    Bundle(&'a [u8]),
}

/// A signature of an image that a key has proven. Only [`prove`] creates one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProvenSignature {
    /// The fingerprint of the key. Count these, and never signatures: of one ECDSA signature anyone can make a second one.
    key: Digest,
    signed: Signed,
}

impl ProvenSignature {
    /// The fingerprint of the key that made it.
    pub(crate) fn key(&self) -> &Digest {
        &self.key
    }

    /// The name for which the image was signed.
    pub(crate) fn identity(&self) -> Option<&str> {
        self.signed.identity.as_deref()
    }

    /// The annotations of the signer.
    pub(crate) fn annotations(&self) -> &BTreeMap<String, String> {
        &self.signed.annotations
    }
}

/// Verifies a candidate with each key, and then that it is for `subject`.
pub(crate) fn prove(
    candidate: Candidate<'_>,
    keys: &[PublicKey],
    subject: &Digest,
) -> Result<ProvenSignature, Refusal> {
    let find = |message: &[u8], signature: &[u8]| {
        keys.iter().find(|key| key.verify(message, signature)).ok_or(Refusal::OtherKey)
    };
    let (key, signed) = match candidate {
        Candidate::Simple { payload, signature } => {
            let malformed = || Refusal::Malformed("the base64 of its signature is malformed".to_owned());
            let signature = decode_base64(signature).ok_or_else(malformed)?;
            let key = find(payload, &signature)?;
            (key, payload::parse(payload, subject).map_err(Refusal::Malformed)?)
        }
        Candidate::Bundle(bundle) => {
            let envelope = Envelope::parse(bundle)?;
            let key = find(&envelope.signed, &envelope.signature)?;
            (key, envelope.statement(subject)?)
        }
    };
    Ok(ProvenSignature { key: *key.fingerprint(), signed })
}

/// Returns true if a signature of these keys may have the form Ed25519ph, which is not verified.
pub(crate) fn may_be_prehashed(keys: &[PublicKey]) -> bool {
    keys.iter().any(|key| key.kind() == KeyKind::Ed25519)
}
