//! Absolute http and https URLs: parsing, relative references, and comparison of origins. Everything else is refused
//! here, so that no URL can bring a line break, another scheme or a password into a request.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::oci::authority::Authority;

/// An absolute http or https URL without user information and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    https: bool,
    /// In lower case; an IPv6 address in brackets.
    host: String,
    port: u16,
    /// Path and query, starting with `/`.
    target: String,
}

impl Url {
    /// Returns the root of the server at `authority`: a host and an optional port, as in an image name.
    pub(super) fn root(https: bool, authority: &str) -> Result<Self> {
        let scheme = if https { "https" } else { "http" };
        Self::parse(&format!("{scheme}://{authority}/"))
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let malformed = || Error::new(ErrorKind::Unsafe, format!("malformed URL \"{}\"", redact(text)));
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(malformed());
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(malformed)?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => {
                return Err(Error::new(
                    ErrorKind::Unsafe,
                    format!("URL \"{}\" is neither http nor https", redact(text)),
                ));
            }
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let authority: Authority = authority.parse().map_err(|_| malformed())?;
        let port = authority.port().unwrap_or(if https { 443 } else { 80 });
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Self { https, host: authority.host().to_owned(), port, target })
    }

    /// Returns the URL of `target` (path and query, starting with `/`) on the same server.
    pub(super) fn with_target(&self, target: impl Into<String>) -> Self {
        Self { target: target.into(), ..self.clone() }
    }

    /// Resolves a reference from a `Location` or `Link` header of this URL (RFC 3986, section 5). Spaces and characters
    /// beyond ASCII in its path and query are escaped, because servers send them, and they can mean nothing else.
    pub(super) fn join(&self, reference: &str) -> Result<Self> {
        let scheme = if self.https { "https" } else { "http" };
        let is_absolute = reference.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':'));
        if is_absolute {
            return Self::parse(&escape_target(reference));
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return Self::parse(&escape_target(&format!("{scheme}://{rest}")));
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let target = match reference.chars().next() {
            Some('/') => reference.to_owned(),
            Some('?') => format!("{path}{reference}"),
            _ => format!("{}/{reference}", path.rsplit_once('/').map_or("", |(folder, _)| folder)),
        };
        Self::parse(&escape_target(&format!("{scheme}://{}{}", self.authority(), remove_dot_segments(&target))))
    }

    /// Returns true if scheme, host and port are equal. Credentials may go to the same origin only; comparing hosts
    /// alone caused GHSA-vh4v-2xq2-g5cg.
    pub(super) fn same_origin(&self, other: &Self) -> bool {
        (self.https, &self.host, self.port) == (other.https, &other.host, other.port)
    }

    /// Returns true if the URL's server is `authority`. Without a port, `authority` means the scheme's default port.
    pub(super) fn is_at(&self, authority: &str) -> bool {
        Self::root(self.https, authority).is_ok_and(|root| root.same_origin(self))
    }

    pub(super) fn is_https(&self) -> bool {
        self.https
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Path and query.
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// Appends `key=value` to the query. The value is percent-encoded.
    pub(super) fn with_query(mut self, key: &str, value: &str) -> Self {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(key);
        self.target.push('=');
        self.target.push_str(&encode(value));
        self
    }

    /// Returns the URL with its query, for requests. A query may contain a signature, so messages use `Display`
    /// instead.
    pub(super) fn unredacted(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.target)
    }

    /// Returns the host, and the port unless it is the scheme's default.
    pub(super) fn authority(&self) -> String {
        match (self.https, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

/// Omits the query, because signed URLs have secrets in it.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.unredacted();
        f.write_str(url.split('?').next().unwrap_or_default())
    }
}

