//! The JSON of Docker's `config.json` and containers' `auth.json`: whose credentials for which name, and which program
//! has them. Kept as it came, so that what is not ours is written back. No error quotes any of it: it is full of secrets.

use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::oci::credentials::{Credentials, Secret};
use crate::oci::reference::Reference;

/// Docker Hub's domain, and the key that Docker keeps its credentials under.
const HUB: (&str, &str) = ("docker.io", "https://index.docker.io/v1/");
/// Docker Hub by other names.
const HUB_HOSTS: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// A parsed file.
#[derive(Default)]
pub(super) struct AuthFile(Map<String, Value>);

/// How a registry is called in files and by the programs that keep credentials.
pub(super) fn server(domain: &str) -> &str {
    if domain == HUB.0 { HUB.1 } else { domain }
}

impl AuthFile {
    /// An empty file is one without entries. The error says what is wrong and quotes nothing.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|e| format!("malformed JSON at line {} column {}", e.line(), e.column()))?;
        let Value::Object(members) = value else { return Err("the JSON is no object".to_owned()) };
        for name in ["auths", "credHelpers"] {
            if members.get(name).is_some_and(|member| !member.is_object() && !member.is_null()) {
                return Err(format!("\"{name}\" is no object"));
            }
        }
        Ok(Self(members))
    }

    /// The program that keeps the credentials of a registry: its own, else the one for all.
    pub(super) fn program(&self, domain: &str) -> Option<&str> {
        let own = self.table("credHelpers").and_then(|table| key_for(table, domain).and_then(|key| table.get(key)));
        own.or_else(|| self.0.get("credsStore")).and_then(Value::as_str).filter(|name| !name.is_empty())
    }

    /// The credentials for a name: containers' keys, the longest path first, then Docker's. An entry without any is none.
    pub(super) fn find(&self, name: &Reference) -> Result<Option<Credentials>, Error> {
        let Some(table) = self.table("auths") else { return Ok(None) };
        let paths = paths_of(name).into_iter().filter_map(|key| table.get(&key));
        for entry in paths.chain(docker_keys(table, name.domain()).filter_map(|key| table.get(key))) {
            if let Some(found) = credentials(entry)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Puts credentials for a registry in the place of those that it had.
    pub(super) fn insert(&mut self, domain: &str, credentials: &Credentials) {
        self.remove(domain);
        let mut entry = Map::new();
        let mut put = |name: &str, value: &str| entry.insert(name.to_owned(), Value::from(value));
        match credentials.secret() {
            Secret::Password(_) => drop(put("auth", &credentials.encoded().unwrap_or_default())),
            Secret::IdentityToken(token) => {
                put("identitytoken", token);
                put("username", credentials.user());
            }
            Secret::RegistryToken(token) => drop(put("registrytoken", token)),
        }
        let table = self.0.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        if table.is_null() {
            *table = Value::Object(Map::new());
        }
        if let Value::Object(table) = table {
            table.insert(server(domain).to_owned(), Value::Object(entry));
        }
    }

    /// Removes the entries for a whole registry, and says whether there were any. Those for paths in it stay.
    pub(super) fn remove(&mut self, domain: &str) -> bool {
        let Some(Value::Object(table)) = self.0.get_mut("auths") else { return false };
        let before = table.len();
        table.retain(|key, _| key != domain && domain_of(key).is_none_or(|of| !of.eq_ignore_ascii_case(domain)));
        table.len() < before
    }

    /// The file's bytes, indented as Docker does it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        use serde::Serialize as _;
        let mut bytes = Vec::new();
        let mut out = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"\t"));
        // A map of values into memory: there is nothing that could fail.
        let _ = self.0.serialize(&mut out);
        bytes.push(b'\n');
        bytes
    }

    fn table(&self, name: &str) -> Option<&Map<String, Value>> {
        self.0.get(name).and_then(Value::as_object)
    }
}

/// `host/ns/repo`, `host/ns`, `host`.
fn paths_of(name: &Reference) -> Vec<String> {
    let whole = name.repository();
    let mut keys = vec![whole.clone()];
    let mut rest = whole.as_str();
    while let Some((shorter, _)) = rest.rsplit_once('/') {
        keys.push(shorter.to_owned());
        rest = shorter;
    }
    keys
}

/// The key of a table that is for this registry as a whole.
fn key_for<'a>(table: &'a Map<String, Value>, domain: &str) -> Option<&'a str> {
    let exact = table.get_key_value(domain).map(|(key, _)| key.as_str());
    exact.or_else(|| docker_keys(table, domain).next())
}

