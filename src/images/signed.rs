//! Searches signature documents for signatures that meet what the caller demands of an image. The caller gets the documents,
//! from a registry, a store or an archive; this file decides what they prove.

use std::collections::HashSet;

use super::choice::StoredDocument;
use crate::advice::Advice;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::descriptor::Descriptor;
use crate::store::{SignatureEntry, Store};
use crate::trust::{
    BUNDLE_LIMIT, Candidate, PAYLOAD_LIMIT, ProvenSignature, Refusal, SignatureForm, SignatureLayer, SignatureManifest,
    Verification, may_be_prehashed, prove,
};

/// The most signatures, and the most manifests of signatures, that are examined for one image (CVE-2024-29903).
const SIGNATURES: usize = 64;
/// The most bytes of all signature documents of one image.
const BYTES: u64 = 16 << 20;

/// Where the blobs of signatures come from. What it returns is verified against the descriptor.
pub(crate) trait SignatureBlobs {
    fn blob(&mut self, blob: &Descriptor) -> Result<Vec<u8>>;
}

/// The search for the signatures of one image.
pub(crate) struct SignatureSearch<'v> {
    verification: &'v Verification,
    evidence: Evidence,
    /// Each manifest is examined once.
    seen: HashSet<Digest>,
    signatures: usize,
    bytes: u64,
    refused: Refused,
}

/// What proves an image.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) proven: Vec<ProvenSignature>,
    /// The documents to keep, so that the proof needs no network later.
    pub(crate) documents: Vec<SignatureDocument>,
}

/// A manifest of signatures, and those of its blobs that proved something.
#[derive(Debug)]
pub(crate) struct SignatureDocument {
    pub(crate) subject: Digest,
    pub(crate) manifest: StoredDocument,
    pub(crate) blobs: Vec<StoredDocument>,
}

/// What was found and proves nothing.
#[derive(Default)]
struct Refused {
    other_keys: usize,
    certificates: usize,
    attestations: usize,
    notary: usize,
    /// The first reason why a signature is refused for another reason.
    reason: Option<String>,
    is_cut_short: bool,
}

impl Evidence {
    /// Adds what else was proven. A manifest that proves two demands is kept once, with the blobs of both.
    pub(crate) fn merge(&mut self, other: Self) {
        self.proven.extend(other.proven);
        for document in other.documents {
            let (subject, manifest) = (document.subject, &document.manifest.descriptor);
            let is_same =
                |known: &&mut SignatureDocument| known.subject == subject && known.manifest.descriptor == *manifest;
            match self.documents.iter_mut().find(is_same) {
                Some(known) => known.blobs.extend(document.blobs),
                None => self.documents.push(document),
            }
        }
    }
}

impl<'v> SignatureSearch<'v> {
    pub(crate) fn new(verification: &'v Verification) -> Self {
        Self {
            verification,
            evidence: Evidence::default(),
            seen: HashSet::new(),
            signatures: 0,
            bytes: 0,
            refused: Refused::default(),
        }
    }

    /// Returns true if enough was proven.
    pub(crate) fn is_met(&self) -> bool {
        self.verification.is_met(&self.evidence.proven)
    }

    /// Returns true if there is no point in examining more: enough was proven, or the limits are reached.
    pub(crate) fn is_over(&self) -> bool {
        self.refused.is_cut_short || self.is_met()
    }

    /// Returns true if a manifest was examined already.
    pub(crate) fn has_seen(&self, manifest: &Digest) -> bool {
        self.seen.contains(manifest)
    }

    /// Counts a document before it is fetched. Returns false if that would exceed the limits.
    pub(crate) fn may_fetch(&mut self, size: u64) -> bool {
        self.bytes = self.bytes.saturating_add(size);
        let is_allowed = self.bytes <= BYTES && self.seen.len() < SIGNATURES;
        self.refused.is_cut_short |= !is_allowed;
        is_allowed
    }

    /// Records that only the newest of the signatures will be examined, because there are more.
    pub(crate) fn cut_short(&mut self) {
        self.refused.is_cut_short = true;
    }

    /// Records signatures of the Notary Project, which are not verified.
    pub(crate) fn add_notary(&mut self, count: usize) {
        self.refused.notary += count;
    }

