//! The client: its options, its credentials and its connections to registries.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
#[cfg(feature = "boot")]
use std::time::{Duration, Instant};

use super::options::Options;
use super::retry::RetryState;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::host::{self, CredentialStore};
use crate::oci::credentials::Credentials;
use crate::oci::descriptor::Descriptor;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::progress::Progress;
use crate::registry::{Connections, CredentialProvider, Repository};
use crate::verify::{Size, Verified};

/// Pulls images from registries. A client reuses its connections, so its methods may be called many times.
///
/// ```no_run
/// use pullet::{Client, Options, Silent, Store};
///
/// let client = Client::new(Options::new())?;
/// let store = Store::open("/var/lib/pullet");
/// let pulled = client.pull(&"alpine:3.20".parse()?, &store, &Silent)?;
/// println!("{} is {}", pulled.image.name(), pulled.image.digest());
/// # Ok::<(), pullet::Error>(())
/// ```
pub struct Client {
    pub(crate) options: Options,
    pub(crate) platform: Platform,
    pub(crate) credential_store: Arc<CredentialStore>,
    pub(crate) connections: Connections,
}

impl Client {
    /// Fails with [`ErrorKind::Usage`] if the options contradict each other. An invalid option is never replaced by its
    /// default. Unless [`Options::system_configuration`] is off, the environment is read here, and the files for proxies,
    /// mirrors and certificates when they are needed.
    pub fn new(mut options: Options) -> Result<Self> {
        options.verification.check()?;
        let platform = options.platform.clone().unwrap_or_else(host::platform);
        let connections = Connections::new(options.take_connection_config())?;
        let credential_store = if options.system_configuration || options.authfile.is_some() {
            CredentialStore::new(options.authfile.clone(), options.cancel.clone())
        } else {
            CredentialStore::none(options.cancel.clone())
        };
        Ok(Self { options, platform, credential_store: Arc::new(credential_store), connections })
    }

    /// Lists all tags of a repository.
    pub fn tags(&self, repository: &Reference, progress: &dyn Progress) -> Result<Vec<String>> {
        let tags = self
            .open(repository, progress)
            .and_then(|mut session| self.with_retries(&mut session, progress, Repository::tags));
        tags.map_err(|e| e.context(format!("list tags of {}", repository.repository())))
    }

    /// Finds the credentials for a name and its mirrors now, and caches them. A credential helper writes files, which a
    /// [`Sandbox`](crate::Sandbox) would forbid later. Errors are reported when the credentials are needed.
    pub fn find_credentials(&self, name: &Reference, progress: &dyn Progress) {
        for (name, is_named) in self.connections.names(name).unwrap_or_default() {
            let _ = self.credentials(&name, is_named, progress);
        }
    }

    /// Returns a client with the same options and cached credentials, whose calls end when `cancel` is raised or its
    /// deadline passes. Use it to cancel one call, or to bound the time of one call.
    ///
    /// ```no_run
    /// use pullet::{Cancel, Client, Options, Silent};
    /// use std::time::{Duration, Instant};
    ///
    /// let client = Client::new(Options::new())?;
    /// let hurried = client.with_cancel(&Cancel::with_deadline(Instant::now() + Duration::from_secs(10)));
    /// let resolved = hurried.resolve(&"alpine:3.20".parse()?, None, &Silent)?;
    /// println!("{}", resolved.digest());
    /// # Ok::<(), pullet::Error>(())
    /// ```
    #[must_use]
    pub fn with_cancel(&self, cancel: &Cancel) -> Self {
        Self {
            options: self.options.clone().cancel(cancel.clone()),
            platform: self.platform.clone(),
            credential_store: Arc::clone(&self.credential_store),
            connections: self.connections.with_cancel(cancel),
        }
    }

    /// The same client without retries and with an additional deadline.
    #[cfg(feature = "boot")]
    pub(crate) fn scout(&self, until: Instant) -> Self {
        let until = match self.options.cancel.remaining() {
            Some(left) => until.min(Instant::now() + left),
            None => until,
        };
        let mut scout = self.with_cancel(&self.options.cancel.until(until));
        scout.options.retries = 0;
        scout
    }

    /// The same client, which waits this long for a network that stops working.
    #[cfg(feature = "boot")]
    pub(crate) fn with_outage(&self, outage: Duration) -> Self {
        let mut patient = self.with_cancel(&self.options.cancel);
        patient.options.outage = outage;
        patient
    }

    /// Opens a session. No request is sent yet.
    pub(crate) fn open<'a>(&'a self, name: &Reference, progress: &'a dyn Progress) -> Result<Repository<'a>> {
        Repository::open(&self.connections, name, self, progress)
    }

    /// Runs `work`, which sends one request and checks the response: at one endpoint after the other, with retries at the
    /// last one.
    pub(crate) fn with_retries<'a, T>(
        &self,
        repository: &mut Repository<'a>,
        progress: &dyn Progress,
        mut work: impl FnMut(&mut Repository<'a>) -> Result<T>,
    ) -> Result<T> {
        let result = self.retry(progress).run(|| {
            loop {
                match work(repository) {
                    Err(error) if repository.fail_over(&error) => {}
                    other => return other,
                }
            }
        });
        result.map_err(|error| repository.conclude(error))
    }

    pub(crate) fn retry<'a>(&'a self, progress: &'a dyn Progress) -> RetryState<'a> {
        RetryState::new(&self.options, &self.options.cancel, progress)
    }

    /// Reads a small body to its end and verifies it against the descriptor.
    pub(crate) fn verify(&self, descriptor: &Descriptor, body: impl Read) -> Result<Vec<u8>> {
        let size = Size::Exactly(descriptor.size);
        let body = Verified::new(body, descriptor.digest, size, self.options.cancel.clone());
        body.document(self.options.limits.document, |e| Error::new(ErrorKind::Network, e.to_string()))
    }
}

impl fmt::Debug for Client {
    /// Shows no options, because credentials are among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("platform", &self.platform).finish_non_exhaustive()
    }
}

impl CredentialProvider for Client {
    fn credentials(&self, name: &Reference, is_named: bool, progress: &dyn Progress) -> Result<Option<Credentials>> {
        match &self.options.credentials {
            Some(given) if is_named => Ok(Some(given.clone())),
            _ => self.credential_store.find(name, progress),
        }
    }
}
