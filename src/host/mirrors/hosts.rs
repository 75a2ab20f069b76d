//! Parses containerd's `hosts.toml`: the endpoints of one registry, in the order of the file. The rules are those of
//! containerd's `remotes/docker/config`.

use std::path::Path;

use super::toml_file::{self, Table};
use crate::oci::route::{Base, Place, Route};

/// Maximum number of header fields of one endpoint.
const HEADERS_LIMIT: usize = 32;
/// Maximum length of the name of a header field in bytes.
const HEADER_NAME_LIMIT: usize = 100;
/// Maximum length of the value of a header field in bytes.
const HEADER_VALUE_LIMIT: usize = 4096;
/// Header fields that requests already have: a second value would break the request.
const RESERVED_HEADERS: [&str; 9] =
    ["accept", "accept-encoding", "connection", "content-length", "expect", "host", "range", "te", "transfer-encoding"];

/// Parses the `hosts.toml` in `folder`; paths in the file are relative to that folder. Errors begin with the line.
pub(super) fn parse(text: &str, folder: &Path, from: &str) -> Result<Route, String> {
    let document = toml_file::parse(text)?;
    let root = document.root();
    let mut mirrors = Vec::new();
    if let Some(hosts) = root.table("host")? {
        for url in hosts.keys() {
            let table = hosts.table(url)?.ok_or_else(|| hosts.error("a host is not a table"))?;
            mirrors.push(parse_endpoint(Some(url), &table, folder, from)?);
        }
    }
    let server = root.string("server")?.filter(|server| !server.is_empty());
    let origin = parse_endpoint(server, &root, folder, from)?;
    Ok(Route { mirrors, origin: Some(origin), from: from.to_owned() })
}

/// Parses one endpoint. Without a URL, it is the registry itself.
fn parse_endpoint(url: Option<&str>, table: &Table<'_>, folder: &Path, from: &str) -> Result<Place, String> {
    let base = match url {
        None => Base::Named,
        Some(url) => {
            let url = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
            Base::Url { url, is_whole: table.flag("override_path")? }
        }
    };
    let mut place = Place::new(base, from);
    place.sends_namespace = true;
    place.is_insecure = table.flag("skip_verify")?;
    let capabilities = table.strings("capabilities")?.unwrap_or_default();
    for name in &capabilities {
        if !matches!(*name, "pull" | "resolve" | "push" | "referrers") {
            return Err(table.error(&format!("unknown capability \"{name}\"")));
        }
    }
    // As in containerd, an empty list means all capabilities.
    if !capabilities.is_empty() {
        place.resolves = capabilities.contains(&"resolve");
        place.pulls = capabilities.contains(&"pull");
    }
    for path in table.string_or_strings("ca")?.unwrap_or_default() {
        place.files.authorities.push(folder.join(path));
    }
    // containerd accepts several client certificates; only the first is used here.
    if let Some(client) = table.string_lists("client")?.and_then(|lists| lists.into_iter().next()) {
        place.files.client = match client[..] {
            [certificate] | [certificate, ""] => Some((folder.join(certificate), None)),
            [certificate, key] => Some((folder.join(certificate), Some(folder.join(key)))),
            _ => return Err(table.error("\"client\" is not a file, a list of files or a list of pairs")),
        };
    }
    place.headers = parse_headers(table)?;
    Ok(place)
}

