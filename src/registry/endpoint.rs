//! The endpoints of a repository: a mirror or the registry itself, its URLs, the requests that it may serve, and the
//! name under which its credentials and certificates are configured.

use super::system::CredentialProvider;
use super::tls::Peer;
use super::url::Url;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::authority::Authority;
use crate::oci::credentials::Credentials;
use crate::oci::reference::Reference;
use crate::oci::route::{Base, Place};
use crate::progress::Progress;

/// The path of the API on a server (distribution-spec).
const API: &str = "/v2";

/// One endpoint of one repository.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// The root of the server: one URL, or https and http in the order in which they are tried.
    pub(super) base_urls: Vec<Url>,
    /// The path of the API on the server.
    pub(super) api: String,
    /// The path of the repository in the API.
    pub(super) path: String,
    /// True if it may resolve tags.
    pub(super) resolves: bool,
    /// True if it may serve content that a digest verifies.
    pub(super) pulls: bool,
    pub(super) is_mirror: bool,
    /// True if it is the registry that the image name names. Credentials that the caller gave are for that registry
    /// only.
    pub(super) is_named: bool,
    /// The registry that it mirrors, if requests name it.
    pub(super) namespace: Option<String>,
    /// Headers for requests to its own origin.
    pub(super) headers: Vec<(String, String)>,
    pub(super) peer: Peer,
    /// The name under which its credentials are stored.
    pub(super) name: Reference,
    /// The file or option that configured it, or an empty string.
    pub(super) from: String,
}

/// A mirror that the caller listed.
#[derive(Clone)]
pub(super) struct Mirror {
    /// The registry that it mirrors.
    domain: String,
    pub(super) place: Place,
}

/// Returns the base URLs of the registry at a host. The flag is true if its certificate is not verified.
pub(super) type BaseUrlsOf<'a> = dyn Fn(&str, bool) -> Result<Vec<Url>> + 'a;

impl Mirror {
    /// Parses `[HOST=]URL`. Without a host it is a mirror of Docker Hub, as in dockerd; with a host, requests name it
    /// (`ns=`).
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (host, url) = match text.split_once('=') {
            Some((host, url)) if !host.contains('/') => (Some(host), url),
            _ => (None, text),
        };
        let refuse = |why: String| {
            let hint = "[HOST[:PORT]=]http[s]://HOST[:PORT][/PATH] is expected";
            // The text is not quoted, because it may contain a password.
            Err(Error::new(ErrorKind::Usage, format!("malformed registry mirror: {why}")).with_hint(hint))
        };
        let domain = match host {
            None | Some("index.docker.io" | "registry-1.docker.io") => "docker.io",
            Some(host) if host.parse::<Authority>().is_ok() => host,
            Some(host) => return refuse(format!("\"{host}\" is not a host")),
        };
        let mut place = Place::at_url(url, "given explicitly");
        place.sends_namespace = host.is_some();
        match api_of(url, false) {
            Ok(_) => Ok(Self { domain: domain.to_owned(), place }),
            Err(error) => refuse(error.to_string()),
        }
    }

    pub(super) fn is_for(&self, name: &Reference) -> bool {
        self.domain.eq_ignore_ascii_case(name.domain())
    }
}

