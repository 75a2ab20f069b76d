//! What the user and the machine's files say of TLS, on its way to who acts on it. Nothing is parsed here.

use std::sync::Arc;

use super::super::system::{Notice, Notices, System};
use super::super::url::Url;
use crate::error::Result;
use crate::oci::route::TlsFiles;

/// What the user said of TLS.
#[derive(Clone, Default)]
pub(crate) struct TlsConfig {
    pub(crate) ca_pem: Option<Vec<u8>>,
    /// A certificate with its chain, and its key.
    pub(crate) client_pem: Option<[Vec<u8>; 2]>,
    /// `HOST[:PORT]`: their certificates are not verified, and they may speak plain HTTP.
    pub(crate) insecure: Vec<String>,
}

/// The registry or mirror that a client is for.
#[derive(Clone, PartialEq)]
pub(crate) struct Peer {
    /// Its own origin: nobody else is shown its client certificate.
    pub(crate) origin: Url,
    /// Under which names it may be configured.
    pub(crate) names: Vec<String>,
    /// Its certificate is not verified.
    pub(crate) is_insecure: bool,
    /// Whether it is the registry that was named: the user's own client certificate is for it.
    pub(crate) is_named: bool,
    /// Files that the machine's configuration names for it.
    pub(crate) files: TlsFiles,
}

/// Whose certificates are not verified, and who may speak plain HTTP.
pub(crate) struct Insecure {
    /// What the user lists, as `HOST[:PORT]`.
    listed: Vec<String>,
    machine: Arc<dyn System>,
    notices: Arc<Notices>,
}

impl Insecure {
    pub(crate) fn new(config: &TlsConfig, machine: Arc<dyn System>, notices: Arc<Notices>) -> Self {
        Self { listed: config.insecure.clone(), machine, notices }
    }

    /// The option or file that says so of a server, if one does.
    pub(crate) fn says(&self, url: &Url) -> Result<Option<String>> {
        if self.listed.iter().any(|authority| url.is_at(authority)) {
            return Ok(Some("given explicitly".to_owned()));
        }
        let listed = self.machine.insecure(url.is_https(), url.host(), url.port())?;
        if let Some(from) = listed.clone() {
            let what = format!("{} as an insecure registry", url.authority());
            self.notices.add(Notice::Configured { what, from });
        }
        Ok(listed)
    }
}

/// Without the key.
impl std::fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ca_pem, client_pem, insecure } = self;
        write!(f, "TlsConfig(CA: {}, client: {}, {insecure:?})", ca_pem.is_some(), client_pem.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_not_shown() {
        let client_pem = Some([b"certificate".to_vec(), b"secret".to_vec()]);
        let shown = format!("{:?}", TlsConfig { client_pem, ..TlsConfig::default() });
        assert_eq!(shown, "TlsConfig(CA: false, client: true, [])");
    }
}
