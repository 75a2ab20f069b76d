//! Where a repository is asked for: a mirror or the registry itself, what each may be asked, and under which name it is
//! known to those who keep credentials and certificates. Pure.

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
    /// Where it may be, in the order in which that is tried.
    pub(super) roots: Vec<Url>,
    /// The path of the API, and that of the repository in it.
    pub(super) api: String,
    pub(super) path: String,
    pub(super) resolves: bool,
    pub(super) pulls: bool,
    pub(super) is_mirror: bool,
    /// Whether it is the registry that was named: what the user gave for that is for it.
    pub(super) is_named: bool,
    /// Whom it stands for, if it is told.
    pub(super) namespace: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) peer: Peer,
    /// The name by which its credentials are kept.
    pub(super) name: Reference,
    pub(super) from: String,
}

/// A mirror that an option names.
#[derive(Clone)]
pub(super) struct Mirror {
    domain: String,
    pub(super) place: Place,
}

/// Finds out where the registry at `host` may be; `true` if its certificate is not verified.
pub(super) type RootsOf<'a> = dyn Fn(&str, bool) -> Result<Vec<Url>> + 'a;

impl Mirror {
    /// `[HOST=]URL`. Without a host it is for Docker Hub, as with dockerd; with one the mirror is told so.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (host, url) = match text.split_once('=') {
            Some((host, url)) if !host.contains('/') => (Some(host), url),
            _ => (None, text),
        };
        let refuse = |why: String| {
            let hint = "[HOST[:PORT]=]http[s]://HOST[:PORT][/PATH] is expected";
            // The text as a whole is not shown: a login may stand in it.
            Err(Error::new(ErrorKind::Usage, format!("malformed registry mirror: {why}")).with_hint(hint))
        };
        let domain = match host {
            None | Some("index.docker.io" | "registry-1.docker.io") => "docker.io",
            Some(host) if host.parse::<Authority>().is_ok() => host,
            Some(host) => return refuse(format!("\"{host}\" is no host")),
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
    pub(super) fn new(place: Place, name: &Reference, is_mirror: bool, roots_of: &RootsOf<'_>) -> Result<Self> {
        let malformed = |e: Error| {
            let from = if place.from.is_empty() { String::new() } else { format!("{}: ", place.from) };
            Error::new(ErrorKind::Usage, format!("{from}{e}"))
        };
        let (roots, api, at) = match &place.base {
            Base::Named => (roots_of(name.api_host(), place.is_insecure)?, API.to_owned(), name.clone()),
            Base::Repository { host, path } => {
                let at = name.moved(host, path).map_err(malformed)?;
                (roots_of(at.api_host(), place.is_insecure)?, API.to_owned(), at)
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
        let namespace = place.sends_namespace && host != name.api_host() && at.domain() != name.domain();
        let peer = Peer {
            origin: Url::root(true, host)?,
            names,
            is_insecure: place.is_insecure,
            is_named,
            files: place.files,
        };
        Ok(Self {
            roots,
            api,
            path: at.path().to_owned(),
            resolves: place.resolves,
            pulls: place.pulls,
            is_mirror,
            is_named,
            namespace: namespace.then(|| name.domain().to_owned()),
            headers: place.headers,
            peer,
            name: at,
            from: place.from,
        })
    }

    /// The credentials for it. What was given for the registry that was named goes to no mirror.
    pub(super) fn credentials(
        &self,
        keys: &dyn CredentialProvider,
        progress: &dyn Progress,
    ) -> Result<Option<Credentials>> {
        keys.credentials(&self.name, self.is_named, progress)
    }

    /// What it is known by while the program runs: the server, the API and the repository.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.shown(), self.path)
    }

    /// For people: the URL of its API, as it is tried first.
    pub(super) fn shown(&self) -> String {
        self.roots.first().map_or_else(String::new, |root| root.at(self.api.clone()).to_string())
    }

    /// The URL with the name of the registry for which the endpoint stands (containerd's `ns`).
    pub(super) fn named(&self, url: Url) -> Url {
        match &self.namespace {
            Some(namespace) if !url.target().contains("?ns=") && !url.target().contains("&ns=") => {
                url.with_query("ns", namespace)
            }
            _ => url,
        }
    }
}

/// The server of a URL, and the path of its API: with `/v2` behind it unless the URL is whole.
fn api_of(url: &str, is_whole: bool) -> Result<(Url, String)> {
    let root = Url::parse(url)?;
    let path = root.target().trim_end_matches('/');
    let is_odd = url.contains(['?', '#', '@', '\\']) || path.split('/').any(|part| matches!(part, "." | ".."));
    if is_odd {
        return Err(Error::new(ErrorKind::Usage, format!("\"{root}\" has more than a host and a path")));
    }
    let api = if is_whole || path.ends_with(API) { path.to_owned() } else { format!("{path}{API}") };
    Ok((root.at("/"), api))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Reference {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// The roots of a registry: secure ones, but on loopback.
    fn roots_of(host: &str, is_insecure: bool) -> Result<Vec<Url>> {
        Ok(vec![Url::root(!is_insecure, host)?])
    }

    fn endpoint(place: Place, of: &str) -> Endpoint {
        Endpoint::new(place, &name(of), true, &roots_of).unwrap_or_else(|e| panic!("{of}: {e}"))
    }

    #[test]
    fn an_option_names_a_mirror_of_docker_hub_or_of_a_host() {
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
            let shown = mirror.is_for(&name(of)).then(|| {
                let endpoint = endpoint(mirror.place, of);
                let namespace = endpoint.namespace.as_deref().unwrap_or("-");
                format!("{} ns={namespace} {}", endpoint.key(), endpoint.name.repository())
            });
            assert_eq!(shown.as_deref(), expected, "{text} for {of}");
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
    fn places_are_addressed_as_their_configuration_says() {
        let url = |url: &str, is_whole: bool| Base::Url { url: url.to_owned(), is_whole };
        let repository = |host: &str, path: &str| Base::Repository { host: host.to_owned(), path: path.to_owned() };
        let check = |base: Base, of: &str, expected: &str| {
            let mut place = Place::new(base, "f");
            place.sends_namespace = true;
            let endpoint = endpoint(place, of);
            let letters = if endpoint.is_named { " named" } else { "" };
            let namespace = endpoint.namespace.as_ref().map(|namespace| format!(" ns={namespace}")).unwrap_or_default();
            assert_eq!(format!("{}{namespace}{letters}", endpoint.key()), expected);
        };
        check(Base::Named, "alpine", "https://registry-1.docker.io/v2/library/alpine named");
        check(
            url("https://registry-1.docker.io", false),
            "alpine",
            "https://registry-1.docker.io/v2/library/alpine named",
        );
        check(url("https://r.io/", false), "r.io/a", "https://r.io/v2/a named");
        // The same host in the clear is not what was named.
        check(url("http://r.io:443", false), "r.io/a", "http://r.io:443/v2/a ns=r.io");
        check(url("https://m.io/p/v2", false), "r.io/a", "https://m.io/p/v2/a ns=r.io");
        check(url("https://m.io/p", true), "r.io/a", "https://m.io/p/a ns=r.io");
        check(url("https://m.io", true), "r.io/a", "https://m.io/a ns=r.io");
        check(repository("m.io", "x/a"), "r.io/a", "https://m.io/v2/x/a ns=r.io");
        check(repository("docker.io", "alpine"), "r.io/a", "https://registry-1.docker.io/v2/library/alpine ns=r.io");
        check(repository("mirror", "a"), "r.io/a", "https://mirror/v2/a ns=r.io");
    }

    #[test]
    fn what_no_server_is_called_is_refused_with_its_file() {
        for base in [
            Base::Url { url: "m.io".to_owned(), is_whole: false },
            Base::Url { url: "https://m.io?x".to_owned(), is_whole: false },
            Base::Repository { host: "a_b".to_owned(), path: "a".to_owned() },
            Base::Repository { host: "m.io".to_owned(), path: "A".to_owned() },
            Base::Repository { host: "m.io".to_owned(), path: "../a".to_owned() },
        ] {
            let place = Place::new(base.clone(), "/etc/f");
            let error = Endpoint::new(place, &name("r.io/a"), true, &roots_of).err();
            let text = error.as_ref().map(Error::to_string).unwrap_or_default();
            assert!(text.starts_with("/etc/f: "), "{base:?}: {text}");
        }
    }
}
