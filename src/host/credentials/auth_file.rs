//! The JSON of Docker's `config.json` and containers' `auth.json`: credentials by name, and the names of credential
//! helpers. Unknown members are kept, so that a changed file loses nothing. Errors never quote the file, because it
//! contains secrets.

use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind};
use crate::oci::credentials::{Credentials, Secret};
use crate::oci::json::{member, member_name};
use crate::oci::reference::Reference;

/// The domain of Docker Hub in image names.
const HUB_DOMAIN: &str = "docker.io";
/// The key under which Docker stores the credentials for Docker Hub.
const HUB_SERVER: &str = "https://index.docker.io/v1/";
/// Other host names of Docker Hub that appear in keys.
const HUB_HOSTS: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// A parsed file.
#[derive(Default)]
pub(super) struct AuthFile(Map<String, Value>);

/// Returns the name of a registry as files and credential helpers use it.
pub(super) fn server_of(domain: &str) -> &str {
    if domain == HUB_DOMAIN { HUB_SERVER } else { domain }
}

impl AuthFile {
    /// Parses a file. An empty file has no entries.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|e| format!("malformed JSON at line {} column {}", e.line(), e.column()))?;
        let members = match value {
            Value::Object(members) => members,
            Value::Null => Map::new(),
            _ => return Err("the JSON is not an object".to_owned()),
        };
        for name in ["auths", "credHelpers"] {
            if member(&members, name).is_some_and(|member| !member.is_object()) {
                return Err(format!("\"{name}\" is not an object"));
            }
        }
        Ok(Self(members))
    }

    /// Returns the name of the credential helper for a registry: from `credHelpers`, else `credsStore`.
    pub(super) fn helper(&self, domain: &str) -> Option<&str> {
        let helper = match self.helper_of_registry(domain) {
            Some(helper) => helper,
            None => member(&self.0, "credsStore")?,
        };
        helper.as_str().filter(|name| !name.is_empty())
    }

    fn helper_of_registry(&self, domain: &str) -> Option<&Value> {
        let helpers = self.table("credHelpers")?;
        if let Some(helper) = helpers.get(domain) {
            return Some(helper);
        }
        let key = docker_keys(helpers, domain).into_iter().next()?;
        helpers.get(key)
    }

    /// Returns the credentials for a name. Keys in containers' form (`host/path`) come first, the longest path first of
    /// all, then keys in Docker's forms. Entries without credentials are skipped.
    pub(super) fn find(&self, name: &Reference) -> Result<Option<Credentials>, Error> {
        let Some(entries) = self.table("auths") else { return Ok(None) };
        let repository = name.repository();
        let mut keys = repository_prefixes(&repository);
        keys.extend(docker_keys(entries, name.domain()));
        for key in keys {
            let Some(entry) = entries.get(key) else { continue };
            if let Some(found) = parse_entry(entry)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Replaces the credentials for a registry.
    pub(super) fn insert(&mut self, domain: &str, credentials: &Credentials) {
        self.remove(domain);
        let key = member_name(&self.0, "auths").unwrap_or("auths").to_owned();
        let entries = self.0.entry(key).or_insert_with(|| Value::Object(Map::new()));
        if entries.is_null() {
            *entries = Value::Object(Map::new());
        }
        // `parse` has checked that the member is an object or null.
        if let Value::Object(entries) = entries {
            entries.insert(server_of(domain).to_owned(), entry_of(credentials));
        }
    }

    /// Removes the entries for a whole registry; those for paths in it stay. Returns true if there were any.
    pub(super) fn remove(&mut self, domain: &str) -> bool {
        let Some(key) = member_name(&self.0, "auths").map(str::to_owned) else { return false };
        let Some(Value::Object(entries)) = self.0.get_mut(&key) else { return false };
        let count = entries.len();
        entries.retain(|key, _| key != domain && !is_key_for(key, domain));
        entries.len() < count
    }

    /// Returns the file as text, indented as Docker does it.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"\t"));
        let written = self.0.serialize(&mut serializer);
        written.map_err(|e| Error::new(ErrorKind::Internal, format!("serialize credentials: {e}")))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn table(&self, name: &str) -> Option<&Map<String, Value>> {
        member(&self.0, name).and_then(Value::as_object)
    }
}

/// Returns `host/ns/repo`, `host/ns`, `host` for `host/ns/repo`.
fn repository_prefixes(repository: &str) -> Vec<&str> {
    let mut prefixes = vec![repository];
    let mut rest = repository;
    while let Some((shorter, _)) = rest.rsplit_once('/') {
        prefixes.push(shorter);
        rest = shorter;
    }
    prefixes
}

/// Returns the keys in Docker's forms for a registry. Those with the scheme `http` come last.
fn docker_keys<'a>(entries: &'a Map<String, Value>, domain: &str) -> Vec<&'a str> {
    let mut keys: Vec<&str> = entries.keys().map(String::as_str).filter(|key| is_key_for(key, domain)).collect();
    keys.sort_by_key(|key| key.starts_with("http:"));
    keys
}

