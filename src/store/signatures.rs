//! The documents that prove signatures of images in the store: manifests in the index without a name, which claim what they
//! are about.

use std::path::Path;

use super::index::ImageEntry;
use super::layout;
use super::lock::LockWait;
use crate::digest::Digest;
use crate::error::Result;
use crate::oci::descriptor::Descriptor;
use crate::oci::platform::Platform;

/// A manifest with signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignatureEntry {
    pub(crate) manifest: Descriptor,
    /// The digest of what is signed, as an annotation or a tag claims. Prove it before you rely on it.
    pub(crate) subject: Digest,
}

/// The manifests with signatures, the newest first.
pub(super) fn signatures(root: &Path) -> Result<Vec<SignatureEntry>> {
    let mut found = Vec::new();
    for entry in layout::entries(root, &|entry| entry.signed().is_some())?.into_iter().rev() {
        found.extend(entry.signed().map(|subject| SignatureEntry { manifest: entry.manifest, subject }));
    }
    Ok(found)
}

/// Puts manifests with signatures into the index, whose blobs must be in the store.
pub(super) fn keep(root: &Path, signatures: &[SignatureEntry], wait: LockWait<'_>) -> Result<()> {
    let mut entries = Vec::new();
    for SignatureEntry { manifest, subject } in signatures {
        entries.push(ImageEntry {
            names: Vec::new(),
            subject: Some(*subject),
            resolved: manifest.digest,
            source: manifest.digest,
            manifest: manifest.clone(),
            platform: Platform::new("", "", ""),
        });
    }
    if entries.is_empty() { Ok(()) } else { layout::name(root, &entries, wait) }
}
