//! The machine's configuration and state, as far as a connection needs them. The client implements [`System`], because
//! the rooms `registry/` and `host/` do not import each other, and because a caller of the library should be able to
//! replace the machine's configuration. Files are read only when a connection needs them.

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

/// The machine's configuration and state.
pub(crate) trait System: Send + Sync {
    /// Passes the machine's files of root certificates to `load`, which returns the number of certificates that it
    /// could use. Stops after the first place that had any.
    #[cfg(feature = "tls")]
    fn roots(&self, load: &mut dyn FnMut(&mut dyn Read) -> usize) -> Vec<Notice>;

    /// Reads the certificates that are configured for a registry under one of these names, and those in `files`.
    #[cfg(feature = "tls")]
    fn certificates(&self, names: &[&str], files: &TlsFiles) -> Result<(Certificates, Vec<Notice>)>;

    /// Waits, up to a time limit, until the kernel can generate the random numbers that TLS needs. Calls `report`
    /// before it waits.
    #[cfg(feature = "tls")]
    fn randomness(&self, report: &dyn Fn(&str), cancel: &Cancel) -> Result<()>;

    /// Returns the time of the machine's clock, in seconds since 1970.
    #[cfg(feature = "tls")]
    fn now(&self) -> u64;

    /// Returns the latest moment that has certainly passed, whatever the machine's clock says.
    #[cfg(feature = "tls")]
    fn passed(&self) -> Moment;

    /// Returns the places of a repository, from the first file that mentions it.
    fn route(&self, name: &Reference) -> Result<Option<Route>>;

    /// Returns the file that lists a server as insecure, if one does: its certificate is not verified.
    fn insecure(&self, https: bool, host: &str, port: u16) -> Result<Option<String>>;

    /// Returns the proxy for a server, or `None` for a direct connection.
    fn proxy(&self, https: bool, host: &str, port: u16) -> Result<Option<Proxy>>;
}

/// A source of credentials.
pub(crate) trait CredentialProvider: Sync {
    /// Returns the credentials for a repository. Credentials that the caller gave are for the registry that the image
    /// name names (`is_named`), and not for its mirrors.
    fn credentials(&self, name: &Reference, is_named: bool, progress: &dyn Progress) -> Result<Option<Credentials>>;
}

/// The certificates for one registry in PEM, each with the name of its file.
#[cfg(feature = "tls")]
#[derive(Default)]
pub(crate) struct Certificates {
    pub(crate) authorities: Vec<(String, Vec<u8>)>,
    /// A certificate and its key.
    pub(crate) client: Option<[(String, Vec<u8>); 2]>,
}

/// A moment, and the reason why it has passed.
#[derive(Clone)]
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "without TLS no time is needed"))]
pub(crate) struct Moment {
    /// Seconds since 1970.
    pub(crate) seconds: u64,
    pub(crate) from: String,
}

/// An event to report.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    Configured { what: String, from: String },
    Warning(String),
}

/// Collects notices until they can be reported, each once per client. Notices arise inside ureq's connectors, which are
/// called without a [`Progress`]: connections outlive the call that opened them, and several threads share this queue.
#[derive(Default)]
pub(crate) struct Notices(Mutex<Queue>);

/// All notices so far, in order. The first `reported` ones have been reported.
#[derive(Default)]
struct Queue {
    notices: Vec<Notice>,
    reported: usize,
}

impl Notices {
    pub(crate) fn add(&self, notice: Notice) {
        let queue = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.notices.contains(&notice) {
            queue.notices.push(notice);
        }
    }

    /// Returns the notices that have not been reported yet, and marks them as reported.
    pub(crate) fn take(&self) -> Vec<Notice> {
        let queue = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = queue.notices.iter().skip(queue.reported).cloned().collect();
        queue.reported = queue.notices.len();
        new
    }

    pub(crate) fn report(&self, progress: &dyn Progress) {
        for notice in &self.take() {
            progress.report(match notice {
                Notice::Configured { what, from } => Event::Configured { what, from },
                Notice::Warning(text) => Event::Warning(text),
            });
        }
    }
}
