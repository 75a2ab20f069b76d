//! Docker's `daemon.json`, pure: the mirrors of Docker Hub, and the registries whose certificates are not verified. The
//! rest of it is the daemon's own business.

use std::net::IpAddr;

use serde::Deserialize;

use crate::host::network::Network;
use crate::oci::authority::Authority;
use crate::oci::json;

/// What is read of the file.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Daemon {
    /// For Docker Hub alone, as with Docker.
    #[serde(default)]
    pub(super) registry_mirrors: Vec<String>,
    #[serde(default)]
    insecure_registries: Vec<String>,
}

impl Daemon {
    /// An empty file says nothing. The error tells what is wrong and where.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        match bytes.iter().all(u8::is_ascii_whitespace) {
            true => Ok(Self::default()),
            false => json::parse(bytes),
        }
    }

    /// Whether a server is listed as insecure: by `HOST[:PORT]`, where no port is the scheme's own, or by a network. What
    /// addresses a name has is asked only if a network is listed.
    pub(super) fn is_insecure(&self, https: bool, host: &str, port: u16, lookup: &dyn Fn(&str) -> Vec<IpAddr>) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let networks: Vec<Network> = self.insecure_registries.iter().filter_map(|entry| entry.parse().ok()).collect();
        let is_named = self.insecure_registries.iter().any(|entry| is_at(entry, https, host, port));
        is_named || {
            let addresses = match (networks.is_empty(), host.parse::<IpAddr>()) {
                (true, _) => Vec::new(),
                (false, Ok(address)) => vec![address],
                (false, Err(_)) => lookup(host),
            };
            addresses.into_iter().any(|address| networks.iter().any(|network| network.has(address)))
        }
    }
}

/// dockerd takes an entry with a scheme too, and warns.
fn is_at(entry: &str, https: bool, host: &str, port: u16) -> bool {
    let entry = entry.strip_prefix("http://").or_else(|| entry.strip_prefix("https://")).unwrap_or(entry);
    let Ok(listed) = entry.trim_end_matches('/').parse::<Authority>() else { return false };
    let default = if https { 443 } else { 80 };
    listed.bare_host().eq_ignore_ascii_case(host) && listed.port().unwrap_or(default) == port
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(text: &str) -> Result<Daemon, String> {
        Daemon::parse(text.as_bytes())
    }

    #[test]
    fn reads_its_two_members_and_no_other() {
        for (text, mirrors, insecure) in [
            ("", 0, 0),
            (" \n", 0, 0),
            ("{}", 0, 0),
            (r#"{"registry-mirrors":["https://m.io"],"log-driver":"none"}"#, 1, 0),
            (r#"{"insecure-registries":["a","10.0.0.0/8"],"features":{"x":true}}"#, 0, 2),
        ] {
            let daemon = daemon(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                (daemon.registry_mirrors.len(), daemon.insecure_registries.len()),
                (mirrors, insecure),
                "{text}"
            );
        }
        let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for bad in ["[", "[]x", "{} {}", "\"x\"", r#"{"registry-mirrors":"m"}"#, r#"{"registry-mirrors":[1]}"#, &deep] {
            assert!(daemon(bad).is_err(), "{bad:.50}");
        }
        assert!(daemon("{\n  \"registry-mirrors\": [,]\n}").is_err_and(|e| e.contains("line 2")));
    }

    #[test]
    fn insecure_are_hosts_and_networks() {
        let check = |entry: &str, https: bool, (host, port): (&str, u16), expected: bool| {
            let daemon = Daemon { insecure_registries: vec![entry.to_owned()], ..Daemon::default() };
            let lookup = |name: &str| match name {
                "inside.io" => vec!["192.0.2.1".parse().unwrap(), "10.1.2.3".parse().unwrap()],
                _ => Vec::new(),
            };
            assert_eq!(daemon.is_insecure(https, host, port, &lookup), expected, "{entry} {host} {port}");
        };
        check("r.io", true, ("r.io", 443), true);
        check("R.io", false, ("r.io", 80), true);
        check("r.io", true, ("r.io", 5000), false);
        check("r.io:5000", true, ("r.io", 5000), true);
        check("http://r.io:5000/", false, ("r.io", 5000), true);
        check("r.io:5000", true, ("x.r.io", 5000), false);
        check("[::1]:5000", true, ("[::1]", 5000), true);
        check("10.0.0.0/8", true, ("10.9.9.9", 5000), true);
        check("10.0.0.0/8", true, ("11.0.0.1", 443), false);
        check("10.0.0.0/8", false, ("inside.io", 80), true);
        check("10.0.0.0/8", true, ("outside.io", 443), false);
        check("fd00::/8", true, ("[fd12::1]", 443), true);
        check("0.0.0.0/0", true, ("[fd12::1]", 443), false);
        check("10.0.0.0/99", true, ("10.0.0.1", 443), false);
    }
}
