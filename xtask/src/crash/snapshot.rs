//! The content of a folder, to compare: type, mode, owner, times, links, content and extended attributes of each path.

use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::archive::TIME;
use crate::{Result, disk, shell};

/// Everything below a folder, and the folder itself as the empty path.
#[derive(Default, PartialEq)]
pub struct Snapshot {
    nodes: BTreeMap<PathBuf, Node>,
    xattrs: Vec<String>,
}

#[derive(PartialEq)]
struct Node {
    facts: String,
    content: Vec<u8>,
}

impl Snapshot {
    /// A snapshot with all metadata, for an unpacked tree.
    pub fn exact(folder: &Path) -> Result<Self> {
        let mut snapshot = Self::of(folder, |metadata, first| {
            // A time that no archive sets is that of the run.
            let time = if metadata.mtime() == TIME { "given" } else { "of today" };
            let (mode, owner, device) = (metadata.mode(), (metadata.uid(), metadata.gid()), metadata.rdev());
            format!("mode {mode:o}, owner {owner:?}, time {time}, device {device:x}, first name {first:?}")
        })?;
        let mut getfattr = shell::program("getfattr");
        getfattr.args(["-h", "-R", "-P", "-d", "-m", "-", "-e", "hex", "."]).current_dir(folder);
        let mut files: Vec<String> = shell::read(&mut getfattr)?.split("\n\n").map(str::to_owned).collect();
        files.sort();
        snapshot.xattrs = files;
        Ok(snapshot)
    }

    /// A snapshot without times and owners, so that stores filled at different times are equal.
    pub fn plain(folder: &Path) -> Result<Self> {
        Self::of(folder, |metadata, _| format!("mode {:o}", metadata.mode()))
    }

    pub fn content(&self, path: &str) -> Option<&[u8]> {
        self.nodes.get(Path::new(path)).map(|node| node.content.as_slice())
    }

    /// Paths and contents of the files below.
    pub fn below(&self, folder: &str) -> impl Iterator<Item = (&Path, &[u8])> {
        let below = self.nodes.iter().filter(move |(path, _)| path.starts_with(folder) && *path != Path::new(folder));
        below.map(|(path, node)| (path.as_path(), node.content.as_slice()))
    }

    /// The first difference, in a sentence.
    pub fn difference(&self, got: &Self) -> Option<String> {
        for (path, node) in &self.nodes {
            match got.nodes.get(path) {
                None => return Some(format!("{} is missing", path.display())),
                Some(other) if other.facts != node.facts => {
                    return Some(format!("{}: expected {}, got {}", path.display(), node.facts, other.facts));
                }
                Some(other) if other != node => return Some(format!("{}: different content", path.display())),
                Some(_) => {}
            }
        }
        if let Some(path) = got.nodes.keys().find(|path| !self.nodes.contains_key(*path)) {
            return Some(format!("{} should not exist", path.display()));
        }
        (self.xattrs != got.xattrs).then(|| format!("expected xattrs {:?}, got {:?}", self.xattrs, got.xattrs))
    }

    fn of(folder: &Path, facts: impl Fn(&Metadata, &str) -> String) -> Result<Self> {
        let mut snapshot = Self::default();
        let mut first_names: HashMap<u64, String> = HashMap::new();
        let mut pending = vec![folder.to_owned()];
        // In the order of names, so that the first name of a file is always the same.
        while let Some(at) = pending.pop() {
            let metadata = disk::metadata(&at)?;
            let path = at.strip_prefix(folder).unwrap_or(&at).to_owned();
            let first = first_names.entry(metadata.ino()).or_insert_with(|| path.display().to_string());
            let facts = facts(&metadata, first);
            let content = match metadata.file_type() {
                kind if kind.is_file() => disk::read_bytes(&at)?,
                kind if kind.is_symlink() => disk::link_target(&at)?.as_os_str().as_bytes().to_owned(),
                _ => Vec::new(),
            };
            if metadata.is_dir() {
                pending.extend(disk::list(&at)?.into_iter().rev());
            }
            snapshot.nodes.insert(path, Node { facts, content });
        }
        Ok(snapshot)
    }
}
