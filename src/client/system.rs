//! Connects the registry module with the configuration of this machine in `host/`: root certificates, certificates of one
//! registry, proxies and mirrors. It is here because modules of one floor never see each other.

#[cfg(feature = "tls")]
use std::io::Read;
#[cfg(feature = "tls")]
use std::time::Duration;

#[cfg(feature = "tls")]
use crate::cancel::Cancel;
use crate::error::Result;
#[cfg(feature = "tls")]
use crate::error::{Error, ErrorKind};
use crate::host::{Mirrors, Proxies};
#[cfg(feature = "tls")]
use crate::host::{
    PemFile, build_date, is_random, now, passed, registry_certificates, root_certificates, route_certificates,
    wait_for_randomness,
};
use crate::oci::proxy::Proxy;
use crate::oci::reference::Reference;
use crate::oci::route::Route;
#[cfg(feature = "tls")]
use crate::oci::route::TlsFiles;
use crate::registry::System;
#[cfg(feature = "tls")]
use crate::registry::{Certificates, Moment, Notice};
#[cfg(feature = "tls")]
use crate::workers;

/// How long to wait for the kernel's random numbers. Current kernels take about a second.
#[cfg(feature = "tls")]
const RANDOMNESS_WAIT: Duration = Duration::from_secs(60);

/// The configuration of this machine. Environment variables are read when it is created, files when they are needed.
pub(crate) struct HostSystem {
    proxies: Proxies,
    mirrors: Mirrors,
}

impl HostSystem {
    /// `proxy` replaces the proxies of the environment.
    pub(crate) fn new(proxy: Option<String>) -> Self {
        let proxies = if proxy.is_some() { Proxies::explicit(proxy) } else { Proxies::of_environment() };
        Self { proxies, mirrors: Mirrors::of_environment() }
    }
}

impl System for HostSystem {
    #[cfg(feature = "tls")]
    fn roots(&self, take: &mut dyn FnMut(&mut dyn Read) -> usize) -> Vec<Notice> {
        let found = root_certificates(take);
        let configured = |from| Notice::Configured { what: "TLS roots".to_owned(), from };
        found.notes.into_iter().map(Notice::Warning).chain(found.path.map(configured)).collect()
    }

    #[cfg(feature = "tls")]
    fn certificates(&self, names: &[&str], files: &TlsFiles) -> Result<(Certificates, Vec<Notice>)> {
        let mut certificates = Certificates::default();
        let mut notices = Vec::new();
        // Files that a mirror's configuration names come before those in `certs.d`.
        for found in [route_certificates(files)?, registry_certificates(names)?].into_iter().flatten() {
            let named = |pem: PemFile| (pem.path.display().to_string(), pem.bytes);
            let what = match (found.authorities.len(), &found.client) {
                (count, None) => format!("{count} CA files"),
                (count, Some(_)) => format!("{count} CA files and a client certificate"),
            };
            notices.extend(found.notes.into_iter().map(Notice::Warning));
            notices.push(Notice::Configured { what, from: found.from });
            certificates.authorities.extend(found.authorities.into_iter().map(named));
            let client = found.client.map(|client| [named(client.certificate), named(client.key)]);
            certificates.client = certificates.client.or(client);
        }
        Ok((certificates, notices))
    }

    #[cfg(feature = "tls")]
    fn randomness(&self, notify: &dyn Fn(&str), cancel: &Cancel) -> Result<()> {
        await_kernel_randomness(notify, cancel)
    }

    #[cfg(feature = "tls")]
    fn now(&self) -> u64 {
        now()
    }

    #[cfg(feature = "tls")]
    fn passed(&self) -> Moment {
        let (seconds, from) = passed();
        Moment { seconds, from }
    }

    fn route(&self, name: &Reference) -> Result<Option<Route>> {
        self.mirrors.route(name)
    }

    fn insecure(&self, https: bool, host: &str, port: u16) -> Result<Option<String>> {
        self.mirrors.insecure(https, host, port)
    }

    fn proxy(&self, https: bool, host: &str, port: u16) -> Result<Option<Proxy>> {
        self.proxies.find(https, host, port)
    }
}

/// No configuration of this machine: [`Options::system_configuration`](super::options::Options::system_configuration) is
/// off.
pub(crate) struct NoSystem {
    proxies: Proxies,
}

