//! The gate between resolving a name and fetching what it names. Every flow that requests a config, a layer or a file
//! passes it: pull, unpack, stream, boot and artifact. The decision is made from the manifest alone.

use super::client::Client;
use super::resolved::{ImageManifest, Resolved, ResolvedContent};
use crate::error::Result;

/// A resolved name whose content may be fetched. Only [`Client::admit`] creates one.
pub(crate) struct Admitted<'a> {
    resolved: Resolved<'a>,
}

impl<'a> Admitted<'a> {
    /// Returns what was admitted.
    pub(crate) fn into_resolved(self) -> Resolved<'a> {
        self.resolved
    }
}

impl Client {
    /// Decides what this client may fetch of what a name resolved to: layers from the URLs in their manifest only if foreign
    /// layers are allowed, because its author would choose which servers receive requests (CVE-2020-15157).
    pub(crate) fn admit<'a>(&self, mut resolved: Resolved<'a>) -> Result<Admitted<'a>> {
        if let ResolvedContent::Image(ImageManifest::Schema2(manifest)) = &mut resolved.content
            && self.options.foreign_layers
        {
            manifest.allow_urls();
        }
        self.check_clock(&resolved.name)?;
        Ok(Admitted { resolved })
    }
}
