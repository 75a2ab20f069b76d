//! The caller's TLS settings, and those of one registry. Certificates are not parsed here.

use std::sync::Arc;

use super::super::system::{Notice, Notices, System};
use super::super::url::Url;
use crate::error::Result;
use crate::oci::reference::Reference;
use crate::oci::route::TlsFiles;

/// The caller's TLS settings.
#[derive(Clone, Default)]
pub(crate) struct TlsConfig {
    pub(crate) ca_pem: Option<Vec<u8>>,
    /// A certificate with its chain, and its key.
    pub(crate) client_pem: Option<[Vec<u8>; 2]>,
    /// Registries, as `HOST[:PORT]`, whose certificates are not verified and which may use plain HTTP.
    pub(crate) insecure: Vec<String>,
    /// True if the clock of the machine may be behind: certificates are verified at a later time that has passed.
    pub(crate) has_clock_floor: bool,
}

/// The registry or mirror that an HTTP client is for.
#[derive(Clone, PartialEq)]
pub(crate) struct Peer {
    /// The only origin to which its client certificate is shown.
    pub(crate) origin: Url,
    /// The names under which certificates may be configured for it.
    pub(crate) names: Vec<String>,
    /// True if its certificate is not verified.
    pub(crate) is_insecure: bool,
    /// True if it is the registry that the image name names. The caller's client certificate is for that registry only.
    pub(crate) is_named: bool,
    /// The files that the machine's configuration gives for it.
    pub(crate) files: TlsFiles,
}

/// Registries whose certificates are not verified and which may use plain HTTP.
pub(crate) struct InsecureRegistries {
    /// Those that the caller listed, as `HOST[:PORT]`.
    listed: Vec<String>,
    system: Arc<dyn System>,
    notices: Arc<Notices>,
}

impl InsecureRegistries {
    pub(crate) fn new(config: &TlsConfig, system: Arc<dyn System>, notices: Arc<Notices>) -> Self {
        Self { listed: config.insecure.clone(), system, notices }
    }

    /// Adds a note for each server that the caller listed and that is none of these endpoints' servers. The port
    /// belongs to the server, and is easily forgotten.
    pub(crate) fn note_unused(&self, name: &Reference, base_urls: &[Url]) {
        for authority in &self.listed {
            if !base_urls.iter().any(|url| url.is_at(authority)) {
                let text = format!(
                    "the insecure registry {authority} is no endpoint of {}, so it matters only for redirects",
                    name.repository()
                );
                self.notices.add(Notice::Warning(text));
            }
        }
    }

    /// Returns the file that lists the server as insecure, "given explicitly" if the caller did, or `None`.
    pub(crate) fn source(&self, url: &Url) -> Result<Option<String>> {
        if self.listed.iter().any(|authority| url.is_at(authority)) {
            return Ok(Some("given explicitly".to_owned()));
        }
        let Some(from) = self.system.insecure(url.is_https(), url.host(), url.port())? else { return Ok(None) };
        let what = format!("{} as an insecure registry", url.authority());
        self.notices.add(Notice::Configured { what, from: from.clone() });
        Ok(Some(from))
    }
}

/// Omits the certificates and the key.
impl std::fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ca_pem, client_pem, insecure, .. } = self;
        write!(f, "TlsConfig(CA: {}, client: {}, {insecure:?})", ca_pem.is_some(), client_pem.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_contains_no_key() {
        let client_pem = Some([b"certificate".to_vec(), b"secret".to_vec()]);
        let text = format!("{:?}", TlsConfig { client_pem, ..TlsConfig::default() });
        assert_eq!(text, "TlsConfig(CA: false, client: true, [])");
    }
}
