//! containerd's `hosts.toml`, pure: where the registry of one folder is asked for, in the order of the file. The rules
//! are those of containerd's `remotes/docker/config`.

use std::path::Path;

use super::toml_file::{self, Table};
use crate::oci::route::{Base, Place, Route};

/// Header fields that one place may have.
const HEADERS_LIMIT: usize = 32;
/// What a request says itself: a file that says it too would only break it.
const OWN_HEADERS: [&str; 9] =
    ["accept", "accept-encoding", "connection", "content-length", "expect", "host", "range", "te", "transfer-encoding"];

/// Parses the `hosts.toml` in `folder`, to which its own paths are relative. The error tells the line.
pub(super) fn parse(text: &str, folder: &Path, from: &str) -> Result<Route, String> {
    let document = toml_file::parse(text)?;
    let root = document.root();
    let mut mirrors = Vec::new();
    if let Some(hosts) = root.table("host")? {
        for url in hosts.keys() {
            let table = hosts.table(url)?.ok_or_else(|| hosts.complaint("a host is no table"))?;
            mirrors.push(place(Some(url), &table, folder, from)?);
        }
    }
    let server = root.string("server")?.filter(|server| !server.is_empty());
    let origin = place(server, &root, folder, from)?;
    Ok(Route { mirrors, origin: Some(origin), from: from.to_owned() })
}

/// One place; without a URL it is the registry as it is named.
fn place(url: Option<&str>, table: &Table<'_>, folder: &Path, from: &str) -> Result<Place, String> {
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
    if let Some(named) = table.strings("capabilities")?.filter(|named| !named.is_empty()) {
        if let Some(unknown) = named.iter().find(|name| !matches!(**name, "pull" | "resolve" | "push" | "referrers")) {
            return Err(table.complaint(&format!("unknown capability \"{unknown}\"")));
        }
        (place.resolves, place.pulls) = (named.contains(&"resolve"), named.contains(&"pull"));
    }
    let named = table.string_or_strings("ca")?.unwrap_or_default();
    place.files.authorities = named.into_iter().map(|path| folder.join(path)).collect();
    place.files.client = match table.string_lists("client")?.unwrap_or_default().into_iter().next().as_deref() {
        None => None,
        Some([both]) => Some((folder.join(both), None)),
        Some([certificate, key]) => {
            Some((folder.join(certificate), Some(folder.join(key)).filter(|_| !key.is_empty())))
        }
        Some(_) => return Err(table.complaint("\"client\" is not a file, a list of files or a list of pairs")),
    };
    place.headers = headers(table)?;
    Ok(place)
}

/// What no header can carry is refused here, before it stands in a request.
fn headers(table: &Table<'_>) -> Result<Vec<(String, String)>, String> {
    let Some(table) = table.table("header")? else { return Ok(Vec::new()) };
    let mut headers = Vec::new();
    for name in table.keys() {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let name_is_good = !name.is_empty() && name.len() <= 100 && name.bytes().all(is_name);
        if !name_is_good || OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(table.complaint(&format!("\"{name:.100}\" is no header that may be set")));
        }
        for value in table.string_or_strings(name)?.unwrap_or_default() {
            if value.len() > 4096 || !value.bytes().all(|b| b == b' ' || b == b'\t' || b.is_ascii_graphic()) {
                return Err(table.complaint(&format!("the value of header \"{name}\" is none")));
            }
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    match headers.len() {
        0..=HEADERS_LIMIT => Ok(headers),
        _ => Err(table.complaint(&format!("limit exceeded: more than {HEADERS_LIMIT} headers"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each place by its URL and letters: `r`esolves, `p`ulls, `i`nsecure, `w`hole URL.
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
    fn places_stand_in_the_order_of_the_file() {
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
    fn certificates_and_headers() {
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
    fn what_is_malformed_is_refused_by_line() {
        for (text, expected) in [
            ("server = 1", "line 1"),
            ("host = 'x'", "line 1"),
            ("[host]\n'https://a.io' = 1", "line 2"),
            ("[host.'https://a.io']\ncapabilities = ['fly']", "line 1: unknown capability \"fly\""),
            ("[host.'https://a.io']\nskip_verify = 'yes'", "line 2"),
            ("[host.'https://a.io']\nca = [1]", "line 2"),
            ("[host.'https://a.io']\nclient = [['a','b','c']]", "line 1"),
            ("[header]\nHost = 'x'", "no header that may be set"),
            ("[header]\n\"a\\r\\nb\" = 'x'", "no header that may be set"),
            ("[header]\na = \"x\\r\\ny\"", "the value of header"),
            (&format!("[header]\na = [{}]", "'x',".repeat(33)), "limit exceeded"),
        ] {
            let why = parse(text, Path::new("/d"), "f").map(|_| String::new()).unwrap_or_else(|e| e);
            assert!(why.contains(expected), "{text}: {why}");
        }
    }
}
