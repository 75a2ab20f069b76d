//! What the machine says of itself, and what its users configured for other tools. The only room that reads the
//! environment: here the choices of the user's shell and of the kernel become values that the rest is given.

#[cfg(feature = "tls")]
mod certificates;
mod credentials;
mod environment;
#[cfg(fuzzing)]
mod fuzzing;
#[cfg(feature = "sandbox")]
mod landlock;
mod mirrors;
mod network;
mod private_file;
mod proxy;
#[cfg(feature = "tls")]
mod randomness;
mod terminal;

use std::env;
use std::path::PathBuf;

#[cfg(feature = "tls")]
use rustix::time::{ClockId, clock_gettime};

#[cfg(feature = "tls")]
pub(crate) use self::certificates::{Pem, certificates_in, certificates_of, roots};
pub(crate) use self::credentials::CredentialStore;
#[cfg(feature = "sandbox")]
pub(crate) use self::landlock::confine;
pub(crate) use self::mirrors::Mirrors;
pub(crate) use self::proxy::Proxies;
#[cfg(feature = "tls")]
pub(crate) use self::randomness::{is_random, wait_for_randomness};
pub use self::terminal::HiddenInput;
#[cfg(fuzzing)]
pub use self::{
    credentials::{auth_json, helper_output},
    fuzzing::proxy_for,
};

#[cfg(not(feature = "sandbox"))]
use crate::error::{Error, ErrorKind, Result};
use crate::oci::platform::Platform;

/// Without the feature `sandbox`.
#[cfg(not(feature = "sandbox"))]
pub(crate) fn confine(_: &[PathBuf]) -> Result<()> {
    Err(Error::new(ErrorKind::Unsupported, "this pullet was built without a sandbox"))
}

/// The platform on which this program runs; on ARM with the variant that the kernel reports.
pub(crate) fn platform() -> Platform {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").ok();
    let machine = rustix::system::uname().machine().to_string_lossy().into_owned();
    Platform::of_machine(env::consts::ARCH, cpuinfo.as_deref(), &machine)
}

/// Seconds since 1970. Not std's clock: where a word has 32 bits that ends the program after 2038, for musl's old call
/// has no room for the answer.
#[cfg(feature = "tls")]
pub(crate) fn now() -> u64 {
    u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap_or_default()
}

/// The default store: `$PULLET_STORE`, else `/var/lib/pullet` for root, else `$XDG_DATA_HOME/pullet`
/// (`~/.local/share/pullet`). `None` where none of them can be told.
pub(crate) fn store_folder() -> Option<PathBuf> {
    if let Some(store) = environment::path("PULLET_STORE") {
        return Some(store);
    }
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/pullet"));
    }
    let data =
        environment::path("XDG_DATA_HOME").or_else(|| environment::path("HOME").map(|home| home.join(".local/share")));
    data.map(|data| data.join("pullet"))
}
