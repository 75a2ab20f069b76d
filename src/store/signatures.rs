//! The documents that prove signatures of images in the store: manifests in the index without a name, which claim what they
//! are about.

use std::path::Path;

use super::layout;
use crate::digest::Digest;
use crate::error::Result;
use crate::oci::descriptor::Descriptor;

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
