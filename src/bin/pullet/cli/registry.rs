//! The options of commands that talk to a registry, and the client that they describe.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pullet::{Cancel, Client, Credentials, Limits, Options, Platform, Store, UnpackOptions};
#[cfg(feature = "manage")]
use pullet::{Image, ReadOptions, Selector};

use super::admission::AdmissionOptions;
use super::command::CommandLine;
use super::common::Common;
use super::options::{Group, Opt};
use super::pem::read_pem;
use super::signatures::SignatureOptions;
use crate::exit::Failure;
use crate::interrupt;

/// The most bytes of credentials on standard input.
const CREDENTIALS_LIMIT: u64 = 64 << 10;

/// The options of commands that talk to a registry, as they were given.
#[derive(Default)]
pub(crate) struct RegistryOptions {
    pub(crate) platform: Option<Platform>,
    /// `$DOCKER_DEFAULT_PLATFORM`.
    default_platform: Option<Platform>,
    /// `USER[:PASSWORD]`, or `-` for standard input.
    creds: Option<String>,
    /// A file with `USER:PASSWORD`.
    creds_file: Option<PathBuf>,
    authfile: Option<PathBuf>,
    token_realms: Vec<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    insecure_registries: Vec<String>,
    registry_mirrors: Vec<String>,
    mirrors_only: bool,
    jobs: Option<NonZeroUsize>,
    /// Whether the command unpacks the images that it pulls.
    #[cfg(feature = "manage")]
    pub(crate) unpacks: bool,
    retries: Option<u32>,
    stall_timeout: Option<Duration>,
    timeout: Option<Duration>,
    rate_limit: Option<u64>,
    #[cfg(feature = "manage")]
    pub(super) max_bytes: Option<u64>,
    allow_foreign_layers: bool,
    /// Whether certificates may be verified at a later time than the clock's. `None` if the command decides.
    pub(crate) clock_floor: Option<bool>,
    /// The signatures that an image must have.
    pub(crate) signatures: SignatureOptions,
    /// What else an image must meet.
    pub(crate) admission: AdmissionOptions,
    pub(crate) limits: Limits,
    /// Set by signals, with the deadline of `--timeout`.
    cancel: Cancel,
}

/// The option of commands that choose an image from an index.
pub(crate) static PLATFORM: Group<RegistryOptions> = Group {
    heading: "Registry",
    options: &[Opt::value(
        "--platform OS[/ARCH[/VARIANT]]",
        "choose this platform instead of $DOCKER_DEFAULT_PLATFORM or the platform of this machine",
        |registry, value| {
            registry.platform = Some(value.text()?.parse()?);
            Ok(())
        },
    )],
};

/// The option of commands that print what is known about an image in the store.
#[cfg(feature = "manage")]
pub(crate) static STORED_PLATFORM: Group<RegistryOptions> = Group {
    heading: "Options",
    options: &[Opt::value(
        "--platform OS[/ARCH[/VARIANT]]",
        "print the image for this platform, where the store has several (default: the platform of this machine)",
        |registry, value| {
            registry.platform = Some(value.text()?.parse()?);
            Ok(())
        },
    )],
};

/// Which registry is asked for which image, and with which credentials.
pub(crate) static REGISTRY: Group<RegistryOptions> = Group {
    heading: "Registry",
    options: &[
        Opt::value(
            "--creds USER[:PASSWORD]",
            "credentials for the registry; other users of this machine can see them in the process list, so prefer `-`, \
             which reads them from standard input, or --creds-file",
            |registry, value| {
                registry.creds = Some(value.text()?.to_owned());
                Ok(())
            },
        ),
        Opt::value(
            "--creds-file FILE",
            "read USER:PASSWORD for the registry from this file (default: $PULLET_CREDS_FILE)",
            |registry, value| {
                registry.creds_file = Some(value.path()?);
                Ok(())
            },
        ),
        authfile(
            "look for credentials only in this file (default: the first of $REGISTRY_AUTH_FILE, $DOCKER_AUTH_CONFIG, \
             podman's auth.json and Docker's config.json that has some; their credential helpers are used too)",
        ),
        Opt::value(
            "--registry-mirror [HOST[:PORT]=]URL",
            "try this mirror of HOST, or of Docker Hub, before the registry; may be given several times; comes before \
             the mirrors of configuration files",
            |registry, value| {
                registry.registry_mirrors.push(value.text()?.to_owned());
                Ok(())
            },
        ),
        Opt::flag(
            "--mirrors-only",
            "never contact the registry itself, only its mirrors, for sites without access to it",
            |registry| registry.mirrors_only = true,
        ),
    ],
};

