//! The identities of containers-policy.json(5): for which name an image must have been signed.

use serde_json::Value;

use super::members::{Members, exactly, string};
use crate::oci::reference::Reference;

/// The identity that a policy demands (`signedIdentity`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdentityMatch {
    Exact,
    /// The default.
    RepoDigestOrExact,
    Repository,
    ExactReference(Reference),
    ExactRepository(Reference),
    /// Names that are `prefix`, or begin with it and a slash, are signed under another prefix.
    Remap {
        prefix: String,
        signed_prefix: String,
    },
}

impl IdentityMatch {
    /// Parses a `signedIdentity`.
    pub(super) fn parse(value: &Value) -> Result<Self, String> {
        let Some(members) = value.as_object() else { return Err("signedIdentity is not an object".to_owned()) };
        let parsed = Self::parse_members(members);
        parsed.map_err(|why| format!("signedIdentity: {why}"))
    }

    fn parse_members(members: &Members) -> Result<Self, String> {
        let (identity, names): (_, &[&str]) = match string(members, "type")? {
            "matchExact" => (Self::Exact, &["type"]),
            "matchRepoDigestOrExact" => (Self::RepoDigestOrExact, &["type"]),
            "matchRepository" => (Self::Repository, &["type"]),
            "exactReference" => {
                let name = parse_name(string(members, "dockerReference")?)?;
                if is_name_only(&name) {
                    return Err(format!("dockerReference \"{name}\" has neither tag nor digest"));
                }
                (Self::ExactReference(name), &["type", "dockerReference"])
            }
            "exactRepository" => {
                let name = parse_name(string(members, "dockerRepository")?)?;
                (Self::ExactRepository(name), &["type", "dockerRepository"])
            }
            "remapIdentity" => {
                let prefix = |name| check_prefix(string(members, name)?);
                let (prefix, signed_prefix) = (prefix("prefix")?, prefix("signedPrefix")?);
                (Self::Remap { prefix, signed_prefix }, &["type", "prefix", "signedPrefix"])
            }
            other => return Err(format!("the type \"{other}\" is unknown")),
        };
        exactly(members, names)?;
        Ok(identity)
    }

    /// The type as a policy names it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Exact => "matchExact",
            Self::RepoDigestOrExact => "matchRepoDigestOrExact",
            Self::Repository => "matchRepository",
            Self::ExactReference(_) => "exactReference",
            Self::ExactRepository(_) => "exactRepository",
            Self::Remap { .. } => "remapIdentity",
        }
    }

    /// Returns true if an image that was asked for by the name `intended` may have been signed for the name `signed`.
    /// `intended` is `None` for an image of an archive, which has no name that anybody asked for.
    fn matches(&self, intended: Option<&Reference>, signed: &Reference) -> bool {
        let is_same = |one: &Reference, other: &Reference| one.repository() == other.repository();
        match self {
            Self::ExactReference(name) => is_exact(name, signed),
            Self::ExactRepository(name) => is_same(name, signed),
            Self::Exact => intended.is_some_and(|name| is_exact(name, signed)),
            Self::Repository => intended.is_some_and(|name| is_same(name, signed)),
            Self::RepoDigestOrExact => intended.is_some_and(|name| is_digest_or_exact(name, signed)),
            Self::Remap { prefix, signed_prefix } => intended
                .and_then(|name| remap(name, prefix, signed_prefix))
                .is_some_and(|name| is_digest_or_exact(&name, signed)),
        }
    }
}

/// What a policy demands of the identity of one image.
#[derive(Clone, Debug)]
pub(crate) struct IdentityDemand {
    pub(crate) kind: IdentityMatch,
    /// The name that was asked for.
    pub(crate) intended: Option<Reference>,
}

