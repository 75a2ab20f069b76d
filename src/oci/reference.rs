//! Image names: the grammar and the normalisation of distribution/reference (`reference.go`, `normalize.go`). An error
//! says why a name is invalid.

use std::fmt;
use std::str::FromStr;

use super::authority::Authority;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// The most bytes of the path of a repository, without its domain (`RepositoryNameTotalLengthMax`).
const PATH_LIMIT: usize = 255;
/// The most bytes of a tag.
const TAG_LIMIT: usize = 128;

/// A normalised image name: `[domain/]path[:tag][@digest]`, with a tag, a digest or both.
///
/// ```
/// let name: pullet::Reference = "alpine".parse()?;
/// assert_eq!(name.to_string(), "docker.io/library/alpine:latest");
/// assert_eq!(name.familiar_repository(), "alpine");
/// # Ok::<(), pullet::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry: host and optional port, as written in the name. `docker.io` for Docker Hub.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The host and optional port of the registry's API. Differs from the domain for Docker Hub only.
    pub fn api_host(&self) -> &str {
        if self.domain == DEFAULT_DOMAIN { "registry-1.docker.io" } else { &self.domain }
    }

    /// The path of the repository in its registry, such as `library/alpine`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Domain and path, such as `docker.io/library/alpine`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The repository in its short form, without `docker.io/` and `library/`.
    pub fn familiar_repository(&self) -> String {
        match (self.domain.as_str(), self.path.strip_prefix(OFFICIAL_PREFIX)) {
            (DEFAULT_DOMAIN, Some(official)) if !official.contains('/') => official.to_owned(),
            (DEFAULT_DOMAIN, _) => self.path.clone(),
            _ => self.repository(),
        }
    }

    /// The full name in its short form, as in Docker's status lines.
    pub fn familiar(&self) -> String {
        let canonical = self.to_string();
        let rest = canonical.strip_prefix(&self.repository()).unwrap_or_default();
        format!("{}{rest}", self.familiar_repository())
    }

    /// The tag. If there is a digest too, the digest selects the image and the tag is only a label.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the name has one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The digest or tag to request from a registry: the digest if there is one, else the tag.
    pub fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    /// The same repository with another tag and without a digest. Fails with [`ErrorKind::Usage`] if `tag` is invalid.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        check_tag(tag, tag)?;
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same name with a digest.
    #[cfg(feature = "boot")]
    pub(crate) fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The digest that an image with this tag signs or describes: cosign's tags `sha256-HEX.sig`, `.att` and `.sbom`, and
    /// the tags `sha256-HEX` of registries without a referrers API (distribution-spec, "Referrers Tag Schema").
    pub(crate) fn signed(&self) -> Option<Digest> {
        let tag = self.tag.as_deref()?;
        let tag = [".sig", ".att", ".sbom"].iter().find_map(|end| tag.strip_suffix(end)).unwrap_or(tag);
        tag.replacen('-', ":", 1).parse().ok()
    }

    /// Parses and normalises a name without adding a tag.
    #[cfg(feature = "trust")]
    pub(crate) fn parse_as_is(text: &str) -> Result<Self> {
        parse(text)
    }

    /// Parses the name of a repository, which must have neither tag nor digest. The result has the default tag.
    pub fn parse_repository(text: &str) -> Result<Self> {
        let name = parse(text)?;
        if name.tag.is_some() || name.digest.is_some() {
            return Err(invalid(text, "a repository was expected, without tag and digest"));
        }
        Ok(name.with_default_tag())
    }

    /// The same tag or digest in the repository at `domain` and `path`. The domain may be a word without a dot or port.
    pub(crate) fn moved(&self, domain: &str, path: &str) -> Result<Self> {
        let text = format!("{domain}/{path}");
        let domain = if domain == LEGACY_DOMAIN { DEFAULT_DOMAIN } else { domain };
        let path = with_official_prefix(domain, path);
        check_domain(&text, domain)?;
        check_path(&text, &path)?;
        Ok(Self { domain: domain.to_owned(), path, ..self.clone() })
    }

    fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }
}

impl FromStr for Reference {
    type Err = Error;

