//! Mirrors of registries, from the configuration of other tools: containers' `registries.conf` with its drop-ins,
//! containerd's `certs.d/HOST/hosts.toml`, Docker's `daemon.json`. The first of them that has an entry for a name is used.
//! A malformed or unreadable file is an error, because it may forbid what would otherwise be fetched.

mod daemon;
mod files;
#[cfg(all(fuzzing, feature = "toml"))]
mod fuzzing;
#[cfg(feature = "toml")]
mod hosts;
#[cfg(not(feature = "toml"))]
mod no_toml;
#[cfg(feature = "toml")]
mod registries;
#[cfg(feature = "toml")]
mod toml_file;

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(all(fuzzing, feature = "toml"))]
pub use self::fuzzing::{daemon_json, hosts_toml, registries_conf};

use self::daemon::Daemon;
use self::files::Files;
#[cfg(not(feature = "toml"))]
use self::no_toml::{Registries, Rule};
#[cfg(feature = "toml")]
use self::registries::{Registries, Rule};
use super::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::reference::Reference;
use crate::oci::route::{Place, Route};

/// Docker Hub, the only registry with mirrors in `daemon.json`.
const HUB: &str = "docker.io";

/// The configured mirrors. Each file is read when it is needed first, and only once.
pub(crate) struct Mirrors {
    files: Files,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    daemon: Option<Arc<Daemon>>,
    registries: Option<Arc<Registries>>,
    /// By registry.
    hosts: HashMap<String, Option<Route>>,
    /// By host name.
    addresses: HashMap<String, Vec<IpAddr>>,
}

impl Mirrors {
    /// The configuration of this machine. Variables are read now, files later.
    pub(crate) fn of_environment() -> Self {
        Self::new(Environment::of_process())
    }

    fn new(environment: Environment<'_>) -> Self {
        Self { files: Files::new(environment), cache: Mutex::default() }
    }

    /// Returns the configured endpoints for a name, or `None` if no file has an entry for it. Fails with
    /// [`ErrorKind::Denied`] for a blocked name.
    pub(crate) fn route(&self, name: &Reference) -> Result<Option<Route>> {
        if let Some(route) = self.route_by_registries(name)? {
            return Ok(Some(route));
        }
        if let Some(route) = self.route_by_hosts(name.domain())? {
            return Ok(Some(route));
        }
        self.route_by_daemon(name.domain())
    }

    /// Returns the file that lists a server as insecure, if there is one.
    pub(crate) fn insecure(&self, https: bool, host: &str, port: u16) -> Result<Option<String>> {
        let daemon = self.daemon()?;
        let is_insecure = daemon.is_insecure(https, host, port, &|name| self.addresses(name));
        Ok(is_insecure.then(|| daemon.from.clone()))
    }

    /// Returns the registry of short names, if `unqualified-search-registries` lists exactly one.
    pub(crate) fn unqualified_search(&self) -> Result<Option<String>> {
        Ok(self.registries()?.unqualified_search().map(str::to_owned))
    }

    /// Returns `credential-helpers` of `registries.conf`; empty if there is no such list.
    pub(crate) fn credential_helpers(&self) -> Result<Vec<String>> {
        Ok(self.registries()?.credential_helpers().to_vec())
    }

    fn route_by_registries(&self, name: &Reference) -> Result<Option<Route>> {
        let rule = self.registries()?.rule_for(name).map_err(|what| Error::new(ErrorKind::Usage, what))?;
        match rule {
            None => Ok(None),
            Some(Rule::Route(route)) => Ok(Some(*route)),
            Some(Rule::Blocked { from }) => {
                let text = format!("{} is blocked by {from}", name.repository());
                let hint = "the administrator of this machine blocks this repository: use one that is allowed";
                Err(Error::new(ErrorKind::Denied, text).with_hint(hint))
            }
        }
    }

    fn route_by_hosts(&self, domain: &str) -> Result<Option<Route>> {
        if let Some(cached) = self.cache().hosts.get(domain) {
            return Ok(cached.clone());
        }
        let route = self.files.read_hosts(domain)?;
        self.cache().hosts.insert(domain.to_owned(), route.clone());
        Ok(route)
    }

