//! A tree of files as `lstat` sees it, to read from folders, merge like layers, and compare. It shares no code with
//! pullet, because it verifies pullet.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::{Result, disk, show};

/// Every path below a folder, and the folder itself as the empty path.
#[derive(Default)]
pub struct Tree(BTreeMap<PathBuf, Node>);

struct Node {
    /// The path on disk, for its content.
    at: PathBuf,
    facts: Facts,
}

/// The metadata that must be the same in both trees.
struct Facts {
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    /// For a hard link: the first path of the same file.
    link_to: Option<PathBuf>,
}

#[derive(Debug, PartialEq)]
enum Kind {
    Device(u64),
    File(u64),
    Folder,
    Link(PathBuf),
    Pipe,
}

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

impl Tree {
    pub fn read(folder: &Path) -> Result<Self> {
        let mut paths = Vec::new();
        walk(folder, &mut paths)?;
        let mut tree = Self::default();
        let mut first_names = HashMap::new();
        for at in paths {
            let metadata = disk::metadata(&at)?;
            let path = at.strip_prefix(folder).unwrap_or(&at).to_owned();
            let has_more_names = metadata.nlink() > 1 && !metadata.is_dir();
            let first = first_names.entry(metadata.ino()).or_insert_with(|| path.clone());
            let link_to = has_more_names.then(|| first.clone()).filter(|first| *first != path);
            let facts = facts(&at, &metadata, link_to)?;
            tree.0.insert(path, Node { at, facts });
        }
        Ok(tree)
    }

    /// True if the path is a regular file and has no links on its way.
    pub fn has_file(&self, path: &Path) -> bool {
        self.0.get(path).is_some_and(|node| matches!(node.facts.kind, Kind::File(_)))
    }

    /// Merges the upper tree over this one. Its whiteouts apply to lower layers only, never to its own files.
    pub fn under(mut self, upper: Self) -> Self {
        for path in upper.0.keys() {
            let (parent, name) = (path.parent().unwrap_or(Path::new("")), name_of(path));
            if name == OPAQUE {
                self.0.retain(|below, _| below == parent || !below.starts_with(parent));
            } else if let Some(name) = name.strip_prefix(WHITEOUT) {
                let gone = parent.join(name);
                self.0.retain(|below, _| !below.starts_with(&gone));
            }
        }
        for (path, node) in upper.0 {
            if !name_of(&path).starts_with(WHITEOUT) {
                self.put(path, node);
            }
        }
        self
    }

    fn put(&mut self, path: PathBuf, node: Node) {
        if node.facts.kind != Kind::Folder {
            self.0.retain(|below, _| !below.starts_with(&path));
        }
        self.0.insert(path, node);
    }

    /// The differences, one sentence for each path.
    pub fn differences(&self, other: &Self) -> Result<Vec<String>> {
        let mut differences = Vec::new();
        for (path, expected) in &self.0 {
            let difference = match other.0.get(path) {
                None => Some("is missing".into()),
                Some(got) => expected.difference(got)?,
            };
            differences.extend(difference.map(|difference| format!("{} {difference}", display(path))));
        }
        let extra = other.0.keys().filter(|path| !self.0.contains_key(*path));
        differences.extend(extra.map(|path| format!("{} should not be there", display(path))));
        Ok(differences)
    }

    /// `3 files, 1 folder, 2 links and 1 pipe: 1.20 MiB`
    pub fn summary(&self) -> String {
        let kinds = || self.0.values().map(|node| &node.facts.kind);
        let words: Vec<String> = ["file", "folder", "link", "pipe", "device"]
            .into_iter()
            .map(|noun| (kinds().filter(|kind| kind.noun() == noun).count(), noun))
            .filter(|(number, _)| *number > 0)
            .map(|(number, noun)| show::count(number, noun))
            .collect();
        let without_links = self.0.values().filter(|node| node.facts.link_to.is_none());
        let size = without_links.map(|node| if let Kind::File(size) = node.facts.kind { size } else { 0 }).sum();
        format!("{} of {}", words.join(", "), show::bytes(size))
    }
}

impl Node {
    fn difference(&self, got: &Self) -> Result<Option<String>> {
        let (expected, got_facts) = (self.facts.words(), got.facts.words());
        let pairs = expected.into_iter().zip(got_facts).filter(|(expected, got)| expected != got);
        let words: Vec<String> = pairs.map(|(expected, got)| format!("{got}, expected {expected}")).collect();
        if !words.is_empty() {
            return Ok(Some(format!("is {}", words.join("; "))));
        }
        let is_file = matches!(self.facts.kind, Kind::File(_));
        let same = !is_file || same_bytes(&self.at, &got.at)?;
        Ok((!same).then(|| "has different content".into()))
    }
}

impl Facts {
    fn words(&self) -> [String; 5] {
        let link =
            self.link_to.as_ref().map_or("no hard link".into(), |path| format!("a hard link to {}", path.display()));
        [
            format!("{:?}", self.kind),
            format!("mode {:o}", self.mode),
            format!("owned by {}:{}", self.owner.0, self.owner.1),
            format!("of {}.{:09}", self.modified.0, self.modified.1),
            link,
        ]
    }
}

