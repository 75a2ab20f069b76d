//! Policies: containers-policy.json(5), which podman and skopeo obey too. The text is parsed strictly: an unknown or repeated
//! member, an empty list or a value of another type makes the whole policy invalid, because a typing error must not remove a
//! demand. Requirements that pullet cannot check are kept by name, and refuse the images that they are for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::encoding::decode_base64;
use super::identity::IdentityMatch;
use super::members::{Members, exactly, list, object, string};
use crate::oci::reference::Reference;
use crate::oci::strict::parse_object;

/// The kind of place that an image comes from, as policies name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "manage"), allow(dead_code, reason = "archives are loaded only with the feature manage"))]
pub(crate) enum Transport {
    /// A registry.
    Docker,
    DockerArchive,
    OciArchive,
}

impl Transport {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::DockerArchive => "docker-archive",
            Self::OciArchive => "oci-archive",
        }
    }
}

/// A parsed policy.
#[derive(Debug)]
pub(crate) struct Policy {
    default: Vec<Requirement>,
    /// By transport, then by scope. Transports that pullet does not have are parsed and never looked up.
    transports: BTreeMap<String, Scopes>,
}

type Scopes = BTreeMap<String, Vec<Requirement>>;

/// One requirement. An image must meet all of those that are for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// `insecureAcceptAnything`
    Accept,
    Reject,
    Signed(SignedRequirement),
    /// A requirement that pullet cannot check.
    Unsupported(&'static str),
}

/// `sigstoreSigned`: a signature by one of these keys, for this identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedRequirement {
    pub(crate) keys: Vec<KeySource>,
    pub(crate) identity: IdentityMatch,
}

/// A public key in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    File(PathBuf),
    Pem(Vec<u8>),
}

/// The requirements for an image, and the place in the policy that has them.
#[derive(Debug)]
pub(crate) struct Rule<'p> {
    /// Such as `default` or `docker "registry.example/team"`.
    pub(crate) place: String,
    pub(crate) requirements: &'p [Requirement],
}

impl Policy {
    /// Parses a policy. The error is a text for people.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let members = parse_object(text)?;
        allow_only(&members, &["default", "transports"])?;
        let default = parse_requirements(members.get("default").ok_or("member \"default\" is missing")?)?;
        let mut transports = BTreeMap::new();
        if members.contains_key("transports") {
            for (transport, scopes) in object(&members, "transports")? {
                transports.insert(transport.clone(), parse_scopes(transport, scopes)?);
            }
        }
        Ok(Self { default, transports })
    }

    /// Returns the rule for a name in a registry: that of the first scope that the policy has.
    pub(crate) fn rule_for(&self, name: &Reference) -> Rule<'_> {
        self.rule(Transport::Docker, &docker_scopes(name))
    }

    /// Returns the rule for an archive at this absolute path. `None` is standard input.
    pub(crate) fn rule_for_archive(&self, transport: Transport, path: Option<&str>) -> Rule<'_> {
        let scopes = match (transport, path) {
            (Transport::OciArchive, Some(path)) => path_scopes(path),
            _ => Vec::new(),
        };
        self.rule(transport, &scopes)
    }

    fn rule(&self, transport: Transport, scopes: &[String]) -> Rule<'_> {
        if let Some(known) = self.transports.get(transport.word()) {
            for scope in scopes.iter().map(String::as_str).chain([""]) {
                if let Some(requirements) = known.get(scope) {
                    return Rule { place: format!("{} \"{scope}\"", transport.word()), requirements };
                }
            }
        }
        Rule { place: "default".to_owned(), requirements: &self.default }
    }
}

impl Requirement {
    /// The requirement as a policy names it.
    pub(crate) fn word(&self) -> String {
        match self {
            Self::Accept => "insecureAcceptAnything".to_owned(),
            Self::Reject => "reject".to_owned(),
            Self::Signed(signed) => format!("sigstoreSigned ({})", signed.identity.word()),
            Self::Unsupported(what) => format!("{what} (not supported)"),
        }
    }
}

