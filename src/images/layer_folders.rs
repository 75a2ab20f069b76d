//! The folders with links to trees of layers. The store has a link to each of them, in `layers/folders`, so that no tree is
//! removed which one of them, or a mount of it, needs.

use std::fs;
use std::io::ErrorKind as IoKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::store::Store;

/// The folder with the links of the store.
pub(super) const FOLDERS: &str = "folders";

/// A folder, and the trees to which its links lead.
pub(super) struct LayerFolder {
    pub(super) path: PathBuf,
    /// The names of the trees.
    pub(super) trees: Vec<String>,
}

/// Records, durably, that there will be a folder with links to trees.
pub(super) fn record_folder(store: &Store, target: &Path) -> Result<()> {
    let failed = |e| Error::disk("record the folder", target, e);
    let folder = store.layer_subfolder(FOLDERS)?;
    let link = folder.join(Digest::sha256(target.as_os_str().as_bytes()).hex());
    match symlink(target, link) {
        Err(e) if e.kind() == IoKind::AlreadyExists => {}
        other => other.map_err(failed)?,
    }
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// The folders that have links to trees. Forgets those that are gone or have other content now.
pub(super) fn layer_folders(store: &Store) -> Result<Vec<LayerFolder>> {
    let mut folders = Vec::new();
    for record in store.layer_files(FOLDERS)? {
        let Some(path) = link_target(&record)? else { continue };
        let mut trees = Vec::new();
        while let Some(tree) = link_target(&path.join(trees.len().to_string()))? {
            let name = tree.parent().and_then(Path::file_name).unwrap_or_default();
            trees.push(name.to_string_lossy().into_owned());
        }
        if trees.is_empty() {
            fs::remove_file(&record).map_err(|e| Error::disk("remove", &record, e))?;
        } else {
            folders.push(LayerFolder { path, trees });
        }
    }
    Ok(folders)
}

/// Where a link leads; `None` if there is no link.
fn link_target(link: &Path) -> Result<Option<PathBuf>> {
    match fs::read_link(link) {
        Ok(target) => Ok(Some(target)),
        Err(e) if matches!(e.kind(), IoKind::NotFound | IoKind::NotADirectory | IoKind::InvalidInput) => Ok(None),
        Err(e) => Err(Error::disk("read", link, e)),
    }
}
