//! containers' `registries.conf`, version 2, pure: which entry speaks of a name, where it leads, and what it forbids. The
//! rules are those of containers/image. Aliases and search lists of several registries are not followed: which of them
//! is meant, a person would have to say.

use super::toml_file::{self, Table};
use crate::oci::reference::Reference;
use crate::oci::route::{Base, Place, Route};

/// What a file and its drop-ins say together.
#[derive(Debug, Default)]
pub(super) struct Registries {
    entries: Vec<RegistryTable>,
    /// Where short names are looked for, where that was said.
    search: Option<Vec<String>>,
}

/// `[[registry]]`.
#[derive(Debug)]
struct RegistryTable {
    prefix: String,
    /// Empty where the name itself says it: below a wildcard.
    location: String,
    is_insecure: bool,
    is_blocked: bool,
    mirrors: Vec<MirrorTable>,
    from: String,
}

/// `[[registry.mirror]]`.
#[derive(Debug)]
struct MirrorTable {
    location: String,
    is_insecure: bool,
    /// For names with a tag, and for names with a digest.
    by_tag: bool,
    by_digest: bool,
}

/// What the configuration says of a name.
#[derive(Debug, PartialEq)]
pub(super) enum Word {
    /// Nothing may be fetched; the file that says so.
    Blocked(String),
    Route(Box<Route>),
}

impl Registries {
    /// Parses one file. The error tells the line.
    pub(super) fn parse(text: &str, from: &str) -> Result<Self, String> {
        let document = toml_file::parse(text)?;
        let root = document.root();
        if let Some(old) = root.table("registries")? {
            return Err(old.complaint("version 1 of the format is not supported: write [[registry]] tables"));
        }
        let mut registries = Self::default();
        for table in root.tables("registry")? {
            let entry = entry(&table, from)?;
            let conflicts = |other: &RegistryTable| {
                other.prefix == entry.prefix
                    && (other.is_insecure, other.is_blocked) != (entry.is_insecure, entry.is_blocked)
            };
            if registries.entries.iter().any(conflicts) {
                let what = format!("\"{}\" is there twice, and not the same", entry.prefix);
                return Err(table.complaint(&what));
            }
            registries.entries.push(entry);
        }
        let search = root.strings("unqualified-search-registries")?;
        registries.search = search.map(|list| list.into_iter().map(str::to_owned).collect());
        Ok(registries)
    }

    /// A drop-in's entries take the place of those with the same prefix.
    pub(super) fn merge(&mut self, later: Self) {
        self.entries.retain(|entry| !later.entries.iter().any(|other| other.prefix == entry.prefix));
        self.entries.extend(later.entries);
        self.search = later.search.or(self.search.take());
    }

    /// The registry where short names are, if there is exactly one.
    pub(super) fn search(&self) -> Option<&str> {
        match self.search.as_deref() {
            Some([one]) => Some(one),
            _ => None,
        }
    }

    /// What the entry with the longest fitting prefix says of a name.
    pub(super) fn word(&self, name: &Reference) -> Result<Option<Word>, String> {
        let whole = name.to_string();
        let fitting = self.entries.iter().filter_map(|entry| Some((entry, matched(&whole, &entry.prefix)?)));
        // Of equal ones the last: it stands nearest to the end of the files.
        let Some((entry, matched)) = fitting.max_by_key(|(entry, _)| entry.prefix.len()) else { return Ok(None) };
        match entry.is_blocked {
            true => Ok(Some(Word::Blocked(entry.from.clone()))),
            false => entry.route(name, matched).map(|route| Some(Word::Route(Box::new(route)))),
        }
    }
}

