//! Looks up, stores and removes credentials in the files that Docker, podman and skopeo share, and with the credential
//! helpers that these files name. The first source with credentials for a name wins. A broken source is reported and
//! skipped, so that it never prevents the pull of a public image; only a file that the user chose explicitly must be
//! valid.

mod auth_file;
mod credential_helper;
#[cfg(fuzzing)]
mod fuzzing;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

#[cfg(fuzzing)]
pub use self::fuzzing::{auth_json, helper_output};

use self::auth_file::{AuthFile, server_of};
use self::credential_helper::CredentialHelper;
use super::environment::Environment;
use super::mirrors::Mirrors;
use super::private_file;
use crate::advice::Advice;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::credentials::Credentials;
use crate::oci::reference::Reference;
use crate::progress::{Event, Progress};

/// Finds and stores credentials for registries.
#[derive(Debug)]
pub(crate) struct CredentialStore {
    /// The only file, if the user chose one.
    authfile: Option<PathBuf>,
    /// Whether the sources that other tools use are searched. Ignored if there is an `authfile`.
    uses_system: bool,
    cancel: Cancel,
    /// Results by repository, so that helpers run and warnings appear once and not for every tag.
    cache: Mutex<HashMap<String, Option<Credentials>>>,
}

/// One source of credentials.
enum CredentialSource {
    /// A file that the user chose explicitly: it must exist and be valid.
    Authfile(PathBuf),
    /// A file that other tools use.
    File(PathBuf),
    /// The JSON in `$DOCKER_AUTH_CONFIG`.
    Variable(OsString),
    /// A helper in `credential-helpers` of `registries.conf`. It is asked for every registry.
    Helper(String),
}

const REGISTRIES_CONF: &str = "registries.conf";
/// The entry of `credential-helpers` that stands for all files, as in containers.
const FILES: &str = "containers-auth.json";

impl CredentialStore {
    /// With `authfile`, that file is the only source; else the sources of Docker, podman and skopeo are used.
    pub(crate) fn new(authfile: Option<PathBuf>, cancel: Cancel) -> Self {
        Self { authfile, uses_system: true, cancel, cache: Mutex::default() }
    }

    /// A store without any source.
    pub(crate) fn none(cancel: Cancel) -> Self {
        Self { authfile: None, uses_system: false, cancel, cache: Mutex::default() }
    }

    /// Returns the credentials for a name, if there are any. Fails only for a broken `authfile`.
    pub(crate) fn find(&self, name: &Reference, progress: &dyn Progress) -> Result<Option<Credentials>> {
        let repository = name.repository();
        // Held during the search, so that two threads do not run the same helper.
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = cache.get(&repository) {
            return Ok(cached.clone());
        }
        let found = self.search(name, progress)?;
        cache.insert(repository, found.clone());
        Ok(found)
    }

    /// Describes the credentials that [`find`](Self::find) would return and their source. Runs no helper: names those
    /// that would run, and what is used if they have no credentials.
    pub(crate) fn describe(&self, name: &Reference, progress: &dyn Progress) -> Result<Option<String>> {
        let mut descriptions = Vec::new();
        for source in self.sources()? {
            if let CredentialSource::Helper(helper) = &source {
                descriptions.push(format!("docker-credential-{helper} ({source})"));
                continue;
            }
            let Some(file) = source.read_or_skip(progress)? else { continue };
            if let Some(helper) = file.helper(name.domain()) {
                descriptions.push(format!("docker-credential-{helper} ({source})"));
            }
            if let Ok(Some(found)) = file.find(name) {
                descriptions.push(format!("{} ({source})", found.whose()));
                break;
            }
        }
        if descriptions.is_empty() {
            return Ok(None);
        }
        Ok(Some(descriptions.join(", else ")))
    }

    /// Stores credentials for a registry: with the first of `credential-helpers`, unless that is the files; else with the
    /// helper that the login file names for the registry, else in that file.
    pub(crate) fn store(&self, domain: &str, credentials: &Credentials, progress: &dyn Progress) -> Result<()> {
        self.clear_cache();
        if let Some(CredentialSource::Helper(program)) = self.sources()?.first() {
            let helper = CredentialHelper::find_program(program, &self.cancel);
            let stored = helper.and_then(|helper| helper.store(domain, credentials));
            return stored.map_err(|e| self.helper_error(e, Path::new(REGISTRIES_CONF)));
        }
        let path = self.login_file()?;
        let mut file = read_login_file(&path)?;
        if let Some(name) = file.helper(domain) {
            let helper = CredentialHelper::find_program(name, &self.cancel).map_err(|e| self.helper_error(e, &path))?;
            return helper.store(server_of(domain), credentials).map_err(|e| self.helper_error(e, &path));
        }
        file.insert(domain, credentials);
        private_file::replace(&path, &file.to_bytes()?)?;
        progress.report(Event::Warning(&format!("the credentials are stored unencrypted in {}", path.display())));
        Ok(())
    }

