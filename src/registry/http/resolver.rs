//! Looks up host names in a way that can be cancelled. The system's lookup (getaddrinfo) cannot be interrupted, so it
//! runs on a thread of its own, which is abandoned when the command is cancelled or out of time.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver as UreqResolver};
use ureq::unversioned::transport::NextTimeout;

use crate::cancel::Cancel;
use crate::workers;

type Result<T> = std::result::Result<T, ureq::Error>;

/// Resolves the host of a URI. Addresses and `localhost` need no lookup and start no thread.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    lookup: fn(&Uri, &Config) -> Result<ResolvedSocketAddrs>,
    cancel: Cancel,
}

impl Resolver {
    pub(crate) fn new(cancel: Cancel) -> Self {
        Self { lookup: system_lookup, cancel }
    }
}

impl UreqResolver for Resolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs> {
        let known = known_addresses(uri);
        if !known.is_empty() {
            let mut addresses = self.empty();
            known.into_iter().for_each(|address| addresses.push(address));
            return Ok(addresses);
        }
        let limit = (!timeout.after.is_not_happening()).then_some(*timeout.after);
        let (lookup, uri, config) = (self.lookup, uri.clone(), config.clone());
        match workers::run_within(limit, &self.cancel, move || lookup(&uri, &config)) {
            Ok(Some(addresses)) => addresses,
            Ok(None) => Err(ureq::Error::Timeout(timeout.reason)),
            Err(error) => Err(ureq::Error::Other(Box::new(error))),
        }
    }
}

/// Without a timeout, ureq's own resolver looks the name up in the calling thread.
fn system_lookup(uri: &Uri, config: &Config) -> Result<ResolvedSocketAddrs> {
    DefaultResolver::default().resolve(uri, config, NextTimeout::default())
}

/// Returns the addresses of a host that needs no lookup: an IP address, or `localhost`, which always means this machine
/// (RFC 6761, section 6.3). A system without `/etc/hosts` could not resolve `localhost`.
fn known_addresses(uri: &Uri) -> Vec<SocketAddr> {
    let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else { return Vec::new() };
    let Some(server) = DefaultResolver::host_and_port(scheme, authority) else { return Vec::new() };
    if let Ok(address) = server.parse() {
        return vec![address];
    }
    let Some((host, port)) = server.rsplit_once(':') else { return Vec::new() };
    let Ok(port) = port.parse::<u16>() else { return Vec::new() };
    if !host.eq_ignore_ascii_case("localhost") {
        return Vec::new();
    }
    vec![(Ipv6Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, port).into()]
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::error::{Error, ErrorKind};

    fn uri(text: &str) -> Uri {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn hanging_lookup(_: &Uri, _: &Config) -> Result<ResolvedSocketAddrs> {
        let _ = Cancel::default().wait(Duration::from_secs(3600));
        Err(ureq::Error::HostNotFound)
    }

    fn unexpected_lookup(uri: &Uri, _: &Config) -> Result<ResolvedSocketAddrs> {
        panic!("{uri} was looked up");
    }

    fn no_timeout() -> NextTimeout {
        NextTimeout::default()
    }

    #[test]
    fn addresses_and_localhost_need_no_lookup() {
        let resolver = Resolver { lookup: unexpected_lookup, cancel: Cancel::default() };
        for (text, expected) in [
            ("http://localhost/v2/", &["[::1]:80", "127.0.0.1:80"][..]),
            ("https://localhost/v2/", &["[::1]:443", "127.0.0.1:443"]),
            ("https://LocalHost:5000/", &["[::1]:5000", "127.0.0.1:5000"]),
            ("https://127.0.0.1/", &["127.0.0.1:443"]),
            ("http://192.0.2.1:5000/v2/", &["192.0.2.1:5000"]),
            ("https://[2001:db8::1]/", &["[2001:db8::1]:443"]),
            ("http://[::1]:5000/", &["[::1]:5000"]),
        ] {
            let found = resolver.resolve(&uri(text), &Config::default(), no_timeout());
            let found: Vec<String> = found.unwrap_or_else(|e| panic!("{e}")).iter().map(|a| a.to_string()).collect();
            assert_eq!(found, expected, "{text}");
        }
        for text in ["https://localhost.example/", "https://notlocalhost/", "https://registry.example:5000/"] {
            assert!(known_addresses(&uri(text)).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_hanging_lookup_ends_when_the_command_is_cancelled() {
        let resolver = Resolver { lookup: hanging_lookup, cancel: Cancel::default() };
        resolver.cancel.cancel();
        let failed = resolver.resolve(&uri("https://registry.example/"), &Config::default(), no_timeout());
        let Err(ureq::Error::Other(error)) = failed else { panic!("{failed:?}") };
        assert_eq!(error.downcast::<Error>().map(|e| e.kind()).ok(), Some(ErrorKind::Interrupted));
    }

    #[test]
    fn a_hanging_lookup_ends_at_the_deadline() {
        let cancel = Cancel::with_deadline(Instant::now());
        let resolver = Resolver { lookup: hanging_lookup, cancel };
        let failed = resolver.resolve(&uri("https://registry.example/"), &Config::default(), no_timeout());
        let Err(ureq::Error::Other(error)) = failed else { panic!("{failed:?}") };
        let error = error.downcast::<Error>().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Network, "out of time"));

        let resolver = Resolver { lookup: hanging_lookup, cancel: Cancel::default() };
        let timeout = NextTimeout { after: Duration::ZERO.into(), reason: ureq::Timeout::Global, ..no_timeout() };
        let failed = resolver.resolve(&uri("https://registry.example/"), &Config::default(), timeout);
        assert!(matches!(failed, Err(ureq::Error::Timeout(ureq::Timeout::Global))), "{failed:?}");
    }
}
