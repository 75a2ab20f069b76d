//! Where a registry's mirrors are, as this machine's tools are told: containers' `registries.conf` with its drop-ins,
//! containerd's `certs.d/HOST/hosts.toml`, Docker's `daemon.json`. The first that speaks of a name decides. A file that is
//! malformed or cannot be read is an error: to pass it over could be to pass over what it forbids.

mod daemon;
#[cfg(feature = "toml")]
mod hosts;
#[cfg(not(feature = "toml"))]
mod no_toml;
#[cfg(feature = "toml")]
mod registries;
#[cfg(feature = "toml")]
mod toml_file;

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use self::daemon::Daemon;
#[cfg(not(feature = "toml"))]
use self::no_toml::{self as hosts, Registries, Word};
#[cfg(feature = "toml")]
use self::registries::{Registries, Word};
use super::private_file;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::reference::Reference;
use crate::oci::route::{Base, Place, Route, TlsFiles};

/// Docker Hub, the only registry of which `daemon.json` names mirrors.
const HUB: &str = "docker.io";
/// Drop-ins that are read: the longest folders of distributions have some ten.
const DROP_INS_LIMIT: usize = 1000;

/// The files, each read when it is first asked for, and once.
pub(crate) struct Mirrors {
    /// `$XDG_CONFIG_HOME`, else `~/.config`.
    config: Option<PathBuf>,
    /// `$CONTAINERS_REGISTRIES_CONF`.
    named: Option<PathBuf>,
    /// `/`, but for tests.
    root: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    daemon: Option<Arc<(Daemon, String)>>,
    registries: Option<Arc<Registries>>,
    hosts: HashMap<String, Option<Route>>,
    /// The addresses of names that were looked up.
    addresses: HashMap<String, Vec<IpAddr>>,
}

impl Mirrors {
    /// Variables are read here, files later.
    pub(crate) fn of_environment() -> Self {
        Self::new(&|name| env::var_os(name), Path::new("/"))
    }