/// Which servers are trusted, and with what.
pub(crate) static TRUST: Group<RegistryOptions> = Group {
    heading: "Trust",
    options: &[
        Opt::value(
            "--token-realm HOST[:PORT]",
            "send credentials to this token endpoint although it is not on the registry's own host; may be given several \
             times",
            |registry, value| {
                registry.token_realms.push(value.text()?.to_owned());
                Ok(())
            },
        ),
        Opt::value("--ca-file PEM", "trust these certificates in addition to the machine's own", |registry, value| {
            registry.ca_file = Some(value.path()?);
            Ok(())
        }),
        Opt::value(
            "--client-cert PEM",
            "show this certificate to the registry, and to no other server",
            |registry, value| {
                registry.client_cert = Some(value.path()?);
                Ok(())
            },
        ),
        Opt::value(
            "--client-key PEM",
            "the private key of --client-cert (default: read from the same file)",
            |registry, value| {
                registry.client_key = Some(value.path()?);
                Ok(())
            },
        ),
        Opt::value(
            "--insecure-registry HOST[:PORT]",
            "do not verify the certificate of this registry, and allow plain HTTP; may be given several times",
            |registry, value| {
                registry.insecure_registries.push(value.text()?.to_owned());
                Ok(())
            },
        ),
    ],
};

/// The option of commands that fetch layers.
pub(crate) static JOBS: Group<RegistryOptions> = Group {
    heading: "Transfer",
    options: &[Opt::value(
        "-j, --jobs N",
        "fetch N layers at once, and unpack them while later ones arrive; `auto` is one for each processor, at most 4 \
         (default: 1)",
        |registry, value| {
            registry.jobs = Some(value.jobs()?);
            Ok(())
        },
    )],
};

/// How fast, how often and how long a command transfers.
pub(crate) static TRANSFER: Group<RegistryOptions> = Group {
    heading: "Transfer",
    options: &[
        Opt::value(
            "--retries N",
            "retry after a transient failure, at most N times without progress (default: 5)",
            |registry, value| {
                registry.retries = Some(value.number()?);
                Ok(())
            },
        ),
        Opt::value(
            "--stall-timeout TIME",
            "longest wait for a response or its next bytes; over this time, a body must also bring at least 100 bytes a \
             second (default: 60s)",
            |registry, value| {
                registry.stall_timeout = Some(value.duration()?);
                Ok(())
            },
        ),
        Opt::value(
            "--timeout TIME",
            "longest time for the whole command, such as 30, 30s, 5m or 1h (default: none)",
            |registry, value| {
                registry.timeout = Some(value.duration()?);
                Ok(())
            },
        ),
        Opt::value(
            "--limit-rate BYTES[k|m|g|t]",
            "fetch at most this many bytes a second, all layers together (default: no limit)",
            |registry, value| {
                registry.rate_limit = Some(value.bytes()?);
                Ok(())
            },
        ),
    ],
};

/// Layers from other servers.
pub(crate) static FOREIGN_LAYERS: Group<RegistryOptions> = Group {
    heading: "Trust",
    options: &[Opt::flag(
        "--allow-foreign-layers",
        "fetch layers that the registry does not have from the URLs in the manifest, over https and without credentials \
         (without this option, an image with such a layer is refused)",
        |registry| registry.allow_foreign_layers = true,
    )],
};

/// The option of commands that admit an image.
pub(crate) static CLOCK: Group<RegistryOptions> = Group {
    heading: "Trust",
    options: &[Opt::value(
        "--clock strict|floor",
        "`floor`: the clock of this machine may be behind, so verify certificates at the latest of the clock, the date of this \
         build, systemd's clock-epoch and timesync/clock, the last success in the store, and the beginning of the server's \
         certificates; if that is later than the clock, NAME needs a digest (default: strict, and floor for boot)",
        |registry, value| {
            registry.clock_floor = Some(value.choice(&[("strict", false), ("floor", true)])?);
            Ok(())
        },
    )],
};

/// The option for the file of credentials, which means something else to `login` and `logout`.
pub(crate) const fn authfile(help: &'static str) -> Opt<RegistryOptions> {
    Opt::value("--authfile FILE", help, |registry, value| {
        registry.authfile = Some(value.path()?);
        Ok(())
    })
}

/// The grammar of a NAME.
pub(crate) const NAME_NOTE: &str = "NAME is as with Docker: [HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]. A registry on loopback may use plain HTTP. A NAME \
     without a registry is on Docker Hub, unless registries.conf lists exactly one registry in \
     unqualified-search-registries.";

