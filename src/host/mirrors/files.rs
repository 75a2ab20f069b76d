//! The locations of the configuration files, and the rules by which one file is chosen among several.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::daemon::Daemon;
#[cfg(not(feature = "toml"))]
use super::no_toml::{self as hosts, Registries};
#[cfg(feature = "toml")]
use super::{hosts, registries::Registries};
use crate::error::{Error, ErrorKind, Result};
use crate::host::environment::Environment;
use crate::host::private_file;
use crate::oci::route::{Base, Place, Route, TlsFiles};

/// Maximum number of drop-ins in a folder; distributions install at most some ten.
const DROP_INS_LIMIT: usize = 1000;

/// Where the configuration files are.
pub(super) struct Files {
    /// The user's configuration folder: `$XDG_CONFIG_HOME`, else `~/.config`.
    user: Option<PathBuf>,
    /// The machine's configuration folder: `/etc`.
    etc: PathBuf,
    /// `$CONTAINERS_REGISTRIES_CONF`.
    registries_conf: Option<PathBuf>,
}

impl Files {
    pub(super) fn new(environment: Environment<'_>) -> Self {
        Self {
            user: environment.config_folder(),
            etc: environment.in_root("etc"),
            registries_conf: environment.path("CONTAINERS_REGISTRIES_CONF"),
        }
    }

    /// Reads the first `daemon.json` that exists: the user's, as rootless Docker has it, else the machine's. One without
    /// read permission counts as missing: it may contain secrets, so administrators let only root read it.
    pub(super) fn read_daemon(&self) -> Result<Daemon> {
        for path in self.of_user_and_machine("docker/daemon.json") {
            match private_file::read(&path) {
                Ok(Some(bytes)) => {
                    let from = path.display().to_string();
                    return Daemon::parse(&bytes, &from).map_err(|what| malformed(&path, &what));
                }
                Ok(None) => {}
                Err(error) if is_permission_denied(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Daemon::default())
    }

    /// Reads `registries.conf` by the rules of containers: the file that the variable names, without drop-ins; else the
    /// user's file with the user's drop-ins; else the machine's file with the drop-ins of both.
    pub(super) fn read_registries(&self) -> Result<Registries> {
        let mut registries = Registries::default();
        if let Some(path) = &self.registries_conf {
            let Some(text) = read(path)? else { return Err(Error::disk("open", path, io::ErrorKind::NotFound)) };
            registries.merge(parse_registries(path, &text)?);
            return Ok(registries);
        }
        let user_file = self.user.as_ref().map(|folder| folder.join("containers/registries.conf"));
        let machine_file = self.etc.join("containers/registries.conf");
        let user_text = match &user_file {
            Some(path) => read(path)?,
            None => None,
        };
        let mut drop_ins = Vec::new();
        if let (Some(path), Some(text)) = (&user_file, user_text) {
            registries.merge(parse_registries(path, &text)?);
        } else {
            if let Some(text) = read(&machine_file)? {
                registries.merge(parse_registries(&machine_file, &text)?);
            }
            drop_ins.extend(list_drop_ins(&machine_file)?);
        }
        if let Some(path) = &user_file {
            drop_ins.extend(list_drop_ins(path)?);
        }
        for path in drop_ins {
            if let Some(text) = read(&path)? {
                registries.merge(parse_registries(&path, &text)?);
            }
        }
        Ok(registries)
    }

    /// Reads containerd's folder for a registry. The first folder that exists is used, as in containerd; one without a
    /// `hosts.toml` contains only certificates.
    pub(super) fn read_hosts(&self, domain: &str) -> Result<Option<Route>> {
        let mut names = Vec::new();
        if let Some((host, port)) = domain.rsplit_once(':') {
            names.push(format!("{host}_{port}_"));
        }
        names.push(domain.to_owned());
        names.push("_default".to_owned());
        for certs_d in self.of_user_and_machine("containerd/certs.d") {
            for name in &names {
                if let Some(route) = read_hosts_folder(&certs_d.join(name))? {
                    return Ok(Some(route));
                }
            }
        }
        Ok(None)
    }

    /// Returns a path below the user's configuration folder, and then the same below the machine's.
    fn of_user_and_machine(&self, path: &str) -> Vec<PathBuf> {
        let user = self.user.as_ref().map(|folder| folder.join(path));
        user.into_iter().chain([self.etc.join(path)]).collect()
    }
}

/// Returns `None` if the folder does not exist.
fn read_hosts_folder(folder: &Path) -> Result<Option<Route>> {
    let path = folder.join("hosts.toml");
    if let Some(text) = read(&path)? {
        let route = hosts::parse(&text, folder, &path.display().to_string());
        return route.map(Some).map_err(|what| malformed_toml(&path, &what));
    }
    if !folder.is_dir() {
        return Ok(None);
    }
    let from = folder.display().to_string();
    let mut origin = Place::new(Base::Named, &from);
    origin.files = TlsFiles { folder: Some(folder.to_owned()), ..TlsFiles::default() };
    Ok(Some(Route { mirrors: Vec::new(), origin: Some(origin), from }))
}

/// Reads a text file. Returns `None` if it does not exist.
fn read(path: &Path) -> Result<Option<String>> {
    let Some(bytes) = private_file::read(path)? else { return Ok(None) };
    String::from_utf8(bytes).map(Some).map_err(|_| malformed(path, "not UTF-8"))
}

fn parse_registries(path: &Path, text: &str) -> Result<Registries> {
    Registries::parse(text, &path.display().to_string()).map_err(|what| malformed_toml(path, &what))
}

/// Returns the paths of the `*.conf` files in a file's folder of drop-ins, sorted by name.
fn list_drop_ins(file: &Path) -> Result<Vec<PathBuf>> {
    let folder = file.with_extension("conf.d");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(Error::disk("read", &folder, e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::disk("read", &folder, e))?.path();
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

fn is_permission_denied(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::PermissionDenied)
}

/// The error for a TOML file that was not parsed, either because it is malformed or because the feature is missing.
fn malformed_toml(path: &Path, what: &str) -> Error {
    if cfg!(feature = "toml") {
        return malformed(path, what);
    }
    Error::new(ErrorKind::Unsupported, format!("{}: {what}", path.display()))
        .with_hint("use a build with the feature \"toml\"")
}

fn malformed(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("malformed {}: {what}", path.display()))
}
