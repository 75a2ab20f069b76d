//! Lets the registry room ask this machine for what `host/` knows: roots, certificates of one registry, proxies,
//! mirrors. Only hands on: the rooms do not see each other.

#[cfg(feature = "tls")]
use std::io::Read;

use crate::error::Result;
use crate::host::{Mirrors, Proxies, Scheme};
#[cfg(feature = "tls")]
use crate::host::{Pem, certificates_in, certificates_of, roots};
use crate::image::reference::Reference;
use crate::image::route::Route;
#[cfg(feature = "tls")]
use crate::image::route::TlsFiles;
#[cfg(feature = "tls")]
use crate::registry::{Certificates, Finding};
use crate::registry::{Machine, Proxy, ProxyProtocol};

/// The machine that this program runs on. Variables are read when it is made, files when they are asked for.
pub(crate) struct ThisMachine {
    proxies: Proxies,
    mirrors: Mirrors,
}

impl ThisMachine {
    pub(crate) fn new() -> Self {
        Self { proxies: Proxies::of_environment(), mirrors: Mirrors::of_environment() }
    }
}

impl Machine for ThisMachine {
    #[cfg(feature = "tls")]
    fn roots(&self, take: &mut dyn FnMut(&mut dyn Read) -> usize) -> Vec<Finding> {
        let found = roots(take);
        let configured = |from| Finding::Configured { what: "TLS roots".to_owned(), from };
        found.notes.into_iter().map(Finding::Note).chain(found.place.map(configured)).collect()
    }

    #[cfg(feature = "tls")]
    fn certificates(&self, names: &[&str], files: &TlsFiles) -> Result<(Certificates, Vec<Finding>)> {
        let mut certificates = Certificates::default();
        let mut findings = Vec::new();
        // What was named for this server alone comes before what is there for its name.
        for found in [certificates_in(files)?, certificates_of(names)?].into_iter().flatten() {
            let named = |pem: Pem| (pem.path.display().to_string(), pem.bytes);
            let what = match (found.authorities.len(), &found.client) {
                (count, None) => format!("{count} CA files"),
                (count, Some(_)) => format!("{count} CA files and a client certificate"),
            };
            findings.extend(found.notes.into_iter().map(Finding::Note));
            findings.push(Finding::Configured { what, from: found.from });
            certificates.authorities.extend(found.authorities.into_iter().map(named));
            let client = found.client.map(|(certificate, key)| [named(certificate), named(key)]);
            certificates.client = certificates.client.or(client);
        }
        Ok((certificates, findings))
    }

    fn route(&self, name: &Reference) -> Result<Option<Route>> {
        self.mirrors.route(name)
    }

    fn insecure(&self, https: bool, host: &str, port: u16) -> Result<Option<String>> {
        self.mirrors.insecure(https, host, port)
    }

    fn proxy(&self, https: bool, host: &str, port: u16) -> Result<Option<Proxy>> {
        let found = self.proxies.of(https, host, port)?;
        Ok(found.map(|found| {
            let (url, from) = (found.url(), format!("${}", found.variable));
            let protocol = match found.scheme {
                Scheme::Http => ProxyProtocol::Http,
                Scheme::Https => ProxyProtocol::Https,
                Scheme::Socks5 => ProxyProtocol::Socks5,
            };
            Proxy {
                protocol,
                host: found.host,
                port: found.port,
                user: found.user,
                password: found.password,
                url,
                from,
            }
        }))
    }
}
