//! Whose credentials are for a name: the files that Docker, podman and skopeo share, and the programs that these name.
//! The first place that has some decides. What is broken on the way is told and passed over, so that it never ends the
//! pull of a public image; only a file that was named by an option must be good.

mod auth_file;
mod credential_helper;
#[cfg(fuzzing)]
mod fuzzing;

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

#[cfg(fuzzing)]
pub use self::fuzzing::{auth_json, helper_output};

use self::auth_file::{AuthFile, server};
use self::credential_helper::CredentialHelper;
use super::{environment, private_file};
use crate::advice::Advice;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::credentials::Credentials;
use crate::oci::reference::Reference;
use crate::progress::{Event, Progress};

/// The places where credentials are looked for and kept.
#[derive(Debug, Default)]
pub(crate) struct CredentialStore {
    authfile: Option<PathBuf>,
    cancel: Cancel,
    /// What was found for a repository: programs are not run, and warnings not given, once for each of its tags.
    known: Mutex<HashMap<String, Option<Credentials>>>,
}

/// One place.
enum Place {
    /// A file that an option names: it must be there and be good.
    Named(PathBuf),
    File(PathBuf),
    /// JSON in `$DOCKER_AUTH_CONFIG`.
    Variable(OsString),
}

impl CredentialStore {
    /// With `authfile`, that file is the only place.
    pub(crate) fn new(authfile: Option<PathBuf>, cancel: Cancel) -> Self {
        Self { authfile, cancel, known: Mutex::default() }
    }

    /// The credentials for a name, if there are any. Fails only for a file that an option named.
    pub(crate) fn find(&self, name: &Reference, progress: &dyn Progress) -> Result<Option<Credentials>> {
        let repository = name.repository();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&repository) {
            return Ok(known.clone());
        }
        let found = self.search(name, progress)?;
        known.insert(repository, found.clone());
        Ok(found)
    }

    /// Whose credentials [`find`](Self::find) would give, and where they are, without asking any program: one that would
    /// be asked is named, with what counts if it has none.
    pub(crate) fn whose(&self, name: &Reference, progress: &dyn Progress) -> Result<Option<String>> {
        let mut told = Vec::new();
        for place in self.places() {
            let Some(file) = place.read_or_pass(progress)? else { continue };
            if let Some(program) = file.program(name.domain()) {
                told.push(format!("what docker-credential-{program} has ({place})"));
            }
            if let Ok(Some(found)) = file.find(name) {
                told.push(format!("{} ({place})", found.whose()));
                break;
            }
        }
        Ok((!told.is_empty()).then(|| told.join(", else ")))
    }

    /// Keeps credentials for a registry: with the program that the file names for it, else in the file.
    pub(crate) fn keep(&self, domain: &str, credentials: &Credentials, progress: &dyn Progress) -> Result<()> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let path = self.kept_in()?;
        let mut file = file_to_change(&path)?;
        if let Some(program) = file.program(domain) {
            return CredentialHelper::named(program, &self.cancel)
                .and_then(|keychain| keychain.keep(server(domain), credentials))
                .map_err(|what| self.failure(what, &path));
        }
        file.insert(domain, credentials);
        private_file::replace(&path, &file.to_bytes())?;
        progress.report(Event::Note(&format!("the credentials are stored unencrypted in {}", path.display())));
        Ok(())
    }

    /// The file that [`keep`](Self::keep) changes for a registry; `None` where it hands over to a program.
    pub(crate) fn changed_for(&self, domain: &str) -> Result<Option<PathBuf>> {
        let path = self.kept_in()?;
        let has_program = file_to_change(&path)?.program(domain).is_some();
        Ok((!has_program).then(|| std::fs::canonicalize(&path).unwrap_or(path)))
    }

    /// Removes what [`keep`](Self::keep) keeps, and says whether there was anything.
    pub(crate) fn forget(&self, domain: &str) -> Result<bool> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let path = self.kept_in()?;
        let mut file = file_to_change(&path)?;
        let erased = match file.program(domain) {
            None => false,
            Some(program) => CredentialHelper::named(program, &self.cancel)
                .and_then(|keychain| keychain.forget(server(domain)))
                .map_err(|what| self.failure(what, &path))?,
        };
        // Docker leaves an empty entry in the file for what a program keeps.
        let removed = file.remove(domain);
        if removed {
            private_file::replace(&path, &file.to_bytes())?;
        }
        Ok(erased || removed)
    }

    fn search(&self, name: &Reference, progress: &dyn Progress) -> Result<Option<Credentials>> {
        for place in self.places() {
            let Some(file) = place.read_or_pass(progress)? else { continue };
            if let Some(found) = place.search(&file, name, &self.cancel, progress)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// What a program that the file at `path` names did not do. One that was interrupted has done nothing wrong.
    fn failure(&self, what: String, path: &Path) -> Error {
        let failed = Error::new(ErrorKind::Disk, what).context(format!("named by {}", path.display()));
        self.cancel.check().err().unwrap_or(failed)
    }

    fn places(&self) -> Vec<Place> {
        if let Some(path) = &self.authfile {
            return vec![Place::Named(path.clone())];
        }
        let runtime = environment::path("XDG_RUNTIME_DIR").map(|folder| folder.join("containers"));
        // Where podman and skopeo log in to without a session.
        let runtime = runtime
            .unwrap_or_else(|| PathBuf::from(format!("/run/containers/{}", rustix::process::geteuid().as_raw())));
        let config =
            environment::path("XDG_CONFIG_HOME").or_else(|| environment::path("HOME").map(|home| home.join(".config")));
        let config = config.map(|folder| folder.join("containers/auth.json"));
        let variable = env::var_os("DOCKER_AUTH_CONFIG").map(Place::Variable);
        let files = [Some(runtime.join("auth.json")), config, dockers_file()];
        let named = environment::path("REGISTRY_AUTH_FILE").map(Place::File);
        named.into_iter().chain(variable).chain(files.into_iter().flatten().map(Place::File)).collect()
    }

    /// The file that is changed by logging in and out.
    fn kept_in(&self) -> Result<PathBuf> {
        let path = self.authfile.clone().or_else(|| environment::path("REGISTRY_AUTH_FILE")).or_else(dockers_file);
        path.ok_or_else(|| {
            let text = "no file for credentials can be told: $HOME is not set";
            Error::new(ErrorKind::Usage, text).with_advice(Advice::GiveAuthFile)
        })
    }
}

/// As with Docker, `$DOCKER_CONFIG` replaces `~/.docker`.
fn dockers_file() -> Option<PathBuf> {
    let docker =
        environment::path("DOCKER_CONFIG").or_else(|| environment::path("HOME").map(|home| home.join(".docker")));
    docker.map(|docker| docker.join("config.json"))
}

fn file_to_change(path: &Path) -> Result<AuthFile> {
    let bytes = private_file::read(path)?.unwrap_or_default();
    AuthFile::parse(&bytes).map_err(|what| malformed(path.display(), &what))
}

fn malformed(place: impl fmt::Display, what: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("{place}: {what}"))
}