impl Endpoint {
    /// Fails with [`ErrorKind::Usage`] if the place is malformed.
    pub(super) fn new(place: Place, name: &Reference, is_mirror: bool, base_urls_of: &BaseUrlsOf<'_>) -> Result<Self> {
        let malformed = |error: Error| {
            let error = Error::new(ErrorKind::Usage, error.to_string());
            if place.from.is_empty() { error } else { error.context(&place.from) }
        };
        let (base_urls, api, at) = match &place.base {
            Base::Named => (base_urls_of(name.api_host(), place.is_insecure)?, API.to_owned(), name.clone()),
            Base::Repository { host, path } => {
                let at = name.moved(host, path).map_err(malformed)?;
                (base_urls_of(at.api_host(), place.is_insecure)?, API.to_owned(), at)
            }
            Base::Url { url, is_whole } => {
                let (root, api) = api_of(url, *is_whole).map_err(malformed)?;
                let authority = root.authority();
                let is_same = root.is_https() && authority == name.api_host();
                let at = if is_same { name.clone() } else { name.moved(&authority, name.path()).map_err(malformed)? };
                (vec![root], api, at)
            }
        };
        let is_named = !is_mirror || at == *name;
        let host = at.api_host();
        let mut names = vec![host.to_owned(), at.domain().to_owned()];
        names.dedup();
        let sends_namespace = place.sends_namespace && host != name.api_host() && at.domain() != name.domain();
        let peer = Peer {
            origin: Url::root(true, host)?,
            names,
            is_insecure: place.is_insecure,
            is_named,
            files: place.files,
        };
        Ok(Self {
            base_urls,
            api,
            path: at.path().to_owned(),
            resolves: place.resolves,
            pulls: place.pulls,
            is_mirror,
            is_named,
            namespace: sends_namespace.then(|| name.domain().to_owned()),
            headers: place.headers,
            peer,
            name: at,
            from: place.from,
        })
    }

    /// Returns the credentials for it.
    pub(super) fn credentials(
        &self,
        provider: &dyn CredentialProvider,
        progress: &dyn Progress,
    ) -> Result<Option<Credentials>> {
        provider.credentials(&self.name, self.is_named, progress)
    }

    /// Returns the key of its cached authorization: the server, the API and the repository.
    pub(super) fn cache_key(&self) -> String {
        format!("{}/{}", self.display_url(), self.path)
    }

    /// Returns the first URL of its API, for messages.
    pub(super) fn display_url(&self) -> String {
        self.base_urls.first().map_or_else(String::new, |url| url.with_target(self.api.clone()).to_string())
    }

    /// Adds the registry that the endpoint mirrors to the URL (containerd's `ns`).
    pub(super) fn with_namespace(&self, url: Url) -> Url {
        match &self.namespace {
            Some(namespace) if !url.target().contains("?ns=") && !url.target().contains("&ns=") => {
                url.with_query("ns", namespace)
            }
            _ => url,
        }
    }
}