    /// Records attestations that were seen and not examined.
    pub(crate) fn add_attestation(&mut self) {
        self.refused.attestations += 1;
    }

    /// Records a candidate that cannot be examined.
    pub(crate) fn refuse(&mut self, reason: String) {
        self.refused.reason.get_or_insert(reason);
    }

    /// Examines a manifest that should have signatures of `subject`, the newest first. What is malformed or missing proves
    /// nothing, and is no error because another one may. Fails if the source of the blobs fails.
    pub(crate) fn examine(
        &mut self,
        subject: &Digest,
        manifest: &StoredDocument,
        blobs: &mut dyn SignatureBlobs,
    ) -> Result<()> {
        if !self.seen.insert(manifest.descriptor.digest) {
            return Ok(());
        }
        let parsed = match SignatureManifest::parse(&manifest.bytes) {
            Ok(parsed) => parsed,
            Err(why) => {
                self.refuse(format!("a manifest of signatures is malformed: {why}"));
                return Ok(());
            }
        };
        // A manifest under a tag needs no subject, and its layers are simple signatures.
        let needs_subject = parsed.layers.iter().any(|layer| layer.form == SignatureForm::Bundle);
        let is_about_another = parsed.subject.is_some_and(|claimed| claimed != *subject);
        if is_about_another || (needs_subject && parsed.subject.is_none()) {
            self.refuse("a manifest of signatures is about another image".to_owned());
            return Ok(());
        }
        let mut kept = Vec::new();
        // The payload of several signatures is often the same.
        let mut last: Option<StoredDocument> = None;
        for layer in parsed.layers.iter().rev() {
            if self.is_met() {
                break;
            }
            if self.signatures == SIGNATURES {
                self.refused.is_cut_short = true;
                break;
            }
            self.signatures += 1;
            if last.as_ref().is_none_or(|last| last.descriptor.digest != layer.blob.digest) {
                last = self.fetch(layer, blobs)?;
            }
            let Some(blob) = &last else { continue };
            let is_kept = kept.last().is_some_and(|kept: &StoredDocument| kept.descriptor == blob.descriptor);
            if self.judge(subject, layer, &parsed, &blob.bytes) && !is_kept {
                kept.push(blob.clone());
            }
        }
        if !kept.is_empty() {
            let manifest = manifest.clone();
            self.evidence.documents.push(SignatureDocument { subject: *subject, manifest, blobs: kept });
        }
        Ok(())
    }

