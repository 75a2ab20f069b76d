//! Lets the registry room ask this machine for what `host/` knows: roots, certificates of one registry, proxies,
//! mirrors. Only hands on: the rooms do not see each other.

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
use crate::host::{Pem, certificates_in, certificates_of, is_random, now, roots, wait_for_randomness};
use crate::oci::proxy::Proxy;
use crate::oci::reference::Reference;
use crate::oci::route::Route;
#[cfg(feature = "tls")]
use crate::oci::route::TlsFiles;
use crate::registry::System;
#[cfg(feature = "tls")]
use crate::registry::{Certificates, Notice};
#[cfg(feature = "tls")]
use crate::workers;

/// How long the kernel may take to have random numbers; waited for, today's take a second.
#[cfg(feature = "tls")]
const RANDOMNESS_WAIT: Duration = Duration::from_secs(60);

/// The machine that this program runs on. Variables are read when it is made, files when they are asked for.
pub(crate) struct HostSystem {
    proxies: Proxies,
    mirrors: Mirrors,
}

impl HostSystem {
    pub(crate) fn new() -> Self {
        Self { proxies: Proxies::of_environment(), mirrors: Mirrors::of_environment() }
    }
}

impl System for HostSystem {
    #[cfg(feature = "tls")]
    fn roots(&self, take: &mut dyn FnMut(&mut dyn Read) -> usize) -> Vec<Notice> {
        let found = roots(take);
        let configured = |from| Notice::Configured { what: "TLS roots".to_owned(), from };
        found.notes.into_iter().map(Notice::Note).chain(found.place.map(configured)).collect()
    }

    #[cfg(feature = "tls")]
    fn certificates(&self, names: &[&str], files: &TlsFiles) -> Result<(Certificates, Vec<Notice>)> {
        let mut certificates = Certificates::default();
        let mut notices = Vec::new();
        // What was named for this server alone comes before what is there for its name.
        for found in [certificates_in(files)?, certificates_of(names)?].into_iter().flatten() {
            let named = |pem: Pem| (pem.path.display().to_string(), pem.bytes);
            let what = match (found.authorities.len(), &found.client) {
                (count, None) => format!("{count} CA files"),
                (count, Some(_)) => format!("{count} CA files and a client certificate"),
            };
            notices.extend(found.notes.into_iter().map(Notice::Note));
            notices.push(Notice::Configured { what, from: found.from });
            certificates.authorities.extend(found.authorities.into_iter().map(named));
            let client = found.client.map(|(certificate, key)| [named(certificate), named(key)]);
            certificates.client = certificates.client.or(client);
        }
        Ok((certificates, notices))
    }

    #[cfg(feature = "tls")]
    fn randomness(&self, tell: &dyn Fn(&str), cancel: &Cancel) -> Result<()> {
        await_randomness((is_random, wait_for_randomness), RANDOMNESS_WAIT, tell, cancel)
    }

    #[cfg(feature = "tls")]
    fn now(&self) -> u64 {
        now()
    }

    fn route(&self, name: &Reference) -> Result<Option<Route>> {
        self.mirrors.route(name)
    }

    fn insecure(&self, https: bool, host: &str, port: u16) -> Result<Option<String>> {
        self.mirrors.insecure(https, host, port)
    }

    fn proxy(&self, https: bool, host: &str, port: u16) -> Result<Option<Proxy>> {
        self.proxies.of(https, host, port)
    }
}

/// Waits for a source of random numbers, which tells whether it has any and lets one wait for them.
#[cfg(feature = "tls")]
fn await_randomness(
    (is_there, wait): (impl Fn() -> bool, impl FnOnce() + Send + 'static),
    limit: Duration,
    tell: &dyn Fn(&str),
    cancel: &Cancel,
) -> Result<()> {
    if is_there() {
        return Ok(());
    }
    tell("waiting for the kernel's random numbers, which TLS needs");
    match workers::within(limit, cancel, wait)? {
        true => Ok(()),
        false => {
            let text = format!("TLS: the kernel has had no random numbers for {} s", limit.as_secs());
            let hint = "give the machine a source of them: the module of its hardware's, or random.trust_cpu=on";
            Err(Error::new(ErrorKind::Tls, text).with_hint(hint))
        }
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use std::cell::RefCell;
    use std::sync::mpsc::channel;

    use super::*;

    /// What came of it, and what was told.
    fn outcome(
        is_there: bool,
        wait: impl FnOnce() + Send + 'static,
        limit: Duration,
        cancel: &Cancel,
    ) -> (std::result::Result<(), ErrorKind>, usize) {
        let told = RefCell::new(0);
        let tell = |_: &str| *told.borrow_mut() += 1;
        let waited = await_randomness((|| is_there, wait), limit, &tell, cancel).map_err(|e| e.kind());
        (waited, told.into_inner())
    }

    #[test]
    fn randomness_is_waited_for_with_a_word_and_a_bound() {
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
        let there = (is_random as fn() -> bool, wait_for_randomness as fn());
        assert!(await_randomness(there, hour, &|_| (), &none).is_ok());
    }
}
