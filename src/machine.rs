//! Lets the registry room ask this machine for what `host/` knows: roots, certificates of one registry, proxies. Only
//! hands on: the rooms do not see each other.

#[cfg(feature = "tls")]
use std::io::Read;

use crate::error::Result;
#[cfg(feature = "tls")]
use crate::host::{Pem, certificates_of, roots};
use crate::host::{Proxies, Scheme};
#[cfg(feature = "tls")]
use crate::registry::{Certificates, Finding};
use crate::registry::{Machine, Proxy, ProxyProtocol};

/// The machine that this program runs on. Variables are read when it is made, files when they are asked for.
pub(crate) struct ThisMachine {
    proxies: Proxies,
}

impl ThisMachine {
    pub(crate) fn new() -> Self {
        Self { proxies: Proxies::of_environment() }
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
    fn certificates(&self, names: &[&str]) -> Result<(Certificates, Vec<Finding>)> {
        let Some(found) = certificates_of(names)? else { return Ok(Default::default()) };
        let named = |pem: Pem| (pem.path.display().to_string(), pem.bytes);
        let what = match (found.authorities.len(), &found.client) {
            (count, None) => format!("{count} CA files"),
            (count, Some(_)) => format!("{count} CA files and a client certificate"),
        };
        let from = found.folder.display().to_string();
        let configured = Finding::Configured { what, from };
        let findings = found.notes.into_iter().map(Finding::Note).chain([configured]).collect();
        let client = found.client.map(|(certificate, key)| [named(certificate), named(key)]);
        let authorities = found.authorities.into_iter().map(named).collect();
        Ok((Certificates { authorities, client }, findings))
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