impl Place {
    /// `None` if there is no such file, unless an option names it.
    fn read(&self) -> Result<Option<AuthFile>> {
        let bytes = match self {
            Self::Named(path) | Self::File(path) => private_file::read(path)?,
            Self::Variable(json) if json.as_bytes().len() > private_file::FILE_LIMIT => {
                return Err(malformed(self, &format!("more than {} bytes", private_file::FILE_LIMIT)));
            }
            Self::Variable(json) => Some(json.as_bytes().to_owned()),
        };
        match (bytes, self) {
            (Some(bytes), _) => AuthFile::parse(&bytes).map(Some).map_err(|what| malformed(self, &what)),
            (None, Self::Named(path)) => Err(Error::disk("open", path, std::io::ErrorKind::NotFound)),
            (None, _) => Ok(None),
        }
    }

    /// The same, and `None` too for a broken file that no option names.
    fn read_or_pass(&self, progress: &dyn Progress) -> Result<Option<AuthFile>> {
        match (self.read(), self) {
            (Err(error), Self::File(_) | Self::Variable(_)) => {
                progress.report(Event::Note(&format!("credentials left out: {error}")));
                Ok(None)
            }
            (read, _) => read,
        }
    }

    /// The program that the file names for the registry, then the file's own entries.
    fn search(
        &self,
        file: &AuthFile,
        name: &Reference,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<Option<Credentials>> {
        let domain = name.domain();
        let told = |credentials: Credentials, from: &str| {
            let what = format!("credentials for {domain} ({})", credentials.whose());
            progress.report(Event::Configured { what: &what, from });
            Ok(Some(credentials))
        };
        if let Some(program) = file.program(domain) {
            let keychain = CredentialHelper::named(program, cancel);
            match keychain.and_then(|keychain| keychain.find(server(domain)).map(|found| (found, keychain))) {
                Ok((Some(found), keychain)) => return told(found, &format!("{} ({self})", keychain.name())),
                Ok((None, _)) => {}
                Err(what) => progress.report(Event::Note(&format!("credentials left out: {what} ({self})"))),
            }
        }
        match (file.find(name), self) {
            (Ok(Some(found)), _) => told(found, &self.to_string()),
            (Ok(None), _) => Ok(None),
            (Err(error), Self::Named(_)) => Err(error.context(format!("{self}: entry for {domain}"))),
            (Err(error), _) => {
                progress.report(Event::Note(&format!("credentials left out: {self}: entry for {domain}: {error}")));
                Ok(None)
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(path) | Self::File(path) => path.display().fmt(f),
            Self::Variable(_) => f.write_str("$DOCKER_AUTH_CONFIG"),
        }
    }
}
