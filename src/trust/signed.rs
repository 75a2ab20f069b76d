//! What a signature says, and why one proves nothing. Both formats have this in common.

use std::collections::BTreeMap;

/// What a signature says. Nothing of it is trusted until a key has proven it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signed {
    /// The name for which the image was signed, as text: `docker-reference` of the payload, or of a bundle's annotations.
    pub(crate) identity: Option<String>,
    /// The annotations of the signer that are text: `optional` of a payload, or the annotations of a bundle's subject.
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Why a candidate proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// None of the keys has made it.
    OtherKey,
    /// It is to be verified with the certificate in it, and not with a key.
    Certificate,
    /// One of the keys has made it, but it is an attestation of this type and approves nothing.
    Attestation(String),
    /// It has a form that pullet does not verify.
    Unsupported(String),
    /// It is malformed, or one of the keys has signed something that is malformed or another image.
    Malformed(String),
}