    /// Returns the file that [`store`](Self::store) and [`erase`](Self::erase) change for a registry, or `None` if they may use a
    /// helper.
    pub(crate) fn file_to_change(&self, domain: &str) -> Result<Option<PathBuf>> {
        // Removing credentials asks every helper of the list.
        if self.sources()?.iter().any(|source| matches!(source, CredentialSource::Helper(_))) {
            return Ok(None);
        }
        let path = self.login_file()?;
        if read_login_file(&path)?.helper(domain).is_some() {
            return Ok(None);
        }
        Ok(Some(std::fs::canonicalize(&path).unwrap_or(path)))
    }

    /// Removes what [`store`](Self::store) stored. Returns true if there was anything to remove.
    pub(crate) fn erase(&self, domain: &str) -> Result<bool> {
        self.clear_cache();
        let mut erased = false;
        for source in self.sources()? {
            if let CredentialSource::Helper(program) = source {
                let helper = CredentialHelper::find_program(&program, &self.cancel);
                let result = helper.and_then(|helper| helper.erase(domain));
                erased |= result.map_err(|e| self.helper_error(e, Path::new(REGISTRIES_CONF)))?;
            }
        }
        let path = self.login_file()?;
        let mut file = read_login_file(&path)?;
        if let Some(name) = file.helper(domain) {
            let helper = CredentialHelper::find_program(name, &self.cancel).map_err(|e| self.helper_error(e, &path))?;
            erased |= helper.erase(server_of(domain)).map_err(|e| self.helper_error(e, &path))?;
        }
        // The file is changed too, because Docker leaves an empty entry there for credentials in a helper.
        let removed = file.remove(domain);
        if removed {
            private_file::replace(&path, &file.to_bytes()?)?;
        }
        Ok(erased || removed)
    }

