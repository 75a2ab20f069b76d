//! ARCHITECTURE.md is short, and it names every folder of src/ and every row of the law of imports.

use std::collections::BTreeSet;

use super::imports::FLOORS;
use super::source::Source;

const MOST_LINES: usize = 120;

pub fn complaints(sources: &[Source], architecture: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = architecture.lines().count();
    if lines > MOST_LINES {
        complaints.push(format!("ARCHITECTURE.md: {lines} lines, {MOST_LINES} at most"));
    }
    for folder in folders(sources) {
        let name = folder.rsplit('/').next().unwrap_or(folder);
        if !names(architecture, name) {
            complaints.push(format!("ARCHITECTURE.md: does not name {folder}/"));
        }
    }
    for floor in FLOORS {
        let modules: Vec<&str> = floor.modules().iter().copied().filter(|module| exists(sources, module)).collect();
        if !architecture.lines().any(|line| modules.iter().all(|module| names(line, module))) {
            complaints.push(format!("ARCHITECTURE.md: no line names the floor {}", modules.join(", ")));
        }
    }
    complaints
}

/// True if src/ has the file or folder.
fn exists(sources: &[Source], module: &str) -> bool {
    let [file, folder] = [format!("src/{module}.rs"), format!("src/{module}/")];
    sources.iter().any(|source| source.path == file || source.path.starts_with(&folder))
}

/// Every folder below src/.
fn folders(sources: &[Source]) -> BTreeSet<&str> {
    let files = sources.iter().filter(|source| source.path.starts_with("src/") && !source.is_test());
    let folders = files.filter_map(|source| Some(source.path.rsplit_once('/')?.0));
    folders.filter(|folder| *folder != "src").collect()
}

/// True if the text has the name as `name/`, `name.rs` or at the end of quoted code.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let is_start = text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let rest = &text[at + name.len()..];
        is_start && ["/", ".rs", "`"].iter().any(|end| rest.starts_with(end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOORS: &str = "lib.rs\n`images/`\n`host`, layer/\n";

    fn check(architecture: &str, expected: &[&str]) {
        let paths =
            ["src/lib.rs", "src/host/mod.rs", "src/host/mirrors/mod.rs", "src/images/mod.rs", "src/layer/mod.rs"];
        let sources = paths.map(|path| Source::new(path, "").unwrap());
        assert_eq!(complaints(&sources, architecture), expected, "{architecture}");
    }

    #[test]
    fn every_folder_is_named() {
        let missing = &["ARCHITECTURE.md: does not name src/host/mirrors/"];
        check(&format!("{FLOORS}host/mirrors/"), &[]);
        check(&format!("{FLOORS}`host/mirrors`"), &[]);
        check(&format!("{FLOORS}mirrors"), missing);
        check(&format!("{FLOORS}xmirrors/"), missing);
    }

    #[test]
    fn every_floor_is_named_in_one_line() {
        let text = FLOORS.replace("lib.rs", "lib") + "mirrors/";
        check(&text, &["ARCHITECTURE.md: no line names the floor lib"]);
        let text = FLOORS.replace("`host`, ", "`host`,\n") + "mirrors/";
        check(&text, &["ARCHITECTURE.md: no line names the floor host, layer"]);
    }

    #[test]
    fn is_short() {
        let text = format!("{FLOORS}mirrors/{}", "\na".repeat(MOST_LINES));
        let lines = text.lines().count();
        check(&text, &[&format!("ARCHITECTURE.md: {lines} lines, {MOST_LINES} at most")]);
    }
}
