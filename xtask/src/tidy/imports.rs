//! The law of imports: a module uses only lower floors, rooms on one floor never see each other, from outside a folder
//! only its `mod.rs` is visible, and files never import each other in a cycle.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::Path;
use super::source::Source;

/// The floors of the library, bottom first.
pub const FLOORS: &[Floor] = &[
    Floor::Files(&["advice", "cancel", "date", "digest", "error", "escape", "limits", "progress", "verify", "workers"]),
    Floor::Open("oci"),
    Floor::Rooms(&["host", "layer", "registry", "store", "trust"]),
    Floor::Rooms(&["unpack"]),
    Floor::Rooms(&["target"]),
    Floor::Rooms(&["images"]),
    Floor::Rooms(&["client"]),
    Floor::Rooms(&["boot"]),
    Floor::Rooms(&["lib"]),
];

pub enum Floor {
    /// Files that may use each other.
    Files(&'static [&'static str]),
    /// A folder whose modules are all visible to the floors above.
    Open(&'static str),
    /// Folders, or files, that never see each other. From outside a folder only its `mod.rs` is visible.
    Rooms(&'static [&'static str]),
}

impl Floor {
    /// The files and folders of the floor.
    pub fn modules(&self) -> &[&'static str] {
        match self {
            Self::Files(names) | Self::Rooms(names) => names,
            Self::Open(name) => std::slice::from_ref(name),
        }
    }
}

/// The folder of each crate, and the file that `crate::` means in it. The binary sees only the public API, because it
/// is a separate crate.
const CRATES: &[(&str, &str)] = &[("src/bin/pullet/", "main"), ("src/", "lib")];

pub fn complaints(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (folder, top) in CRATES {
        let modules = modules(sources, folder);
        let links = links(&modules, top);
        if *top == "lib" {
            complaints.extend(modules.iter().filter_map(|(name, source)| without_floor(name, source)));
            complaints.extend(links.iter().filter_map(unlawful));
        }
        complaints.extend(cycles(&links));
        complaints.extend(modules.values().filter_map(|source| displaced(source)));
    }
    complaints
}

/// An import: one file uses another.
struct Link<'a> {
    source: &'a Source,
    line: usize,
    from: &'a str,
    to: &'a str,
}

/// The files of a crate by the name of their module: `registry::http`, and `lib` or `main` for the top.
fn modules<'a>(sources: &'a [Source], folder: &str) -> BTreeMap<String, &'a Source> {
    let crate_of = |path: &str| CRATES.iter().map(|(folder, _)| *folder).find(|folder| path.starts_with(folder));
    let members = sources.iter().filter(|source| crate_of(&source.path) == Some(folder) && !source.is_test());
    let name = |source: &Source| {
        let name = source.path[folder.len()..].trim_end_matches(".rs").replace('/', "::");
        name.strip_suffix("::mod").unwrap_or(&name).to_owned()
    };
    members.map(|source| (name(source), source)).collect()
}

fn links<'a>(modules: &'a BTreeMap<String, &'a Source>, top: &str) -> Vec<Link<'a>> {
    let mut links = Vec::new();
    for (from, source) in modules {
        for path in &source.names.paths {
            let Some(named) = absolute(from, source, path, top) else { continue };
            let to = file_of(&named, modules, top).filter(|to| to != from);
            links.extend(to.map(|to| Link { source, line: path.line, from, to }));
        }
    }
    links
}

/// The path from the top of its crate, or `None` if it leads to another crate.
fn absolute(from: &str, source: &Source, path: &Path, top: &str) -> Option<Vec<String>> {
    let file: Vec<String> = if from == top { Vec::new() } else { from.split("::").map(str::to_owned).collect() };
    let here = [&file[..], &path.inside].concat();
    let first = path.segments.first()?;
    let supers = path.segments.iter().take_while(|segment| *segment == "super").count();
    let (start, rest) = match first.as_str() {
        "crate" => (&here[..0], 1),
        "self" => (&here[..], 1),
        "super" => (&here[..here.len().checked_sub(supers)?], supers),
        child if source.names.children.iter().any(|name| name == child) => (&file[..], 0),
        _ => return None,
    };
    Some([start, &path.segments[rest..]].concat())
}