/// The scopes of a name, the most precise first: the name itself, the repository, its parents, the registry with its port,
/// and wildcards for the registry's host without the port.
fn docker_scopes(name: &Reference) -> Vec<String> {
    let repository = name.repository();
    let full = match name.digest() {
        // With a digest the tag is only a label.
        Some(digest) => format!("{repository}@{digest}"),
        None => name.to_string(),
    };
    let mut scopes = vec![full];
    let mut rest = repository.as_str();
    loop {
        scopes.push(rest.to_owned());
        let Some((parent, _)) = rest.rsplit_once('/') else { break };
        rest = parent;
    }
    let mut host = rest.split(':').next().unwrap_or_default();
    while let Some((_, parent)) = host.split_once('.') {
        scopes.push(format!("*.{parent}"));
        host = parent;
    }
    scopes
}

/// The scopes of a path: the path itself and its parents without `/`, which a policy names as the empty scope.
fn path_scopes(path: &str) -> Vec<String> {
    let mut scopes = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        scopes.push(rest.to_owned());
        rest = rest.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    scopes
}

fn parse_scopes(transport: &str, value: &Value) -> Result<Scopes, String> {
    let in_transport = |why: String| format!("transport \"{transport}\": {why}");
    let Some(members) = value.as_object() else { return Err(in_transport("it is not an object".to_owned())) };
    let mut scopes = Scopes::new();
    for (scope, requirements) in members {
        let in_scope = |why: String| in_transport(format!("scope \"{scope}\": {why}"));
        check_scope(transport, scope).map_err(in_scope)?;
        scopes.insert(scope.clone(), parse_requirements(requirements).map_err(in_scope)?);
    }
    Ok(scopes)
}

/// A scope that no image can have is a typing error.
fn check_scope(transport: &str, scope: &str) -> Result<(), String> {
    match transport {
        "docker-archive" | "tarball" if !scope.is_empty() => Err("this transport has only the scope \"\"".to_owned()),
        "dir" | "oci" | "oci-archive" if !scope.is_empty() => {
            let is_canonical = scope.strip_prefix('/').is_some_and(|path| {
                path.split('/').all(|component| !component.is_empty() && component != "." && component != "..")
            });
            if is_canonical { Ok(()) } else { Err("it is not an absolute path in its shortest form".to_owned()) }
        }
        _ => Ok(()),
    }
}

fn parse_requirements(value: &Value) -> Result<Vec<Requirement>, String> {
    let Value::Array(values) = value else { return Err("requirements are not a list".to_owned()) };
    if values.is_empty() {
        return Err("the list of requirements is empty".to_owned());
    }
    values.iter().map(parse_requirement).collect()
}

fn parse_requirement(value: &Value) -> Result<Requirement, String> {
    let Some(members) = value.as_object() else { return Err("a requirement is not an object".to_owned()) };
    let word = string(members, "type")?;
    let parsed = match word {
        "insecureAcceptAnything" => exactly(members, &["type"]).map(|()| Requirement::Accept),
        "reject" => exactly(members, &["type"]).map(|()| Requirement::Reject),
        "signedBy" => parse_signed_by(members),
        "signedBaseLayer" => parse_signed_base_layer(members),
        "sigstoreSigned" => parse_sigstore_signed(members),
        other => return Err(format!("the requirement type \"{other}\" is unknown")),
    };
    parsed.map_err(|why| format!("{word}: {why}"))
}

fn parse_signed_by(members: &Members) -> Result<Requirement, String> {
    allow_only(members, &["type", "keyType", "keyPath", "keyPaths", "keyData", "signedIdentity"])?;
    let key_types = ["GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs"];
    let key_type = string(members, "keyType")?;
    if !key_types.contains(&key_type) {
        return Err(format!("the key type \"{key_type}\" is unknown"));
    }
    parse_key_sources(members, "key")?;
    parse_identity(members)?;
    Ok(Requirement::Unsupported("signedBy"))
}

fn parse_signed_base_layer(members: &Members) -> Result<Requirement, String> {
    exactly(members, &["type", "baseLayerIdentity"])?;
    if let Some(identity) = members.get("baseLayerIdentity") {
        IdentityMatch::parse(identity)?;
    }
    Ok(Requirement::Unsupported("signedBaseLayer"))
}