    /// Parses and normalises a name as Docker does. A name without tag and digest gets the tag `latest`. Fails with
    /// [`ErrorKind::Usage`].
    fn from_str(text: &str) -> Result<Self> {
        Ok(parse(text)?.with_default_tag())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

fn parse(text: &str) -> Result<Reference> {
    if text.is_empty() {
        return Err(invalid(text, "it is empty"));
    }
    if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(invalid(text, "64 hexadecimal digits are an image ID, not a repository"));
    }
    let (name, digest) = split_digest(text)?;
    let (domain, remote) = split_domain(name);
    let (path, tag) = split_tag(text, remote)?;
    let path = with_official_prefix(domain, path);
    check_domain(text, domain)?;
    check_path(text, &path)?;
    Ok(Reference { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
}

/// Docker Hub's official images, such as `alpine`, are in `library/`.
fn with_official_prefix(domain: &str, path: &str) -> String {
    if domain == DEFAULT_DOMAIN && !path.contains('/') { format!("{OFFICIAL_PREFIX}{path}") } else { path.to_owned() }
}

fn split_digest(text: &str) -> Result<(&str, Option<Digest>)> {
    let Some((name, digest)) = text.split_once('@') else { return Ok((text, None)) };
    let digest = digest.parse().map_err(|error: Error| invalid(text, &error.to_string()))?;
    Ok((name, Some(digest)))
}

/// The first component is a domain only if it could not be a path: it has a dot or a colon, is `localhost`, or has
/// an upper-case letter (which paths may not have).
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest)) if is_domain(first) => (first, rest),
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn is_domain(component: &str) -> bool {
    component == "localhost" || component.contains(['.', ':']) || component.contains(|c: char| c.is_uppercase())
}

fn split_tag<'a>(text: &str, remote: &'a str) -> Result<(&'a str, Option<&'a str>)> {
    match remote.split_once(':') {
        None => Ok((remote, None)),
        Some((path, tag)) => check_tag(text, tag).map(|()| (path, Some(tag))),
    }
}

/// Returns true if the name does not include a registry.
pub(crate) fn is_short(text: &str) -> bool {
    text.split_once('/').is_none_or(|(first, _)| !is_domain(first))
}

/// Returns true if `tag` is valid: `[\w][\w.-]{0,127}`.
pub(crate) fn is_tag(tag: &str) -> bool {
    check_tag(tag, tag).is_ok()
}

fn check_tag(text: &str, tag: &str) -> Result<()> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let Some(first) = tag.bytes().next() else { return Err(invalid(text, "the tag after \":\" is empty")) };
    if tag.len() > TAG_LIMIT {
        return Err(invalid(text, &format!("a tag has at most {TAG_LIMIT} characters")));
    }
    if !is_word(first) || !tag.bytes().all(|b| is_word(b) || b == b'.' || b == b'-') {
        let why = "a tag consists of letters, digits, \"_\", \".\" and \"-\", and does not start with \".\" or \"-\"";
        return Err(invalid(text, why));
    }
    Ok(())
}

/// Checks Docker's grammar, which is stricter than that of a URL: labels of letters, digits and inner dashes, IPv6
/// addresses of hexadecimal digits and colons only, no empty port. A port above 65535 fits the grammar, but could only
/// fail later and less clearly.
fn check_domain(text: &str, domain: &str) -> Result<()> {
    let authority: Authority = domain.parse().map_err(|why| invalid(text, why))?;
    if domain.ends_with(':') {
        return Err(invalid(text, "the port is malformed"));
    }
    let host = authority.host();
    if host.starts_with('[') {
        let is_valid = authority.bare_host().bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
        return if is_valid { Ok(()) } else { Err(invalid(text, "the IPv6 host is malformed")) };
    }
    if host.split('.').all(is_label) { Ok(()) } else { Err(invalid(text, "the host is malformed")) }
}