/// The file that the path leads to: the deepest module that is a prefix of the path.
fn file_of<'a>(path: &[String], modules: &'a BTreeMap<String, &'a Source>, top: &str) -> Option<&'a str> {
    let mut names = (1..=path.len()).rev().map(|length| path[..length].join("::")).chain([top.to_owned()]);
    names.find_map(|name| modules.get_key_value(&name)).map(|(name, _)| name.as_str())
}

/// The number of the floor that a module is on.
fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.modules().contains(&room(module)))
}

/// The file or folder directly in src/ that a module belongs to.
fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

fn without_floor(module: &str, source: &Source) -> Option<String> {
    let text = "is on no floor; add it to FLOORS in xtask/src/tidy/imports.rs";
    floor(module).is_none().then(|| format!("{}: {text}", source.path))
}

/// A `#[path]` would make the law judge the wrong file.
fn displaced(source: &Source) -> Option<String> {
    source.names.has_path_attribute.then(|| format!("{}: #[path]: a module is in the file of its name", source.path))
}

fn unlawful(link: &Link<'_>) -> Option<String> {
    let Link { from, to, .. } = link;
    // A file without a floor is reported once, not for each import.
    let (above, below) = (floor(from)?, floor(to)?);
    let reason = if above < below {
        "a module uses only lower floors"
    } else if above == below && room(from) != room(to) && !matches!(FLOORS[above], Floor::Files(_)) {
        "rooms on one floor never see each other"
    } else if !is_visible(from, to) && !matches!(FLOORS[below], Floor::Open(_)) {
        "from outside a folder only its mod.rs is visible"
    } else {
        return None;
    };
    Some(format!("{}:{}: {from} uses {to}: {reason}", link.source.path, link.line))
}