/// What else decides how a registry is reached.
pub(crate) const SETTINGS_NOTE: &str = "Proxies are taken from $HTTPS_PROXY, $HTTP_PROXY, $ALL_PROXY and $NO_PROXY; certificates also from $SSL_CERT_FILE, \
     $SSL_CERT_DIR and certs.d/HOST[:PORT] of Docker and containers; mirrors from the first of registries.conf \
     (containers), certs.d/HOST/hosts.toml (containerd) and daemon.json (Docker) that has an entry for the name. `pullet config \
     NAME` and -v show what was used.";

impl RegistryOptions {
    /// The options of the command line. The time of `--timeout` starts now.
    pub(crate) fn parse(line: &CommandLine, common: &Common) -> Result<Self, Failure> {
        let mut options: Self = line.options()?;
        options.signatures = line.options()?;
        options.admission = line.options()?;
        if options.creds.is_some() && options.creds_file.is_some() {
            return Err(line.misused("--creds and --creds-file exclude each other"));
        }
        if line.accepts("--creds-file") && options.creds.is_none() && options.authfile.is_none() {
            options.creds_file = options.creds_file.or_else(|| variable("PULLET_CREDS_FILE").map(PathBuf::from));
        }
        if line.accepts("--platform")
            && let Some(text) = variable("DOCKER_DEFAULT_PLATFORM")
        {
            let parsed = text.to_string_lossy().parse();
            let named = |e: pullet::Error| Failure::usage(format!("$DOCKER_DEFAULT_PLATFORM: {e}"));
            options.default_platform = Some(parsed.map_err(named)?);
        }
        if options.client_key.is_some() && options.client_cert.is_none() {
            return Err(line.misused("--client-key needs --client-cert"));
        }
        options.cancel = match options.timeout {
            Some(timeout) => common.cancel.until(Instant::now() + timeout),
            None => common.cancel.clone(),
        };
        Ok(options)
    }

    /// The client that the options describe. Reads the files that they name, and standard input for `--creds -`.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let mut options = Options::new()
            .cancel(self.cancel.clone())
            .limits(self.limits.clone())
            .jobs(self.jobs())
            .mirrors_only(self.mirrors_only)
            .foreign_layers(self.allow_foreign_layers)
            .clock_floor(self.clock_floor == Some(true));
        #[cfg(feature = "manage")]
        {
            options = options.unpacks(self.unpacks);
        }
        if let Some(retries) = self.retries {
            options = options.retries(retries);
        }
        if let Some(stall) = self.stall_timeout {
            options = options.stall_timeout(stall);
        }
        if let Some(rate) = self.rate_limit {
            options = options.rate_limit(rate);
        }
        #[cfg(feature = "manage")]
        if let Some(bytes) = self.max_bytes {
            options = options.max_bytes(bytes);
        }
        if let Some(platform) = self.platform() {
            options = options.platform(platform.clone());
        }
        if let Some(credentials) = self.credentials()? {
            options = options.credentials(credentials);
        }
        if let Some(path) = &self.authfile {
            options = options.authfile(path);
        }
        for realm in &self.token_realms {
            options = options.token_realm(realm);
        }
        let mut pem_files = Vec::new();
        if let Some(path) = &self.ca_file {
            let pem = read_pem(path, "--ca-file takes a file of certificates in PEM")?;
            pem_files.push((path.display().to_string(), Options::new().ca_pem(pem.clone())));
            options = options.ca_pem(pem);
        }
        if let Some(path) = &self.client_cert {
            let certificate = read_pem(path, "--client-cert takes a certificate with its chain in PEM")?;
            let key = match &self.client_key {
                Some(path) => read_pem(path, "--client-key takes a private key in PEM")?,
                None => certificate.clone(),
            };
            let mut paths = path.display().to_string();
            if let Some(key) = &self.client_key {
                paths = format!("{paths} with {}", key.display());
            }
            pem_files.push((paths, Options::new().client_certificate_pem(certificate.clone(), key.clone())));
            options = options.client_certificate_pem(certificate, key);
        }
        options = self.demand(options)?;
        for host in &self.insecure_registries {
            options = options.insecure_registry(host);
        }
        for mirror in &self.registry_mirrors {
            options = options.registry_mirror(mirror);
        }
        let error = match Client::new(options) {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        // The library gets bytes and cannot name the file. A client with one file alone shows which one is malformed.
        for (paths, alone) in pem_files {
            if let Err(error) = Client::new(alone.system_configuration(false)) {
                return Err(Failure::new(error.kind(), format!("{paths}: {error}")));
            }
        }
        Err(error.into())
    }