impl RegistryTable {
    /// The mirrors that are for this kind of name, then the location, each with what stands behind the prefix.
    fn route(&self, name: &Reference, matched: usize) -> Result<Route, String> {
        let repository = name.repository();
        let rest = repository.get(matched..).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let at = |location: &str| match (rest, location.split_once('/')) {
            // A prefix without port speaks of the ports too, but no location can stand for them.
            (None, _) => Ok(Base::Named),
            (Some(_), None) if location.is_empty() => Ok(Base::Named),
            (Some(""), None) => Err(format!("{}: location \"{location}\" names no repository", self.from)),
            (Some(rest), None) => Ok(repository_at(location, rest.trim_start_matches('/'))),
            (Some(rest), Some((host, path))) => Ok(repository_at(host, &format!("{path}{rest}"))),
        };
        let mut origin = Place::new(at(&self.location)?, &self.from);
        origin.is_insecure = self.is_insecure;
        let is_pinned = name.digest().is_some();
        let mut mirrors = Vec::new();
        for mirror in self.mirrors.iter().filter(|mirror| rest.is_some() && (mirror.by_digest || !is_pinned)) {
            let mut place = Place::new(at(&mirror.location)?, &self.from);
            place.is_insecure = mirror.is_insecure;
            place.resolves = mirror.by_tag;
            mirrors.push(place);
        }
        Ok(Route { mirrors, origin: Some(origin), from: self.from.clone() })
    }
}

fn repository_at(host: &str, path: &str) -> Base {
    Base::Repository { host: host.to_owned(), path: path.to_owned() }
}

/// How many bytes of a name the prefix stands for; `None` where it is another's. `*.` stands for all hosts below one.
fn matched(name: &str, prefix: &str) -> Option<usize> {
    let end = match prefix.strip_prefix('*') {
        Some(suffix) => {
            let start = name.find(suffix).filter(|start| !name.get(..*start).is_some_and(|host| host.contains('/')))?;
            start + suffix.len()
        }
        None => name.starts_with(prefix).then_some(prefix.len())?,
    };
    let rest = name.get(end..)?;
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(end)
}

fn entry(table: &Table<'_>, from: &str) -> Result<RegistryTable, String> {
    let location = location(table, "location")?;
    let prefix = match location_of(table, "prefix")? {
        Some(prefix) => prefix,
        None => location.clone().ok_or_else(|| table.complaint("there is neither a prefix nor a location"))?,
    };
    let is_wildcard = prefix.starts_with("*.");
    if location.is_none() && !is_wildcard {
        return Err(table.complaint("there is no location, and the prefix is no wildcard"));
    }
    if prefix.get(usize::from(is_wildcard)..).is_some_and(|rest| rest.contains('*')) {
        return Err(table.complaint("a wildcard stands as \"*.\" before a prefix and nowhere else"));
    }
    let digests_only = table.flag("mirror-by-digest-only")?;
    let mirrors = table.tables("mirror")?.iter().map(|table| mirror(table, digests_only)).collect::<Result<_, _>>()?;
    let (is_insecure, is_blocked) = (table.flag("insecure")?, table.flag("blocked")?);
    Ok(RegistryTable {
        prefix,
        location: location.unwrap_or_default(),
        is_insecure,
        is_blocked,
        mirrors,
        from: from.to_owned(),
    })
}

fn mirror(table: &Table<'_>, digests_only: bool) -> Result<MirrorTable, String> {
    let location = location(table, "location")?.ok_or_else(|| table.complaint("the mirror has no location"))?;
    let (by_tag, by_digest) = match table.string("pull-from-mirror")? {
        Some(_) if digests_only => {
            return Err(table.complaint("\"pull-from-mirror\" and \"mirror-by-digest-only\" exclude each other"));
        }
        None | Some("") => (!digests_only, true),
        Some("all") => (true, true),
        Some("digest-only") => (false, true),
        Some("tag-only") => (true, false),
        Some(_) => return Err(table.complaint("\"pull-from-mirror\" is none of all, digest-only, tag-only")),
    };
    Ok(MirrorTable { location, is_insecure: table.flag("insecure")?, by_tag, by_digest })
}

fn location(table: &Table<'_>, key: &str) -> Result<Option<String>, String> {
    match location_of(table, key)? {
        Some(location) if location.contains('*') => Err(table.complaint("a location has no wildcard")),
        other => Ok(other),
    }
}