    fn route_by_daemon(&self, domain: &str) -> Result<Option<Route>> {
        let daemon = self.daemon()?;
        if domain != HUB || daemon.registry_mirrors.is_empty() {
            return Ok(None);
        }
        let mirrors = daemon.registry_mirrors.iter().map(|url| Place::at_url(url, &daemon.from)).collect();
        Ok(Some(Route { mirrors, origin: None, from: daemon.from.clone() }))
    }

    fn registries(&self) -> Result<Arc<Registries>> {
        if let Some(cached) = &self.cache().registries {
            return Ok(Arc::clone(cached));
        }
        let registries = Arc::new(self.files.read_registries()?);
        self.cache().registries = Some(Arc::clone(&registries));
        Ok(registries)
    }

    fn daemon(&self) -> Result<Arc<Daemon>> {
        if let Some(cached) = &self.cache().daemon {
            return Ok(Arc::clone(cached));
        }
        let daemon = Arc::new(self.files.read_daemon()?);
        self.cache().daemon = Some(Arc::clone(&daemon));
        Ok(daemon)
    }

    /// Resolves a host name, as dockerd does for networks in `insecure-registries`. A failed lookup gives no addresses.
    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        if let Some(cached) = self.cache().addresses.get(name) {
            return cached.clone();
        }
        let addresses: Vec<IpAddr> = match (name, 443).to_socket_addrs() {
            Ok(found) => found.map(|address| address.ip()).collect(),
            Err(_) => Vec::new(),
        };
        self.cache().addresses.insert(name.to_owned(), addresses.clone());
        addresses
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[cfg(feature = "toml")]
mod tests {
    use super::*;
    use crate::host::test_root::TestRoot;

    fn test_root(name: &str, files: &[(&str, &str)]) -> TestRoot {
        TestRoot::new(&format!("mirrors-{name}"), files).with("HOME", "home")
    }

    fn mirrors(root: &TestRoot) -> Mirrors {
        root.enter(Mirrors::new)
    }

    /// Compares the file that decides with the number of its mirrors, or the error.
    #[track_caller]
    fn check(root: &TestRoot, name: &str, expected: &str) {
        let result = match mirrors(root).route(&name.parse().unwrap()) {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(route)) => format!("{} {}", route.from, route.mirrors.len()),
            Err(error) => format!("{:?} {error}", error.kind()),
        };
        let result = root.without_root(&result);
        assert!(result.starts_with(expected), "{name}: {result}, expected {expected}");
    }

