//! The options of commands that admit an image: policies, and versions below which images are refused.

use std::ffi::OsString;
use std::path::PathBuf;

use pullet::{Options, Store, Version};

use super::options::{Group, Opt};
use crate::exit::Failure;

/// What an image must meet, in addition to signatures by given keys.
#[derive(Default)]
pub(crate) struct AdmissionOptions {
    pub(crate) policy: Option<PathBuf>,
    /// The path of the archive that is loaded.
    pub(crate) archive: Option<PathBuf>,
    disable_content_trust: bool,
    min_version: Option<Version>,
    pub(crate) allow_downgrade: bool,
    pub(super) unconfirmed: bool,
    /// The store that keeps the versions of images that need no other store.
    pub(crate) version_store: Option<Store>,
}

/// Which policy decides.
pub(crate) static POLICY: Group<AdmissionOptions> = Group {
    heading: "Trust",
    options: &[Opt::value(
        "--policy FILE",
        "obey this policy (containers-policy.json) instead of the first that exists of /etc/pullet/policy.json, \
         $CONTAINERS_POLICY_JSON, ~/.config/containers/policy.json, /etc/containers/policy.json and \
         /usr/share/containers/policy.json",
        |admission, value| {
            admission.policy = Some(value.path()?);
            Ok(())
        },
    )],
};

/// What the environment demands.
pub(crate) static CONTENT_TRUST: Group<AdmissionOptions> = Group {
    heading: "Trust",
    options: &[Opt::flag(
        "--disable-content-trust",
        "ignore $DOCKER_CONTENT_TRUST, which otherwise refuses images without a key or policy for them; policies still count",
        |admission| admission.disable_content_trust = true,
    )],
};

/// What commands that admit an image demand in addition.
pub(crate) static ADMISSION: Group<AdmissionOptions> = Group {
    heading: "Trust",
    options: &[Opt::value(
        "--min-version VERSION",
        "refuse an image that is older: its signature's annotation org.opencontainers.image.version, or the manifest's if no \
             signature is demanded, is a semantic version or a counter",
        |admission, value| {
            admission.min_version = Some(value.text()?.parse()?);
            Ok(())
        },
    )],
};

/// What commands with a store do about versions that they have accepted before.
pub(crate) static VERSIONS: Group<AdmissionOptions> = Group {
    heading: "Trust",
    options: &[
        Opt::flag(
            "--allow-downgrade",
            "accept an image whose signed version is older than one that was accepted before",
            |admission| admission.allow_downgrade = true,
        ),
        Opt::flag(
            "--unconfirmed",
            "refuse older images only after `pullet confirm NAME`, when the new image has proven good",
            |admission| admission.unconfirmed = true,
        ),
    ],
};

impl AdmissionOptions {
    /// Adds what the policy, the environment and versions demand. `has_keys` is true if there is a `--verify-key`.
    pub(super) fn apply(&self, mut options: Options, has_keys: bool) -> Result<Options, Failure> {
        if self.disable_content_trust && has_keys {
            return Err(Failure::usage("--disable-content-trust contradicts --verify-key"));
        }
        let is_required = std::env::var_os("DOCKER_CONTENT_TRUST").is_some_and(|value| is_true(&value));
        options = options
            .require_signatures(is_required && !self.disable_content_trust)
            .allow_downgrade(self.allow_downgrade)
            .unconfirmed(self.unconfirmed);
        if let Some(path) = &self.policy {
            options = options.policy(path);
        }
        if let Some(path) = &self.archive {
            options = options.archive_path(path);
        }
        if let Some(version) = &self.min_version {
            options = options.min_version(version.clone());
        }
        if let Some(store) = &self.version_store {
            options = options.version_store(store);
        }
        Ok(options)
    }
}

/// A boolean as Docker reads it: anything but nothing and the words for false is true.
fn is_true(value: &OsString) -> bool {
    !["", "0", "f", "F", "FALSE", "false", "False"].iter().any(|word| value == word)
}