/// `[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]`
fn is_label(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && label.starts_with(|c: char| c.is_ascii_alphanumeric())
        && label.ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn check_path(text: &str, path: &str) -> Result<()> {
    if path.contains(|c: char| c.is_uppercase()) {
        return Err(invalid(text, "the repository must be lower-case"));
    }
    if path.len() > PATH_LIMIT {
        return Err(invalid(text, &format!("a repository has at most {PATH_LIMIT} characters")));
    }
    if !path.split('/').all(is_path_component) {
        let why = "a repository consists of lower-case letters and digits, separated by \".\", \"_\", \"__\" or dashes";
        return Err(invalid(text, why));
    }
    Ok(())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let is_alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = component.split(is_alphanumeric).filter(|separator| !separator.is_empty());
    component.starts_with(is_alphanumeric)
        && component.ends_with(is_alphanumeric)
        && separators.into_iter().all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

fn invalid(text: &str, why: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("invalid reference \"{text}\": {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[track_caller]
    fn good(text: &str, canonical: &str) {
        match text.parse::<Reference>() {
            Ok(name) => assert_eq!(name.to_string(), canonical, "{text}"),
            Err(error) => panic!("{text}: {error}"),
        }
    }

    #[track_caller]
    fn bad(text: &str, why: &str) {
        match text.parse::<Reference>() {
            Ok(name) => panic!("{text} was parsed as {name}"),
            Err(error) => assert!(error.to_string().contains(why), "{text}: {error}"),
        }
    }

    #[test]
    fn normalises_as_docker_does() {
        good("alpine", "docker.io/library/alpine:latest");
        good("alpine:3.20", "docker.io/library/alpine:3.20");
        good("grafana/loki", "docker.io/grafana/loki:latest");
        good("docker.io/alpine", "docker.io/library/alpine:latest");
        good("index.docker.io/alpine", "docker.io/library/alpine:latest");
        good("docker.io/library/alpine", "docker.io/library/alpine:latest");
        good("localhost/alpine", "localhost/alpine:latest");
        good("localhost:5000/a/b:t", "localhost:5000/a/b:t");
        good("host:5000", "docker.io/library/host:5000");
        good("quay.io/a/b-c__d.e", "quay.io/a/b-c__d.e:latest");
        good("Upper/alpine", "Upper/alpine:latest");
        good("REGISTRY.example.com:443/x", "REGISTRY.example.com:443/x:latest");
        good("[::1]:5000/a", "[::1]:5000/a:latest");
        good("[2001:db8::1]/a:b", "[2001:db8::1]/a:b");
        good("a---b/c", "docker.io/a---b/c:latest");
        good("xn--n3h.com/app", "xn--n3h.com/app:latest");
        good(&format!("{HEX}:tag"), &format!("docker.io/library/{HEX}:tag"));
        good(&format!("alpine@sha256:{HEX}"), &format!("docker.io/library/alpine@sha256:{HEX}"));
        good(&format!("a:t@sha256:{HEX}"), &format!("docker.io/library/a:t@sha256:{HEX}"));
        good(&format!("a@sha512:{HEX}{HEX}"), &format!("docker.io/library/a@sha512:{HEX}{HEX}"));
        good(&format!("a:{}", "t".repeat(128)), &format!("docker.io/library/a:{}", "t".repeat(128)));
        good(&format!("h.io/{}", "p".repeat(255)), &format!("h.io/{}:latest", "p".repeat(255)));
    }

    #[test]
    fn rejects_malformed_names_with_a_reason() {
        bad("", "empty");
        bad("alpine:", "empty");
        bad(HEX, "image ID");
        bad("Alpine", "lower-case");
        bad("docker.io/Alpine", "lower-case");
        bad("a:b:c", "tag");
        bad("a:-b", "tag");
        bad("a:.b", "tag");
        bad("a:ü", "tag");
        bad(&format!("a:{}", "t".repeat(129)), "at most 128");
        bad(&format!("h.io/{}", "p".repeat(256)), "at most 255");
        for malformed in ["-a", "a-", "a..b", "a___b", "a._b", "a//b", "a/", "h.io/", "a b", "a\n", "/a", ".a"] {
            bad(malformed, "invalid reference");
        }
        bad("-h.io/a", "host");
        bad("h..io/a", "host");
        bad("h.io:/a", "port");
        bad("h.io:99999/a", "port");
        bad("h.io:+1/a", "port");
        bad("[::1/a", "IPv6");
        bad("[::g]:1/a", "IPv6");
        bad("[1:2]/a", "IPv6");
        bad("[::10.0.0.1]/a", "IPv6");
        bad("a@", "digest");
        bad("a@sha256:abc", "digest");
        bad(&format!("a@md5:{HEX}"), "algorithm");
        bad(&format!("a@sha256:{}", HEX.to_uppercase()), "digest");
        bad("../../etc/passwd", "invalid reference");
    }

    #[test]
    fn selects_by_digest_before_tag() {
        let both: Option<Reference> = format!("a:t@sha256:{HEX}").parse().ok();
        assert_eq!(both.as_ref().map(Reference::selector), Some(format!("sha256:{HEX}")));
        assert_eq!(both.as_ref().and_then(Reference::tag), Some("t"));
    }
}