/// `HOST[:PORT][/PATH]`; empty is as good as not there.
fn location_of(table: &Table<'_>, key: &str) -> Result<Option<String>, String> {
    let Some(text) = table.string(key)?.map(|text| text.trim_end_matches('/')).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match text.contains("://") || !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains(['?', '#', '@']) {
        true => Err(table.complaint(&format!("\"{key}\" is not HOST[:PORT][/PATH]: \"{text}\""))),
        false => Ok(Some(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registries(text: &str) -> Registries {
        Registries::parse(text, "f").unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// `host/path` of each place with its letters: `t`ags, `i`nsecure; or what else was said.
    fn said(registries: &Registries, name: &str) -> String {
        let show = |place: &Place| {
            let at = match &place.base {
                Base::Repository { host, path } => format!("{host}/{path}"),
                _ => "itself".to_owned(),
            };
            let tags = if place.resolves { "+t" } else { "" };
            let insecure = if place.is_insecure { "+i" } else { "" };
            format!("{at}{tags}{insecure}")
        };
        match registries.word(&name.parse().unwrap()) {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(Word::Blocked(from))) => format!("blocked by {from}"),
            Ok(Some(Word::Route(route))) => {
                route.mirrors.iter().chain(&route.origin).map(show).collect::<Vec<_>>().join(" ")
            }
            Err(why) => why,
        }
    }

    #[track_caller]
    fn check(text: &str, name: &str, expected: &str) {
        assert_eq!(said(&registries(text), name), expected, "{name} by {text}");
    }

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_longest_prefix_speaks() {
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
        // A host stands for its ports, which can be forbidden and not moved.
        check(text, "r.io:5000/a", "itself+t");
    }

    #[test]
    fn a_wildcard_leads_where_it_says_or_nowhere_else() {
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
    fn drop_ins_replace() {
        let mut base =
            registries("unqualified-search-registries=['a.io','b.io']\n[[registry]]\nlocation='r.io'\nblocked=true");
        assert_eq!(base.search(), None);
        base.merge(registries("[[registry]]\nlocation='x.io'\nblocked=true"));
        assert_eq!((said(&base, "r.io/a").as_str(), said(&base, "x.io/a").as_str()), ("blocked by f", "blocked by f"));
        base.merge(registries("unqualified-search-registries=['c.io']\n[[registry]]\nlocation='r.io'\n"));
        assert_eq!((said(&base, "r.io/a").as_str(), base.search()), ("r.io/a+t", Some("c.io")));
        base.merge(registries("unqualified-search-registries=[]"));
        assert_eq!(base.search(), None);
    }

    #[test]
    fn what_is_malformed_is_refused_by_line() {
        for (text, expected) in [
            ("[[registry]]\nlocation = 1", "line 2"),
            ("\n[registry]\nlocation='a'", "line 2"),
            ("[[registry]]\n", "line 1: there is neither"),
            ("[[registry]]\nprefix='a.io'", "no location"),
            ("[[registry]]\nlocation='https://a.io'", "not HOST"),
            ("[[registry]]\nlocation='a.io/x?y'", "not HOST"),
            ("[[registry]]\nlocation='a b'", "not HOST"),
            ("[[registry]]\nlocation=\"a\\u001b[31m\"", "not HOST"),
            ("[[registry]]\nlocation='*.a.io'", "no wildcard"),
            ("[[registry]]\nprefix='a.*.io'\nlocation='b'", "wildcard"),
            ("[[registry]]\nlocation='a'\nblocked='yes'", "line 3"),
            ("[[registry]]\nlocation='a'\n[[registry.mirror]]\ninsecure=true", "line 3: the mirror"),
            ("[[registry]]\nlocation='a'\n[[registry.mirror]]\nlocation='m'\npull-from-mirror='x'", "none of all"),
            (
                "[[registry]]\nlocation='a'\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation='m'\npull-from-mirror='all'",
                "exclude each other",
            ),
            ("[[registry]]\nlocation='a'\n[[registry]]\nlocation='a'\nblocked=true", "twice"),
            ("[registries.search]\nregistries=['a']", "version 1"),
            ("unqualified-search-registries='a'", "line 1"),
        ] {
            let why = Registries::parse(text, "f").map(|_| String::new()).unwrap_or_else(|e| e);
            assert!(why.contains(expected), "{text}: {why}");
        }
        assert!(Registries::parse("# nothing\n[aliases]\n'a' = 'b.io/a'\n", "f").is_ok());
    }
}
