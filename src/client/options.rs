//! Options of a client. Lower modules never see all of them: each gets the part that it needs.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[cfg(not(feature = "trust"))]
use super::no_trust::Verification;
use super::system::{HostSystem, NoSystem};
use crate::cancel::Cancel;
use crate::error::Result;
use crate::limits::Limits;
use crate::oci::credentials::Credentials;
use crate::oci::platform::Platform;
use crate::oci::version::Version;
use crate::registry;
use crate::registry::{Budget, PaceLimits, RateLimit, System, TlsConfig};
use crate::store::Store;
#[cfg(feature = "trust")]
use crate::trust::Verification;

/// Options of a [`Client`](crate::Client). Setters take parsed values.
///
/// ```
/// let options = pullet::Options::new().platform("linux/arm/v7".parse()?);
/// # Ok::<(), pullet::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    pub(crate) platform: Option<Platform>,
    pub(crate) cancel: Cancel,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) authfile: Option<PathBuf>,
    realms: Vec<String>,
    mirrors: Vec<String>,
    mirrors_only: bool,
    tls: TlsConfig,
    pub(crate) limits: Limits,
    stall: Duration,
    rate: Option<u64>,
    #[cfg(feature = "manage")]
    max_bytes: Option<u64>,
    pub(crate) retries: u32,
    /// How long to wait for a network that stops working, after the retries.
    #[cfg(feature = "boot")]
    pub(crate) outage: Duration,
    pub(crate) jobs: usize,
    /// Whether pulled images will be unpacked.
    pub(crate) unpacks: bool,
    pub(crate) foreign_layers: bool,
    pub(crate) verification: Verification,
    pub(crate) policy: Option<PathBuf>,
    #[cfg_attr(not(feature = "trust"), expect(dead_code, reason = "without signatures no policy is read"))]
    pub(crate) archive_path: Option<PathBuf>,
    pub(crate) require_signatures: bool,
    pub(crate) min_version: Option<Version>,
    pub(crate) allow_downgrade: bool,
    pub(crate) unconfirmed: bool,
    #[cfg_attr(not(feature = "trust"), expect(dead_code, reason = "without signatures no version is kept"))]
    pub(crate) version_store: Option<Store>,
    pub(crate) system_configuration: bool,
    proxy: Option<String>,
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
            mirrors_only: false,
            tls: TlsConfig::default(),
            limits: Limits::default(),
            stall: Duration::from_secs(60),
            rate: None,
            #[cfg(feature = "manage")]
            max_bytes: None,
            retries: 5,
            #[cfg(feature = "boot")]
            outage: Duration::ZERO,
            jobs: 1,
            unpacks: false,
            foreign_layers: false,
            verification: Verification::default(),
            policy: None,
            archive_path: None,
            require_signatures: false,
            min_version: None,
            allow_downgrade: false,
            unconfirmed: false,
            version_store: None,
            system_configuration: true,
            proxy: None,
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The platform to choose from an index. Default: the platform of this machine, with its fallbacks.
    pub fn platform(self, platform: Platform) -> Self {
        Self { platform: Some(platform), ..self }
    }

    /// Credentials for the registry. They are sent to its own origin and to the token endpoints that it may use, never to a
    /// mirror. Default: the credentials in the configuration of this machine.
    pub fn credentials(self, credentials: Credentials) -> Self {
        Self { credentials: Some(credentials), ..self }
    }

    /// The only file in which credentials are looked up and stored. Default: the files of Docker, podman and skopeo, as the
    /// environment names them.
    pub fn authfile(self, path: impl Into<PathBuf>) -> Self {
        Self { authfile: Some(path.into()), ..self }
    }

    /// Allows sending credentials to a token endpoint, `HOST[:PORT]`, of another origin than the registry. Plain HTTP is
    /// never used for a registry with HTTPS. May be called several times. Default: only the known token endpoints of
    /// Docker Hub and GitLab.
    pub fn token_realm(mut self, host: impl Into<String>) -> Self {
        self.realms.push(host.into());
        self
    }

    /// Adds a mirror, `[HOST[:PORT]=]URL`, of the registry at `HOST`, or of Docker Hub without `HOST`. With a host, requests
    /// to the mirror include `?ns=HOST`, as in containerd. Mirrors are tried in the order of the calls, then those of the
    /// machine's configuration, then the registry itself. Default: only the mirrors of the machine's configuration.
    pub fn registry_mirror(mut self, mirror: impl Into<String>) -> Self {
        self.mirrors.push(mirror.into());
        self
    }

    /// Whether to use only mirrors, and never send a request to the registry itself. A name without a mirror is an error.
    /// Foreign layers are still fetched from their own URLs, if that is allowed. Default: no.
    pub fn mirrors_only(self, enabled: bool) -> Self {
        Self { mirrors_only: enabled, ..self }
    }

    /// CA certificates in PEM to trust in addition to those of the machine. Default: none.
    pub fn ca_pem(mut self, pem: Vec<u8>) -> Self {
        self.tls.ca_pem = Some(pem);
        self
    }

    /// A client certificate with its chain, and its private key, in PEM. It is presented to the registry's own origin only,
    /// never after a redirect to another one. Default: the certificate in `certs.d` for the registry.
    pub fn client_certificate_pem(mut self, certificate: Vec<u8>, key: Vec<u8>) -> Self {
        self.tls.client_pem = Some([certificate, key]);
        self
    }

    /// Does not verify the certificate of a registry, `HOST[:PORT]`, and uses plain HTTP if it has no TLS. May be called
    /// several times. Default: none; a registry on loopback may always use plain HTTP.
    pub fn insecure_registry(mut self, host: impl Into<String>) -> Self {
        self.tls.insecure.push(host.into());
        self
    }

    /// Whether the clock of this machine may be behind. If so, certificates are verified at the latest of: the clock, the date
    /// of the build, the times of systemd's `/usr/lib/clock-epoch` and `/var/lib/systemd/timesync/clock`, the time of the last
    /// success, which the store keeps, and the times at which the server's certificates begin. The chain and the name are
    /// verified as always, and a certificate that expired before that time is refused. If that time is later than the clock,
    /// a name must have a digest: a tag is refused with [`ErrorKind::Tls`](crate::ErrorKind::Tls). Default: no, only the
    /// clock counts.
    pub fn clock_floor(mut self, enabled: bool) -> Self {
        self.tls.has_clock_floor = enabled;
        self
    }

    /// Bounds on untrusted input. Default: [`Limits::default`].
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// A flag that stops the work. Default: a flag that is never raised.
    pub fn cancel(self, cancel: Cancel) -> Self {
        Self { cancel, ..self }
    }

    /// Whether to fetch foreign layers from the URLs in the manifest when the registry does not have them: over HTTPS only,
    /// without credentials. Default: no; an image with a layer that the registry does not have is
    /// refused.
    pub fn foreign_layers(self, allowed: bool) -> Self {
        Self { foreign_layers: allowed, ..self }
    }

    /// Demands that an image is signed by this key: a public key in PEM, of ECDSA on P-256 or P-384, Ed25519, or RSA of 2048
    /// to 4096 bits. With several keys, one of them is enough; see [`verify_count`](Self::verify_count). Simple signatures
    /// (cosign, podman, skopeo) and Sigstore bundles are found at the registry, and those that proved an image are kept in
    /// the store. An image that is not proven is refused with [`ErrorKind::Mismatch`](crate::ErrorKind::Mismatch) before
    /// anything but manifests and signatures is requested.
    ///
    /// Fails with [`ErrorKind::Usage`](crate::ErrorKind::Usage) if it is not a public key, and with
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for another algorithm, or if the feature `trust` was not
    /// compiled in.
    pub fn verify_key(mut self, pem: &[u8]) -> Result<Self> {
        self.verification.add_key(pem)?;
        Ok(self)
    }

    /// Demands signatures by this many different keys. Two copies of one key count once. Default: 1.
    pub fn verify_count(mut self, count: usize) -> Self {
        self.verification.set_count(count);
        self
    }

    /// Counts only signatures with this annotation, which their signer must have signed: `cosign sign -a KEY=VALUE`. May be
    /// called several times; then a signature needs all of them.
    pub fn verify_annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.verification.add_annotation(key.into(), value.into());
        self
    }

    /// The policy to obey: containers' `policy.json`. Default: the first that exists of `/etc/pullet/policy.json`,
    /// `$CONTAINERS_POLICY_JSON`, and `containers/policy.json` in the user's configuration folder, in `/etc` and in
    /// `/usr/share`. A policy that exists is always obeyed. A malformed one is an error.
    pub fn policy(self, path: impl Into<PathBuf>) -> Self {
        Self { policy: Some(path.into()), ..self }
    }

    /// The absolute path of the archive that [`Client::load`](crate::Client::load) reads, because a policy may have rules for
    /// paths. Default: none, as for standard input.
    pub fn archive_path(self, path: impl Into<PathBuf>) -> Self {
        Self { archive_path: Some(path.into()), ..self }
    }

    /// Refuses an image for which neither a key nor a policy demands a signature. Default: no.
    pub fn require_signatures(self, enabled: bool) -> Self {
        Self { require_signatures: enabled, ..self }
    }

    /// Refuses an image whose version is older, or that has none, with [`ErrorKind::Mismatch`](crate::ErrorKind::Mismatch).
    /// The version is the annotation `org.opencontainers.image.version`: the signed one of the signature if a signature is
    /// demanded, else that of the manifest, which proves nothing.
    pub fn min_version(self, version: Version) -> Self {
        Self { min_version: Some(version), ..self }
    }

    /// Whether to accept an image that is older than one that was accepted before. The store keeps the signed version of each
    /// image that it accepts, for its repository and the keys that have signed it. Default: no.
    pub fn allow_downgrade(self, enabled: bool) -> Self {
        Self { allow_downgrade: enabled, ..self }
    }

    /// Whether to refuse older images only after [`Store::confirm`], because the new image may have to be taken back.
    /// Default: no, as soon as the image is complete.
    pub fn unconfirmed(self, enabled: bool) -> Self {
        Self { unconfirmed: enabled, ..self }
    }

    /// The store that keeps the versions of accepted images. Default: the store into which an image is fetched; none for
    /// [`Client::stream`](crate::Client::stream) and [`Client::artifact`](crate::Client::artifact).
    pub fn version_store(self, store: &Store) -> Self {
        Self { version_store: Some(store.clone()), ..self }
    }

    /// How often a failed request is retried without progress in between; 0 for never. Default: 5.
    pub fn retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// How many layers are fetched in parallel, each with its own thread and connection. Default: 1, which starts no thread.
    /// Independently of this, each lookup of a host name and each connection through a SOCKS proxy has a thread, because the
    /// system cannot interrupt them.
    pub fn jobs(self, jobs: NonZeroUsize) -> Self {
        Self { jobs: jobs.get(), ..self }
    }

    /// Whether the images that [`Client::pull`](crate::Client::pull) fetches will be unpacked. Then a layer whose first bytes
    /// show that it cannot be is not received: the pull fails with [`ErrorKind::Unsafe`](crate::ErrorKind::Unsafe).
    /// [`Client::unpack`](crate::Client::unpack) always does this. Default: no.
    #[cfg(feature = "manage")]
    pub fn unpacks(self, enabled: bool) -> Self {
        Self { unpacks: enabled, ..self }
    }

    /// The longest wait for a response or for its next bytes. Over the same time, a body must arrive with at least 100 bytes
    /// per second. Default: 60 s.
    pub fn stall_timeout(self, stall: Duration) -> Self {
        Self { stall, ..self }
    }

    /// The highest rate in bytes per second, of everything that the client receives together. Default: no limit.
    pub fn rate_limit(self, rate: u64) -> Self {
        Self { rate: Some(rate), ..self }
    }

    /// The most bytes that the client receives in the bodies of all responses together: documents, tokens and blobs. The
    /// headers, TLS and TCP are some more. A blob is requested only as far as the bytes suffice. When they are used up, a call
    /// fails with [`ErrorKind::RateLimited`](crate::ErrorKind::RateLimited), and what arrived of a blob stays in the store:
    /// a later client goes on there. Default: no limit.
    #[cfg(feature = "manage")]
    pub fn max_bytes(self, bytes: u64) -> Self {
        Self { max_bytes: Some(bytes), ..self }
    }

    /// Whether to use the configuration of this machine: environment variables, credentials, mirrors, proxies and
    /// certificates of other tools. If it is off, only what these options contain is used, and the root certificates are
    /// the built-in ones (feature `webpki-roots`) and [`ca_pem`](Self::ca_pem). Default: on.
    pub fn system_configuration(self, enabled: bool) -> Self {
        Self { system_configuration: enabled, ..self }
    }

    /// The proxy for all servers except those on loopback: `[http|https|socks5://][USER:PASSWORD@]HOST[:PORT]`. Default: the
    /// proxies that the environment names.
    pub fn proxy(self, url: impl Into<String>) -> Self {
        Self { proxy: Some(url.into()), ..self }
    }

    /// Moves out what the connections need. The PEM texts go with it, because they are parsed once and then of no use.
    pub(crate) fn take_connection_config(&mut self) -> registry::ConnectionConfig {
        let proxy = self.proxy.take();
        let system: Arc<dyn System> =
            if self.system_configuration { Arc::new(HostSystem::new(proxy)) } else { Arc::new(NoSystem::new(proxy)) };
        registry::ConnectionConfig {
            realms: self.realms.clone(),
            mirrors: std::mem::take(&mut self.mirrors),
            mirrors_only: self.mirrors_only,
            tls: std::mem::take(&mut self.tls),
            limits: self.limits.clone(),
            pace: PaceLimits {
                stall: self.stall,
                rate: self.rate.map(|rate| Arc::new(RateLimit::new(rate))),
                #[cfg(feature = "manage")]
                budget: self.max_bytes.map_or_else(Budget::default, Budget::new),
                #[cfg(not(feature = "manage"))]
                budget: Budget::default(),
            },
            cancel: self.cancel.clone(),
            system,
        }
    }
}
