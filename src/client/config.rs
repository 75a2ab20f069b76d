//! Gets the config of an image and checks it against the manifest and the platform.

use super::client::Client;
use super::document::ContentSource;
use super::resolved::Resolved;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::config::ImageConfig;
use crate::oci::manifest::Manifest;
use crate::oci::platform::Platform;
use crate::progress::Event;
use crate::store::Store;

/// A config as the registry has it, and what it says.
pub(crate) struct FetchedConfig {
    pub(crate) bytes: Vec<u8>,
    pub(crate) parsed: ImageConfig,
}

impl Client {
    /// Gets the config of an image from the store or the registry, verifies it, and checks it against the manifest.
    pub(crate) fn config(
        &self,
        resolved: &mut Resolved<'_>,
        manifest: &Manifest,
        known: Option<&Store>,
    ) -> Result<FetchedConfig> {
        let mut source = ContentSource { repository: &mut resolved.repository, known, progress: resolved.progress };
        let config = self.fetch_config(manifest, &mut source)?;
        self.check_platform(&config.parsed.platform, resolved)?;
        Ok(config)
    }

    /// Gets the config of a manifest, for any platform.
    pub(super) fn fetch_config(
        &self,
        manifest: &Manifest,
        source: &mut ContentSource<'_, '_>,
    ) -> Result<FetchedConfig> {
        let bytes = self.small_blob(&manifest.config, source).map_err(|e| e.context("config"))?;
        let parsed = ImageConfig::parse(&bytes, manifest)?;
        Ok(FetchedConfig { bytes, parsed })
    }

    /// Checks that the image is for the client's platform. A manifest that was not chosen from an index may be for
    /// another one. If the caller asked for a platform, that is an error, as with Docker; else it is a note.
    pub(crate) fn check_platform(&self, platform: &Platform, resolved: &Resolved<'_>) -> Result<()> {
        if resolved.is_chosen || platform.os().is_empty() || self.platform.rank(platform).is_some() {
            return Ok(());
        }
        let text = format!("the image is for {platform} and not for {}", self.platform);
        if self.options.platform.is_some() {
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        resolved.progress.report(Event::Warning(&text));
        Ok(())
    }
}