impl Kind {
    fn noun(&self) -> &'static str {
        match self {
            Self::Device(_) => "device",
            Self::File(_) => "file",
            Self::Folder => "folder",
            Self::Link(_) => "link",
            Self::Pipe => "pipe",
        }
    }
}

fn walk(path: &Path, paths: &mut Vec<PathBuf>) -> Result {
    paths.push(path.to_owned());
    if !disk::metadata(path)?.is_dir() {
        return Ok(());
    }
    disk::list(path)?.iter().try_for_each(|entry| walk(entry, paths))
}

fn facts(at: &Path, metadata: &Metadata, link_to: Option<PathBuf>) -> Result<Facts> {
    let file_type = metadata.file_type();
    let kind = if file_type.is_dir() {
        Kind::Folder
    } else if file_type.is_file() {
        Kind::File(metadata.len())
    } else if file_type.is_symlink() {
        Kind::Link(disk::link_target(at)?)
    } else if file_type.is_fifo() {
        Kind::Pipe
    } else {
        Kind::Device(metadata.rdev())
    };
    Ok(Facts {
        kind,
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        link_to,
    })
}

/// The path for messages. The root, whose path is empty, is `.`.
fn display(path: &Path) -> String {
    Path::new(".").join(path).display().to_string()
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or("")
}

fn same_bytes(one: &Path, other: &Path) -> Result<bool> {
    let (mut one, mut other) = (disk::open(one)?, disk::open(other)?);
    loop {
        let (left, right) = (chunk(&mut one)?, chunk(&mut other)?);
        if left != right || left.is_empty() {
            return Ok(left == right);
        }
    }
}

fn chunk(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = file.take(64 * 1024).read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|e| format!("read: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Temporary;
    use crate::shell;

    /// Merges folders made of words, `path` or `path=text`, and compares the paths of the result.
    fn check(layers: &[&str], expected: &str) {
        let folder = folder("merge", expected);
        let trees = layers.iter().enumerate().map(|(number, words)| {
            let layer = folder.path().join(number.to_string());
            lay_out(&layer, words);
            Tree::read(&layer).unwrap()
        });
        let merged = trees.fold(Tree::default(), Tree::under);
        let paths: Vec<String> = merged.0.keys().skip(1).map(|path| path.display().to_string()).collect();
        assert_eq!(paths.join(" "), expected);
    }

    fn folder(test: &str, key: &str) -> Temporary {
        let key: String = key.chars().filter(|c| c.is_alphanumeric()).collect();
        let name = format!("pullet-xtask-{test}-{key}-{}", std::process::id());
        Temporary::new(std::env::temp_dir().join(name)).unwrap()
    }

    fn lay_out(folder: &Path, words: &str) {
        disk::create_folder(folder).unwrap();
        for word in words.split(' ') {
            let (path, text) = word.split_once('=').unwrap_or((word, ""));
            let path = folder.join(path);
            disk::create_folder(path.parent().unwrap()).unwrap();
            disk::write(&path, text).unwrap();
        }
    }

    #[test]
    fn merges_layers_by_the_specification() {
        check(&["a/x a/y", "b"], "a a/x a/y b");
        check(&["a/x a/y", "a/.wh.x"], "a a/y");
        check(&["a/x/1 a/y", "a/.wh.x a/x/2"], "a a/x a/x/2 a/y");
        check(&["a/x/1 ab", "a/.wh..wh..opq a/z"], "a a/z ab");
        check(&["a/x a/y", "a"], "a");
        check(&["a", "a/x"], "a a/x");
    }

    /// The differences after the script has changed a copy of a small tree.
    fn differences_after(script: &str) -> String {
        let folder = folder("compare", script);
        let (left, right) = (folder.path().join("left"), folder.path().join("right"));
        lay_out(&left, "a/x=1 b=2 c");
        shell::run(shell::program("cp").arg("--archive").arg(&left).arg(&right)).unwrap();
        shell::run(shell::program("sh").args(["-ec", script]).current_dir(&right)).unwrap();
        Tree::read(&left).unwrap().differences(&Tree::read(&right).unwrap()).unwrap().join("\n")
    }

    #[test]
    fn finds_every_difference() {
        assert_eq!(differences_after(""), "");
        assert_eq!(differences_after("printf 3 > a/x; touch -r ../left/a/x a/x"), "./a/x has different content");
        for (script, expected) in [
            ("chmod 4755 b", "./b is mode 104755, expected mode 100644"),
            ("touch -d @1.000000001 a/x", "./a/x is of 1.000000001, expected of"),
            ("rm a/x", "./a/x is missing"),
            ("touch d", "./d should not be there"),
            ("ln -f b c", "a hard link to b, expected no hard link"),
            ("rm c; ln -s b c", "Link(\"b\"), expected File(0)"),
            ("rm c; mkfifo c", "is Pipe"),
            ("rm c; mkdir c", "is Folder"),
        ] {
            assert!(differences_after(script).contains(expected), "{script}: {}", differences_after(script));
        }
    }
}
