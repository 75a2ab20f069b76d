//! Parses Docker's `daemon.json`: the mirrors of Docker Hub, and the registries whose certificates are not verified. Other
//! members are ignored.

use std::net::IpAddr;

use serde::Deserialize;

use crate::host::network::{Network, without_brackets};
use crate::oci::authority::Authority;
use crate::oci::json;

/// The members that pullet uses.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Daemon {
    /// URLs of mirrors of Docker Hub. Docker uses them for no other registry.
    #[serde(default, deserialize_with = "json::null_as_default")]
    pub(super) registry_mirrors: Vec<String>,
    #[serde(default, deserialize_with = "json::null_as_default")]
    insecure_registries: Vec<String>,
    /// The path of the file.
    #[serde(skip)]
    pub(super) from: String,
}

impl Daemon {
    /// Parses a file. An empty file is valid and has no members. `null` counts as missing, as in Go.
    pub(super) fn parse(bytes: &[u8], from: &str) -> Result<Self, String> {
        let parsed = if bytes.iter().all(u8::is_ascii_whitespace) { None } else { json::parse::<Option<Self>>(bytes)? };
        Ok(Self { from: from.to_owned(), ..parsed.unwrap_or_default() })
    }

    /// Returns true if a server is listed, as `HOST[:PORT]` or by a network. An entry without a port is for the scheme's
    /// default port. `lookup` resolves a host name; it is called only if a network is listed.
    pub(super) fn is_insecure(&self, https: bool, host: &str, port: u16, lookup: &dyn Fn(&str) -> Vec<IpAddr>) -> bool {
        let host = without_brackets(host);
        if self.insecure_registries.iter().any(|entry| matches_server(entry, https, host, port)) {
            return true;
        }
        let networks: Vec<Network> = self.insecure_registries.iter().filter_map(|entry| entry.parse().ok()).collect();
        if networks.is_empty() {
            return false;
        }
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => lookup(host),
        };
        addresses.into_iter().any(|address| networks.iter().any(|network| network.contains(address)))
    }
}

/// `host` has no brackets. An entry may have a scheme; dockerd accepts that with a warning.
fn matches_server(entry: &str, https: bool, host: &str, port: u16) -> bool {
    let entry = entry.strip_prefix("http://").or_else(|| entry.strip_prefix("https://")).unwrap_or(entry);
    let Ok(listed) = entry.trim_end_matches('/').parse::<Authority>() else { return false };
    let default_port = if https { 443 } else { 80 };
    listed.port().unwrap_or(default_port) == port && listed.bare_host().eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(text: &str) -> Result<Daemon, String> {
        Daemon::parse(text.as_bytes(), "f")
    }

    #[test]
    fn parses_two_members_and_ignores_others() {
        for (text, mirrors, insecure) in [
            ("", 0, 0),
            (" \n", 0, 0),
            ("{}", 0, 0),
            (r#"{"registry-mirrors":["https://m.io"],"log-driver":"none"}"#, 1, 0),
            (r#"{"insecure-registries":["a","10.0.0.0/8"],"features":{"x":true}}"#, 0, 2),
            ("null", 0, 0),
            (r#"{"registry-mirrors":null,"insecure-registries":["a"]}"#, 0, 1),
            (r#"{"registry-mirrors":["https://m.io"],"insecure-registries":null}"#, 1, 0),
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
    fn matches_insecure_hosts_and_networks() {
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
