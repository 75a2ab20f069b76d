//! The law of imports: a file uses only what stands lower, rooms never see each other, from outside a room only its
//! `mod.rs` is visible, and nowhere is there a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::scan::Path;
use super::source::Source;

/// The house, from the ground up.
const HOUSE: &[Floor] = &[
    Floor::InOrder(&["escape", "error", "cancel", "digest", "limits", "progress", "verify", "workers"]),
    Floor::InOrder(&[
        "oci::credentials",
        "oci::json",
        "oci::media_type",
        "oci::platform",
        "oci::reference",
        "oci::route",
        "oci::manifest",
        "oci::config",
        "oci::schema1",
        "oci::fuzzing",
        "oci",
    ]),
    Floor::Rooms(&["registry", "store", "layer", "host"]),
    Floor::Rooms(&["unpack"]),
    Floor::Rooms(&["target"]),
    Floor::Rooms(&["images"]),
    Floor::InOrder(&["sandbox"]),
    Floor::Rooms(&["client"]),
    Floor::Rooms(&["boot"]),
    Floor::InOrder(&["fuzzing", "lib"]),
];

enum Floor {
    /// Files, each of which may use those before it.
    InOrder(&'static [&'static str]),
    /// Folders side by side. Inside one, any order will do that is one.
    Rooms(&'static [&'static str]),
}

/// Each is a crate of its own, with the file that its `crate::` means.
const CRATES: &[(&str, &str)] = &[("src/bin/pullet/", "main"), ("src/", "lib")];

pub fn complaints(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (folder, top) in CRATES {
        let modules = modules(sources, folder, top);
        let links = links(&modules, top);
        if *top == "lib" {
            complaints.extend(modules.iter().filter_map(|(name, source)| homeless(name, source)));
            complaints.extend(links.iter().filter_map(unlawful));
        }
        complaints.extend(circles(&links));
        complaints.extend(modules.values().filter_map(|source| displaced(source)));
    }
    complaints
}

/// One file's use of another.
struct Link<'a> {
    source: &'a Source,
    line: usize,
    from: &'a str,
    to: &'a str,
}

/// The files of a crate by the name of their module: `registry::http`, and `lib` or `main` for the top.
fn modules<'a>(sources: &'a [Source], folder: &str, top: &str) -> BTreeMap<String, &'a Source> {
    let crate_of = |path: &str| CRATES.iter().map(|(folder, _)| *folder).find(|folder| path.starts_with(folder));
    let ours = sources.iter().filter(|source| crate_of(&source.path) == Some(folder) && !source.is_test());
    ours.map(|source| {
        let name = source.path[folder.len()..].trim_end_matches(".rs").replace('/', "::");
        let name = name.strip_suffix("::mod").unwrap_or(&name).to_owned();
        (if name.is_empty() { top.into() } else { name }, source)
    })
    .collect()
}

fn links<'a>(modules: &'a BTreeMap<String, &'a Source>, top: &str) -> Vec<Link<'a>> {
    let mut links = Vec::new();
    for (from, source) in modules {
        for path in &source.uses.paths {
            let Some(named) = absolute(from, source, path, top) else { continue };
            let to = file_of(&named, modules, top).filter(|to| to != from);
            links.extend(to.map(|to| Link { source, line: path.line, from, to }));
        }
    }
    links
}

/// The path from the top of its crate, or nothing if it leads out of it.
fn absolute(from: &str, source: &Source, path: &Path, top: &str) -> Option<Vec<String>> {
    let file: Vec<String> = if from == top { Vec::new() } else { from.split("::").map(str::to_owned).collect() };
    let here = [&file[..], &path.inside].concat();
    let first = path.segments.first()?;
    let supers = path.segments.iter().take_while(|segment| *segment == "super").count();
    let (start, rest) = match first.as_str() {
        "crate" => (&here[..0], 1),
        "self" => (&here[..], 1),
        "super" => (&here[..here.len().checked_sub(supers)?], supers),
        child if source.uses.children.iter().any(|name| name == child) => (&file[..], 0),
        _ => return None,
    };
    Some([start, &path.segments[rest..]].concat())
}