fn parse_sigstore_signed(members: &Members) -> Result<Requirement, String> {
    const KEYS: [&str; 4] = ["keyPath", "keyPaths", "keyData", "keyDatas"];
    const REKOR: [&str; 4] = ["rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas"];
    let others = ["type", "fulcio", "pki", "signedIdentity"];
    allow_only(members, &[&KEYS[..], &REKOR, &others].concat())?;
    let identity = parse_identity(members)?;
    let is_given = |name: &&str| members.contains_key(*name);
    let sources = KEYS.into_iter().chain(["fulcio", "pki"]).filter(is_given).count();
    if sources != 1 {
        return Err(format!("it has {sources} of {}, fulcio and pki, and must have one", KEYS.join(", ")));
    }
    let has_log = REKOR.iter().any(is_given);
    if has_log {
        parse_key_sources(members, "rekorPublicKey")?;
    }
    if is_given(&"fulcio") {
        object(members, "fulcio")?;
        if !has_log {
            return Err("fulcio must have a rekorPublicKey".to_owned());
        }
        return Ok(Requirement::Unsupported("sigstoreSigned with fulcio"));
    }
    if is_given(&"pki") {
        object(members, "pki")?;
        if has_log {
            return Err("pki must not have a rekorPublicKey".to_owned());
        }
        return Ok(Requirement::Unsupported("sigstoreSigned with pki"));
    }
    let keys = parse_key_sources(members, "key")?;
    if has_log {
        return Ok(Requirement::Unsupported("sigstoreSigned with rekorPublicKey"));
    }
    Ok(Requirement::Signed(SignedRequirement { keys, identity }))
}

/// Parses the keys in the members `…Path`, `…Paths`, `…Data` or `…Datas`, of which exactly one must be given.
fn parse_key_sources(members: &Members, prefix: &str) -> Result<Vec<KeySource>, String> {
    let [path, paths, data, datas] = ["Path", "Paths", "Data", "Datas"].map(|suffix| format!("{prefix}{suffix}"));
    let given: Vec<&String> =
        [&path, &paths, &data, &datas].into_iter().filter(|name| members.contains_key(*name)).collect();
    let [name] = given.as_slice() else {
        return Err(format!("it has {} of {path}, {paths} and {data}, and must have one", given.len()));
    };
    let values = if **name == paths || **name == datas {
        list(members, name)?
            .iter()
            .map(|value| value.as_str().ok_or_else(|| format!("{name} has a value that is no string")))
            .collect::<Result<Vec<_>, _>>()?
    } else {
        vec![string(members, name)?]
    };
    if values.is_empty() || values.iter().any(|value| value.is_empty()) {
        return Err(format!("{name} is empty"));
    }
    let is_path = **name == path || **name == paths;
    let parse = |value: &str| {
        if is_path {
            return Ok(KeySource::File(PathBuf::from(value)));
        }
        let pem = decode_base64(value).ok_or_else(|| format!("{name} is not base64"))?;
        Ok(KeySource::Pem(pem))
    };
    values.into_iter().map(parse).collect()
}

fn parse_identity(members: &Members) -> Result<IdentityMatch, String> {
    match members.get("signedIdentity") {
        Some(identity) => IdentityMatch::parse(identity),
        None => Ok(IdentityMatch::RepoDigestOrExact),
    }
}