impl IdentityDemand {
    /// Says why a signature for this identity does not count; `None` if it does.
    pub(super) fn objection(&self, identity: Option<&str>) -> Option<String> {
        let Some(identity) = identity else {
            return Some(
                "the signature has no identity, and a bundle needs the annotation docker-reference".to_owned(),
            );
        };
        let Ok(signed) = parse_name(identity) else {
            return Some(format!("it is signed for the malformed name \"{identity}\""));
        };
        if self.kind.matches(self.intended.as_ref(), &signed) {
            return None;
        }
        let needs_tag =
            matches!(self.kind, IdentityMatch::Exact | IdentityMatch::RepoDigestOrExact | IdentityMatch::Remap { .. });
        let word = self.kind.word();
        let intended = match &self.intended {
            Some(name) => name.to_string(),
            None => "an archive without a name".to_owned(),
        };
        Some(if is_name_only(&signed) && needs_tag {
            format!(
                "it is signed for {signed}, which has no tag, and {word} of the policy demands one: matchRepository accepts \
                 it"
            )
        } else {
            format!("it is signed for {signed}, which {word} of the policy does not accept for {intended}")
        })
    }
}

/// Parses a name as it is, without adding a tag.
fn parse_name(text: &str) -> Result<Reference, String> {
    Reference::parse_as_is(text).map_err(|e| e.to_string())
}

fn is_name_only(name: &Reference) -> bool {
    name.tag().is_none() && name.digest().is_none()
}

fn is_exact(intended: &Reference, signed: &Reference) -> bool {
    !is_name_only(intended) && !is_name_only(signed) && intended == signed
}

/// A digest says which image is meant, and the signature is of that digest anyway, so only the repository counts.
fn is_digest_or_exact(intended: &Reference, signed: &Reference) -> bool {
    if is_name_only(signed) {
        return false;
    }
    match (intended.tag(), intended.digest()) {
        (Some(_), _) => intended == signed,
        (None, Some(_)) => intended.repository() == signed.repository(),
        (None, None) => false,
    }
}

/// The name under which an image was signed. `None` if the new prefix makes no canonical name.
fn remap(name: &Reference, prefix: &str, signed_prefix: &str) -> Option<Reference> {
    let text = name.to_string();
    let repository = name.repository();
    match repository.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {}
        _ => return Some(name.clone()),
    }
    let remapped = format!("{signed_prefix}{}", text.strip_prefix(prefix)?);
    let parsed = parse_name(&remapped).ok()?;
    (parsed.to_string() == remapped).then_some(parsed)
}

