//! Parses containers' `registries.conf`, version 2, and finds the entry for a name by the rules of containers/image.
//! Aliases and search lists with several registries are ignored, because they would need a user to choose.

use super::toml_file::{self, Table};
use crate::oci::reference::Reference;
use crate::oci::route::{Base, Place, Route};

/// The content of a file and its drop-ins.
#[derive(Debug, Default)]
pub(super) struct Registries {
    entries: Vec<RegistryTable>,
    /// `unqualified-search-registries`, if present.
    search: Option<Vec<String>>,
    /// `credential-helpers`, if present.
    helpers: Option<Vec<String>>,
}

/// `[[registry]]`.
#[derive(Debug)]
struct RegistryTable {
    prefix: String,
    /// Empty for a wildcard prefix without a location: then names stay as they are.
    location: String,
    is_insecure: bool,
    is_blocked: bool,
    mirrors: Vec<MirrorTable>,
    /// The file with this entry.
    from: String,
}

/// `[[registry.mirror]]`.
#[derive(Debug)]
struct MirrorTable {
    location: String,
    is_insecure: bool,
    pull_from: PullFromMirror,
}

/// Which names a mirror is used for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum PullFromMirror {
    All,
    DigestOnly,
    TagOnly,
}

/// The configuration for a name.
#[derive(Debug, PartialEq)]
pub(super) enum Rule {
    /// The name must not be fetched, because of this file.
    Blocked {
        from: String,
    },
    Route(Box<Route>),
}

impl Registries {
    /// Parses one file. Errors begin with the line.
    pub(super) fn parse(text: &str, from: &str) -> Result<Self, String> {
        let document = toml_file::parse(text)?;
        let root = document.root();
        if let Some(version_1) = root.table("registries")? {
            return Err(version_1.error("version 1 of the format is not supported: write [[registry]] tables"));
        }
        let mut entries: Vec<RegistryTable> = Vec::new();
        for table in root.tables("registry")? {
            let entry = parse_registry(&table, from)?;
            if entries.iter().any(|other| other.conflicts_with(&entry)) {
                return Err(table.error(&format!("conflicting entries for \"{}\"", entry.prefix)));
            }
            entries.push(entry);
        }
        let list = |name: &str| -> Result<Option<Vec<String>>, String> {
            Ok(root.strings(name)?.map(|list| list.into_iter().map(str::to_owned).collect()))
        };
        let (search, helpers) = (list("unqualified-search-registries")?, list("credential-helpers")?);
        Ok(Self { entries, search, helpers })
    }

    /// Adds a drop-in. Its entries replace those with the same prefix, and its lists replace the others.
    pub(super) fn merge(&mut self, drop_in: Self) {
        self.entries.retain(|entry| !drop_in.entries.iter().any(|other| other.prefix == entry.prefix));
        self.entries.extend(drop_in.entries);
        if drop_in.search.is_some() {
            self.search = drop_in.search;
        }
        if drop_in.helpers.is_some() {
            self.helpers = drop_in.helpers;
        }
    }

    /// Returns the sources of credentials in their order; empty if the files have no list.
    pub(super) fn credential_helpers(&self) -> &[String] {
        self.helpers.as_deref().unwrap_or_default()
    }

    /// Returns the registry of short names, if the search list has exactly one.
    pub(super) fn unqualified_search(&self) -> Option<&str> {
        match self.search.as_deref() {
            Some([registry]) => Some(registry),
            _ => None,
        }
    }

    /// Returns the rule of the entry with the longest matching prefix. Of several with the same prefix, the last one wins.
    pub(super) fn rule_for(&self, name: &Reference) -> Result<Option<Rule>, String> {
        let text = name.to_string();
        let matching = self.entries.iter().filter_map(|entry| Some((entry, match_prefix(&text, &entry.prefix)?)));
        let Some((entry, end)) = matching.max_by_key(|(entry, _)| entry.prefix.len()) else { return Ok(None) };
        if entry.is_blocked {
            return Ok(Some(Rule::Blocked { from: entry.from.clone() }));
        }
        let route = entry.route(name, end)?;
        Ok(Some(Rule::Route(Box::new(route))))
    }
}