fn allow_only(members: &Members, names: &[&str]) -> Result<(), String> {
    match members.keys().find(|key| !names.contains(&key.as_str())) {
        Some(unknown) => Err(format!("member \"{unknown}\" is unknown")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::parse(text.as_bytes()).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    fn requirement(text: &str) -> Result<Requirement, String> {
        let parsed = Policy::parse(format!(r#"{{"default":[{text}]}}"#).as_bytes())?;
        Ok(parsed.default[0].clone())
    }

    #[test]
    fn the_most_precise_scope_decides() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let scopes = |name: &str| docker_scopes(&name.parse().unwrap());
        assert_eq!(
            scopes("a.b.example.com:8443/ns/team/app:1"),
            [
                "a.b.example.com:8443/ns/team/app:1",
                "a.b.example.com:8443/ns/team/app",
                "a.b.example.com:8443/ns/team",
                "a.b.example.com:8443/ns",
                "a.b.example.com:8443",
                "*.b.example.com",
                "*.example.com",
                "*.com",
            ]
        );
        assert_eq!(
            scopes("alpine"),
            ["docker.io/library/alpine:latest", "docker.io/library/alpine", "docker.io/library", "docker.io", "*.io"]
        );
        assert_eq!(scopes(&format!("localhost/x:1@{digest}"))[0], format!("localhost/x@{digest}"));
        let text = r#"{"default":[{"type":"reject"}],"transports":{"docker":{
            "a.io/b":[{"type":"insecureAcceptAnything"}],"*.io":[{"type":"reject"}],"":[{"type":"reject"}]},
            "oci-archive":{"/srv/images":[{"type":"insecureAcceptAnything"}]},"docker-archive":{}}}"#;
        let policy = policy(text);
        for (name, place) in [
            ("a.io/b:1", "docker \"a.io/b\""),
            ("a.io/b/c:1", "docker \"a.io/b\""),
            ("a.io/bc:1", "docker \"*.io\""),
            ("a.org/b", "docker \"\""),
        ] {
            assert_eq!(policy.rule_for(&name.parse().unwrap()).place, place, "{name}");
        }
        for (transport, path, place) in [
            (Transport::OciArchive, Some("/srv/images/a/b.tar"), "oci-archive \"/srv/images\""),
            (Transport::OciArchive, Some("/srv/imagesx"), "default"),
            (Transport::OciArchive, None, "default"),
            (Transport::DockerArchive, Some("/srv/images/a"), "default"),
        ] {
            assert_eq!(policy.rule_for_archive(transport, path).place, place, "{path:?}");
        }
    }

    #[test]
    fn parses_each_kind_of_requirement() {
        let key = "LS0t";
        for (text, expected) in [
            (r#"{"type":"insecureAcceptAnything"}"#.to_owned(), "insecureAcceptAnything"),
            (r#"{"type":"reject"}"#.to_owned(), "reject"),
            (r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}"#.to_owned(), "signedBy (not supported)"),
            (
                r#"{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchExact"}}"#.to_owned(),
                "signedBaseLayer (not supported)",
            ),
            (r#"{"type":"sigstoreSigned","keyPath":"/k"}"#.to_owned(), "sigstoreSigned (matchRepoDigestOrExact)"),
            (
                format!(
                    r#"{{"type":"sigstoreSigned","keyData":"{key}","signedIdentity":{{"type":"matchRepository"}}}}"#
                ),
                "sigstoreSigned (matchRepository)",
            ),
            (
                format!(r#"{{"type":"sigstoreSigned","keyPath":"/k","rekorPublicKeyData":"{key}"}}"#),
                "sigstoreSigned with rekorPublicKey (not supported)",
            ),
            (
                format!(r#"{{"type":"sigstoreSigned","fulcio":{{}},"rekorPublicKeyPath":"{key}"}}"#),
                "sigstoreSigned with fulcio (not supported)",
            ),
            (r#"{"type":"sigstoreSigned","pki":{}}"#.to_owned(), "sigstoreSigned with pki (not supported)"),
        ] {
            assert_eq!(requirement(&text).map(|parsed| parsed.word()).as_deref(), Ok(expected), "{text}");
        }
        let two = requirement(r#"{"type":"sigstoreSigned","keyPaths":["/a","/b"]}"#).unwrap();
        let Requirement::Signed(signed) = two else { panic!("{two:?}") };
        assert_eq!(signed.keys, [KeySource::File("/a".into()), KeySource::File("/b".into())]);
        let data = requirement(r#"{"type":"sigstoreSigned","keyDatas":["LS0t"]}"#).unwrap();
        let Requirement::Signed(signed) = data else { panic!("{data:?}") };
        assert_eq!(signed.keys, [KeySource::Pem(b"---".to_vec())]);
    }

    #[test]
    fn a_fault_anywhere_makes_the_policy_invalid() {
        let accept = r#"[{"type":"insecureAcceptAnything"}]"#;
        let whole = |text: &str| Policy::parse(text.as_bytes()).is_err();
        for text in [
            String::new(),
            "{}".to_owned(),
            "[]".to_owned(),
            "null".to_owned(),
            format!(r#"{{"default":{accept}}} x"#),
            format!("// comment\n{{\"default\":{accept}}}"),
            format!(r#"{{"default":{accept},"default":{accept}}}"#),
            format!(r#"{{"default":{accept},"Default":{accept}}}"#),
            format!(r#"{{"default":{accept},"x":1}}"#),
            r#"{"default":[]}"#.to_owned(),
            r#"{"default":null}"#.to_owned(),
            r#"{"default":{"type":"reject"}}"#.to_owned(),
            format!(r#"{{"transports":{{"docker":{{"":{accept}}}}}}}"#),
            format!(r#"{{"default":{accept},"transports":null}}"#),
            format!(r#"{{"default":{accept},"transports":[]}}"#),
            format!(r#"{{"default":{accept},"transports":{{"docker":null}}}}"#),
            format!(r#"{{"default":{accept},"transports":{{"docker":{{"a.io":[]}}}}}}"#),
            format!(r#"{{"default":{accept},"transports":{{"unknown":{{"a.io":[]}}}}}}"#),
            format!(r#"{{"default":{accept},"transports":{{"docker":{{"a.io":{accept},"a.io":{accept}}}}}}}"#),
            format!(r#"{{"default":{accept},"transports":{{"docker-archive":{{"x":{accept}}}}}}}"#),
            format!(r#"{{"default":{accept},"transports":{{"oci":{{"relative":{accept}}}}}}}"#),
            format!(r#"{{"default":{accept},"transports":{{"oci-archive":{{"/a/../b":{accept}}}}}}}"#),
            format!(r#"{{"default":{accept},"transports":{{"dir":{{"/":{accept}}}}}}}"#),
        ] {
            assert!(whole(&text), "{text}");
        }
        for text in [
            "null",
            "{}",
            r#"{"type":"accept"}"#,
            r#"{"type":"reject","x":1}"#,
            r#"{"type":"reject","type":"reject"}"#,
            r#"{"type":"insecureAcceptAnything","keyPath":"/k"}"#,
            r#"{"type":"signedBy","keyPath":"/k"}"#,
            r#"{"type":"signedBy","keyType":"other","keyPath":"/k"}"#,
            r#"{"type":"signedBy","keyType":"GPGKeys"}"#,
            r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k","keyData":"LS0t"}"#,
            r#"{"type":"signedBaseLayer"}"#,
            r#"{"type":"sigstoreSigned"}"#,
            r#"{"type":"sigstoreSigned","keyPath":""}"#,
            r#"{"type":"sigstoreSigned","keyPath":null}"#,
            r#"{"type":"sigstoreSigned","keyPaths":[]}"#,
            r#"{"type":"sigstoreSigned","keyPaths":["/a",1]}"#,
            r#"{"type":"sigstoreSigned","keyPaths":"/a"}"#,
            r#"{"type":"sigstoreSigned","keyData":"LS0"}"#,
            r#"{"type":"sigstoreSigned","keyPath":"/k","keyData":"LS0t"}"#,
            r#"{"type":"sigstoreSigned","keyPath":"/k","fulcio":{},"rekorPublicKeyPath":"/r"}"#,
            r#"{"type":"sigstoreSigned","keyPath":"/k","rekorPublicKeyPath":"/r","rekorPublicKeyData":"LS0t"}"#,
            r#"{"type":"sigstoreSigned","fulcio":{}}"#,
            r#"{"type":"sigstoreSigned","pki":{},"rekorPublicKeyPath":"/r"}"#,
            r#"{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":null}"#,
            r#"{"type":"sigstoreSigned","keyPath":"/k","signedidentity":{"type":"matchExact"}}"#,
            r#"{"type":"sigstoreSigned","keyType":"GPGKeys","keyPath":"/k"}"#,
        ] {
            assert!(requirement(text).is_err(), "{text}");
        }
    }
}
