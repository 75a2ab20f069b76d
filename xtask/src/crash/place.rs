//! The folders of a run: a store, a home, and a folder for the target. The state has everything that the run leaves
//! there.

use std::path::{Path, PathBuf};

use super::snapshot::Snapshot;
use crate::{Result, disk, shell};

pub const INDEX: &str = "index.json";
pub const LAYOUT: &str = "oci-layout";
pub const LOGIN: &str = ".docker/config.json";
const TARGETS: &str = "targets";
const TARGET: &str = "root";

/// The beginning of the names in a target that is filled in place and is not complete.
const MARK: &str = ".pullet-incomplete";
/// How an image begins that is written in place and is not complete.
const INCOMPLETE: &[u8] = b"pullet: an image is being written here, and is not complete\n";

pub struct Place(PathBuf);

/// The content of the folders.
pub struct State {
    pub store: Snapshot,
    pub home: Snapshot,
    pub target: Option<Snapshot>,
    /// True if the target begins with the mark of an incomplete image, or is a folder with such a mark or without an entry.
    pub is_marked: bool,
    /// The names in the target's folder, including the target.
    pub beside: Vec<String>,
}

/// The owner of an ordinary user's folders: Debian's nobody.
pub const NOBODY: &str = "65534:65534";

impl Place {
    /// Makes empty folders.
    pub fn new(folder: PathBuf, is_ordinary: bool) -> Result<Self> {
        disk::fresh(&folder)?;
        let place = Self(folder);
        for name in ["home", TARGETS] {
            disk::create_folder(&place.0.join(name))?;
        }
        if is_ordinary {
            shell::run(shell::program("chown").args(["-R", NOBODY]).arg(&place.0))?;
        }
        Ok(place)
    }

    /// Copies another place.
    pub fn like(other: &Self, folder: PathBuf) -> Result<Self> {
        disk::clear(&folder)?;
        shell::run(shell::program("cp").arg("-a").arg(&other.0).arg(&folder))?;
        Ok(Self(folder))
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    pub fn home(&self) -> PathBuf {
        self.0.join("home")
    }

    pub fn target(&self) -> PathBuf {
        Place::target_in(&self.0)
    }

    /// The target of a run whose place is this folder.
    pub fn target_in(folder: &Path) -> PathBuf {
        folder.join(TARGETS).join(TARGET)
    }

    fn targets(&self) -> PathBuf {
        self.0.join(TARGETS)
    }

    /// An archive that the command reads.
    pub fn archive(&self) -> PathBuf {
        self.0.join("archive")
    }

    /// The paths in the store, relative to the place.
    pub fn names(&self) -> Result<Vec<String>> {
        let (mut names, mut folders) = (Vec::new(), vec![self.store()]);
        while let Some(folder) = folders.pop() {
            if folder.is_dir() {
                folders.extend(disk::list(&folder)?);
            }
            if let Ok(path) = folder.strip_prefix(&self.0) {
                names.push(path.display().to_string());
            }
        }
        Ok(names)
    }

    pub fn state(&self) -> Result<State> {
        let store = self.store();
        let target = self.target();
        let is_marked = if target.is_dir() {
            let names = disk::list(&target)?;
            names.is_empty() || names.iter().any(|path| path.display().to_string().contains(MARK))
        } else {
            target.is_file() && disk::read_bytes(&target)?.starts_with(INCOMPLETE)
        };
        let target = if target.is_dir() {
            Some(Snapshot::exact(&target, &self.0))
        } else {
            target.exists().then(|| Snapshot::file(&self.targets(), TARGET))
        };
        let beside = disk::list(&self.targets())?;
        let beside = beside.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Ok(State {
            store: if store.exists() { Snapshot::plain(&store, &[INDEX, LAYOUT])? } else { Snapshot::default() },
            home: Snapshot::plain(&self.home(), &[LOGIN])?,
            target,
            is_marked,
            beside: beside.collect(),
        })
    }
}
