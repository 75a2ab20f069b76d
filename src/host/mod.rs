//! The configuration of the machine and of other tools: credentials, mirrors, certificates, proxies. The only module of
//! the library that reads environment variables.

mod build;
#[cfg(feature = "sandbox")]
mod capabilities;
#[cfg(feature = "tls")]
mod certificates;
#[cfg(feature = "tls")]
mod clock;
#[cfg(feature = "sandbox")]
mod confine;
mod credentials;
mod environment;
#[cfg(fuzzing)]
mod fuzzing;
#[cfg(feature = "sandbox")]
mod landlock;
mod mirrors;
mod network;
mod policy_file;
mod private_file;
mod proxy;
#[cfg(feature = "tls")]
mod randomness;
mod rights;
#[cfg(test)]
mod test_root;

use std::env;
use std::path::PathBuf;

pub(crate) use self::build::build_date;
#[cfg(feature = "tls")]
pub(crate) use self::certificates::{PemFile, registry_certificates, root_certificates, route_certificates};
#[cfg(feature = "tls")]
pub(crate) use self::clock::{now, passed};
#[cfg(feature = "sandbox")]
pub(crate) use self::confine::confine;
pub(crate) use self::credentials::CredentialStore;
pub(crate) use self::mirrors::Mirrors;
#[cfg(all(fuzzing, feature = "toml"))]
pub use self::mirrors::{daemon_json, hosts_toml, registries_conf};
pub(crate) use self::policy_file::find_policy;
#[cfg(feature = "trust")]
pub(crate) use self::policy_file::read_named;
pub(crate) use self::proxy::Proxies;
#[cfg(feature = "tls")]
pub(crate) use self::randomness::{is_random, wait_for_randomness};
pub(crate) use self::rights::{FolderUse, Rights, WritableFolder};
#[cfg(fuzzing)]
pub use self::{
    credentials::{auth_json, helper_output},
    fuzzing::proxy_for,
};

use self::environment::Environment;
#[cfg(not(feature = "sandbox"))]
use crate::error::{Error, ErrorKind, Result};
use crate::oci::platform::Platform;
#[cfg(feature = "manage")]
use crate::oci::runtime::Rootless;

/// Fails, because the feature `sandbox` is missing.
#[cfg(not(feature = "sandbox"))]
pub(crate) fn confine(_: &Rights) -> Result<()> {
    Err(Error::new(ErrorKind::Unsupported, "this pullet was built without the feature \"sandbox\""))
}

/// Returns the platform of this machine. On ARM it has the variant that the kernel reports.
pub(crate) fn platform() -> Platform {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").ok();
    let machine = rustix::system::uname().machine().to_string_lossy().into_owned();
    Platform::of_machine(env::consts::ARCH, cpuinfo.as_deref(), &machine)
}

/// The IDs for a rootless container; `None` if this process is root.
#[cfg(feature = "manage")]
pub(crate) fn rootless() -> Option<Rootless> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    (!uid.is_root()).then(|| Rootless { uid: uid.as_raw(), gid: gid.as_raw() })
}

/// Returns the folder of the default store: `$PULLET_STORE`, else `/var/lib/pullet` for root, else
/// `$XDG_DATA_HOME/pullet` (`~/.local/share/pullet`). Returns `None` if none of these is set.
pub(crate) fn store_folder() -> Option<PathBuf> {
    let environment = Environment::of_process();
    if let Some(store) = environment.path("PULLET_STORE") {
        return Some(store);
    }
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/pullet"));
    }
    let data = environment.path("XDG_DATA_HOME").or_else(|| environment.in_home(".local/share"))?;
    Some(data.join("pullet"))
}