impl RegistryTable {
    fn conflicts_with(&self, other: &Self) -> bool {
        self.prefix == other.prefix && (self.is_insecure != other.is_insecure || self.is_blocked != other.is_blocked)
    }

    /// Returns the mirrors that are used for this kind of name, and then the location. In each of them, the part of the
    /// name from byte `prefix_end` on is appended.
    fn route(&self, name: &Reference, prefix_end: usize) -> Result<Route, String> {
        let repository = name.repository();
        // A prefix without a port also matches names with a port, which no location can replace.
        let rest = repository.get(prefix_end..).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let mut origin = Place::new(Base::Named, &self.from);
        origin.is_insecure = self.is_insecure;
        let mut mirrors = Vec::new();
        if let Some(rest) = rest {
            origin.base = self.base_at(&self.location, rest)?;
            for mirror in &self.mirrors {
                if mirror.pull_from == PullFromMirror::TagOnly && name.digest().is_some() {
                    continue;
                }
                let mut place = Place::new(self.base_at(&mirror.location, rest)?, &self.from);
                place.is_insecure = mirror.is_insecure;
                place.resolves = mirror.pull_from != PullFromMirror::DigestOnly;
                mirrors.push(place);
            }
        }
        Ok(Route { mirrors, origin: Some(origin), from: self.from.clone() })
    }

    /// Appends `rest`, which is empty or starts with a slash, to a location.
    fn base_at(&self, location: &str, rest: &str) -> Result<Base, String> {
        if location.is_empty() {
            return Ok(Base::Named);
        }
        let moved = format!("{location}{rest}");
        match moved.split_once('/') {
            Some((host, path)) => Ok(Base::Repository { host: host.to_owned(), path: path.to_owned() }),
            None => Err(format!("{}: location \"{location}\" names no repository", self.from)),
        }
    }
}

/// Returns the end of the part of a name that matches a prefix, in bytes, or `None` if it does not match. A prefix that
/// starts with `*.` matches all hosts below a domain.
fn match_prefix(name: &str, prefix: &str) -> Option<usize> {
    let end = match prefix.strip_prefix('*') {
        Some(suffix) => {
            let start = name.find(suffix)?;
            if name.get(..start)?.contains('/') {
                return None;
            }
            start + suffix.len()
        }
        None if name.starts_with(prefix) => prefix.len(),
        None => return None,
    };
    let rest = name.get(end..)?;
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(end)
}

fn parse_registry(table: &Table<'_>, from: &str) -> Result<RegistryTable, String> {
    let location = location(table)?;
    let Some(prefix) = host_and_path(table, "prefix")?.or_else(|| location.clone()) else {
        return Err(table.error("there is neither a prefix nor a location"));
    };
    let is_wildcard = prefix.starts_with("*.");
    if location.is_none() && !is_wildcard {
        return Err(table.error("there is no location, and the prefix is not a wildcard"));
    }
    if prefix.get(usize::from(is_wildcard)..).is_some_and(|rest| rest.contains('*')) {
        return Err(table.error("a wildcard is only allowed as \"*.\" at the start of a prefix"));
    }
    let digests_only = table.flag("mirror-by-digest-only")?;
    let mut mirrors = Vec::new();
    for mirror in table.tables("mirror")? {
        mirrors.push(parse_mirror(&mirror, digests_only)?);
    }
    Ok(RegistryTable {
        prefix,
        location: location.unwrap_or_default(),
        is_insecure: table.flag("insecure")?,
        is_blocked: table.flag("blocked")?,
        mirrors,
        from: from.to_owned(),
    })
}

