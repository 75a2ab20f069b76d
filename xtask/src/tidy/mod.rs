//! `cargo xtask tidy`: the rules of the house that no lint knows. Each file here holds one kind of rule, as data where it
//! can be, with tests that break every one of them.

mod imports;
mod map;
mod owners;
mod scan;
mod shape;
mod source;

use std::path::Path;

use crate::{Result, cargo, disk, show};
use source::Source;

/// Where our own code is.
const FOLDERS: &[&str] = &["fuzz/src", "fuzz/targets", "src", "tests", "xtask/src"];

pub fn run() -> Result {
    let root = cargo::root();
    let sources = read_sources(&root)?;
    let mut complaints = imports::complaints(&sources);
    complaints.extend(owners::complaints(&sources, &disk::read(&root.join("Cargo.toml"))?));
    complaints.extend(sources.iter().flat_map(shape::complaints));
    match disk::read(&root.join("ARCHITECTURE.md")) {
        Ok(architecture) => complaints.extend(map::complaints(&sources, &architecture)),
        Err(reason) => complaints.push(reason),
    }
    complaints.dedup();
    complaints.iter().for_each(|complaint| println!("{complaint}"));
    if complaints.is_empty() {
        println!("tidy: {} in order", show::count(sources.len(), "file"));
        return Ok(());
    }
    Err(show::count(complaints.len(), "complaint"))
}

fn read_sources(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for folder in FOLDERS {
        read_folder(root, &root.join(folder), &mut sources)?;
    }
    Ok(sources)
}

fn read_folder(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result {
    for path in disk::list(folder)? {
        if path.is_dir() {
            read_folder(root, &path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            sources.push(Source::new(&name, &disk::read(&path)?));
        }
    }
    Ok(())
}