fn is_key_for(key: &str, domain: &str) -> bool {
    registry_of(key).is_some_and(|registry| registry.eq_ignore_ascii_case(domain))
}

/// Returns the registry of a key in one of Docker's forms: `HOST`, `HOST/`, `HOST/v1/`, `HOST/v2/` or
/// `SCHEME://HOST[/PATH]`. Any other path without a scheme is a namespace, which is not such a form. Hosts are compared
/// whole, because a host with the same beginning is a different one.
fn registry_of(key: &str) -> Option<&str> {
    let without_scheme = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let host = match without_scheme {
        Some(url) => url.split('/').next()?,
        None => ["/v1/", "/v2/", "/"].iter().find_map(|path| key.strip_suffix(path)).unwrap_or(key),
    };
    if host.is_empty() || host.contains('/') {
        return None;
    }
    if HUB_HOSTS.contains(&host) {
        return Some(HUB_DOMAIN);
    }
    Some(host)
}

/// Parses an entry of `auths`. As in Docker and containers, a token wins over a password.
fn parse_entry(entry: &Value) -> Result<Option<Credentials>, Error> {
    let Value::Object(members) = entry else { return Ok(None) };
    let member = |name: &str| member(members, name).and_then(Value::as_str).filter(|value| !value.is_empty());
    let (user, password) = match member("auth") {
        Some(auth) => Credentials::decoded(auth)?,
        None => (member("username").unwrap_or_default().to_owned(), member("password").unwrap_or_default().to_owned()),
    };
    if let Some(token) = member("registrytoken") {
        return Credentials::registry_token(token).map(Some);
    }
    if let Some(token) = member("identitytoken") {
        return Credentials::identity_token(user, token).map(Some);
    }
    if user.is_empty() && password.is_empty() {
        return Ok(None);
    }
    Credentials::new(user, password).map(Some)
}