    fn new(variable: &dyn Fn(&str) -> Option<OsString>, root: &Path) -> Self {
        let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            config: path("XDG_CONFIG_HOME").or_else(|| path("HOME").map(|home| home.join(".config"))),
            named: path("CONTAINERS_REGISTRIES_CONF"),
            root: root.to_owned(),
            known: Mutex::default(),
        }
    }

    /// Where a name is asked for, if any file speaks of it. Fails with [`ErrorKind::Denied`] for one that is blocked.
    pub(crate) fn route(&self, name: &Reference) -> Result<Option<Route>> {
        if let Some(route) = self.by_registries(name)? {
            return Ok(Some(route));
        }
        if let Some(route) = self.by_hosts(name.domain())? {
            return Ok(Some(route));
        }
        let daemon = self.daemon()?;
        let (Daemon { registry_mirrors, .. }, from) = &*daemon;
        if name.domain() != HUB || registry_mirrors.is_empty() {
            return Ok(None);
        }
        let mirrors = registry_mirrors.iter().map(|url| Place::at_url(url, from)).collect();
        Ok(Some(Route { mirrors, origin: None, from: from.clone() }))
    }

    /// The file that lists a server as insecure, if one does.
    pub(crate) fn insecure(&self, https: bool, host: &str, port: u16) -> Result<Option<String>> {
        let daemon = self.daemon()?;
        let is_insecure = daemon.0.is_insecure(https, host, port, &|name| self.addresses(name));
        Ok(is_insecure.then(|| daemon.1.clone()))
    }

    /// The only registry where short names are looked for, if there is only one, and the file that says so.
    pub(crate) fn search(&self) -> Result<Option<String>> {
        Ok(self.registries()?.search().map(str::to_owned))
    }

    /// The first of these that is there: the user's own, as a rootless Docker has it, and the machine's. Docker lets
    /// only root read what may have secrets in it: what others may not read is not for them.
    fn daemon(&self) -> Result<Arc<(Daemon, String)>> {
        if let Some(daemon) = &self.known().daemon {
            return Ok(Arc::clone(daemon));
        }
        let own = self.config.as_ref().map(|config| config.join("docker/daemon.json"));
        let mut found = Default::default();
        for path in own.into_iter().chain([self.root.join("etc/docker/daemon.json")]) {
            match private_file::read(&path) {
                Ok(None) => {}
                Err(e) if is_forbidden(&e) => {}
                Ok(Some(bytes)) => {
                    let daemon = Daemon::parse(&bytes).map_err(|why| malformed(&path, &why))?;
                    found = (daemon, path.display().to_string());
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Arc::clone(self.known().daemon.insert(Arc::new(found))))
    }

    /// dockerd looks names up too where networks are listed. A name without address is in none of them.
    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        if let Some(addresses) = self.known().addresses.get(name) {
            return addresses.clone();
        }
        let found = (name, 443).to_socket_addrs().map(|found| found.map(|one| one.ip()).collect());
        let addresses: Vec<IpAddr> = found.unwrap_or_default();
        self.known().addresses.insert(name.to_owned(), addresses.clone());
        addresses
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mirrors {
    fn by_registries(&self, name: &Reference) -> Result<Option<Route>> {
        let word = self.registries()?.word(name).map_err(|why| Error::new(ErrorKind::Usage, why))?;
        match word {
            None => Ok(None),
            Some(Word::Route(route)) => Ok(Some(*route)),
            Some(Word::Blocked(from)) => {
                let text = format!("{} is blocked by {from}", name.repository());
                let hint = "the machine's administrator forbids what is there: ask for it under another name";
                Err(Error::new(ErrorKind::Denied, text).with_hint(hint))
            }
        }
    }

    /// As with containers: the file that the variable names and nothing beside it; else the user's own with its
    /// drop-ins; else the machine's, with the drop-ins of both.
    fn registries(&self) -> Result<Arc<Registries>> {
        if let Some(registries) = &self.known().registries {
            return Ok(Arc::clone(registries));
        }
        let mut registries = Registries::default();
        let own = self.config.as_ref().map(|config| config.join("containers/registries.conf"));
        let machine = self.root.join("etc/containers/registries.conf");
        if let Some(named) = &self.named {
            let text = read(named)?.ok_or_else(|| Error::disk("open", named, io::ErrorKind::NotFound))?;
            registries.merge(parsed(named, &text)?);
        } else {
            let own_text = own.as_deref().map(read).transpose()?.flatten();
            let mut folders = Vec::new();
            if let (Some(own), Some(text)) = (&own, &own_text) {
                registries.merge(parsed(own, text)?);
            } else {
                if let Some(text) = read(&machine)? {
                    registries.merge(parsed(&machine, &text)?);
                }
                folders.push(drop_ins_of(&machine));
            }
            folders.extend(own.as_deref().map(drop_ins_of));
            for path in folders.iter().map(|folder| drop_ins(folder)).collect::<Result<Vec<_>>>()?.concat() {
                if let Some(text) = read(&path)? {
                    registries.merge(parsed(&path, &text)?);
                }
            }
        }
        Ok(Arc::clone(self.known().registries.insert(Arc::new(registries))))
    }

    fn by_hosts(&self, domain: &str) -> Result<Option<Route>> {
        if let Some(known) = self.known().hosts.get(domain) {
            return Ok(known.clone());
        }
        let route = self.read_hosts(domain)?;
        self.known().hosts.insert(domain.to_owned(), route.clone());
        Ok(route)
    }

    /// The first folder that is there decides, as with containerd; one without `hosts.toml` has certificates alone.
    fn read_hosts(&self, domain: &str) -> Result<Option<Route>> {
        let own = self.config.as_ref().map(|config| config.join("containerd/certs.d"));
        let bases = own.into_iter().chain([self.root.join("etc/containerd/certs.d")]);
        let underscored = domain.rsplit_once(':').map(|(host, port)| format!("{host}_{port}_"));
        let names: Vec<&str> = underscored.iter().map(String::as_str).chain([domain, "_default"]).collect();
        for folder in bases.flat_map(|base| names.iter().map(move |name| base.join(name))) {
            let path = folder.join("hosts.toml");
            let from = path.display().to_string();
            if let Some(text) = read(&path)? {
                return hosts::parse(&text, &folder, &from).map(Some).map_err(|why| unreadable(&path, &why));
            }
            if folder.is_dir() {
                let from = folder.display().to_string();
                let mut origin = Place::new(Base::Named, &from);
                origin.files = TlsFiles { folder: Some(folder), ..TlsFiles::default() };
                return Ok(Some(Route { mirrors: Vec::new(), origin: Some(origin), from }));
            }
        }
        Ok(None)
    }
}

/// The text of a file; `None` where there is none.
fn read(path: &Path) -> Result<Option<String>> {
    let bytes = private_file::read(path)?;
    bytes.map(String::from_utf8).transpose().map_err(|_| malformed(path, "it is not UTF-8"))
}

fn parsed(path: &Path, text: &str) -> Result<Registries> {
    Registries::parse(text, &path.display().to_string()).map_err(|why| unreadable(path, &why))
}

fn drop_ins_of(file: &Path) -> PathBuf {
    file.with_extension("conf.d")
}

/// `*.conf` in a folder, in the order of their names; none where there is no such folder.
fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Vec::new()),
        other => other.map_err(|e| Error::disk("read", folder, e))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::disk("read", folder, e))?.path();
        if path.extension().is_some_and(|extension| extension == "conf") && !path.is_dir() {
            paths.push(path);
        }
        if paths.len() > DROP_INS_LIMIT {
            let text = format!("read {}: limit exceeded: more than {DROP_INS_LIMIT} files", folder.display());
            return Err(Error::new(ErrorKind::Usage, text));
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_forbidden(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::PermissionDenied)
}

