//! What a caller may choose. Cuts for each room the narrow configuration that it needs; nobody below sees the whole.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::system::HostSystem;
use crate::cancel::Cancel;
use crate::limits::Limits;
use crate::oci::credentials::Credentials;
use crate::oci::platform::Platform;
use crate::registry;
use crate::registry::{PaceLimits, TlsConfig};

/// The choices of a [`Client`](crate::Client) and of what it fetches. Setters take values that are parsed already.
///
/// ```
/// let options = pullet::Options::new().platform("linux/arm/v7".parse()?);
/// # Ok::<(), pullet::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) platform: Option<Platform>,
    pub(crate) cancel: Cancel,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) authfile: Option<PathBuf>,
    realms: Vec<String>,
    mirrors: Vec<String>,
    tls: TlsConfig,
    pub(crate) limits: Limits,
    pace: PaceLimits,
    pub(crate) retries: u32,
    pub(crate) jobs: usize,
    pub(crate) foreign_layers: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            platform: None,
            cancel: Cancel::default(),
            credentials: None,
            authfile: None,
            realms: Vec::new(),
            mirrors: Vec::new(),
            tls: TlsConfig::default(),
            limits: Limits::default(),
            pace: PaceLimits::default(),
            retries: 5,
            jobs: 1,
            foreign_layers: false,
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The platform that is chosen from an index. Default: this machine's, with its fallbacks.
    pub fn platform(self, platform: Platform) -> Self {
        Self { platform: Some(platform), ..self }
    }

    /// Credentials for the registries that are asked. They go to the registry's own origin and to token endpoints
    /// that may have them. Default: those that this machine's configuration has for the registry.
    pub fn credentials(self, credentials: Credentials) -> Self {
        Self { credentials: Some(credentials), ..self }
    }

    /// The only file where credentials are looked for and kept. Default: the files of Docker, podman and skopeo, as
    /// the environment names them.
    pub fn authfile(self, path: impl Into<PathBuf>) -> Self {
        Self { authfile: Some(path.into()), ..self }
    }

    /// One more token endpoint, `HOST[:PORT]`, that may have credentials although it is not the registry's own. Never
    /// over plain HTTP for a registry that speaks HTTPS. Default: none but the known ones of Docker Hub and GitLab.
    pub fn token_realm(mut self, host: impl Into<String>) -> Self {
        self.realms.push(host.into());
        self
    }

    /// One more mirror, `[HOST[:PORT]=]URL`, of the registry at that host, or of Docker Hub without one; with a host the
    /// mirror is told it as containerd does (`ns=`). It is asked before those that the machine's configuration names, in
    /// the order of the calls, and the registry itself last. Default: none but those.
    pub fn registry_mirror(mut self, mirror: impl Into<String>) -> Self {
        self.mirrors.push(mirror.into());
        self
    }

    /// Certificates in PEM that are trusted beside the machine's own. Default: none.
    pub fn ca_pem(mut self, pem: Vec<u8>) -> Self {
        self.tls.ca_pem = Some(pem);
        self
    }

    /// A certificate with its chain, and its private key, in PEM, that are shown to the registry that is asked: to its
    /// own origin and to nobody to whom it leads. Default: what is in `certs.d` for it.
    pub fn client_certificate_pem(mut self, certificate: Vec<u8>, key: Vec<u8>) -> Self {
        self.tls.client_pem = Some([certificate, key]);
        self
    }

    /// A registry, as `HOST[:PORT]`, whose certificate is not verified, and that is asked over plain HTTP if it does
    /// not speak TLS. May be called for several. Default: none; on loopback any may speak plain HTTP.
    pub fn insecure_registry(mut self, host: impl Into<String>) -> Self {
        self.tls.insecure.push(host.into());
        self
    }

    /// Bounds on what is taken in. Default: [`Limits::default`].
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// A flag that stops the work. Default: one that nobody raises.
    pub fn cancel(self, cancel: Cancel) -> Self {
        Self { cancel, ..self }
    }

    /// Whether the layers that a manifest says are to be had elsewhere may be fetched there, where the registry itself lacks
    /// them: over https, without credentials. Default: no; such an image is refused.
    pub fn foreign_layers(self, allowed: bool) -> Self {
        Self { foreign_layers: allowed, ..self }
    }

    /// How often a request that failed for a passing cause is made again without progress; 0 for never. Default: 5.
    pub fn retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// How many layers are fetched at once, each on a thread and a connection of its own. Default: 1, which starts no
    /// thread.
    pub fn jobs(self, jobs: NonZeroUsize) -> Self {
        Self { jobs: jobs.get(), ..self }
    }

    /// The longest wait for an answer or for the next bytes of one; also the time over which a body must bring at least
    /// 100 bytes a second. Default: 60 s.
    pub fn stall_timeout(self, stall: Duration) -> Self {
        let pace = PaceLimits { stall, ..self.pace };
        Self { pace, ..self }
    }

    /// Bytes a second that a body may have at most. Default: no limit.
    pub fn rate_limit(self, rate: u64) -> Self {
        let pace = PaceLimits { rate: Some(rate), ..self.pace };
        Self { pace, ..self }
    }

    /// Moves out what the connections need. The PEM texts go with it, because they are parsed once and then of no use.
    pub(crate) fn take_connection_config(&mut self) -> registry::ConnectionConfig {
        registry::ConnectionConfig {
            realms: self.realms.clone(),
            mirrors: std::mem::take(&mut self.mirrors),
            tls: std::mem::take(&mut self.tls),
            limits: self.limits.clone(),
            pace: self.pace.clone(),
            cancel: self.cancel.clone(),
            machine: Arc::new(HostSystem::new()),
        }
    }
}
