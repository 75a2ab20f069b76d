//! Gets the config of an image and checks it against the manifest and the platform.

use super::client::Client;
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
        let descriptor = &manifest.config;
        let limit = self.options.limits.document;
        let stored = known.and_then(|store| store.document(descriptor, limit).ok());
        let bytes = match stored {
            Some(bytes) => bytes,
            None => self
                .with_retries(&mut resolved.repository, resolved.progress, |repository| {
                    let (body, _) = repository.blob(descriptor, 0)?;
                    self.verify(descriptor, body)
                })
                .map_err(|e| e.context("config"))?,
        };
        let parsed = ImageConfig::parse(&bytes, manifest)?;
        self.check_platform(&parsed.platform, resolved)?;
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
        resolved.progress.report(Event::Note(&text));
        Ok(())
    }
}