/// The file that the path leads into: the deepest module that its beginning names.
fn file_of<'a>(path: &[String], modules: &'a BTreeMap<String, &'a Source>, top: &str) -> Option<&'a str> {
    let mut names = (1..=path.len()).rev().map(|length| path[..length].join("::")).chain([top.to_owned()]);
    names.find_map(|name| modules.get_key_value(&name)).map(|(name, _)| name.as_str())
}

/// How high a module stands; rooms of one floor stand at the same height.
fn height(module: &str) -> Option<(usize, usize)> {
    let within = |floor: &Floor| match floor {
        Floor::InOrder(files) => files.iter().position(|file| *file == module),
        Floor::Rooms(rooms) => rooms.contains(&room_name(module)).then_some(0),
    };
    HOUSE.iter().enumerate().find_map(|(number, floor)| Some((number, within(floor)?)))
}

fn room_name(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

fn room(module: &str) -> Option<&str> {
    let is_room = |floor: &Floor| matches!(floor, Floor::Rooms(rooms) if rooms.contains(&room_name(module)));
    HOUSE.iter().any(is_room).then(|| room_name(module))
}

fn homeless(module: &str, source: &Source) -> Option<String> {
    let text = "stands on no floor; give it a place in HOUSE (xtask/src/tidy/imports.rs)";
    height(module).is_none().then(|| format!("{}: {text}", source.path))
}

/// A file is where its module is, or the law would judge the wrong one.
fn displaced(source: &Source) -> Option<String> {
    source.code.contains("#[path").then(|| format!("{}: #[path]: a module lies where its name says", source.path))
}

fn unlawful(link: &Link<'_>) -> Option<String> {
    let Link { from, to, .. } = link;
    // Of a file without a place it is enough to say that.
    let (above, below) = (height(from)?, height(to)?);
    let reason = match (room(from), room(to)) {
        (Some(one), Some(other)) if one == other => return None,
        (Some(_), Some(_)) if above.0 == below.0 => "rooms never see each other",
        (_, Some(door)) if door != *to => "from outside only the room's mod.rs is visible",
        _ if below < above => return None,
        _ => "a file uses only what stands lower",
    };
    Some(format!("{}:{}: {from} uses {to}: {reason}", link.source.path, link.line))
}

fn circles(links: &[Link<'_>]) -> Vec<String> {
    let mut told = BTreeSet::new();
    let mut complaints = Vec::new();
    for link in links {
        let Some(way_back) = way(links, link.to, link.from) else { continue };
        let members: BTreeSet<&str> = way_back.iter().copied().collect();
        if told.insert(members) {
            let circle = [&[link.from][..], &way_back].concat().join(" -> ");
            complaints.push(format!("{}:{}: a circle: {circle}", link.source.path, link.line));
        }
    }
    complaints
}

/// The shortest way from one module to another by what they use, both ends included.
fn way<'a>(links: &[Link<'a>], from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![from]];
    let mut seen = BTreeSet::from([from]);
    let mut next = 0;
    while let Some(way) = ways.get(next).cloned() {
        next += 1;
        let here = *way.last()?;
        if here == to {
            return Some(way);
        }
        for link in links.iter().filter(|link| link.from == here) {
            if seen.insert(link.to) {
                ways.push([&way[..], &[link.to]].concat());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the law says of a small house with these files in place of empty ones.
    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let empty = ["error", "digest", "oci/mod", "oci/platform", "oci/manifest", "registry/mod", "registry/http"];
        let empty =
            empty.iter().chain(&["registry/auth", "store/mod", "sandbox", "lib", "bin/pullet/main", "bin/pullet/exit"]);
        let empty = empty.map(|stem| (format!("src/{stem}.rs"), ""));
        let files: BTreeMap<String, &str> =
            empty.chain(files.iter().map(|(path, text)| (path.to_string(), *text))).collect();
        let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        let got = complaints(&sources);
        let same =
            got.len() == expected.len() && got.iter().zip(expected).all(|(got, expected)| got.contains(expected));
        assert!(same, "{files:?}\nexpected {expected:#?}\ngot {got:#?}");
    }

    #[test]
    fn downwards_is_lawful() {
        check(&[], &[]);
        check(
            &[(
                "src/lib.rs",
                "mod sandbox; mod registry; pub use sandbox::A; pub use registry::B; use crate::error::C;",
            )],
            &[],
        );
        check(
            &[("src/registry/mod.rs", "mod http; use http::A; use crate::{digest::B, oci::{self, platform::C}};")],
            &[],
        );
        check(&[("src/registry/http.rs", "use super::auth::A; use crate::registry::auth::B; use std::io;")], &[]);
        check(&[("src/sandbox.rs", "use crate::{registry::A, store::B}; fn f() { crate::error::g() }")], &[]);
        check(&[("src/bin/pullet/main.rs", "mod exit; use exit::A; use pullet::B;")], &[]);
        check(&[("src/store/mod.rs", "mod a { use super::B; mod c { super::super::d() } }")], &[]);
    }

    #[test]
    fn upwards_is_not() {
        check(&[("src/error.rs", "use crate::digest::A;")], &["src/error.rs:1: error uses digest: a file uses only"]);
        check(&[("src/digest.rs", "\nuse crate::oci::platform::A;")], &["src/digest.rs:2: digest uses oci::platform"]);
        check(&[("src/oci/platform.rs", "use super::manifest::A;")], &["uses only what stands lower"]);
        check(&[("src/oci/platform.rs", "use super::A;")], &["oci::platform uses oci: a file uses only"]);
        check(&[("src/store/mod.rs", "fn f() { crate::sandbox::g() }")], &["store uses sandbox: a file uses only"]);
        check(&[("src/sandbox.rs", "use crate::Error;")], &["sandbox uses lib: a file uses only"]);
    }

    #[test]
    fn rooms_never_see_each_other() {
        let reason = &["rooms never see each other"];
        check(&[("src/store/mod.rs", "use crate::registry::A;")], reason);
        check(&[("src/registry/http.rs", "use crate::{\n    digest::A,\n    store,\n};")], reason);
        check(&[("src/registry/http.rs", "use super::super::store::A;")], reason);
        check(&[("src/registry/http.rs", "mod a { use super::super::super::store::A; }")], reason);
    }

    #[test]
    fn only_the_door_is_visible_from_outside() {
        let reason = &["sandbox uses registry::http: from outside only"];
        check(&[("src/sandbox.rs", "use crate::registry::http::A;")], reason);
        check(&[("src/sandbox.rs", "use crate::{registry::{http}};")], reason);
    }

    #[test]
    fn nowhere_is_a_circle() {
        let [http, auth] = ["src/registry/http.rs", "src/registry/auth.rs"];
        let circle = &["src/registry/auth.rs:1: a circle: registry::auth -> registry::http -> registry::auth"];
        check(&[(http, "use super::auth::A;"), (auth, "use super::http::A;")], circle);
        check(
            &[("src/registry/mod.rs", "mod http; use http::A;"), (http, "use super::B;")],
            &["a circle: registry -> registry::http -> registry"],
        );
        check(
            &[("src/bin/pullet/main.rs", "mod exit; use exit::A;"), ("src/bin/pullet/exit.rs", "use crate::B;")],
            &["a circle: exit -> main -> exit"],
        );
    }

    #[test]
    fn every_file_has_a_place() {
        check(&[("src/attic.rs", "")], &["src/attic.rs: stands on no floor"]);
        check(&[("src/oci/tag.rs", "")], &["src/oci/tag.rs: stands on no floor"]);
        check(&[("src/sandbox.rs", "#[path = \"x.rs\"] mod x;")], &["a module lies where its name says"]);
    }

    #[test]
    fn tests_may_look_anywhere() {
        check(&[("src/error.rs", "#[cfg(test)]\nmod tests {\n    use crate::lib;\n}\n")], &[]);
        check(&[("src/store/tests.rs", "use crate::registry::A;")], &[]);
    }
}
