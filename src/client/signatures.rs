//! Finds the signatures of a resolved image: first in the store, then at the registry. Asks for as little as proves the image:
//! the manifest under cosign's tag, which a publisher who serves old and new tools has, before the list of referrers.

use super::client::Client;
use super::demands::Origin;
use super::document::ContentSource;
use super::resolved::{ImageManifest, Resolved, ResolvedContent};
use crate::advice::Advice;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::images::{Evidence, Image, SignatureBlobs, SignatureSearch, StoredDocument, is_about_content};
use crate::oci::descriptor::Descriptor;
use crate::oci::media_type::{self, OCI_MANIFEST};
use crate::oci::reference::Reference;
use crate::oci::version::VERSION_ANNOTATION;
use crate::progress::{Event, Progress};
use crate::registry::Repository;
use crate::store::{ImageEntry, LockWait, Store};
#[cfg(feature = "manage")]
use crate::trust::Transport;
use crate::trust::{ProvenSignature, Referrer, Referrers, SignatureManifest, Verification};

/// The most bytes of a tag (distribution-spec).
const TAG_LIMIT: usize = 128;
/// The most referrers of one digest that are examined.
const REFERRERS: usize = 64;

impl Client {
    /// Proves a resolved image with the signatures that this client demands; does nothing if it demands none. A signature of
    /// the index that the name resolved to covers the manifest, because the index has its digest; so does one of the manifest
    /// itself. Fails with [`ErrorKind::Mismatch`] if there is not enough proof.
    pub(super) fn prove(&self, resolved: &mut Resolved<'_>, known: Option<&Store>) -> Result<()> {
        if resolved.evidence.is_some() {
            return Ok(());
        }
        let progress = resolved.progress;
        let demands = self.demands(&Origin::Registry(&resolved.name), known, progress)?;
        if demands.is_empty() {
            return self.check_unsigned_version(resolved);
        }
        let subjects = subjects(resolved);
        let source = ContentSource { repository: &mut resolved.repository, known, progress };
        // Only a digest of a manifest in the name hides whether there is an index that is signed.
        let is_pinned_manifest = resolved.name.digest().is_some() && resolved.documents.is_empty();
        let evidence =
            self.search(&demands, &subjects, source).map_err(|error| match (error.hint(), error.advice()) {
                (None, None) if is_pinned_manifest && error.kind() == ErrorKind::Mismatch => {
                    error.with_advice(Advice::SignImagesOfIndex)
                }
                _ => error,
            })?;
        resolved.evidence = Some(evidence);
        Ok(())
    }

    /// Fails if a blob of this name would have to be signed.
    #[cfg(feature = "device")]
    pub(super) fn prove_blob(&self, name: &Reference, progress: &dyn Progress) -> Result<()> {
        if self.demands(&Origin::Registry(name), None, progress)?.is_empty() && self.options.min_version.is_none() {
            return Ok(());
        }
        let text = "verify signatures: a blob alone has neither a signature nor a version";
        let error = Error::new(ErrorKind::Mismatch, text);
        Err(error.with_hint("fetch it as a file of an artifact, whose manifest can be signed"))
    }

    /// Searches signatures of the subjects that meet each of the demands, first in the store, then at the registry.
    fn search(
        &self,
        demands: &[Verification],
        subjects: &[Digest],
        mut source: ContentSource<'_, '_>,
    ) -> Result<Evidence> {
        let mut evidence = Evidence::default();
        for demand in demands {
            let mut search = SignatureSearch::new(demand);
            if let Some(store) = source.known {
                search.search_store(store, &mut |subject| subjects.contains(subject))?;
            }
            Lookup { client: self, source: &mut source, search: &mut search }.search(subjects)?;
            evidence.merge(search.conclude()?);
        }
        self.report_proof(&evidence.proven, source.progress);
        Ok(evidence)
    }

    /// Proves an index before configs are read to choose from it.
    pub(super) fn prove_index(
        &self,
        name: &Reference,
        index: &Digest,
        source: ContentSource<'_, '_>,
    ) -> Result<Option<Evidence>> {
        let demands = self.demands(&Origin::Registry(name), source.known, source.progress)?;
        if demands.is_empty() {
            return Ok(None);
        }
        self.search(&demands, std::slice::from_ref(index), source).map(Some)
    }

    /// Keeps the documents that prove an image, so that the proof needs no network later. Returns their entries for the index.
    pub(super) fn keep_evidence(
        &self,
        resolved: &Resolved<'_>,
        store: &Store,
        wait: LockWait<'_>,
    ) -> Result<Vec<ImageEntry>> {
        let mut entries = Vec::new();
        for document in resolved.evidence.iter().flat_map(|evidence| &evidence.documents) {
            for part in document.blobs.iter().chain([&document.manifest]) {
                store.put(&part.descriptor, &part.bytes, wait)?;
            }
            entries.push(ImageEntry::of_signature(document.manifest.descriptor.clone(), document.subject));
        }
        Ok(entries)
    }

