//! Remedies as values. The library knows no command line, so an error carries an [`Advice`] and the program puts it
//! into words with its own options and commands.

/// A remedy that the caller can apply after an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Allow an image that is older than the one that was accepted before:
    /// [`Options::allow_downgrade`](crate::Options::allow_downgrade).
    AllowDowngrade,
    /// Allow fetching foreign layers from the URLs in the manifest:
    /// [`Options::foreign_layers`](crate::Options::foreign_layers).
    AllowForeignLayers,
    /// Accept longer waits for a response or its next bytes: [`Options::stall_timeout`](crate::Options::stall_timeout).
    AllowLongerStall,
    /// Set a later deadline: [`Cancel::with_deadline`](crate::Cancel::with_deadline).
    AllowMoreTime,
    /// The credentials that were given are refused: check them.
    CheckCredentials,
    /// Choose one of these platforms, which the name offers: [`Options::platform`](crate::Options::platform).
    ChoosePlatform(Vec<String>),
    /// Name a mirror of the registry: [`Options::registry_mirror`](crate::Options::registry_mirror).
    ConfigureMirror,
    /// The name is an artifact: fetch its files with [`Client::artifact`](crate::Client::artifact).
    FetchAsArtifact(String),
    /// The name is an image: fetch it with [`Client::pull`](crate::Client::pull) or
    /// [`Client::unpack`](crate::Client::unpack).
    FetchAsImage,
    /// Remove the image with all its names: [`RemoveOptions::force`](crate::RemoveOptions::force).
    ForceRemoval,
    /// Give the certificate of the authority that issued the server's: [`Options::ca_pem`](crate::Options::ca_pem).
    GiveAuthority,
    /// Repeat the call with another client, which fetches the rest: [`Options::max_bytes`](crate::Options).
    FetchTheRest,
    /// Name the file for credentials: [`Options::authfile`](crate::Options::authfile).
    GiveAuthFile,
    /// Give a client certificate: [`Options::client_certificate_pem`](crate::Options::client_certificate_pem).
    GiveClientCertificate,
    /// Name the file with the kernel's command line.
    GiveCommandLine,
    /// Give credentials: [`Options::credentials`](crate::Options::credentials),
    /// [`Client::login`](crate::Client::login).
    GiveCredentials,
    /// Read about the parameters on the kernel's command line.
    ListBootParameters,
    /// The registry uses plain HTTP: list it, as `HOST[:PORT]`, with
    /// [`Options::insecure_registry`](crate::Options::insecure_registry).
    ListAsInsecure(String),
    /// Allow plain HTTP for the registry: [`Options::insecure_registry`](crate::Options::insecure_registry).
    AllowPlainHttp,
    /// Give credentials, because the limit for anonymous requests is lower.
    AuthenticateForHigherLimit,
    /// Give a key that must have signed the image: [`Options::verify_key`](crate::Options::verify_key).
    GiveKey,
    /// Name the image by its digest.
    PinDigest,
    /// Set the clock of this machine, or allow a later time for certificates:
    /// [`Options::clock_floor`](crate::Options::clock_floor).
    SetClock,
    /// Pull the image of this name.
    Pull(String),
    /// Raise this limit, if the image is trusted: [`Options::limits`](crate::Options::limits).
    RaiseLimit(Limit),
    /// Remove corrupt blobs with [`Store::verify`](crate::Store::verify), then pull the image again.
    RepairStore,
    /// The publisher should sign the images of the index too, because a name with the digest of one of them does not lead to
    /// the index.
    SignImagesOfIndex,
    /// Leave device nodes out: [`UnpackOptions::devices`](crate::UnpackOptions::devices).
    SkipDevices,
    /// Make the target a symlink: `Swap::Symlink`.
    SwapSymlink,
    /// Allow this host as a token endpoint: [`Options::token_realm`](crate::Options::token_realm).
    TrustTokenRealm(String),
    /// Use [`Client::unpack`](crate::Client::unpack) in place of [`Client::stream`](crate::Client::stream).
    UnpackFromStore,
    /// Rebuild the store's own files from what is good: [`Store::mend`](crate::Store::mend).
    MendStore,
}

/// A field of [`Limits`](crate::Limits) that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::depth`](crate::Limits::depth).
    Depth,
    /// [`Limits::entries`](crate::Limits::entries).
    Entries,
    /// [`Limits::unpacked`](crate::Limits::unpacked).
    Unpacked,
    /// [`Limits::zstd_window`](crate::Limits::zstd_window).
    ZstdWindow,
}
