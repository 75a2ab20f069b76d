//! The gate between resolving a name and fetching what it names. Every flow that requests a config, a layer or a file
//! passes it: pull, unpack, stream, boot, artifact and blob. The decision is made from the manifest and its signatures alone.
//! Images in the store pass it before they are unpacked.

use super::client::Client;
use super::resolved::{ImageManifest, Resolved, ResolvedContent};
#[cfg(feature = "device")]
use crate::digest::Digest;
use crate::error::Result;
#[cfg(feature = "device")]
use crate::error::{Error, ErrorKind};
#[cfg(feature = "manage")]
use crate::images::LoadedImage;
use crate::images::{AdmittedImage, Image};
use crate::oci::reference::Reference;
use crate::progress::Progress;
use crate::store::Store;

/// A resolved name whose content may be fetched. Only [`Client::admit_resolved`] creates one.
pub(crate) struct Admitted<'a> {
    resolved: Resolved<'a>,
}

impl<'a> Admitted<'a> {
    /// Shows what was admitted.
    #[cfg(feature = "boot")]
    pub(crate) fn resolved(&self) -> &Resolved<'a> {
        &self.resolved
    }

    /// Returns what was admitted.
    pub(crate) fn into_resolved(self) -> Resolved<'a> {
        self.resolved
    }
}

impl Client {
    /// Admits an image in the store that was asked for by this name: if signatures are demanded
    /// ([`Options::verify_key`](crate::Options::verify_key)), the store must have those that a pull kept. Sends no request.
    /// Fails with [`ErrorKind::Mismatch`](crate::ErrorKind::Mismatch) if there is not enough proof.
    pub fn admit(&self, name: &Reference, image: Image, progress: &dyn Progress) -> Result<AdmittedImage> {
        self.check_features()?;
        self.prove_stored(&image, name, progress).map_err(|e| e.context(image.name()))?;
        Ok(AdmittedImage::new(image))
    }

    /// Admits an image of an archive, before it gets its name: a policy has other rules for archives than for names.
    #[cfg(feature = "manage")]
    pub(crate) fn admit_loaded(&self, loaded: &LoadedImage, is_layout: bool, progress: &dyn Progress) -> Result<()> {
        self.check_features()?;
        let image = &loaded.image;
        self.prove_loaded(image, is_layout, progress).map_err(|e| match image.name() {
            "" => e.context(image.digest()),
            name => e.context(name),
        })
    }

    /// Decides whether this client may fetch a blob that was asked for by its digest, without a manifest. It may not if
    /// signatures or versions are demanded, because only manifests have them.
    #[cfg(feature = "device")]
    pub(crate) fn admit_blob(&self, name: &Reference, progress: &dyn Progress) -> Result<Digest> {
        self.check_features()?;
        self.prove_blob(name, progress)?;
        self.check_clock(name)?;
        let missing = || Error::new(ErrorKind::Usage, "a blob is named by its digest").with_hint("write NAME@DIGEST");
        name.digest().copied().ok_or_else(missing)
    }

    /// Decides whether this client may fetch what a name resolved to. It may not without the signatures that it demands; if
    /// the store `known` has them, they are not requested. Layers are fetched from the URLs in their manifest only if foreign
    /// layers are allowed, because the author of the manifest would choose which servers receive requests (CVE-2020-15157).
    pub(crate) fn admit_resolved<'a>(&self, mut resolved: Resolved<'a>, known: Option<&Store>) -> Result<Admitted<'a>> {
        self.check_features()?;
        self.prove(&mut resolved, known)?;
        if let ResolvedContent::Image(ImageManifest::Schema2(manifest)) = &mut resolved.content
            && self.options.foreign_layers
        {
            manifest.allow_urls();
        }
        // A signature of a given key says more than the server that has resolved the tag.
        if resolved.evidence.is_none() {
            self.check_clock(&resolved.name)?;
        }
        Ok(Admitted { resolved })
    }
}