/// Returns the server of a URL and the path of its API. `/v2` is appended unless the URL `is_complete`.
fn api_of(url: &str, is_complete: bool) -> Result<(Url, String)> {
    let root = Url::parse(url)?;
    let path = root.target().trim_end_matches('/');
    let has_more = url.contains(['?', '#', '@', '\\']) || path.split('/').any(|part| matches!(part, "." | ".."));
    if has_more {
        return Err(Error::new(ErrorKind::Usage, format!("\"{root}\" has more than a host and a path")));
    }
    let api = if is_complete || path.ends_with(API) { path.to_owned() } else { format!("{path}{API}") };
    Ok((root.with_target("/"), api))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Reference {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn base_urls_of(host: &str, is_insecure: bool) -> Result<Vec<Url>> {
        Ok(vec![Url::root(!is_insecure, host)?])
    }

    fn endpoint(place: Place, of: &str) -> Endpoint {
        Endpoint::new(place, &name(of), true, &base_urls_of).unwrap_or_else(|e| panic!("{of}: {e}"))
    }

    #[test]
    fn parses_mirrors_of_docker_hub_and_of_a_host() {
        for (text, of, expected) in [
            ("https://m.io", "alpine", Some("https://m.io/v2/library/alpine ns=- m.io/library/alpine")),
            ("https://m.io/a/b/", "alpine", Some("https://m.io/a/b/v2/library/alpine ns=- m.io/library/alpine")),
            ("http://m:5000/v2", "alpine", Some("http://m:5000/v2/library/alpine ns=- m:5000/library/alpine")),
            ("docker.io=http://m.io", "alpine", Some("http://m.io/v2/library/alpine ns=docker.io m.io/library/alpine")),
            ("index.docker.io=http://m.io", "a/b", Some("http://m.io/v2/a/b ns=docker.io m.io/a/b")),
            ("r.io:5000=http://[::1]:1", "r.io:5000/a", Some("http://[::1]:1/v2/a ns=r.io:5000 [::1]:1/a")),
            ("R.io=https://m.io/x=y", "r.io/a", Some("https://m.io/x=y/v2/a ns=r.io m.io/a")),
            ("https://m.io/x=y", "alpine", Some("https://m.io/x=y/v2/library/alpine ns=- m.io/library/alpine")),
            ("r.io=http://m.io", "alpine", None),
            ("https://m.io", "r.io/a", None),
            ("https://m.io", "registry-1.docker.io/a", None),
        ] {
            let mirror = Mirror::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let found = mirror.is_for(&name(of)).then(|| {
                let endpoint = endpoint(mirror.place, of);
                let namespace = endpoint.namespace.as_deref().unwrap_or("-");
                format!("{} ns={namespace} {}", endpoint.cache_key(), endpoint.name.repository())
            });
            assert_eq!(found.as_deref(), expected, "{text} for {of}");
        }
        for bad in [
            "",
            "m.io",
            "r.io=",
            "r.io=m.io",
            "=https://m.io",
            "r io=https://m.io",
            "ftp://m.io",
            "https://u:p@m.io",
            "https://m.io/?x=y",
            "https://m.io/#x",
            "https://m.io/../x",
            "https://",
            "https://m.io/a b",
            "r.io=https://m.io/\r\nX: y",
        ] {
            assert!(Mirror::parse(bad).is_err_and(|e| e.kind() == ErrorKind::Usage), "{bad}");
        }
    }

    #[test]
    fn builds_urls_and_names_as_configured() {
        let url = |url: &str, is_whole: bool| Base::Url { url: url.to_owned(), is_whole };
        let repository = |host: &str, path: &str| Base::Repository { host: host.to_owned(), path: path.to_owned() };
        let check = |base: Base, of: &str, expected: &str| {
            let mut place = Place::new(base, "f");
            place.sends_namespace = true;
            let endpoint = endpoint(place, of);
            let named = if endpoint.is_named { " named" } else { "" };
            let namespace = endpoint.namespace.as_ref().map(|namespace| format!(" ns={namespace}")).unwrap_or_default();
            assert_eq!(format!("{}{namespace}{named}", endpoint.cache_key()), expected);
        };
        check(Base::Named, "alpine", "https://registry-1.docker.io/v2/library/alpine named");
        check(
            url("https://registry-1.docker.io", false),
            "alpine",
            "https://registry-1.docker.io/v2/library/alpine named",
        );
        check(url("https://r.io/", false), "r.io/a", "https://r.io/v2/a named");
        // The same host with plain HTTP is not the registry that the name names.
        check(url("http://r.io:443", false), "r.io/a", "http://r.io:443/v2/a ns=r.io");
        check(url("https://m.io/p/v2", false), "r.io/a", "https://m.io/p/v2/a ns=r.io");
        check(url("https://m.io/p", true), "r.io/a", "https://m.io/p/a ns=r.io");
        check(url("https://m.io", true), "r.io/a", "https://m.io/a ns=r.io");
        check(repository("m.io", "x/a"), "r.io/a", "https://m.io/v2/x/a ns=r.io");
        check(repository("docker.io", "alpine"), "r.io/a", "https://registry-1.docker.io/v2/library/alpine ns=r.io");
        check(repository("mirror", "a"), "r.io/a", "https://mirror/v2/a ns=r.io");
    }

    #[test]
    fn errors_about_malformed_places_name_the_file() {
        for base in [
            Base::Url { url: "m.io".to_owned(), is_whole: false },
            Base::Url { url: "https://m.io?x".to_owned(), is_whole: false },
            Base::Repository { host: "a_b".to_owned(), path: "a".to_owned() },
            Base::Repository { host: "m.io".to_owned(), path: "A".to_owned() },
            Base::Repository { host: "m.io".to_owned(), path: "../a".to_owned() },
        ] {
            let place = Place::new(base.clone(), "/etc/f");
            let error = Endpoint::new(place, &name("r.io/a"), true, &base_urls_of).err();
            let text = error.as_ref().map(Error::to_string).unwrap_or_default();
            assert!(text.starts_with("/etc/f: "), "{base:?}: {text}");
        }
    }
}