    /// Proves an image in the store with the documents that the store keeps, without a request. Does nothing if this client
    /// demands no signatures.
    pub(super) fn prove_stored(&self, image: &Image, name: &Reference, progress: &dyn Progress) -> Result<()> {
        self.prove_image(image, &Origin::Registry(name), progress)
    }

    /// The same for an image of an archive, whose blobs are in the store already.
    #[cfg(feature = "manage")]
    pub(super) fn prove_loaded(&self, image: &Image, is_layout: bool, progress: &dyn Progress) -> Result<()> {
        let transport = if is_layout { Transport::OciArchive } else { Transport::DockerArchive };
        self.prove_image(image, &Origin::Archive { transport, name: image.name().parse().ok() }, progress)
    }

    fn prove_image(&self, image: &Image, origin: &Origin<'_>, progress: &dyn Progress) -> Result<()> {
        let demands = self.demands(origin, Some(image.store()), progress)?;
        if demands.is_empty() {
            return self.check_annotated_version(image.annotation(VERSION_ANNOTATION), progress);
        }
        for demand in &demands {
            let mut search = SignatureSearch::new(demand);
            search.search_store(image.store(), &mut |subject| image.is_led_to_by(subject, &self.options.limits))?;
            self.report_proof(&search.conclude()?.proven, progress);
        }
        Ok(())
    }

    fn report_proof(&self, proven: &[ProvenSignature], progress: &dyn Progress) {
        for signature in proven {
            let identity = match signature.identity() {
                Some(name) => format!(", for the name {name}"),
                None => String::new(),
            };
            let what = format!("signature{identity}");
            progress.report(Event::Configured { what: &what, from: &format!("key {}", signature.key()) });
        }
    }
}

/// The digests whose signatures count, the one of the name first. A manifest of schema 1 has only one, because pullet made the
/// other itself.
fn subjects(resolved: &Resolved<'_>) -> Vec<Digest> {
    let mut subjects = vec![resolved.digest];
    let is_schema_1 = |document: &StoredDocument| media_type::document(&document.descriptor.media_type).is_none();
    if resolved.documents.iter().any(is_schema_1)
        || matches!(resolved.content, ResolvedContent::Image(ImageManifest::Schema1(_)))
    {
        return subjects;
    }
    let led = resolved.documents.iter().map(|document| document.descriptor.digest);
    for digest in led.chain([resolved.descriptor.digest]) {
        if !subjects.contains(&digest) {
            subjects.push(digest);
        }
    }
    subjects
}

/// Looks for signatures at a registry.
struct Lookup<'l, 's, 'r, 'v> {
    client: &'l Client,
    /// Its store may have documents of a pull that was interrupted.
    source: &'l mut ContentSource<'s, 'r>,
    search: &'l mut SignatureSearch<'v>,
}

impl Lookup<'_, '_, '_, '_> {
    /// Looks for the signatures of each subject in turn, until enough is proven.
    fn search(&mut self, subjects: &[Digest]) -> Result<()> {
        for subject in subjects {
            self.search_tag(subject)?;
            self.search_referrers(subject)?;
        }
        if let Some(subject) = subjects.first()
            && !self.search.is_over()
        {
            self.search_attestations(subject);
        }
        Ok(())
    }

    /// Examines the manifest under cosign's tag.
    fn search_tag(&mut self, subject: &Digest) -> Result<()> {
        let tag = cosign_tag(subject, "sig");
        if tag.len() > TAG_LIMIT {
            return Ok(());
        }
        for endpoint in self.source.repository.lookup_endpoints() {
            if self.search.is_over() {
                break;
            }
            let Some(response) = self.ask(endpoint, &mut |repository| repository.manifest_at(endpoint, &tag))? else {
                continue;
            };
            let content_type = media_type::essence(&response.content_type);
            if !media_type::is_generic(&content_type) && content_type != OCI_MANIFEST {
                self.search.refuse(format!("the manifest of its signatures is of type \"{content_type}\""));
                continue;
            }
            let (digest, size) = (Digest::sha256(&response.bytes), response.bytes.len() as u64);
            let descriptor = Descriptor { media_type: OCI_MANIFEST.to_owned(), digest, size };
            if self.search.may_fetch(size) {
                self.examine(subject, &StoredDocument { descriptor, bytes: response.bytes })?;
            }
        }
        Ok(())
    }

