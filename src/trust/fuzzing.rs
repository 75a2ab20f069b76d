//! Entry points for the fuzz targets: keys, payloads, bundles, statements, manifests, lists of referrers and policies.

use super::bundle::{Envelope, parse_statement};
use super::identity::IdentityDemand;
use super::key::PublicKey;
use super::manifest::{Referrers, SignatureManifest};
use super::payload;
use super::policy::{Policy, Requirement};
use super::signature::{Candidate, prove};
use crate::digest::Digest;
use crate::oci::reference::Reference;

/// Parses a key file. Returns its fingerprint.
pub fn key_file(pem: &[u8]) -> Option<String> {
    let key = PublicKey::from_pem(pem).ok()?;
    assert!(!key.verify(b"message", b"signature"), "a key verifies anything");
    Some(key.fingerprint().to_string())
}

/// Parses a key in DER. Returns its fingerprint.
pub fn key_der(der: &[u8]) -> Option<String> {
    Some(PublicKey::from_spki(der).ok()?.fingerprint().to_string())
}

/// Parses what a signature of the empty document would sign: a payload, then a statement. Returns the annotations.
pub fn signed_content(bytes: &[u8]) -> Vec<(String, String)> {
    let subject = Digest::sha256(b"");
    let payload = payload::parse(bytes, &subject).ok();
    let statement = parse_statement(bytes, &subject).ok();
    payload.into_iter().chain(statement).flat_map(|signed| signed.annotations).collect()
}

/// Parses a bundle, and tries to prove something with it. Returns true if its outline is good.
pub fn bundle_outline(bytes: &[u8]) -> bool {
    let proven = prove(Candidate::Bundle(bytes), &[], &Digest::sha256(b""));
    assert!(proven.is_err(), "a bundle is proven without a key");
    Envelope::parse(bytes).is_ok()
}

/// Parses a manifest of signatures. Returns the number of its signatures.
pub fn signature_manifest(bytes: &[u8]) -> Option<usize> {
    SignatureManifest::parse(bytes).ok().map(|manifest| manifest.layers.len())
}

/// Parses a list of referrers. Returns the number of candidates.
pub fn referrers(bytes: &[u8]) -> Option<usize> {
    let mut referrers = Referrers::default();
    referrers.add_page(bytes).ok().map(|()| referrers.candidates.len())
}

/// Parses a policy, and returns the requirements for a name. Every name has one.
pub fn policy_rule(text: &[u8], name: &Reference) -> Result<Vec<String>, String> {
    let policy = Policy::parse(text)?;
    let rule = policy.rule_for(name);
    assert!(!rule.requirements.is_empty(), "{}", rule.place);
    for requirement in rule.requirements {
        if let Requirement::Signed(signed) = requirement {
            assert!(!signed.keys.is_empty());
            let demand = IdentityDemand { kind: signed.identity.clone(), intended: Some(name.clone()) };
            let _ = demand.objection(Some(&name.to_string()));
        }
    }
    Ok(rule.requirements.iter().map(Requirement::word).collect())
}
