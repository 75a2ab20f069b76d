//! Removes the trees of layers that no image in the store uses any more.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::layered::tree_names;
use super::lookup::images_of;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::store::Store;
use crate::unpack::{open_directory, remove_tree};

/// The end of the name of a tree that is being removed. No image uses such a name, so the next removal finishes the work
/// if this one is killed.
const REMOVED: &str = ".removed";

/// Removes the trees that no image in the index uses, whether it has a name or not, and what killed processes left next to
/// them. No other process may be making trees or naming images: the caller has the right to remove blobs.
pub(super) fn remove_unused_trees(store: &Store, cancel: &Cancel) -> Result<()> {
    let folders = store.layer_subfolders()?;
    if folders.is_empty() {
        return Ok(());
    }
    let limits = Limits::default();
    let mut used: HashSet<OsString> = HashSet::new();
    for entry in store.all_entries_where(&|_| true)? {
        cancel.check()?;
        used.extend(images_of(store, &entry, &limits).iter().flat_map(tree_names).map(OsString::from));
    }
    folders.iter().filter(|folder| folder.is_dir()).try_for_each(|folder| remove_others(folder, &used, cancel))
}

/// Removes everything in a folder whose name is not `used`.
fn remove_others(folder: &Path, used: &HashSet<OsString>, cancel: &Cancel) -> Result<()> {
    let failed_read = |e| Error::disk("read", folder, e);
    let directory = open_directory(folder)?;
    let mut unused = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed_read)? {
        let name = entry.map_err(failed_read)?.file_name();
        if !used.contains(&name) {
            unused.push(name);
        }
    }
    for name in unused {
        cancel.check()?;
        let mut removed = name.clone();
        if !name.as_bytes().ends_with(REMOVED.as_bytes()) {
            // A tree is there whole or not at all, also if the removal is interrupted.
            removed.push(REMOVED);
            remove(&directory, folder, &removed, cancel)?;
            let path = folder.join(&name);
            fs::rename(&path, folder.join(&removed)).map_err(|e| Error::disk("rename", &path, e))?;
        }
        remove(&directory, folder, &removed, cancel)?;
    }
    Ok(())
}

fn remove(directory: impl std::os::fd::AsFd, folder: &Path, name: &OsStr, cancel: &Cancel) -> Result<()> {
    remove_tree(directory, name.as_bytes(), cancel)
        .map_err(|e| Error::through_read(e, |e| Error::disk("remove", folder.join(name), e)))
}