    fn search(&self, name: &Reference, progress: &dyn Progress) -> Result<Option<Credentials>> {
        for source in self.sources()? {
            if let CredentialSource::Helper(program) = &source {
                // containers asks for the domain of the name, also for Docker Hub.
                let server = name.domain();
                if let Some(found) = source.ask_helper(program, server, name, &self.cancel, progress) {
                    return Ok(Some(found));
                }
                continue;
            }
            let Some(file) = source.read_or_skip(progress)? else { continue };
            if let Some(found) = source.search_helper(&file, name, &self.cancel, progress) {
                return Ok(Some(found));
            }
            if let Some(found) = source.search_entries(&file, name, progress)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The error of a helper that the file at `path` names. If this was cancelled, that is the cause of the failure.
    fn helper_error(&self, what: String, path: &Path) -> Error {
        match self.cancel.check() {
            Err(cancelled) => cancelled,
            Ok(()) => Error::new(ErrorKind::Disk, what).context(format!("named by {}", path.display())),
        }
    }

    /// All sources, in the order of precedence: that of `credential-helpers`, or the files if there is no such list.
    fn sources(&self) -> Result<Vec<CredentialSource>> {
        if let Some(path) = &self.authfile {
            return Ok(vec![CredentialSource::Authfile(path.clone())]);
        }
        if !self.uses_system {
            return Ok(Vec::new());
        }
        let helpers = Mirrors::of_environment().credential_helpers()?;
        if helpers.is_empty() {
            return Ok(Self::file_sources());
        }
        let mut sources = Vec::new();
        for helper in helpers {
            if helper == FILES {
                sources.extend(Self::file_sources());
            } else {
                sources.push(CredentialSource::Helper(helper));
            }
        }
        Ok(sources)
    }

    /// The files and the variable, in the order of precedence.
    fn file_sources() -> Vec<CredentialSource> {
        let environment = Environment::of_process();
        let mut sources = Vec::new();
        if let Some(path) = environment.path("REGISTRY_AUTH_FILE") {
            sources.push(CredentialSource::File(path));
        }
        if let Some(json) = environment.variable("DOCKER_AUTH_CONFIG") {
            sources.push(CredentialSource::Variable(json));
        }
        // Without a session, podman and skopeo log in to a folder below /run.
        let runtime = match environment.path("XDG_RUNTIME_DIR") {
            Some(folder) => folder.join("containers"),
            None => PathBuf::from(format!("/run/containers/{}", rustix::process::geteuid().as_raw())),
        };
        sources.push(CredentialSource::File(runtime.join("auth.json")));
        if let Some(folder) = environment.config_folder() {
            sources.push(CredentialSource::File(folder.join("containers/auth.json")));
        }
        if let Some(path) = docker_config(&environment) {
            sources.push(CredentialSource::File(path));
        }
        sources
    }

    /// Returns the file that logging in and out changes.
    fn login_file(&self) -> Result<PathBuf> {
        if let Some(path) = &self.authfile {
            return Ok(path.clone());
        }
        let give_authfile = |text| Error::new(ErrorKind::Usage, text).with_advice(Advice::GiveAuthFile);
        if !self.uses_system {
            return Err(give_authfile("there is no file for credentials: the machine's configuration is not used"));
        }
        let environment = Environment::of_process();
        environment
            .path("REGISTRY_AUTH_FILE")
            .or_else(|| docker_config(&environment))
            .ok_or_else(|| give_authfile("cannot determine the file for credentials: $HOME is not set"))
    }

    fn clear_cache(&self) {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Returns Docker's file. As in Docker, `$DOCKER_CONFIG` replaces `~/.docker`.
fn docker_config(environment: &Environment<'_>) -> Option<PathBuf> {
    let folder = environment.path("DOCKER_CONFIG").or_else(|| environment.in_home(".docker"))?;
    Some(folder.join("config.json"))
}

/// Reads a file that is about to be changed. A missing file is an empty one.
fn read_login_file(path: &Path) -> Result<AuthFile> {
    let bytes = private_file::read(path)?.unwrap_or_default();
    AuthFile::parse(&bytes).map_err(|what| malformed(path.display(), &what))
}

fn malformed(source: impl fmt::Display, what: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("{source}: {what}"))
}

impl CredentialSource {
    /// Reads the source. Returns `None` if it is a missing file, unless the user chose that file.
    fn read(&self) -> Result<Option<AuthFile>> {
        let bytes = match self {
            Self::Authfile(path) => match private_file::read(path)? {
                Some(bytes) => bytes,
                None => {
                    let text = format!("open {}: no such file", path.display());
                    return Err(Error::new(ErrorKind::Usage, text));
                }
            },
            Self::File(path) => match private_file::read(path)? {
                Some(bytes) => bytes,
                None => return Ok(None),
            },
            Self::Variable(json) if json.len() > private_file::FILE_LIMIT => {
                return Err(malformed(self, &format!("more than {} bytes", private_file::FILE_LIMIT)));
            }
            Self::Variable(json) => json.as_bytes().to_owned(),
            Self::Helper(_) => return Ok(None),
        };
        AuthFile::parse(&bytes).map(Some).map_err(|what| malformed(self, &what))
    }

    /// Reads the source. Reports and skips a broken one, unless the user chose it.
    fn read_or_skip(&self, progress: &dyn Progress) -> Result<Option<AuthFile>> {
        match self.read() {
            Err(error) if !self.is_required() => {
                progress.report(Event::Warning(&format!("credentials left out: {error}")));
                Ok(None)
            }
            other => other,
        }
    }

    fn is_required(&self) -> bool {
        matches!(self, Self::Authfile(_))
    }

    /// Asks the helper that the file names for the registry, if there is one. Reports and skips a helper that fails.
    fn search_helper(
        &self,
        file: &AuthFile,
        name: &Reference,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Option<Credentials> {
        let program = file.helper(name.domain())?;
        self.ask_helper(program, server_of(name.domain()), name, cancel, progress)
    }

    /// Asks a helper for a server. Reports and skips a helper that fails.
    fn ask_helper(
        &self,
        program: &str,
        server: &str,
        name: &Reference,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Option<Credentials> {
        let domain = name.domain();
        let found = CredentialHelper::find_program(program, cancel).and_then(|helper| helper.get(server));
        match found {
            Ok(Some(found)) => {
                report_found(domain, &found, &format!("docker-credential-{program} ({self})"), progress);
                Some(found)
            }
            Ok(None) => None,
            Err(what) => {
                progress.report(Event::Warning(&format!("credentials left out: {what} ({self})")));
                None
            }
        }
    }

    /// Searches the file's own entries. Reports and skips a malformed entry, unless the user chose the file.
    fn search_entries(
        &self,
        file: &AuthFile,
        name: &Reference,
        progress: &dyn Progress,
    ) -> Result<Option<Credentials>> {
        let domain = name.domain();
        match file.find(name) {
            Ok(Some(found)) => {
                report_found(domain, &found, &self.to_string(), progress);
                Ok(Some(found))
            }
            Ok(None) => Ok(None),
            Err(error) if self.is_required() => Err(error.context(format!("{self}: entry for {domain}"))),
            Err(error) => {
                progress.report(Event::Warning(&format!("credentials left out: {self}: entry for {domain}: {error}")));
                Ok(None)
            }
        }
    }
}

impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authfile(path) | Self::File(path) => path.display().fmt(f),
            Self::Variable(_) => f.write_str("$DOCKER_AUTH_CONFIG"),
            Self::Helper(_) => write!(f, "credential-helpers of {REGISTRIES_CONF}"),
        }
    }
}

fn report_found(domain: &str, credentials: &Credentials, from: &str, progress: &dyn Progress) {
    let what = format!("credentials for {domain} ({})", credentials.whose());
    progress.report(Event::Configured { what: &what, from });
}
