//! Replaces the search for signatures in a build without the feature `trust`, where none can be demanded.

use super::client::Client;
use super::document::ContentSource;
use super::no_trust::{Evidence, unsupported};
use super::resolved::Resolved;
use crate::digest::Digest;
use crate::error::Result;
use crate::images::Image;
use crate::oci::reference::Reference;
use crate::progress::Progress;
use crate::store::{ImageEntry, LockWait, Store};

impl Client {
    pub(super) fn prove(&self, _: &mut Resolved<'_>, _: Option<&Store>) -> Result<()> {
        self.refuse_requirement()
    }

    pub(super) fn prove_index(&self, _: &Reference, _: &Digest, _: ContentSource<'_, '_>) -> Result<Option<Evidence>> {
        Ok(None)
    }

    pub(super) fn prove_stored(&self, _: &Image, _: &Reference, _: &dyn Progress) -> Result<()> {
        self.refuse_requirement()
    }

    #[cfg(feature = "device")]
    pub(super) fn prove_blob(&self, _: &Reference, _: &dyn Progress) -> Result<()> {
        self.refuse_requirement()
    }

    #[cfg(feature = "manage")]
    pub(super) fn prove_loaded(&self, _: &Image, _: bool, _: &dyn Progress) -> Result<()> {
        self.refuse_requirement()
    }

    /// A signature is never ignored that `Options::require_signatures` requires.
    fn refuse_requirement(&self) -> Result<()> {
        if self.options.require_signatures { Err(unsupported()) } else { Ok(()) }
    }

    pub(super) fn policy_lines(&self, _: &Reference) -> Result<Vec<(&'static str, String)>> {
        self.check_features()?;
        Ok(Vec::new())
    }

    pub(super) fn keep_versions(&self, _: &Resolved<'_>, _: Option<&Store>) -> Result<()> {
        Ok(())
    }

    pub(super) fn keep_evidence(&self, _: &Resolved<'_>, _: &Store, _: LockWait<'_>) -> Result<Vec<ImageEntry>> {
        Ok(Vec::new())
    }
}
