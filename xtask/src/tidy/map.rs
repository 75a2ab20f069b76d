//! ARCHITECTURE.md is short and names every folder of src.

use std::collections::BTreeSet;

use super::source::Source;

const MOST_LINES: usize = 200;

pub fn complaints(sources: &[Source], architecture: &str) -> Vec<String> {
    let lines = architecture.lines().count();
    let too_long = (lines > MOST_LINES).then(|| format!("ARCHITECTURE.md: {lines} lines, {MOST_LINES} at most"));
    let files = sources.iter().filter(|source| source.path.starts_with("src/") && !source.is_test());
    let places: BTreeSet<&str> = files.flat_map(places).collect();
    let unnamed = places.into_iter().filter(|place| !names(architecture, place));
    let unnamed = unnamed.map(|place| format!("ARCHITECTURE.md: does not name {place}"));
    too_long.into_iter().chain(unnamed).collect()
}

/// The folder of a file, as a place to be named.
fn places(source: &Source) -> impl Iterator<Item = &str> {
    let folder = source.path.rsplit_once('/').map(|(folder, _)| folder).filter(|folder| *folder != "src");
    folder.into_iter()
}

/// A folder is named as `registry/`, a file as `http.rs` or `http` in code quotes, each with or without the folders above.
fn names(architecture: &str, place: &str) -> bool {
    let name = place.rsplit('/').next().unwrap_or(place);
    let stem = name.strip_suffix(".rs");
    let ends: &[String] = &match stem {
        Some(stem) => [name.to_owned(), format!("{stem}`")],
        None => [format!("{name}/"), format!("{name}`")],
    };
    ends.iter().any(|end| {
        let before = |at: usize| architecture[..at].chars().next_back();
        let quoted = end.ends_with('`');
        let mut found = architecture.match_indices(end.as_str()).map(|(at, _)| before(at));
        found.any(|before| match before {
            Some('`' | '/') => true,
            other => !quoted && other.is_none_or(|c| !c.is_alphanumeric() && c != '_'),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(architecture: &str, expected: &[&str]) {
        let paths = ["src/lib.rs", "src/registry/mod.rs", "src/registry/http.rs", "src/store/mod.rs"];
        let sources = paths.map(|path| Source::new(path, ""));
        assert_eq!(complaints(&sources, architecture), expected, "{architecture}");
    }

    #[test]
    fn every_folder_is_named() {
        check("lib.rs, registry/ and store/", &[]);
        check("`src/registry/` and `store`", &[]);
        check("a registry in a `store`", &["ARCHITECTURE.md: does not name src/registry"]);
    }

    #[test]
    fn it_is_short() {
        let text = format!("store/ registry/ http.rs\n{}", "a\n".repeat(200));
        check(&text, &["ARCHITECTURE.md: 201 lines, 200 at most"]);
    }
}
