//! The client: its options, its credentials and its connections to registries.

use std::sync::Arc;
#[cfg(feature = "boot")]
use std::time::Instant;

use super::options::Options;
use super::retry::RetryState;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::host::{self, CredentialStore};
use crate::oci::credentials::Credentials;
use crate::oci::descriptor::Descriptor;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::progress::{Event, Progress};
use crate::registry::{Connections, CredentialProvider, Repository};
use crate::verify::{Size, Verified};

/// Pulls images from registries. One client keeps its connections; its methods may be called many times.
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
    /// Fails with [`ErrorKind::Usage`] if the options contradict themselves; never replaces a bad one by its default.
    /// What the machine says of proxies and certificates is obeyed: the environment is read here, files when they are
    /// needed.
    pub fn new(mut options: Options) -> Result<Self> {
        let platform = options.platform.clone().unwrap_or_else(host::platform);
        let connections = Connections::new(options.registry())?;
        let credential_store = Arc::new(CredentialStore::new(options.authfile.clone(), options.cancel.clone()));
        Ok(Self { options, platform, credential_store, connections })
    }

    /// All tags of a repository.
    pub fn tags(&self, repository: &Reference, progress: &dyn Progress) -> Result<Vec<String>> {
        let tags = self
            .open(repository, progress)
            .and_then(|mut session| self.ask(&mut session, progress, |session| session.tags()));
        tags.map_err(|e| e.context(format!("list tags of {}", repository.repository())))
    }

    /// Finds the credentials for a name now and not when they are needed, and remembers them, those of its mirrors too: a
    /// credential helper writes files of its own, which a [`Sandbox`](crate::Sandbox) forbids. What goes wrong is told when
    /// they are needed.
    pub fn find_credentials(&self, name: &Reference, progress: &dyn Progress) {
        for (name, is_named) in self.connections.names(name).unwrap_or_default() {
            let _ = self.credentials(&name, is_named, progress);
        }
    }

    /// The same client, which asks once and is out of time at `until`.
    #[cfg(feature = "boot")]
    pub(crate) fn scout(&self, until: Instant) -> Self {
        let until = self.options.cancel.remaining().map_or(until, |left| until.min(Instant::now() + left));
        let cancel = self.options.cancel.until(until);
        let connections = self.connections.with_cancel(&cancel);
        let options = self.options.clone().retries(0).cancel(cancel);
        Self {
            options,
            platform: self.platform.clone(),
            credential_store: Arc::clone(&self.credential_store),
            connections,
        }
    }

    /// A session, with nothing asked yet.
    pub(crate) fn open<'a>(&'a self, name: &Reference, progress: &'a dyn Progress) -> Result<Repository<'a>> {
        Repository::open(&self.connections, name, self, progress)
    }

    /// Does `work`, which asks for one thing and judges what comes: at one endpoint after the other, and at the last with
    /// retry.
    pub(crate) fn ask<'a, T>(
        &self,
        repository: &mut Repository<'a>,
        progress: &dyn Progress,
        mut work: impl FnMut(&mut Repository<'a>) -> Result<T>,
    ) -> Result<T> {
        self.retry(progress).with(|| {
            loop {
                match work(repository) {
                    Err(error) if repository.fail_over(&error) => {}
                    other => return other,
                }
            }
        })
    }

    pub(crate) fn tell_pulling(&self, name: &Reference, progress: &dyn Progress) {
        let label = name.digest().map_or_else(|| name.selector(), Digest::to_string);
        progress.report(Event::Pulling { label: &label, path: name.path() });
    }

    pub(crate) fn retry<'a>(&'a self, progress: &'a dyn Progress) -> RetryState<'a> {
        RetryState::new(self.options.retries.0, &self.options.cancel, progress)
    }

    /// Reads all of a small body and proves that it is what the descriptor promises.
    pub(crate) fn verify(&self, descriptor: &Descriptor, body: impl std::io::Read) -> Result<Vec<u8>> {
        let limit = self.options.bounds().document;
        let size = Size::Exactly(descriptor.size);
        let body = Verified::new(body, descriptor.digest, size, self.options.cancel.clone());
        body.document(limit, |e| Error::new(ErrorKind::Network, e.to_string()))
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