/// True if the folder of `to` also contains `from`.
fn is_visible(from: &str, to: &str) -> bool {
    let Some((folder, _)) = to.rsplit_once("::") else { return true };
    from.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn cycles(links: &[Link<'_>]) -> Vec<String> {
    let mut reported = BTreeSet::new();
    let mut complaints = Vec::new();
    for link in links {
        let Some(way_back) = shortest_path(links, link.to, link.from) else { continue };
        let members: BTreeSet<&str> = way_back.iter().copied().collect();
        if reported.insert(members) {
            let cycle = [&[link.from][..], &way_back].concat().join(" -> ");
            complaints.push(format!("{}:{}: cycle: {cycle}", link.source.path, link.line));
        }
    }
    complaints
}

/// The shortest chain of imports from one module to another, both ends included.
fn shortest_path<'a>(links: &[Link<'a>], from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut paths = vec![vec![from]];
    let mut seen = BTreeSet::from([from]);
    let mut next = 0;
    while let Some(path) = paths.get(next).cloned() {
        next += 1;
        let last = *path.last()?;
        if last == to {
            return Some(path);
        }
        for link in links.iter().filter(|link| link.from == last) {
            if seen.insert(link.to) {
                paths.push([&path[..], &[link.to]].concat());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[&str] = &[
        "bin/pullet/exit",
        "bin/pullet/main",
        "client/mod",
        "client/pull",
        "digest",
        "error",
        "host/credentials/helper",
        "host/credentials/mod",
        "host/mod",
        "lib",
        "oci/manifest",
        "oci/mod",
        "oci/platform",
        "registry/auth",
        "registry/http",
        "registry/mod",
        "store/mod",
    ];

    /// Checks a small tree in which all files but these are empty.
    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let empty = EMPTY.iter().map(|stem| (format!("src/{stem}.rs"), ""));
        let files: BTreeMap<String, &str> =
            empty.chain(files.iter().map(|(path, text)| (path.to_string(), *text))).collect();
        let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text).unwrap()).collect();
        let got = complaints(&sources);
        let same =
            got.len() == expected.len() && got.iter().zip(expected).all(|(got, expected)| got.contains(expected));
        assert!(same, "{files:?}\nexpected {expected:#?}\ngot {got:#?}");
    }

    #[test]
    fn allows_lower_floors() {
        check(&[], &[]);
        check(
            &[("src/lib.rs", "mod client; mod registry; pub use client::A; pub use registry::B; use crate::error::C;")],
            &[],
        );
        check(
            &[("src/registry/mod.rs", "mod http; use http::A; use crate::{digest::B, oci::{self, platform::C}};")],
            &[],
        );
        check(&[("src/registry/http.rs", "use super::auth::A; use crate::registry::auth::B; use std::io;")], &[]);
        check(&[("src/client/pull.rs", "use crate::{registry::A, store::B}; fn f() { crate::error::g() }")], &[]);
        check(&[("src/bin/pullet/main.rs", "mod exit; use exit::A; use pullet::B;")], &[]);
        check(&[("src/store/mod.rs", "mod a { use super::B; mod c { fn d() { super::super::e() } } }")], &[]);
        check(&[("src/host/mod.rs", "mod credentials; use credentials::A;")], &[]);
        check(&[("src/host/credentials/helper.rs", "use crate::oci::platform::A;")], &[]);
    }

    #[test]
    fn files_of_the_ground_may_use_each_other() {
        check(&[("src/error.rs", "use crate::digest::A;")], &[]);
        check(&[("src/digest.rs", "use crate::error::A;")], &[]);
        let both = &[("src/error.rs", "use crate::digest::A;"), ("src/digest.rs", "use crate::error::A;")];
        check(both, &["src/digest.rs:1: cycle: digest -> error -> digest"]);
    }

    #[test]
    fn reports_higher_floors() {
        let reason = "a module uses only lower floors";
        check(
            &[("src/digest.rs", "\nuse crate::oci::platform::A;")],
            &[&format!("src/digest.rs:2: digest uses oci::platform: {reason}")],
        );
        check(&[("src/store/mod.rs", "fn f() { crate::client::g() }")], &[&format!("store uses client: {reason}")]);
        check(&[("src/client/pull.rs", "use crate::Error;")], &[&format!("client::pull uses lib: {reason}")]);
        check(&[("src/client/pull.rs", "fn f() { g![crate::Error] }")], &[&format!("client::pull uses lib: {reason}")]);
    }

    #[test]
    fn reports_rooms_that_see_each_other() {
        let reason = &["rooms on one floor never see each other"];
        check(&[("src/store/mod.rs", "use crate::registry::A;")], reason);
        check(&[("src/registry/http.rs", "use crate::{\n    digest::A,\n    store,\n};")], reason);
        check(&[("src/registry/http.rs", "use super::super::store::A;")], reason);
        check(&[("src/registry/http.rs", "mod a { use super::super::super::store::A; }")], reason);
    }

    #[test]
    fn reports_modules_inside_other_folders() {
        let reason = "from outside a folder only its mod.rs is visible";
        let http = &[&*format!("client::pull uses registry::http: {reason}")];
        check(&[("src/client/pull.rs", "use crate::registry::http::A;")], http);
        check(&[("src/client/pull.rs", "use crate::{registry::{http}};")], http);
        check(
            &[("src/host/mod.rs", "use crate::host::credentials::helper::A;")],
            &[&format!("host uses host::credentials::helper: {reason}")],
        );
    }

    #[test]
    fn reports_cycles() {
        let [http, auth] = ["src/registry/http.rs", "src/registry/auth.rs"];
        let cycle = &["src/registry/auth.rs:1: cycle: registry::auth -> registry::http -> registry::auth"];
        check(&[(http, "use super::auth::A;"), (auth, "use super::http::A;")], cycle);
        check(
            &[("src/registry/mod.rs", "mod http; use http::A;"), (http, "use super::B;")],
            &["cycle: registry -> registry::http -> registry"],
        );
        check(
            &[("src/bin/pullet/main.rs", "mod exit; use exit::A;"), ("src/bin/pullet/exit.rs", "use crate::B;")],
            &["cycle: exit -> main -> exit"],
        );
    }

    #[test]
    fn the_law_is_short_and_has_no_missing_modules() {
        assert!(FLOORS.len() <= 10);
        let src = crate::cargo::root().join("src");
        for module in FLOORS.iter().flat_map(Floor::modules) {
            assert!(src.join(module).is_dir() || src.join(format!("{module}.rs")).is_file(), "{module}");
        }
    }

    #[test]
    fn reports_files_without_a_floor() {
        check(&[("src/attic.rs", "")], &["src/attic.rs: is on no floor"]);
        check(&[("src/attic/a.rs", "")], &["src/attic/a.rs: is on no floor"]);
        check(&[("src/store/a.rs", "#[path = \"x.rs\"] mod x;")], &["a module is in the file of its name"]);
    }

    #[test]
    fn tests_may_use_every_module() {
        check(&[("src/error.rs", "#[cfg(test)]\nmod tests {\n    use crate::lib;\n}\n")], &[]);
        check(&[("src/store/tests.rs", "use crate::registry::A;")], &[]);
    }
}
