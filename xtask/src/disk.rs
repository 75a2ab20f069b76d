//! File operations whose errors name the path.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Result, shell};

/// A new, empty folder that is removed on drop.
pub struct Temporary(PathBuf);

impl Temporary {
    pub fn new(path: PathBuf) -> Result<Self> {
        fresh(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(reason) = clear(&self.0) {
            eprintln!("xtask: {reason}");
        }
    }
}

/// Makes an empty folder, in place of any existing one.
pub fn fresh(folder: &Path) -> Result {
    clear(folder)?;
    create_folder(folder)
}

/// Removes the folder with its content, if it exists.
pub fn clear(folder: &Path) -> Result {
    if folder.symlink_metadata().is_err() {
        return Ok(());
    }
    // An unpacked tree may have folders that even their owner cannot write to.
    shell::run(shell::program("chmod").args(["-R", "u+rwX"]).arg(folder))?;
    named("remove", folder, fs::remove_dir_all(folder))
}

pub fn create_folder(path: &Path) -> Result {
    named("create folder", path, fs::create_dir_all(path))
}

pub fn open(path: &Path) -> Result<fs::File> {
    named("open", path, fs::File::open(path))
}

pub fn create(path: &Path) -> Result<fs::File> {
    named("create", path, fs::File::create(path))
}

pub fn read(path: &Path) -> Result<String> {
    named("read", path, fs::read_to_string(path))
}

pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    named("read", path, fs::read(path))
}

pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result {
    named("write", path, fs::write(path, bytes))
}

pub fn size(path: &Path) -> Result<u64> {
    Ok(metadata(path)?.len())
}

/// The metadata of the path itself. Links are not followed.
pub fn metadata(path: &Path) -> Result<fs::Metadata> {
    named("stat", path, fs::symlink_metadata(path))
}

pub fn link_target(path: &Path) -> Result<PathBuf> {
    named("read link", path, fs::read_link(path))
}

/// The paths of a folder's entries, sorted.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = named("list", folder, fs::read_dir(folder))?;
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = named("list", folder, paths)?;
    paths.sort();
    Ok(paths)
}

/// Adds the operation and the path to an error.
pub fn named<T>(verb: &str, path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|e| format!("{verb} {}: {e}", path.display()))
}