/// The keys in Docker's forms that are for this registry; those that say `http:` come last.
fn docker_keys<'a>(table: &'a Map<String, Value>, domain: &str) -> impl Iterator<Item = &'a str> {
    let fits = |key: &&str| domain_of(key).is_some_and(|of| of.eq_ignore_ascii_case(domain));
    let mut keys: Vec<&str> = table.keys().map(String::as_str).filter(fits).collect();
    keys.sort_by_key(|key| key.starts_with("http:"));
    keys.into_iter()
}

/// The registry that a key in one of Docker's forms is for: a host, with scheme and path behind it or `/v1/` alone.
/// A path without scheme is a namespace, and for nothing else. Compared whole: a host that begins alike is another.
fn domain_of(key: &str) -> Option<&str> {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let host = match bare {
        Some(bare) => bare.split('/').next().unwrap_or_default(),
        None => key.strip_suffix("/v1/").or_else(|| key.strip_suffix("/v2/")).unwrap_or(key),
    };
    match host {
        "" => None,
        hub if HUB_HOSTS.contains(&hub) => Some(HUB.0),
        host if host.contains('/') => None,
        host => Some(host),
    }
}

/// What an entry says: a token before a password, as in Docker and containers.
fn credentials(entry: &Value) -> Result<Option<Credentials>, Error> {
    let member = |name: &str| entry.get(name).and_then(Value::as_str).filter(|value| !value.is_empty());
    let (user, password) = match member("auth") {
        Some(auth) => Credentials::decoded(auth)?,
        None => (member("username").unwrap_or_default().to_owned(), member("password").unwrap_or_default().to_owned()),
    };
    let found = match (member("registrytoken"), member("identitytoken")) {
        (Some(token), _) => Credentials::registry_token(token)?,
        (None, Some(token)) => Credentials::identity_token(user, token)?,
        (None, None) if user.is_empty() && password.is_empty() => return Ok(None),
        (None, None) => Credentials::new(user, password)?,
    };
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: &str) -> AuthFile {
        AuthFile::parse(json.as_bytes()).unwrap_or_else(|e| panic!("{json}: {e}"))
    }

    /// An entry of its own user for each key.
    fn of_keys(keys: &[&str]) -> AuthFile {
        let entry = |key: &&str| format!(r#""{key}":{{"username":"{}","password":"p"}}"#, key.replace(':', "%"));
        file(&format!(r#"{{"auths":{{{}}}}}"#, keys.iter().map(entry).collect::<Vec<_>>().join(",")))
    }

    #[test]
    fn the_longest_path_comes_first_and_dockers_forms_last() {
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
            let found = of_keys(keys).find(&name).ok().flatten().map(|found| found.user().replace('%', ":"));
            assert_eq!(found.as_deref(), expected, "{keys:?} {name}");
        }
    }

    #[test]
    fn an_entry_is_read_in_all_its_forms() {
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
    }

    #[test]
    fn an_empty_entry_leaves_it_to_the_next() {
        let file = file(r#"{"auths":{"r.io/a":{},"https://r.io":{"auth":"dTpw"}}}"#);
        let found = "r.io/a".parse().ok().and_then(|name| file.find(&name).ok().flatten());
        assert_eq!(found.map(|found| found.user().to_owned()).as_deref(), Some("u"));
    }

    #[test]
    fn a_registrys_own_program_comes_before_the_one_for_all() {
        let helpers = file(r#"{"credsStore":"all","credHelpers":{"r.io":"own","https://index.docker.io/v1/":"hub"}}"#);
        assert_eq!(helpers.program("r.io"), Some("own"));
        assert_eq!(helpers.program("docker.io"), Some("hub"));
        assert_eq!(helpers.program("x.io"), Some("all"));
        assert_eq!(file(r#"{"credHelpers":{"r.io":"own"}}"#).program("r.io.evil.io"), None);
        assert_eq!(file(r#"{"credsStore":""}"#).program("r.io"), None);
        assert_eq!(file("{}").program("r.io"), None);
    }

    #[test]
    fn what_is_malformed_is_said_without_quoting_it() {
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
    fn what_is_not_ours_is_kept() {
        let mut kept = file(
            r#"{"HttpHeaders":{"X":"y"},"auths":{"x.io":{"auth":"eDp4"},"docker.io":{"auth":"b2xkOm8="},"docker.io/ns":{}}}"#,
        );
        let Ok(new) = Credentials::new("u", "p") else { panic!("credentials") };
        kept.insert("docker.io", &new);
        let text = String::from_utf8(kept.to_bytes()).unwrap_or_default();
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
