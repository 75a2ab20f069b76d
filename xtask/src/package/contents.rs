//! packaging/package.toml as values: the files of the packages, and the names of the targets. Unknown keys are errors, and so
//! is a row that fits no file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Result, disk};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// The maintainer, as Debian and RPM write one.
    pub maintainer: String,
    /// By triple.
    pub target: BTreeMap<String, Names>,
    file: Vec<Row>,
}

/// The names of a target's processor. Without a name there is no such package.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    pub deb: Option<String>,
    pub rpm: Option<String>,
    /// The platform of the image: `OS/ARCHITECTURE[/VARIANT]`.
    pub oci: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Deb,
    Rpm,
    Archive,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    from: String,
    to: Option<String>,
    archive: Option<String>,
    only: Option<Kind>,
    #[serde(default = "plain")]
    mode: u32,
    #[serde(default)]
    gzip: bool,
}

fn plain() -> u32 {
    0o644
}

/// A file of a package.
#[derive(Debug, PartialEq)]
pub struct Item {
    /// The path on this machine.
    pub source: PathBuf,
    /// The path in the package, without a leading `/`.
    pub path: String,
    pub mode: u32,
    /// True if the package has it compressed.
    pub is_compressed: bool,
}

/// The word in `from` for the binary.
const BINARY: &str = "@binary@";

pub fn read(root: &Path) -> Result<Contents> {
    parse(&disk::read(&root.join("packaging/package.toml"))?)
}

fn parse(text: &str) -> Result<Contents> {
    toml::from_str(text).map_err(|error| format!("packaging/package.toml: {error}"))
}

impl Contents {
    pub fn names(&self, triple: &str) -> Result<&Names> {
        self.target.get(triple).ok_or_else(|| format!("packaging/package.toml: no target {triple}"))
    }

    /// The files of this kind of package. Paths in `from` are relative to `root`.
    pub fn items(&self, root: &Path, binary: &Path, kind: Kind) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for row in &self.file {
            let path = if kind == Kind::Archive { &row.archive } else { &row.to };
            let Some(path) = path.as_ref().filter(|_| row.only.is_none_or(|only| only == kind)) else { continue };
            for source in row.sources(root, binary)? {
                items.push(row.item(source, path)?);
            }
        }
        items.sort_by(|one, other| one.path.cmp(&other.path));
        match items.windows(2).find(|pair| pair[0].path == pair[1].path) {
            Some(pair) => Err(format!("packaging/package.toml: two rows for {}", pair[0].path)),
            None => Ok(items),
        }
    }
}

impl Row {
    fn sources(&self, root: &Path, binary: &Path) -> Result<Vec<PathBuf>> {
        if self.from == BINARY {
            return Ok(vec![binary.to_owned()]);
        }
        let found = match self.from.rsplit_once("/*") {
            Some((folder, ending)) => {
                let fits = |path: &PathBuf| path.to_string_lossy().ends_with(ending);
                disk::list(&root.join(folder))?.into_iter().filter(fits).collect()
            }
            None => vec![root.join(&self.from)],
        };
        if !found.is_empty() && found.iter().all(|path| path.is_file()) {
            return Ok(found);
        }
        Err(format!("packaging/package.toml: {}: no such file", self.from))
    }

    fn item(&self, source: PathBuf, path: &str) -> Result<Item> {
        let mut path = path.to_owned();
        if path.ends_with('/') {
            let name = source.file_name().and_then(|name| name.to_str());
            path += name.ok_or_else(|| format!("{}: no file name", source.display()))?;
            path += if self.gzip { ".gz" } else { "" };
        }
        Ok(Item { source, path, mode: self.mode, is_compressed: self.gzip })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cargo, cross};

    #[test]
    fn every_row_fits_a_file_and_every_target_has_names() {
        let contents = read(&cargo::root()).unwrap();
        for kind in [Kind::Deb, Kind::Rpm, Kind::Archive] {
            let items = contents.items(&cargo::root(), Path::new("/binary"), kind).unwrap();
            let binary = if kind == Kind::Archive { "pullet" } else { "usr/bin/pullet" };
            assert!(items.iter().any(|item| item.path == binary && item.mode == 0o755), "{kind:?}");
        }
        for triple in cross::triples().unwrap() {
            assert!(contents.names(&triple).is_ok(), "{triple}");
        }
    }

    #[test]
    fn refuses_unknown_keys_rows_without_a_file_and_doubled_paths() {
        let check = |rows: &str, expected: &str| {
            let contents = parse(&format!("maintainer = \"m\"\n[target]\n{rows}"));
            let items = contents.and_then(|contents| contents.items(&cargo::root(), Path::new("/b"), Kind::Deb));
            assert!(items.as_ref().is_err_and(|error| error.contains(expected)), "{rows}: {items:?}");
        };
        check("[[file]]\nfrom = \"README.md\"\nmood = 1", "unknown field `mood`");
        check("[[file]]\nfrom = \"README\"\nto = \"a\"", "README: no such file");
        check("[[file]]\nfrom = \"docs/*.rs\"\nto = \"a/\"", "docs/*.rs: no such file");
        check("[[file]]\nfrom = \"docs/*.md\"\nto = \"a\"", "two rows for a");
    }

    #[test]
    fn a_folder_takes_the_name_of_the_file() {
        let rows = "maintainer = \"m\"\n[target]\n[[file]]\nfrom = \"README.md\"\nto = \"d/\"\ngzip = true";
        let items = parse(rows).unwrap().items(&cargo::root(), Path::new("/b"), Kind::Rpm).unwrap();
        assert_eq!(items[0].path, "d/README.md.gz");
    }
}