/// What TOML cannot be taken for: it is malformed, or nothing here reads it.
fn unreadable(path: &Path, why: &str) -> Error {
    if cfg!(feature = "toml") {
        return malformed(path, why);
    }
    Error::new(ErrorKind::Unsupported, format!("{}: {why}", path.display())).with_hint("its feature is \"toml\"")
}

fn malformed(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("malformed {}: {why}", path.display()))
}

#[cfg(test)]
#[cfg(feature = "toml")]
mod tests {
    use super::*;

    /// A root folder of the test's own.
    struct Scene {
        root: PathBuf,
        variables: Vec<(&'static str, String)>,
    }

    impl Scene {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = env::temp_dir().join(format!("pullet-mirrors-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(&root).unwrap();
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            let home = root.join("home").display().to_string();
            Self { root, variables: vec![("HOME", home)] }
        }

        fn with(mut self, name: &'static str, path: &str) -> Self {
            self.variables.push((name, self.root.join(path).display().to_string()));
            self
        }

        fn mirrors(&self) -> Mirrors {
            let variable = |name: &str| {
                self.variables.iter().rfind(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
            };
            Mirrors::new(&variable, &self.root)
        }

        /// Which file decides and how many mirrors it names, or what it says against it.
        #[track_caller]
        fn check(&self, name: &str, expected: &str) {
            let said = match self.mirrors().route(&name.parse().unwrap()) {
                Ok(None) => "nothing".to_owned(),
                Ok(Some(route)) => format!("{} {}", route.from, route.mirrors.len()),
                Err(error) => format!("{:?} {error}", error.kind()),
            };
            let shown = said.replace(&format!("{}/", self.root.display()), "");
            assert!(shown.starts_with(expected), "{name}: {shown}, and not {expected}");
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    const DAEMON: (&str, &str) = ("etc/docker/daemon.json", r#"{"registry-mirrors":["http://a","http://b"]}"#);
    const HOSTS: &str = "[host.'http://m']";

    fn entry(location: &str) -> String {
        format!("[[registry]]\nlocation='{location}'\n[[registry.mirror]]\nlocation='m.io'\n")
    }

    #[test]
    fn the_first_file_that_speaks_of_a_name_decides() {
        let registries = entry("r.io");
        let files = [
            DAEMON,
            ("etc/containers/registries.conf", registries.as_str()),
            ("etc/containerd/certs.d/r.io/hosts.toml", HOSTS),
            ("etc/containerd/certs.d/c.io_5000_/hosts.toml", HOSTS),
            ("etc/containerd/certs.d/d.io:5000/hosts.toml", HOSTS),
            ("etc/containerd/certs.d/certs.io/ca.crt", ""),
        ];
        let scene = Scene::new("first", &files);
        scene.check("alpine", "etc/docker/daemon.json 2");
        scene.check("r.io/a", "etc/containers/registries.conf 1");
        scene.check("c.io:5000/a", "etc/containerd/certs.d/c.io_5000_/hosts.toml 1");
        scene.check("d.io:5000/a", "etc/containerd/certs.d/d.io:5000/hosts.toml 1");
        scene.check("certs.io/a", "etc/containerd/certs.d/certs.io 0");
        scene.check("x.io/a", "nothing");
        let more = [&files[..], &[("etc/containerd/certs.d/_default/hosts.toml", HOSTS)]].concat();
        let scene = Scene::new("default", &more);
        scene.check("alpine", "etc/containerd/certs.d/_default/hosts.toml 1");
        scene.check("certs.io/a", "etc/containerd/certs.d/certs.io 0");
        let own = [&more[..], &[("home/.config/containerd/certs.d/certs.io/hosts.toml", HOSTS)]].concat();
        Scene::new("own", &own).check("certs.io/a", "home/.config/containerd/certs.d/certs.io/hosts.toml 1");
    }

    #[test]
    fn drop_ins_are_read_as_containers_does() {
        let [machine, own, dropped, named] = ["machine.io", "own.io", "dropped.io", "named.io"].map(entry);
        let files = [
            ("etc/containers/registries.conf", machine.as_str()),
            ("etc/containers/registries.conf.d/50-a.conf", dropped.as_str()),
            ("etc/containers/registries.conf.d/50-b.txt", "malformed"),
            ("etc/containers/registries.conf.d/60.conf", "unqualified-search-registries=['x.io','y.io']"),
            ("home/.config/containers/registries.conf.d/70.conf", "unqualified-search-registries=['one.io']"),
            ("named.conf", named.as_str()),
        ];
        let scene = Scene::new("drop-ins", &files);
        scene.check("machine.io/a", "etc/containers/registries.conf 1");
        scene.check("dropped.io/a", "etc/containers/registries.conf.d/50-a.conf 1");
        assert_eq!(scene.mirrors().search().unwrap().as_deref(), Some("one.io"));
        let scene = scene.with("CONTAINERS_REGISTRIES_CONF", "named.conf");
        scene.check("machine.io/a", "nothing");
        scene.check("named.io/a", "named.conf 1");
        assert_eq!(scene.mirrors().search().unwrap(), None);
        scene.with("CONTAINERS_REGISTRIES_CONF", "gone.conf").check("a", "Disk open");
        let more = [&files[..], &[("home/.config/containers/registries.conf", own.as_str())]].concat();
        let scene = Scene::new("own-file", &more);
        scene.check("machine.io/a", "nothing");
        scene.check("dropped.io/a", "nothing");
        scene.check("own.io/a", "home/.config/containers/registries.conf 1");
        assert_eq!(scene.mirrors().search().unwrap().as_deref(), Some("one.io"));
    }

    #[test]
    fn what_is_malformed_or_blocked_is_refused() {
        let huge = "#".repeat((1 << 20) + 1);
        for (path, text, expected) in [
            (
                "etc/containers/registries.conf",
                "[[registry]]\nlocation=",
                "Usage malformed etc/containers/registries.conf: line 2",
            ),
            (
                "etc/containers/registries.conf.d/x.conf",
                "\n\nx",
                "Usage malformed etc/containers/registries.conf.d/x.conf: line 3",
            ),
            ("etc/containers/registries.conf", &huge, "Usage read etc/containers/registries.conf: more than"),
            ("etc/containerd/certs.d/docker.io/hosts.toml", "server", "Usage malformed etc/containerd"),
            ("etc/docker/daemon.json", "{\n x}", "Usage malformed etc/docker/daemon.json: "),
            (
                "etc/containers/registries.conf",
                "[[registry]]\nlocation='docker.io'\nblocked=true",
                "Denied docker.io/library/a is",
            ),
            ("etc/containers/registries.conf/x", "", "Disk read"),
        ] {
            Scene::new("refused", &[(path, text)]).check("a", expected);
        }
    }

    #[test]
    fn daemon_json_lists_insecure_registries() {
        let scene = Scene::new("insecure", &[("etc/docker/daemon.json", r#"{"insecure-registries":["10.0.0.0/8"]}"#)]);
        let mirrors = scene.mirrors();
        assert!(mirrors.insecure(true, "10.1.1.1", 443).unwrap().is_some_and(|from| from.ends_with("daemon.json")));
        assert_eq!(mirrors.insecure(true, "11.1.1.1", 443).unwrap(), None);
        let own = [("home/.config/docker/daemon.json", "{}"), ("etc/docker/daemon.json", DAEMON.1)];
        Scene::new("rootless", &own).check("alpine", "nothing");
    }
}
