//! What this room asks of the machine's own configuration, and the words in which it is answered. Asked when a
//! connection needs it and never before: who talks plain HTTP reads no certificate.

use std::collections::HashSet;
#[cfg(feature = "tls")]
use std::io::Read;
use std::sync::{Mutex, PoisonError};

#[cfg(feature = "tls")]
use crate::cancel::Cancel;
use crate::error::Result;
use crate::oci::credentials::Credentials;
use crate::oci::proxy::Proxy;
use crate::oci::reference::Reference;
use crate::oci::route::Route;
#[cfg(feature = "tls")]
use crate::oci::route::TlsFiles;
use crate::progress::{Event, Progress};

/// The machine's own configuration.
pub(crate) trait System: Send + Sync {
    /// Gives the files that hold the machine's root certificates to `take`, which tells how many good ones were in
    /// each, until some had any. Whether there were any is told by `take` alone.
    #[cfg(feature = "tls")]
    fn roots(&self, take: &mut dyn FnMut(&mut dyn Read) -> usize) -> Vec<Notice>;

    /// What is configured for the registry that goes by one of these names, with the files that were named for it.
    #[cfg(feature = "tls")]
    fn certificates(&self, names: &[&str], files: &TlsFiles) -> Result<(Certificates, Vec<Notice>)>;

    /// Waits, with a bound, until the machine has the random numbers that TLS needs; if it has to, `tell` is told first.
    #[cfg(feature = "tls")]
    fn randomness(&self, tell: &dyn Fn(&str), cancel: &Cancel) -> Result<()>;

    /// The time by which certificates are valid, in seconds since 1970.
    #[cfg(feature = "tls")]
    fn now(&self) -> u64;

    /// Where a name is asked for, by the first file that speaks of it.
    fn route(&self, name: &Reference) -> Result<Option<Route>>;

    /// What lists a server as one whose certificate is not verified, if anything does.
    fn insecure(&self, https: bool, host: &str, port: u16) -> Result<Option<String>>;

    /// The proxy through which a server is asked.
    fn proxy(&self, https: bool, host: &str, port: u16) -> Result<Option<Proxy>>;
}

/// Who has credentials.
pub(crate) trait CredentialProvider: Sync {
    /// Those for a name. What the user gave goes only to the registry that `is_named`, and to none of its mirrors.
    fn credentials(&self, name: &Reference, is_named: bool, progress: &dyn Progress) -> Result<Option<Credentials>>;
}

/// Certificates for one registry, in PEM, each with the name of its file.
#[cfg(feature = "tls")]
#[derive(Default)]
pub(crate) struct Certificates {
    pub(crate) authorities: Vec<(String, Vec<u8>)>,
    /// A certificate and its key.
    pub(crate) client: Option<[(String, Vec<u8>); 2]>,
}

/// Something that people should hear of, found where there is nobody to tell.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Notice {
    Configured {
        what: String,
        from: String,
    },
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "notes are of certificates"))]
    Note(String),
}

/// Notices on their way to who tells them; each is told once.
#[derive(Default)]
pub(super) struct Notices(Mutex<(Vec<Notice>, HashSet<Notice>)>);

impl Notices {
    pub(super) fn add(&self, finding: Notice) {
        let (waiting, told) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(finding.clone()) {
            waiting.push(finding);
        }
    }

    /// What waits to be told.
    pub(super) fn take(&self) -> Vec<Notice> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).0)
    }

    pub(super) fn tell(&self, progress: &dyn Progress) {
        for finding in &self.take() {
            progress.report(match finding {
                Notice::Configured { what, from } => Event::Configured { what, from },
                Notice::Note(text) => Event::Note(text),
            });
        }
    }
}