    const DAEMON: (&str, &str) = ("etc/docker/daemon.json", r#"{"registry-mirrors":["http://a","http://b"]}"#);
    const HOSTS: &str = "[host.'http://m']";

    fn entry(location: &str) -> String {
        format!("[[registry]]\nlocation='{location}'\n[[registry.mirror]]\nlocation='m.io'\n")
    }

    #[test]
    fn uses_the_first_file_with_an_entry_for_the_name() {
        let registries = entry("r.io");
        let files = [
            DAEMON,
            ("etc/containers/registries.conf", registries.as_str()),
            ("etc/containerd/certs.d/r.io/hosts.toml", HOSTS),
            ("etc/containerd/certs.d/c.io_5000_/hosts.toml", HOSTS),
            ("etc/containerd/certs.d/d.io:5000/hosts.toml", HOSTS),
            ("etc/containerd/certs.d/certs.io/ca.crt", ""),
        ];
        let root = test_root("first", &files);
        check(&root, "alpine", "/etc/docker/daemon.json 2");
        check(&root, "r.io/a", "/etc/containers/registries.conf 1");
        check(&root, "c.io:5000/a", "/etc/containerd/certs.d/c.io_5000_/hosts.toml 1");
        check(&root, "d.io:5000/a", "/etc/containerd/certs.d/d.io:5000/hosts.toml 1");
        check(&root, "certs.io/a", "/etc/containerd/certs.d/certs.io 0");
        check(&root, "x.io/a", "nothing");
        let more = [&files[..], &[("etc/containerd/certs.d/_default/hosts.toml", HOSTS)]].concat();
        let root = test_root("default", &more);
        check(&root, "alpine", "/etc/containerd/certs.d/_default/hosts.toml 1");
        check(&root, "certs.io/a", "/etc/containerd/certs.d/certs.io 0");
        let own = [&more[..], &[("home/.config/containerd/certs.d/certs.io/hosts.toml", HOSTS)]].concat();
        check(&test_root("own", &own), "certs.io/a", "/home/.config/containerd/certs.d/certs.io/hosts.toml 1");
    }

    #[test]
    fn reads_drop_ins_as_containers_does() {
        let [machine, own, dropped, named] = ["machine.io", "own.io", "dropped.io", "named.io"].map(entry);
        let files = [
            ("etc/containers/registries.conf", machine.as_str()),
            ("etc/containers/registries.conf.d/50-a.conf", dropped.as_str()),
            ("etc/containers/registries.conf.d/50-b.txt", "malformed"),
            ("etc/containers/registries.conf.d/60.conf", "unqualified-search-registries=['x.io','y.io']"),
            ("home/.config/containers/registries.conf.d/70.conf", "unqualified-search-registries=['one.io']"),
            ("named.conf", named.as_str()),
        ];
        let root = test_root("drop-ins", &files);
        check(&root, "machine.io/a", "/etc/containers/registries.conf 1");
        check(&root, "dropped.io/a", "/etc/containers/registries.conf.d/50-a.conf 1");
        assert_eq!(mirrors(&root).unqualified_search().unwrap().as_deref(), Some("one.io"));
        let root = root.with("CONTAINERS_REGISTRIES_CONF", "named.conf");
        check(&root, "machine.io/a", "nothing");
        check(&root, "named.io/a", "/named.conf 1");
        assert_eq!(mirrors(&root).unqualified_search().unwrap(), None);
        check(&root.with("CONTAINERS_REGISTRIES_CONF", "gone.conf"), "a", "Disk open");
        let more = [&files[..], &[("home/.config/containers/registries.conf", own.as_str())]].concat();
        let root = test_root("own-file", &more);
        check(&root, "machine.io/a", "nothing");
        check(&root, "dropped.io/a", "nothing");
        check(&root, "own.io/a", "/home/.config/containers/registries.conf 1");
        assert_eq!(mirrors(&root).unqualified_search().unwrap().as_deref(), Some("one.io"));
    }

    #[test]
    fn rejects_malformed_files_and_blocked_names() {
        let huge = "#".repeat((1 << 20) + 1);
        for (path, text, expected) in [
            (
                "etc/containers/registries.conf",
                "[[registry]]\nlocation=",
                "Usage malformed /etc/containers/registries.conf: line 2",
            ),
            (
                "etc/containers/registries.conf.d/x.conf",
                "\n\nx",
                "Usage malformed /etc/containers/registries.conf.d/x.conf: line 3",
            ),
            ("etc/containers/registries.conf", &huge, "Usage read /etc/containers/registries.conf: more than"),
            ("etc/containerd/certs.d/docker.io/hosts.toml", "server", "Usage malformed /etc/containerd"),
            ("etc/docker/daemon.json", "{\n x}", "Usage malformed /etc/docker/daemon.json: "),
            (
                "etc/containers/registries.conf",
                "[[registry]]\nlocation='docker.io'\nblocked=true",
                "Denied docker.io/library/a is",
            ),
            ("etc/containers/registries.conf/x", "", "Disk read"),
        ] {
            check(&test_root("refused", &[(path, text)]), "a", expected);
        }
    }

    #[test]
    fn reads_insecure_registries_of_daemon_json() {
        let root = test_root("insecure", &[("etc/docker/daemon.json", r#"{"insecure-registries":["10.0.0.0/8"]}"#)]);
        let mirrors = mirrors(&root);
        assert!(mirrors.insecure(true, "10.1.1.1", 443).unwrap().is_some_and(|from| from.ends_with("daemon.json")));
        assert_eq!(mirrors.insecure(true, "11.1.1.1", 443).unwrap(), None);
        let own = [("home/.config/docker/daemon.json", "{}"), ("etc/docker/daemon.json", DAEMON.1)];
        check(&test_root("rootless", &own), "alpine", "nothing");
    }
}
