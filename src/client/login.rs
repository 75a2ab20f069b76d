//! Logs in to a registry and out of it. Credentials are checked before they are stored, and stored where Docker, podman
//! and skopeo look for them.

use std::path::PathBuf;

use super::client::Client;
use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::credentials::Credentials;
use crate::oci::reference::Reference;
use crate::progress::Progress;

/// The names of Docker Hub.
const HUB: [&str; 2] = ["docker.io", "index.docker.io"];

impl Client {
    /// Checks `credentials` at a registry (`HOST[:PORT]` or a URL) and stores them if the registry accepts them: with the
    /// credential helper that the configuration names, else in the configuration file, which then only its owner may
    /// read. The file is [`Options::authfile`](crate::Options::authfile), else `$REGISTRY_AUTH_FILE`, else Docker's
    /// `config.json`.
    pub fn login(&self, registry: &str, credentials: &Credentials, progress: &dyn Progress) -> Result<()> {
        let name = registry_named(registry)?;
        let context = |e: Error| e.context(format!("log in to {}", name.domain()));
        let check = || self.connections.check_credentials(&name, credentials.clone(), progress);
        let checked = self.retry(progress).run(check).map_err(|e| match e.advice() {
            // Credentials were given, so this advice would lead in a circle.
            Some(Advice::GiveCredentials) => e.with_advice(Advice::CheckCredentials),
            _ => e,
        });
        checked.map_err(context)?;
        self.credential_store.store(name.domain(), credentials, progress).map_err(context)?;
        self.connections.forget_tokens();
        Ok(())
    }

    /// The file that [`login`](Self::login) changes for a registry. `None` if a credential helper stores the credentials.
    pub fn login_file(&self, registry: &str) -> Result<Option<PathBuf>> {
        self.credential_store.file_to_change(registry_named(registry)?.domain())
    }

    /// Removes the credentials that [`login`](Self::login) stored, and returns whether there were any.
    pub fn logout(&self, registry: &str) -> Result<bool> {
        let name = registry_named(registry)?;
        let context = |e: Error| e.context(format!("log out of {}", name.domain()));
        let was_there = self.credential_store.erase(name.domain()).map_err(context)?;
        self.connections.forget_tokens();
        Ok(was_there)
    }
}

/// Parses a registry as the domain of a name, because that has the same grammar. The path of a URL is ignored (Docker
/// Hub's is `https://index.docker.io/v1/`).
fn registry_named(text: &str) -> Result<Reference> {
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = bare.map_or(text, |bare| bare.split('/').next().unwrap_or_default());
    let invalid = || Error::new(ErrorKind::Usage, format!("invalid registry \"{text}\": HOST[:PORT] was expected"));
    let name: Reference = format!("{host}/login").parse().map_err(|_| invalid())?;
    if name.domain() == host || HUB.contains(&host) { Ok(name) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_named_by_its_host() {
        for (text, domain) in [
            ("docker.io", Some("docker.io")),
            ("index.docker.io", Some("docker.io")),
            ("https://index.docker.io/v1/", Some("docker.io")),
            ("r.io", Some("r.io")),
            ("r.io:5000", Some("r.io:5000")),
            ("localhost", Some("localhost")),
            ("[::1]:5000", Some("[::1]:5000")),
            ("https://r.io:5000/v2/x", Some("r.io:5000")),
            ("r.io/a", None),
            ("r.io/", None),
            ("registry", None),
            ("", None),
            ("https://", None),
            ("r.io:x", None),
            ("user@r.io", None),
            ("r io", None),
        ] {
            let named = registry_named(text).ok();
            assert_eq!(named.as_ref().map(Reference::domain), domain, "{text}");
        }
    }
}