fn parse_mirror(table: &Table<'_>, digests_only: bool) -> Result<MirrorTable, String> {
    let location = location(table)?.ok_or_else(|| table.error("the mirror has no location"))?;
    let pull_from = match table.string("pull-from-mirror")? {
        Some(_) if digests_only => {
            return Err(table.error("\"pull-from-mirror\" and \"mirror-by-digest-only\" exclude each other"));
        }
        None | Some("") if digests_only => PullFromMirror::DigestOnly,
        None | Some("" | "all") => PullFromMirror::All,
        Some("digest-only") => PullFromMirror::DigestOnly,
        Some("tag-only") => PullFromMirror::TagOnly,
        Some(_) => return Err(table.error("\"pull-from-mirror\" is not one of all, digest-only, tag-only")),
    };
    Ok(MirrorTable { location, is_insecure: table.flag("insecure")?, pull_from })
}

fn location(table: &Table<'_>) -> Result<Option<String>, String> {
    let location = host_and_path(table, "location")?;
    if location.as_ref().is_some_and(|location| location.contains('*')) {
        return Err(table.error("a location cannot have a wildcard"));
    }
    Ok(location)
}

/// Returns a member with the form `HOST[:PORT][/PATH]`, or `None` if it is missing or empty.
fn host_and_path(table: &Table<'_>, key: &str) -> Result<Option<String>, String> {
    let text = table.string(key)?.unwrap_or_default().trim_end_matches('/');
    if text.is_empty() {
        return Ok(None);
    }
    if text.contains("://") || text.contains(['?', '#', '@']) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(table.error(&format!("\"{key}\" is not HOST[:PORT][/PATH]: \"{text}\"")));
    }
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registries(text: &str) -> Registries {
        Registries::parse(text, "f").unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// Returns `host/path` of each place with its flags (`t`: resolves tags, `i`: insecure), or the other outcome.
    fn rule(registries: &Registries, name: &str) -> String {
        let show = |place: &Place| {
            let at = match &place.base {
                Base::Repository { host, path } => format!("{host}/{path}"),
                _ => "itself".to_owned(),
            };
            let tags = if place.resolves { "+t" } else { "" };
            let insecure = if place.is_insecure { "+i" } else { "" };
            format!("{at}{tags}{insecure}")
        };
        match registries.rule_for(&name.parse().unwrap()) {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(Rule::Blocked { from })) => format!("blocked by {from}"),
            Ok(Some(Rule::Route(route))) => {
                route.mirrors.iter().chain(&route.origin).map(show).collect::<Vec<_>>().join(" ")
            }
            Err(why) => why,
        }
    }

    #[track_caller]
    fn check(text: &str, name: &str, expected: &str) {
        assert_eq!(rule(&registries(text), name), expected, "{name} by {text}");
    }

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn uses_the_longest_prefix() {
        let text = "[[registry]]\nlocation = 'r.io'\n[[registry]]\nprefix = 'r.io/a'\nlocation = 'm.io/x'\ninsecure = true\n\
                    [[registry]]\nprefix = 'r.io/a/b'\nlocation = 'n.io'\n[[registry]]\nprefix='*.w.io'\nblocked = true\n";
        check(text, "r.io/z:1", "r.io/z+t");
        check(text, "r.io/a:1", "m.io/x+t+i");
        check(text, "r.io/a/c:1", "m.io/x/c+t+i");
        check(text, "r.io/ab:1", "r.io/ab+t");
        check(text, "r.io/a/b/c:1", "n.io/c+t");
        check(text, "r.io/a/b:1", "f: location \"n.io\" names no repository");
        check(text, "r.io.evil.io/a:1", "nothing");
        check(text, "alpine", "nothing");
        check(text, "x.w.io/a", "blocked by f");
        check(text, "x.y.w.io:5000/a", "blocked by f");
        check(text, "w.io/a", "nothing");
        check(text, "evil.io/x.w.io/a", "nothing");
        // A prefix without a port matches all ports: they can be blocked, but not moved.
        check(text, "r.io:5000/a", "itself+t");
    }

    #[test]
    fn wildcard_with_and_without_location() {
        check("[[registry]]\nprefix='*.w.io'\ninsecure=true", "a.w.io/b/c", "itself+t+i");
        check("[[registry]]\nprefix='*.w.io'\nlocation='m.io/n'", "a.w.io/b/c", "m.io/n/b/c+t");
        check("[[registry]]\nprefix='*.w.io/b'\nlocation='m.io/n'", "a.w.io/b/c", "m.io/n/c+t");
        check("[[registry]]\nprefix='*.w.io/b'\nlocation='m.io/n'", "a.w.io/x/c", "nothing");
    }

    #[test]
    fn mirrors_are_for_tags_or_digests() {
        let mirror = |location: &str, pull: &str| {
            format!("[[registry.mirror]]\nlocation = '{location}'\npull-from-mirror = '{pull}'\n")
        };
        let text = format!(
            "[[registry]]\nprefix='docker.io'\nlocation='docker.io'\n{}{}{}",
            mirror("a.io/hub", "all"),
            mirror("d.io", "digest-only"),
            mirror("t.io", "tag-only")
        );
        check(
            &text,
            "alpine",
            "a.io/hub/library/alpine+t d.io/library/alpine t.io/library/alpine+t docker.io/library/alpine+t",
        );
        let pinned = format!("alpine@sha256:{HEX}");
        check(&text, &pinned, "a.io/hub/library/alpine+t d.io/library/alpine docker.io/library/alpine+t");
        let by_digest = "[[registry]]\nlocation='r.io'\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='m.io'\ninsecure=true";
        check(by_digest, "r.io/a", "m.io/a+i r.io/a+t");
    }

    #[test]
    fn drop_ins_replace_entries() {
        let mut base =
            registries("unqualified-search-registries=['a.io','b.io']\n[[registry]]\nlocation='r.io'\nblocked=true");
        assert_eq!(base.unqualified_search(), None);
        base.merge(registries("[[registry]]\nlocation='x.io'\nblocked=true"));
        assert_eq!((rule(&base, "r.io/a").as_str(), rule(&base, "x.io/a").as_str()), ("blocked by f", "blocked by f"));
        base.merge(registries("unqualified-search-registries=['c.io']\n[[registry]]\nlocation='r.io'\n"));
        assert_eq!((rule(&base, "r.io/a").as_str(), base.unqualified_search()), ("r.io/a+t", Some("c.io")));
        base.merge(registries("unqualified-search-registries=[]"));
        assert_eq!(base.unqualified_search(), None);
    }

    #[test]
    fn rejects_malformed_files_with_the_line() {
        for (text, expected) in [
            ("[[registry]]\nlocation = 1", "line 2"),
            ("\n[registry]\nlocation='a'", "line 2"),
            ("[[registry]]\n", "line 1: there is neither"),
            ("[[registry]]\nprefix='a.io'", "no location"),
            ("[[registry]]\nlocation='https://a.io'", "not HOST"),
            ("[[registry]]\nlocation='a.io/x?y'", "not HOST"),
            ("[[registry]]\nlocation='a b'", "not HOST"),
            ("[[registry]]\nlocation=\"a\\u001b[31m\"", "not HOST"),
            ("[[registry]]\nlocation='*.a.io'", "cannot have a wildcard"),
            ("[[registry]]\nprefix='a.*.io'\nlocation='b'", "wildcard"),
            ("[[registry]]\nlocation='a'\nblocked='yes'", "line 3"),
            ("[[registry]]\nlocation='a'\n[[registry.mirror]]\ninsecure=true", "line 3: the mirror"),
            ("[[registry]]\nlocation='a'\n[[registry.mirror]]\nlocation='m'\npull-from-mirror='x'", "not one of all"),
            (
                "[[registry]]\nlocation='a'\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='m'\npull-from-mirror='all'",
                "exclude each other",
            ),
            ("[[registry]]\nlocation='a'\n[[registry]]\nlocation='a'\nblocked=true", "conflicting entries"),
            ("[registries.search]\nregistries=['a']", "version 1"),
            ("unqualified-search-registries='a'", "line 1"),
        ] {
            let why = Registries::parse(text, "f").map(|_| String::new()).unwrap_or_else(|e| e);
            assert!(why.contains(expected), "{text}: {why}");
        }
        assert!(Registries::parse("# nothing\n[aliases]\n'a' = 'b.io/a'\n", "f").is_ok());
    }
}
