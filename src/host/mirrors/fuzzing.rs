//! Entry points for the fuzz targets: the parsers of registries.conf, hosts.toml and daemon.json.

use std::path::Path;

use super::daemon::Daemon;
use super::hosts;
use super::registries::Registries;
use crate::oci::reference::Reference;

/// Parses a registries.conf and applies it to a name. Returns the unqualified-search registry, if there is one.
pub fn registries_conf(text: &str, name: &Reference) -> Result<Option<String>, String> {
    let mut registries = Registries::parse(text, "registries.conf")?;
    registries.merge(Registries::parse(text, "drop-in.conf")?);
    registries.rule_for(name)?;
    Ok(registries.unqualified_search().map(str::to_owned))
}

/// Parses a hosts.toml. Returns the number of mirrors.
pub fn hosts_toml(text: &str) -> Result<usize, String> {
    let folder = Path::new("/etc/containerd/certs.d/registry.example");
    hosts::parse(text, folder, "hosts.toml").map(|route| route.mirrors.len())
}

/// Parses a daemon.json. Returns whether it lists the server as insecure.
pub fn daemon_json(bytes: &[u8], host: &str, port: u16) -> Result<bool, String> {
    Daemon::parse(bytes, "daemon.json").map(|daemon| daemon.is_insecure(true, host, port, &|_| Vec::new()))
}