/// Returns the entry for credentials in the form in which Docker writes it.
fn entry_of(credentials: &Credentials) -> Value {
    if let Some(encoded) = credentials.encoded() {
        return json!({ "auth": encoded });
    }
    match credentials.secret() {
        Secret::Password(password) => json!({ "username": credentials.user(), "password": password }),
        Secret::IdentityToken(token) => json!({ "identitytoken": token, "username": credentials.user() }),
        Secret::RegistryToken(token) => json!({ "registrytoken": token }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: &str) -> AuthFile {
        AuthFile::parse(json.as_bytes()).unwrap_or_else(|e| panic!("{json}: {e}"))
    }

    /// A file with these keys; the user of each entry is its key.
    fn with_keys(keys: &[&str]) -> AuthFile {
        let entry = |key: &&str| format!(r#""{key}":{{"username":"{}","password":"p"}}"#, key.replace(':', "%"));
        file(&format!(r#"{{"auths":{{{}}}}}"#, keys.iter().map(entry).collect::<Vec<_>>().join(",")))
    }

    #[test]
    fn prefers_the_longest_path_and_then_dockers_forms() {
        let all = ["r.io/a/b", "r.io/a", "r.io", "https://r.io/v1/", "http://r.io"];
        for (keys, name, expected) in [
            (&all[..], "r.io/a/b:1", Some("r.io/a/b")),
            (&all[1..], "r.io/a/b:1", Some("r.io/a")),
            (&all[2..], "r.io/a/b:1", Some("r.io")),
            (&all[3..], "r.io/a/b:1", Some("https://r.io/v1/")),
            (&all[4..], "r.io/a/b:1", Some("http://r.io")),
            (&all, "r.io/ab", Some("r.io")),
            (&all, "r.io/a/bc", Some("r.io/a")),
            (&["r.io/a"], "r.io/ab", None),
            (&["r.io/a/b/c"], "r.io/a/b", None),
            (
                &["r.i", "r.io.evil.io", "r.io:5000", "evil.io/r.io", "https://evil.io/r.io", ".r.io", "io"],
                "r.io/a",
                None,
            ),
            (&["r.io"], "r.io.evil.io/a", None),
            (&["r.io"], "r.io:5000/a", None),
            (&["r.io:5000"], "r.io:5000/a", Some("r.io:5000")),
            (&["https://r.io:5000"], "r.io:5000/a", Some("https://r.io:5000")),
            (&["https://R.io/v2/"], "r.io/a", Some("https://R.io/v2/")),
            (&["r.io/v1/"], "r.io/a", Some("r.io/v1/")),
            (&["r.io/"], "r.io/a", Some("r.io/")),
            (&["r.io:5000/"], "r.io:5000/a", Some("r.io:5000/")),
            (&["docker.io/"], "alpine", Some("docker.io/")),
            (&["r.io:5000/", "r.io/ns/"], "r.io/ns/a", None),
            (&["https://r.io/a/b"], "r.io/c", Some("https://r.io/a/b")),
            (&["https://index.docker.io/v1/"], "alpine", Some("https://index.docker.io/v1/")),
            (&["index.docker.io"], "alpine", Some("index.docker.io")),
            (&["docker.io"], "alpine", Some("docker.io")),
            (&["docker.io/library"], "alpine", Some("docker.io/library")),
            (&["https://registry-1.docker.io"], "alpine", Some("https://registry-1.docker.io")),
            (&["https://index.docker.io/v1/"], "r.io/alpine", None),
            (&["https://[::1]:5000"], "[::1]:5000/a", Some("https://[::1]:5000")),
            (&["", "https://", "/", "/v1/"], "r.io/a", None),
        ] {
            let name = name.parse().unwrap_or_else(|e| panic!("{name}: {e}"));
            let found = with_keys(keys).find(&name).ok().flatten().map(|found| found.user().replace('%', ":"));
            assert_eq!(found.as_deref(), expected, "{keys:?} {name}");
        }
    }

    #[test]
    fn parses_all_forms_of_an_entry() {
        let check = |entry: &str, expected: &str| {
            let file = file(&format!(r#"{{"auths":{{"r.io":{entry}}}}}"#));
            let found = match file.find(&"r.io/a".parse().unwrap_or_else(|e| panic!("{e}"))) {
                Err(_) => "malformed".to_owned(),
                Ok(None) => "none".to_owned(),
                Ok(Some(found)) => match found.secret() {
                    Secret::Password(password) => format!("{}:{password}", found.user()),
                    Secret::IdentityToken(token) => format!("{} identity {token}", found.user()),
                    Secret::RegistryToken(token) => format!("{} registry {token}", found.user()),
                },
            };
            assert_eq!(found, expected, "{entry}");
        };
        check(r#"{"auth":"dTpw"}"#, "u:p");
        check(r#"{"auth":"dTpw","email":"e@x","unknown":[1]}"#, "u:p");
        check(r#"{"username":"u","password":"p"}"#, "u:p");
        check(r#"{"auth":"dTo=","identitytoken":"t"}"#, "u identity t");
        check(r#"{"identitytoken":"t"}"#, " identity t");
        check(r#"{"registrytoken":"t","identitytoken":"i","auth":"dTpw"}"#, " registry t");
        check(r#"{"auth":"","identitytoken":""}"#, "none");
        check("{}", "none");
        check("null", "none");
        check("7", "none");
        check(r#"{"auth":"!"}"#, "malformed");
        check(r#"{"auth":"dXA="}"#, "malformed");
        check(r#"{"registrytoken":"a b"}"#, "malformed");
        check(r#"{"auth":7}"#, "none");
        check(r#"{"auth":"dTpw\nOnE=\n"}"#, "u:p:q");
    }

    #[test]
    fn matches_members_as_go_does() {
        for (text, helper, user) in [
            (r#"{"AUTHS":{"r.io":{"Auth":"dTpw"}}}"#, None, Some("u")),
            (r#"{"Auths":{"r.io":{"userName":"u","PASSWORD":"p"}}}"#, None, Some("u")),
            (r#"{"auths":{"r.io":{"IdentityToken":"t"}}}"#, None, Some("")),
            // The keys of a map are compared exactly.
            (r#"{"auths":{"r.io/A":{"auth":"dTpw"}}}"#, None, None),
            (r#"{"credshelpers":{},"CREDSSTORE":"s"}"#, Some("s"), None),
            (r#"{"credhelpers":{"r.io":"own"}}"#, Some("own"), None),
            // The exact name comes first.
            (r#"{"AUTHS":{"r.io":{"auth":"eDp4"}},"auths":{"r.io":{"auth":"dTpw"}}}"#, None, Some("u")),
            (r#"{"auths":null,"credHelpers":null,"credsStore":null}"#, None, None),
            (r#"{"auths":{"r.io":{"auth":null,"username":"u","password":"p","identitytoken":null}}}"#, None, Some("u")),
            ("null", None, None),
        ] {
            let file = file(text);
            assert_eq!(file.helper("r.io"), helper, "{text}");
            let found = file.find(&"r.io/a".parse().unwrap_or_else(|e| panic!("{e}")));
            assert_eq!(found.ok().flatten().map(|found| found.user().to_owned()).as_deref(), user, "{text}");
        }
        let mut kept = file(r#"{"Auths":{"r.io":{"auth":"eDp4"}}}"#);
        kept.insert("r.io", &Credentials::new("u", "p").unwrap());
        let text = String::from_utf8(kept.to_bytes().unwrap()).unwrap();
        assert!(!text.contains("auths") && text.contains("dTpw") && !text.contains("eDp4"), "{text}");
    }

    #[test]
    fn skips_an_empty_entry() {
        let file = file(r#"{"auths":{"r.io/a":{},"https://r.io":{"auth":"dTpw"}}}"#);
        let found = "r.io/a".parse().ok().and_then(|name| file.find(&name).ok().flatten());
        assert_eq!(found.map(|found| found.user().to_owned()).as_deref(), Some("u"));
    }

    #[test]
    fn prefers_the_helper_of_the_registry() {
        let helpers = file(r#"{"credsStore":"all","credHelpers":{"r.io":"own","https://index.docker.io/v1/":"hub"}}"#);
        assert_eq!(helpers.helper("r.io"), Some("own"));
        assert_eq!(helpers.helper("docker.io"), Some("hub"));
        assert_eq!(helpers.helper("x.io"), Some("all"));
        assert_eq!(file(r#"{"credHelpers":{"r.io":"own"}}"#).helper("r.io.evil.io"), None);
        assert_eq!(file(r#"{"credsStore":""}"#).helper("r.io"), None);
        assert_eq!(file("{}").helper("r.io"), None);
    }

    #[test]
    fn errors_do_not_quote_the_file() {
        for bad in ["{", "s3cret", r#""s3cret""#, "[]", r#"{"auths":["s3cret"]}"#, r#"{"credHelpers":7}"#, "{}{}"] {
            let error = AuthFile::parse(bad.as_bytes()).map(|_| ()).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
        assert!(AuthFile::parse("[".repeat(100_000).as_bytes()).is_err());
        for empty in ["", " \n", "{}", r#"{"auths":null}"#] {
            assert!(AuthFile::parse(empty.as_bytes()).is_ok(), "{empty}");
        }
    }

    #[test]
    fn keeps_unknown_members_and_other_entries() {
        let mut kept = file(
            r#"{"HttpHeaders":{"X":"y"},"auths":{"x.io":{"auth":"eDp4"},"docker.io":{"auth":"b2xkOm8="},"docker.io/ns":{}}}"#,
        );
        let Ok(new) = Credentials::new("u", "p") else { panic!("credentials") };
        kept.insert("docker.io", &new);
        let text = String::from_utf8(kept.to_bytes().unwrap()).unwrap();
        let expected = serde_json::json!({
            "HttpHeaders": { "X": "y" },
            "auths": { "x.io": { "auth": "eDp4" }, "docker.io/ns": {}, "https://index.docker.io/v1/": { "auth": "dTpw" } },
        });
        assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(expected));
        assert!(kept.remove("docker.io") && !kept.remove("docker.io") && !kept.remove("r.io"));
        let mut empty = file(r#"{"auths":null}"#);
        empty.insert("r.io", &new);
        assert!(empty.remove("r.io"));
    }
}
