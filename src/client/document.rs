//! Documents straight from the registry: what a name points to, byte for byte. Nothing is stored.

use super::client::Client;
use super::resolve::{Resolved, proven_answer};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::json;
use crate::oci::reference::Reference;
use crate::progress::Progress;

/// A manifest or index as a registry has it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawDocument {
    /// Its digest: that of the bytes, but for a signed manifest of Docker's schema 1, which has that of what was signed.
    pub digest: Digest,
    /// The bytes as they came.
    pub bytes: Vec<u8>,
}

impl Client {
    /// What `name` points to: an index where it is one. A pinned digest is proven; nothing else in it is looked at.
    pub fn document(&self, name: &Reference, progress: &dyn Progress) -> Result<RawDocument> {
        let served = self.open(name, progress).and_then(|mut session| {
            self.ask(&mut session, progress, |session| {
                let served = session.manifest(&name.selector())?;
                let digest = proven_answer(name, &served)?;
                Ok(RawDocument { digest, bytes: served.bytes })
            })
        });
        served.map_err(|e| e.context(format!("get the manifest of {name}")))
    }
}

impl RawDocument {
    /// The document as people read it: the same values, a member a line, nothing in it that could move a cursor. Fails
    /// with [`ErrorKind::Unsafe`] if it is no JSON.
    pub fn pretty(&self) -> Result<String> {
        json::pretty(&self.bytes).map_err(|why| Error::new(ErrorKind::Unsafe, format!("malformed manifest: {why}")))
    }
}

impl From<Resolved<'_>> for RawDocument {
    /// The manifest for the platform.
    fn from(resolved: Resolved<'_>) -> Self {
        Self { digest: resolved.manifest().digest, bytes: resolved.bytes().to_vec() }
    }
}