/// A prefix is a registry, or a registry with the beginning of a path.
fn check_prefix(prefix: &str) -> Result<String, String> {
    let (domain, path) = prefix.split_once('/').unwrap_or((prefix, "path"));
    let any = parse_name("registry.example/path")?;
    match any.moved(domain, path) {
        Ok(_) => Ok(prefix.to_owned()),
        Err(_) => Err(format!("the prefix \"{prefix}\" is malformed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn identity(text: &str) -> Result<IdentityMatch, String> {
        IdentityMatch::parse(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn an_identity_matches_as_in_containers_image() {
        let remap = |to: &str| format!(r#"{{"type":"remapIdentity","prefix":"mirror.io/up","signedPrefix":"{to}"}}"#);
        let exact = |name: &str| format!(r#"{{"type":"exactReference","dockerReference":"{name}"}}"#);
        let repository = |name: &str| format!(r#"{{"type":"exactRepository","dockerRepository":"{name}"}}"#);
        let of = |word: &str| format!(r#"{{"type":"{word}"}}"#);
        let default = of("matchRepoDigestOrExact");
        let pinned = format!("a.io/b{DIGEST}");
        for (kind, intended, signed, expected) in [
            (of("matchExact"), "a.io/b:1", "a.io/b:1", true),
            (of("matchExact"), "a.io/b:1", "a.io/b:2", false),
            (of("matchExact"), "a.io/b:1", "a.io/b", false),
            (of("matchExact"), &pinned, "a.io/b:1", false),
            (of("matchExact"), &pinned, &pinned, true),
            (of("matchExact"), "alpine", "index.docker.io/library/alpine:latest", true),
            (default.clone(), "a.io/b:1", "a.io/b:1", true),
            (default.clone(), "a.io/b:1", "a.io/b", false),
            (default.clone(), "a.io/b:1", "a.io/c:1", false),
            (default.clone(), "a.io/b:1", &pinned, false),
            (default.clone(), &pinned, "a.io/b:1", true),
            (default.clone(), &pinned, "a.io/b", false),
            (default.clone(), &pinned, "a.io/c:1", false),
            (of("matchRepository"), "a.io/b:1", "a.io/b", true),
            (of("matchRepository"), "a.io/b:1", "a.io/b:9", true),
            (of("matchRepository"), "a.io/b:1", "a.io/b/c:1", false),
            (of("matchRepository"), "alpine:1", "alpine", true),
            (exact("a.io/c:2"), "a.io/b:1", "a.io/c:2", true),
            (exact("a.io/c:2"), "a.io/b:1", "a.io/c", false),
            (repository("a.io/c"), "a.io/b:1", "a.io/c:7", true),
            (repository("a.io/c:3"), "a.io/b:1", "a.io/c:7", true),
            (repository("a.io/c"), "a.io/b:1", "a.io/b:1", false),
            (remap("up.io"), "mirror.io/up/x:1", "up.io/x:1", true),
            (remap("up.io"), "mirror.io/up/x:1", "mirror.io/up/x:1", false),
            (remap("up.io"), "mirror.io/upper/x:1", "mirror.io/upper/x:1", true),
            (remap("up.io/y"), "mirror.io/up:1", "up.io/y:1", true),
            (remap("up.io"), "mirror.io/up:1", "up.io:1", false),
            (remap("docker.io"), "mirror.io/up/x:1", "docker.io/library/x:1", false),
            (remap("docker.io/library"), "mirror.io/up/x:1", "x:1", true),
            (of("matchRepository"), "a.io/b:1", "A", false),
            (of("matchRepository"), "a.io/b:1", "", false),
        ] {
            let demand = IdentityDemand { kind: identity(&kind).unwrap(), intended: intended.parse().ok() };
            let objection = demand.objection(Some(signed));
            assert_eq!(objection.is_none(), expected, "{kind} {intended} {signed}: {objection:?}");
            assert!(demand.objection(None).is_some_and(|why| why.contains("docker-reference")));
        }
    }

    #[test]
    fn the_default_names_the_way_out_for_names_without_a_tag() {
        let demand = IdentityDemand { kind: IdentityMatch::RepoDigestOrExact, intended: "a.io/b:1".parse().ok() };
        let why = demand.objection(Some("a.io/b")).unwrap_or_default();
        assert!(why.contains("has no tag") && why.contains("matchRepository accepts"), "{why}");
        let why = demand.objection(Some("a.io/b:2")).unwrap_or_default();
        assert!(!why.contains("matchRepository"), "{why}");
    }

    #[test]
    fn an_image_without_a_name_matches_only_the_names_of_the_policy() {
        let repository = parse_name("a.io/c").unwrap();
        for (kind, expected) in [
            (IdentityMatch::Exact, false),
            (IdentityMatch::RepoDigestOrExact, false),
            (IdentityMatch::Repository, false),
            (IdentityMatch::ExactRepository(repository), true),
        ] {
            let demand = IdentityDemand { kind, intended: None };
            assert_eq!(demand.objection(Some("a.io/c:1")).is_none(), expected, "{demand:?}");
        }
    }

    #[test]
    fn rejects_malformed_identities() {
        for text in [
            "null",
            "\"matchExact\"",
            "{}",
            r#"{"type":null}"#,
            r#"{"type":"matchexact"}"#,
            r#"{"type":"matchExact","x":1}"#,
            r#"{"type":"exactReference"}"#,
            r#"{"type":"exactReference","dockerReference":"a.io/b"}"#,
            r#"{"type":"exactReference","dockerReference":""}"#,
            r#"{"type":"exactReference","dockerReference":"a.io/b:1","x":1}"#,
            r#"{"type":"exactRepository","dockerRepository":"UP"}"#,
            r#"{"type":"exactRepository","dockerReference":"a.io/b"}"#,
            r#"{"type":"remapIdentity","prefix":"a.io"}"#,
            r#"{"type":"remapIdentity","prefix":"a.io/","signedPrefix":"b.io"}"#,
            r#"{"type":"remapIdentity","prefix":"a.io/b:1","signedPrefix":"b.io"}"#,
            r#"{"type":"remapIdentity","prefix":"","signedPrefix":"b.io"}"#,
        ] {
            assert!(identity(text).is_err(), "{text}");
        }
    }
}
