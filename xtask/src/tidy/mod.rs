//! `cargo xtask tidy`: the rules of the project that rustc and clippy cannot check. Each file here holds one kind of
//! rule, as data where possible, with a test for each way to break it.

mod imports;
mod links;
mod map;
mod owners;
mod paths;
mod plain;
mod shape;
mod source;

use std::path::Path;

use crate::{Result, cargo, disk, show};
use links::Texts;
use source::Source;

/// The folders with Rust code.
const FOLDERS: &[&str] = &["fuzz/src", "fuzz/targets", "src", "tests", "xtask/src"];

/// The rules that must hold.
const CHECKS: &[fn(&Project) -> Vec<String>] = &[
    |project| imports::complaints(&project.sources),
    |project| owners::complaints(&project.sources, &project.manifest),
    |project| project.sources.iter().flat_map(shape::complaints).collect(),
    |project| map::complaints(&project.sources, &project.architecture),
    |project| links::complaints(&project.texts),
    |project| project.library().flat_map(plain::options).collect(),
    |project| project.library().flat_map(plain::bool_matches).collect(),
    |project| project.library().flat_map(plain::tuple_parameters).collect(),
];

/// Everything that the rules look at.
struct Project {
    sources: Vec<Source>,
    /// Cargo.toml.
    manifest: toml::Table,
    /// ARCHITECTURE.md.
    architecture: String,
    texts: Texts,
}

pub fn run() -> Result {
    let project = Project::read(&cargo::root())?;
    let mut complaints: Vec<String> = CHECKS.iter().flat_map(|check| check(&project)).collect();
    complaints.dedup();
    complaints.iter().for_each(|complaint| println!("{complaint}"));
    if complaints.is_empty() {
        println!("tidy: {} in order", show::count(project.sources.len(), "file"));
        return Ok(());
    }
    Err(show::count(complaints.len(), "complaint"))
}

impl Project {
    fn read(root: &Path) -> Result<Self> {
        let mut sources = Vec::new();
        for folder in FOLDERS {
            read_folder(root, &root.join(folder), &mut sources)?;
        }
        let manifest = disk::read(&root.join("Cargo.toml"))?;
        let manifest = manifest.parse().map_err(|error| format!("Cargo.toml: {error}"))?;
        Ok(Self {
            sources,
            manifest,
            architecture: disk::read(&root.join("ARCHITECTURE.md"))?,
            texts: Texts::read(root)?,
        })
    }

    /// The files of src/, without tests.
    fn library(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| source.path.starts_with("src/") && !source.is_test())
    }
}

fn read_folder(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result {
    for path in disk::list(folder)? {
        if path.is_dir() {
            read_folder(root, &path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            sources.push(Source::new(&name, &disk::read(&path)?)?);
        }
    }
    Ok(())
}