    /// Examines the referrers: those of the API, or those under the tag that stands in for it. An empty list of the API does
    /// not count, because some registries send one although they do not support it.
    fn search_referrers(&mut self, subject: &Digest) -> Result<()> {
        let (tag, cancel) = (referrers_tag(subject), &self.client.options.cancel);
        for endpoint in self.source.repository.lookup_endpoints() {
            if self.search.is_over() {
                break;
            }
            let listed = self.ask(endpoint, &mut |repository| {
                let mut listed = Referrers::default();
                repository.referrers_at(endpoint, subject, &mut |page| {
                    cancel.check()?;
                    listed.add_page(page)
                })?;
                Ok(listed)
            })?;
            let Some(mut referrers) = listed else { continue };
            if referrers.candidates.is_empty()
                && referrers.notary == 0
                && let Some(response) = self.ask(endpoint, &mut |repository| repository.manifest_at(endpoint, &tag))?
            {
                // An image that somebody pushed under this tag is no list, and no error.
                let _ = referrers.add_page(&response.bytes);
            }
            self.examine_referrers(subject, referrers)?;
        }
        Ok(())
    }

    /// Examines candidates, the newest first; those that say that they are attestations come last.
    fn examine_referrers(&mut self, subject: &Digest, referrers: Referrers) -> Result<()> {
        self.search.add_notary(referrers.notary);
        let mut candidates: Vec<_> = referrers.candidates.into_iter().rev().collect();
        candidates.sort_by_key(|candidate| candidate.may_be_attestation);
        if candidates.len() > REFERRERS {
            candidates.truncate(REFERRERS);
            self.search.cut_short();
        }
        let mut attestations = Vec::new();
        for Referrer { manifest: descriptor, may_be_attestation } in candidates {
            if self.search.is_met() {
                return Ok(());
            }
            if self.search.has_seen(&descriptor.digest) || !self.search.may_fetch(descriptor.size) {
                continue;
            }
            let Some(bytes) = self.referrer(&descriptor)? else { continue };
            let says_attestation = SignatureManifest::parse(&bytes).is_ok_and(|parsed| parsed.may_be_attestation);
            let document = StoredDocument { descriptor, bytes };
            if says_attestation && !may_be_attestation {
                attestations.push(document);
            } else {
                self.examine(subject, &document)?;
            }
        }
        for document in attestations {
            self.examine(subject, &document)?;
        }
        Ok(())
    }

    /// Gets the manifest of a referrer; `None` if the registry does not have it, or has another one.
    fn referrer(&mut self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>> {
        match self.client.manifest(descriptor, self.source) {
            Ok(document) => Ok(Some(document.bytes)),
            Err(error) if is_about_content(&error) => {
                self.search.refuse(format!("a referrer cannot be read: {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Attestations that cosign pushed under their tag prove nothing, but explain why an image seems to be signed.
    fn search_attestations(&mut self, subject: &Digest) {
        let tag = cosign_tag(subject, "att");
        let endpoint = self.source.repository.lookup_endpoints().pop();
        if let Some(endpoint) = endpoint.filter(|_| tag.len() <= TAG_LIMIT)
            && self.source.repository.manifest_at(endpoint, &tag).is_ok()
        {
            self.search.add_attestation();
        }
    }

    fn examine(&mut self, subject: &Digest, manifest: &StoredDocument) -> Result<()> {
        let mut blobs = FromRegistry { client: self.client, source: self.source };
        self.search.examine(subject, manifest, &mut blobs)
    }

    /// Sends a request to one endpoint; `None` if that does not have what was asked for. Mirrors come first, and may know only
    /// what passed through them, so neither what they lack nor their failures decide anything. The last endpoint, the
    /// registry itself, decides: there only "not found" means that something is missing.
    fn ask<T>(
        &mut self,
        endpoint: usize,
        request: &mut dyn FnMut(&mut Repository<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let is_last = self.source.repository.lookup_endpoints().last() == Some(&endpoint);
        let response = if is_last {
            self.client.retry(self.source.progress).run(|| request(self.source.repository))
        } else {
            request(self.source.repository)
        };
        match response {
            Ok(response) => Ok(Some(response)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if is_last || !may_be_skipped(&error) => Err(error),
            Err(error) => {
                self.source.progress.report(Event::Warning(&format!("skipping a mirror: {error}")));
                Ok(None)
            }
        }
    }
}

/// Returns true for a failure of a mirror, after which the next endpoint may be asked.
fn may_be_skipped(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Disk | ErrorKind::Internal)
}

/// The tag under which cosign pushes what belongs to a digest.
fn cosign_tag(digest: &Digest, suffix: &str) -> String {
    format!("{}-{}.{suffix}", digest.algorithm(), digest.hex())
}

/// The tag with the list of referrers at a registry without that part of the API (distribution-spec, "Referrers Tag
/// Schema"): the algorithm and the first 64 digits.
fn referrers_tag(digest: &Digest) -> String {
    let hex: String = digest.hex().chars().take(64).collect();
    format!("{}-{hex}", digest.algorithm())
}

/// The blobs of a registry.
struct FromRegistry<'f, 's, 'r> {
    client: &'f Client,
    source: &'f mut ContentSource<'s, 'r>,
}

impl SignatureBlobs for FromRegistry<'_, '_, '_> {
    fn blob(&mut self, blob: &Descriptor) -> Result<Vec<u8>> {
        self.client.small_blob(blob, self.source)
    }
}