/// Percent-encodes a value for a query or a form.
pub(super) fn encode(value: &str) -> String {
    let mut encoded = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b',' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Percent-encodes spaces and characters beyond ASCII after the authority of a URL.
fn escape_target(url: &str) -> String {
    let authority = url.find("://").map_or(0, |at| at + "://".len());
    let mut escaped = String::new();
    let mut is_target = false;
    for (at, c) in url.char_indices() {
        is_target |= at >= authority && matches!(c, '/' | '?' | '#');
        if is_target && (c == ' ' || !c.is_ascii()) {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| escaped.push_str(&format!("%{byte:02X}")));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Removes query and user information from a malformed URL, because both may be secrets.
fn redact(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    match text.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default()),
        None => text.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

/// Resolves `.` and `..` in a path. `..` at the root stays there (RFC 3986, section 5.2.4).
fn remove_dot_segments(target: &str) -> String {
    let (path, query) = target.split_at(target.find(['?', '#']).unwrap_or(target.len()));
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let is_folder = path.ends_with("/.") || path.ends_with("/..");
    let end = if is_folder && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}{query}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(base: &str, reference: &str) -> Option<String> {
        Url::parse(base).and_then(|url| url.join(reference)).ok().map(|url| url.unredacted())
    }

    #[test]
    fn resolves_references_as_servers_send_them() {
        let base = "https://r.io/v2/a/blobs/x?y=1";
        for (reference, expected) in [
            ("https://cdn.io/b?sig=1", Some("https://cdn.io/b?sig=1")),
            ("http://u:p@cdn.io:80/b", Some("http://cdn.io/b")),
            ("//cdn.io/b", Some("https://cdn.io/b")),
            ("/b", Some("https://r.io/b")),
            ("b", Some("https://r.io/v2/a/blobs/b")),
            ("../../../../b?c=../d", Some("https://r.io/b?c=../d")),
            ("./b/../c/", Some("https://r.io/v2/a/blobs/c/")),
            ("..", Some("https://r.io/v2/a/")),
            ("?n=1", Some("https://r.io/v2/a/blobs/x?n=1")),
            ("/b#fragment", Some("https://r.io/b")),
            ("HTTPS://CDN.io", Some("https://cdn.io/")),
            ("https://[::1]:5000/b", Some("https://[::1]:5000/b")),
            ("/token?a=http://b/c", Some("https://r.io/token?a=http://b/c")),
            ("file:///etc/passwd", None),
            ("ftp://r.io/b", None),
            ("data:text/plain,x", None),
            ("https://", None),
            ("https:///b", None),
            ("https://r.io:99999/b", None),
            ("/b\r\nX: y", None),
            ("/b\tc", None),
            ("/b\u{7f}c", None),
            ("/b c?d=e f", Some("https://r.io/b%20c?d=e%20f")),
            ("/b\u{b5}\u{1f600}", Some("https://r.io/b%C2%B5%F0%9F%98%80")),
            ("https://cdn.io/b c%20d\u{b5}", Some("https://cdn.io/b%20c%20d%C2%B5")),
            ("https://cdn.io?b c", Some("https://cdn.io/?b%20c")),
            ("//cdn.io/b c", Some("https://cdn.io/b%20c")),
            ("b c", Some("https://r.io/v2/a/blobs/b%20c")),
            ("https://cdn.io /b", None),
            ("https://cdn.i\u{f6}/b", None),
            ("//u ser@cdn.io/b", None),
        ] {
            assert_eq!(join(base, reference).as_deref(), expected, "{reference}");
        }
    }

    #[test]
    fn compares_origins_by_scheme_host_and_port() {
        let same = |a: &str, b: &str| match (Url::parse(a), Url::parse(b)) {
            (Ok(a), Ok(b)) => a.same_origin(&b),
            _ => panic!("{a} {b}"),
        };
        assert!(same("https://r.io/a", "https://R.io:443/b?c"));
        assert!(!same("https://r.io/a", "http://r.io/a"));
        assert!(!same("https://r.io/a", "https://r.io:444/a"));
        assert!(!same("https://r.io/a", "https://r.io.evil/a"));
    }

    #[test]
    fn compares_servers_by_host_and_port() {
        for (url, authority, expected) in [
            ("https://r.io/a", "r.io", true),
            ("https://r.io/a", "R.io:443", true),
            ("https://r.io/a", "r.io:80", false),
            ("http://r.io/a", "r.io", true),
            ("http://r.io/a", "r.io:443", false),
            ("https://r.io:5000/", "r.io:5000", true),
            ("https://r.io:5000/", "r.io", false),
            ("https://a.r.io/", "r.io", false),
            ("http://[::1]:5000/", "[::1]:5000", true),
        ] {
            assert_eq!(Url::parse(url).is_ok_and(|url| url.is_at(authority)), expected, "{url} {authority}");
        }
    }

    #[test]
    fn errors_about_malformed_urls_contain_no_secret() {
        for bad in ["https://cdn.io/x?sig=s3cret a", "https://u:s3cret@h:99999/", "ftp://u:s3cret@h/", "u:s3cret@h"] {
            let error = Url::parse(bad).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(!error.is_empty() && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn displays_no_query_and_encodes_appended_values() {
        let url = Url::parse("https://a.io/token?x=1").map(|url| url.with_query("scope", "repository:a/b:pull c&d"));
        let url = url.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(url.unredacted(), "https://a.io/token?x=1&scope=repository:a/b:pull%20c%26d");
        assert_eq!(url.to_string(), "https://a.io/token");
    }
}