    /// Retries only if the command line says so.
    #[cfg(feature = "manage")]
    pub(crate) fn never_retry(&mut self) {
        self.retries.get_or_insert(0);
    }

    /// A client that sends no requests: it admits images in the store.
    pub(crate) fn local_client(&self) -> Result<Client, Failure> {
        let options = Options::new().cancel(self.cancel.clone()).limits(self.limits.clone());
        Ok(Client::new(self.demand(options)?)?)
    }

    /// Lets a command that needs no store for its image keep versions in `store`, if there is one or a key says what to keep.
    /// Returns true if the command must be able to write there.
    pub(crate) fn keep_versions_in(&mut self, store: &Store) -> bool {
        let is_kept = store.folder().is_dir() || !self.signatures.keys.is_empty();
        self.admission.version_store = is_kept.then(|| store.clone());
        is_kept
    }

    /// Leaves the versions of the image to a later confirmation. Returns true if the command has to confirm them.
    #[cfg(feature = "manage")]
    pub(crate) fn leave_unconfirmed(&mut self) -> bool {
        // Without policies there are no versions to keep.
        let keeps_versions = cfg!(feature = "policy") && self.admission.version_store.is_some();
        keeps_versions && !std::mem::replace(&mut self.admission.unconfirmed, true)
    }

    /// Adds what an image must prove.
    fn demand(&self, options: Options) -> Result<Options, Failure> {
        let has_keys = !self.signatures.keys.is_empty();
        self.admission.apply(self.signatures.apply(options)?, has_keys)
    }

    /// The image in the store that a user means, for the platform of [`STORED_PLATFORM`].
    #[cfg(feature = "manage")]
    pub(crate) fn select(&self, store: &Store, selector: &Selector) -> pullet::Result<Image> {
        match &self.platform {
            Some(platform) => store.select_for(selector, platform),
            None => store.select(selector),
        }
    }

    /// The platform that the user chose.
    pub(crate) fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref().or(self.default_platform.as_ref())
    }

    /// The option or the variable with credentials, which are for one registry.
    pub(crate) fn source_of_credentials(&self) -> Option<&'static str> {
        if self.creds.is_some() {
            return Some("--creds");
        }
        self.creds_file.is_some().then_some("--creds-file or $PULLET_CREDS_FILE")
    }

    /// The credentials that the user gave. A file and standard input have `USER:PASSWORD`, because a process list shows the
    /// command line.
    fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        let text = match (&self.creds, &self.creds_file) {
            (Some(typed), _) if typed == "-" => {
                let read = interrupt::uninterruptible(&self.cancel, || read_text(std::io::stdin()))?;
                read.map_err(|why| unreadable_credentials("standard input", &why))?
            }
            (Some(typed), _) => typed.clone(),
            (None, Some(path)) => {
                let read = || File::open(path).map_err(|e| e.to_string()).and_then(read_text);
                let read = interrupt::uninterruptible(&self.cancel, read)?;
                read.map_err(|why| unreadable_credentials(&path.display().to_string(), &why))?
            }
            (None, None) => return Ok(None),
        };
        let (user, password) = text.trim_end_matches(['\r', '\n']).split_once(':').unwrap_or((text.trim_end(), ""));
        Ok(Some(Credentials::new(user, password)?))
    }

    /// The options for unpacking, as far as they are given here.
    pub(crate) fn unpack_options(&self) -> UnpackOptions {
        UnpackOptions::new().limits(self.limits.clone()).cancel(self.cancel.clone()).jobs(self.jobs())
    }

    /// The options for reading an image of the store, as far as they are given here.
    #[cfg(feature = "manage")]
    pub(crate) fn read_options(&self) -> ReadOptions {
        ReadOptions::new().limits(self.limits.clone()).cancel(self.cancel.clone())
    }

    fn jobs(&self) -> NonZeroUsize {
        self.jobs.unwrap_or(NonZeroUsize::MIN)
    }
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Reads credentials. A longer text is refused, because a cut password would be a wrong one.
fn read_text(source: impl Read) -> Result<String, String> {
    let mut text = String::new();
    let count = source.take(CREDENTIALS_LIMIT + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if count as u64 > CREDENTIALS_LIMIT {
        return Err(format!("more than {CREDENTIALS_LIMIT} bytes"));
    }
    Ok(text)
}

fn unreadable_credentials(source: &str, why: &str) -> Failure {
    Failure::usage(format!("read credentials from {source}: {why}")).hint("USER:PASSWORD is expected there")
}
