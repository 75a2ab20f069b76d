//! Signatures of images: public keys, the two formats in which registries keep signatures, and what of them proves an image.
//! Everything here is pure: the callers fetch and store the documents. There is no clock, because a key has no validity
//! period.

mod bundle;
mod der;
mod encoding;
#[cfg(fuzzing)]
mod fuzzing;
mod identity;
mod key;
mod manifest;
mod members;
mod payload;
mod pem;
mod policy;
mod signature;
mod signed;
#[cfg(test)]
mod tests;
mod verification;

pub(crate) use self::bundle::BUNDLE_LIMIT;
#[cfg(fuzzing)]
pub use self::fuzzing::{
    bundle_outline, key_der, key_file, policy_rule, referrers, signature_manifest, signed_content,
};
pub(crate) use self::identity::IdentityDemand;
pub(crate) use self::manifest::{Referrer, Referrers, SignatureForm, SignatureLayer, SignatureManifest};
pub(crate) use self::payload::PAYLOAD_LIMIT;
pub(crate) use self::policy::{KeySource, Policy, Requirement, SignedRequirement, Transport};
pub(crate) use self::signature::{Candidate, ProvenSignature, may_be_prehashed, prove};
pub(crate) use self::signed::Refusal;
pub(crate) use self::verification::{Verification, VersionFloor};