    /// Gets the blob of a signature; `None` if it proves nothing because it is too large, missing or damaged.
    fn fetch(&mut self, layer: &SignatureLayer, blobs: &mut dyn SignatureBlobs) -> Result<Option<StoredDocument>> {
        let (limit, what) = match layer.form {
            SignatureForm::Simple(_) => (PAYLOAD_LIMIT, "payload"),
            SignatureForm::Bundle => (BUNDLE_LIMIT, "bundle"),
        };
        let descriptor = layer.blob.clone();
        if descriptor.size > limit as u64 {
            self.refuse(format!("a {what} has {} bytes, and {limit} are allowed", descriptor.size));
            return Ok(None);
        }
        if !self.may_fetch(descriptor.size) {
            return Ok(None);
        }
        match blobs.blob(&descriptor) {
            Ok(bytes) => Ok(Some(StoredDocument { descriptor, bytes })),
            Err(error) if is_about_content(&error) => {
                self.refuse(format!("a {what} cannot be read: {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Verifies one signature. Returns true if it proves something.
    fn judge(&mut self, subject: &Digest, layer: &SignatureLayer, manifest: &SignatureManifest, blob: &[u8]) -> bool {
        let candidate = match &layer.form {
            SignatureForm::Simple(signature) => Candidate::Simple { payload: blob, signature },
            SignatureForm::Bundle => Candidate::Bundle(blob),
        };
        match prove(candidate, self.verification.keys(), subject) {
            Ok(proven) => {
                let is_new = !self.evidence.proven.contains(&proven);
                if is_new {
                    self.evidence.proven.push(proven);
                }
                return is_new;
            }
            Err(Refusal::OtherKey | Refusal::Certificate) if manifest.may_be_attestation => {
                self.refused.attestations += 1
            }
            Err(Refusal::OtherKey) => self.refused.other_keys += 1,
            Err(Refusal::Certificate) => self.refused.certificates += 1,
            Err(Refusal::Attestation(_)) => self.refused.attestations += 1,
            Err(Refusal::Unsupported(what)) => self.refuse(format!("{what} is not supported")),
            Err(Refusal::Malformed(why)) => self.refuse(format!("a signature is malformed: {why}")),
        }
        false
    }

    /// Examines the documents that the store keeps and that `is_about` accepts, by the digest that they claim to be about.
    pub(crate) fn search_store(&mut self, store: &Store, is_about: &mut dyn FnMut(&Digest) -> bool) -> Result<()> {
        for SignatureEntry { manifest, subject } in store.signatures()? {
            if self.is_over() {
                break;
            }
            if self.has_seen(&manifest.digest) || !is_about(&subject) || !self.may_fetch(manifest.size) {
                continue;
            }
            let Ok(bytes) = store.document(&manifest, Limits::default().document) else { continue };
            let document = StoredDocument { descriptor: manifest, bytes };
            self.examine(&subject, &document, &mut InStore(store))?;
        }
        // They are kept already.
        self.evidence.documents.clear();
        Ok(())
    }

    /// Returns what was proven, or the error for an image that lacks a signature.
    pub(crate) fn conclude(mut self) -> Result<Evidence> {
        let verification = self.verification;
        if self.is_met() {
            self.evidence.proven.retain(|proven| verification.objection(proven).is_none());
            return Ok(self.evidence);
        }
        let error = Error::new(ErrorKind::Mismatch, format!("verify signatures: {}", self.describe())).finally();
        if self.refused.other_keys > 0 && may_be_prehashed(self.verification.keys()) {
            return Err(error.with_hint("cosign 3 signs with Ed25519ph if its key is Ed25519, which is not supported"));
        }
        if self.evidence.proven.iter().any(|proven| verification.is_downgrade(proven)) {
            return Err(error.with_advice(Advice::AllowDowngrade));
        }
        Err(error)
    }

    /// Says what is missing, and what there is instead.
    fn describe(&self) -> String {
        let refused = &self.refused;
        let (signers, count) = (self.verification.signers(&self.evidence.proven), self.verification.count());
        let lacking = self.evidence.proven.iter().find_map(|proven| self.verification.objection(proven));
        let is_signed = refused.other_keys > 0 || refused.reason.is_some();
        let mut parts = Vec::new();
        parts.push(match (signers, lacking) {
            (0, Some(why)) => format!("the image is signed by a given key, but {why}"),
            (0, None) if is_signed => "the image is signed, but by no given key".to_owned(),
            (0, None) if refused.certificates > 0 => "the image is signed only by certificate".to_owned(),
            (0, None) => "the image is not signed".to_owned(),
            _ => format!("{signers} of the given keys have signed the image, but {count} must have"),
        });
        let counted = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 {what}")),
            _ => Some(format!("{count} {what}s")),
        };
        if let Some(signatures) = counted(refused.other_keys, "signature") {
            parts.push(format!("it has {signatures} that no given key has made"));
        }
        if let Some(signatures) = counted(refused.certificates, "signature") {
            parts.push(format!("it has {signatures} to be verified with a certificate"));
        }
        parts.extend(refused.reason.clone());
        if let Some(attestations) = counted(refused.attestations, "attestation") {
            parts.push(format!("it has {attestations}, but an attestation approves nothing"));
        }
        if let Some(notary) = counted(refused.notary, "Notary Project signature") {
            parts.push(format!("it has {notary}, which pullet cannot check"));
        }
        if refused.is_cut_short {
            parts.push("it has more signatures than are examined".to_owned());
        }
        parts.join("; ")
    }
}

/// The documents of a store.
struct InStore<'s>(&'s Store);

impl SignatureBlobs for InStore<'_> {
    fn blob(&mut self, blob: &Descriptor) -> Result<Vec<u8>> {
        self.0.document(blob, BUNDLE_LIMIT)
    }
}

/// Returns true if the error says something about a document, and not about the way to it.
pub(crate) fn is_about_content(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Mismatch | ErrorKind::NotFound | ErrorKind::Unsafe | ErrorKind::Unsupported | ErrorKind::Usage
    )
}