impl NoSystem {
    pub(crate) fn new(proxy: Option<String>) -> Self {
        Self { proxies: Proxies::explicit(proxy) }
    }
}

impl System for NoSystem {
    #[cfg(feature = "tls")]
    fn roots(&self, _: &mut dyn FnMut(&mut dyn Read) -> usize) -> Vec<Notice> {
        Vec::new()
    }

    #[cfg(feature = "tls")]
    fn certificates(&self, _: &[&str], _: &TlsFiles) -> Result<(Certificates, Vec<Notice>)> {
        Ok((Certificates::default(), Vec::new()))
    }

    #[cfg(feature = "tls")]
    fn randomness(&self, notify: &dyn Fn(&str), cancel: &Cancel) -> Result<()> {
        await_kernel_randomness(notify, cancel)
    }

    #[cfg(feature = "tls")]
    fn now(&self) -> u64 {
        now()
    }

    #[cfg(feature = "tls")]
    fn passed(&self) -> Moment {
        let (seconds, from) = build_date();
        Moment { seconds, from }
    }

    fn route(&self, _: &Reference) -> Result<Option<Route>> {
        Ok(None)
    }

    fn insecure(&self, _: bool, _: &str, _: u16) -> Result<Option<String>> {
        Ok(None)
    }

    fn proxy(&self, https: bool, host: &str, port: u16) -> Result<Option<Proxy>> {
        self.proxies.find(https, host, port)
    }
}

#[cfg(feature = "tls")]
fn await_kernel_randomness(notify: &dyn Fn(&str), cancel: &Cancel) -> Result<()> {
    await_randomness(is_random, wait_for_randomness, RANDOMNESS_WAIT, notify, cancel)
}

/// Waits until a source has random numbers. `is_ready` returns at once; `wait` blocks until the source is ready. `notify`
/// gets a message before a wait.
#[cfg(feature = "tls")]
fn await_randomness(
    is_ready: impl Fn() -> bool,
    wait: impl FnOnce() + Send + 'static,
    limit: Duration,
    notify: &dyn Fn(&str),
    cancel: &Cancel,
) -> Result<()> {
    if is_ready() {
        return Ok(());
    }
    notify("waiting for the kernel's random numbers, which TLS needs");
    if workers::run_within(Some(limit), cancel, wait)?.is_some() {
        return Ok(());
    }
    let text = format!("TLS: the kernel has had no random numbers for {} s", limit.as_secs());
    let hint = "the machine needs a source of entropy: load the module of its hardware generator, or boot with random.trust_cpu=on";
    Err(Error::new(ErrorKind::Tls, text).with_hint(hint))
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use std::cell::RefCell;
    use std::sync::mpsc::channel;

    use super::*;

    /// The outcome, and the number of messages.
    fn outcome(
        is_ready: bool,
        wait: impl FnOnce() + Send + 'static,
        limit: Duration,
        cancel: &Cancel,
    ) -> (std::result::Result<(), ErrorKind>, usize) {
        let messages = RefCell::new(0);
        let notify = |_: &str| *messages.borrow_mut() += 1;
        let waited = await_randomness(|| is_ready, wait, limit, &notify, cancel).map_err(|e| e.kind());
        (waited, messages.into_inner())
    }

    #[test]
    fn the_wait_for_randomness_is_reported_and_bounded() {
        let (hour, none) = (Duration::from_secs(3600), Cancel::default());
        assert_eq!(outcome(true, || (), hour, &none), (Ok(()), 0));
        assert_eq!(outcome(false, || (), hour, &none), (Ok(()), 1));
        let (never, nothing) = channel::<()>();
        let forever = move || {
            let _ = nothing.recv();
        };
        assert_eq!(outcome(false, forever, Duration::ZERO, &none), (Err(ErrorKind::Tls), 1));
        let (never_too, nothing) = channel::<()>();
        let cancelled = Cancel::default();
        cancelled.cancel();
        let forever = move || {
            let _ = nothing.recv();
        };
        assert_eq!(outcome(false, forever, hour, &cancelled), (Err(ErrorKind::Interrupted), 1));
        drop((never, never_too));
        assert!(await_randomness(is_random, wait_for_randomness, hour, &|_| (), &none).is_ok());
    }
}