/// Parses the `header` table of an endpoint, and rejects fields that cannot be sent.
fn parse_headers(endpoint: &Table<'_>) -> Result<Vec<(String, String)>, String> {
    let Some(table) = endpoint.table("header")? else { return Ok(Vec::new()) };
    let mut headers = Vec::new();
    for name in table.keys() {
        if !is_allowed_header(name) {
            return Err(table.error(&format!("header \"{name:.100}\" cannot be set")));
        }
        for value in table.string_or_strings(name)?.unwrap_or_default() {
            if !is_header_value(value) {
                return Err(table.error(&format!("invalid value of header \"{name}\"")));
            }
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    if headers.len() > HEADERS_LIMIT {
        return Err(table.error(&format!("limit exceeded: more than {HEADERS_LIMIT} headers")));
    }
    Ok(headers)
}

/// Returns true for a token (RFC 9110, section 5.6.2) that is not reserved.
fn is_allowed_header(name: &str) -> bool {
    let is_token_character = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let is_token = !name.is_empty() && name.bytes().all(is_token_character);
    is_token && name.len() <= HEADER_NAME_LIMIT && !RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str())
}

fn is_header_value(value: &str) -> bool {
    let is_value_character = |b: u8| b == b' ' || b == b'\t' || b.is_ascii_graphic();
    value.len() <= HEADER_VALUE_LIMIT && value.bytes().all(is_value_character)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares each place by its URL and flags (`r`: resolves, `p`: pulls, `i`: insecure, `w`: whole URL), or the error.
    fn check(text: &str, expected: &str) {
        let show = |place: &Place| {
            let (url, whole) = match &place.base {
                Base::Url { url, is_whole } => (url.as_str(), *is_whole),
                _ => ("itself", false),
            };
            let letters = [(place.resolves, 'r'), (place.pulls, 'p'), (place.is_insecure, 'i'), (whole, 'w')];
            let letters: String = letters.iter().filter(|(is, _)| *is).map(|(_, letter)| letter).collect();
            format!("{url} {letters}")
        };
        let got = match parse(text, Path::new("/d"), "f") {
            Ok(route) => route.mirrors.iter().chain(&route.origin).map(show).collect::<Vec<_>>().join(", "),
            Err(why) => why,
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn keeps_the_order_of_the_file() {
        check("", "itself rp");
        check("server = 'https://s.io'", "https://s.io rp");
        check(
            "server='s.io'\n[host.'https://z.io']\ncapabilities=['pull']\n[host.'http://a.io:5000/x']\n\
             capabilities=['pull','resolve']\nskip_verify=true\noverride_path=true\n[host.'m.io']\n",
            "https://z.io p, http://a.io:5000/x rpiw, https://m.io rp, https://s.io rp",
        );
        check("skip_verify=true\ncapabilities=['resolve','push']", "itself ri");
    }

    #[test]
    fn parses_certificates_and_headers() {
        let text = "[host.'https://a.io']\nca='ca.crt'\nclient=[['c.pem','k.pem'],['x','y']]\n\
                    [host.'https://b.io']\nca=['/x/1.crt','2.crt']\nclient='both.pem'\n\
                    [host.'https://b.io'.header]\nX-Key='v'\nX-More=['1','2']\n[host.'https://c.io']\nclient=['c',['d','']]";
        let route = parse(text, Path::new("/d"), "f").unwrap_or_else(|e| panic!("{e}"));
        let [a, b, c] = &route.mirrors[..] else { panic!("{route:?}") };
        assert_eq!(a.files.authorities, [Path::new("/d/ca.crt")]);
        assert_eq!(a.files.client, Some(("/d/c.pem".into(), Some("/d/k.pem".into()))));
        assert_eq!(b.files.authorities, [Path::new("/x/1.crt"), Path::new("/d/2.crt")]);
        assert_eq!(b.files.client, Some(("/d/both.pem".into(), None)));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(b.headers, [pair("X-Key", "v"), pair("X-More", "1"), pair("X-More", "2")]);
        assert_eq!(c.files.client, Some(("/d/c".into(), None)));
    }

    #[test]
    fn rejects_malformed_files_with_the_line() {
        for (text, expected) in [
            ("server = 1", "line 1"),
            ("host = 'x'", "line 1"),
            ("[host]\n'https://a.io' = 1", "line 2"),
            ("[host.'https://a.io']\ncapabilities = ['fly']", "line 1: unknown capability \"fly\""),
            ("[host.'https://a.io']\nskip_verify = 'yes'", "line 2"),
            ("[host.'https://a.io']\nca = [1]", "line 2"),
            ("[host.'https://a.io']\nclient = [['a','b','c']]", "line 1"),
            ("[header]\nHost = 'x'", "header \"Host\" cannot be set"),
            ("[header]\n\"a\\r\\nb\" = 'x'", "cannot be set"),
            ("[header]\na = \"x\\r\\ny\"", "invalid value of header"),
            (&format!("[header]\na = [{}]", "'x',".repeat(33)), "limit exceeded"),
        ] {
            let why = parse(text, Path::new("/d"), "f").map(|_| String::new()).unwrap_or_else(|e| e);
            assert!(why.contains(expected), "{text}: {why}");
        }
    }
}
