//! Removes the trees of layers that no image in the store uses any more.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::layered::tree_names;
use super::lookup::images_of;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::store::Store;
use crate::unpack::{open_directory, remove_tree};

/// The start of the name of a tree that is being removed. No image uses such a name, so the next removal finishes the work
/// if this one is killed.
const REMOVED: &str = "removed-";

/// Removes the trees that no image in the index uses, whether it has a name or not, and what killed processes left next to
/// them. No other process may be making trees or naming images: the caller has the right to remove blobs.
pub(super) fn remove_unused_trees(store: &Store, cancel: &Cancel) -> Result<()> {
    let folders = store.layer_subfolders()?;
    if folders.is_empty() {
        return Ok(());
    }
    let limits = Limits::default();
    // Sorted, each name once.
    let mut used: Vec<String> = Vec::new();
    for entry in store.all_entries_where(&|_| true)? {
        cancel.check()?;
        for name in images_of(store, &entry, &limits).iter().flat_map(tree_names) {
            if let Err(at) = used.binary_search(&name) {
                used.insert(at, name);
            }
        }
    }
    folders.iter().filter(|folder| folder.is_dir()).try_for_each(|folder| remove_others(folder, &used, cancel))
}

/// Removes everything in a folder whose name is not `used`. The names go first, durably: a tree that is trusted by its name
/// must not lack files after a power cut.
fn remove_others(folder: &Path, used: &[String], cancel: &Cancel) -> Result<()> {
    let directory = File::from(open_directory(folder)?);
    let remove = |name: &OsStr| {
        let removed = remove_tree(&directory, name.as_bytes(), cancel);
        removed.map_err(|e| Error::through_read(e, |e| Error::disk("remove", folder.join(name), e)))
    };
    let mut unused = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::disk("read", folder, e))? {
        let name = entry.map_err(|e| Error::disk("read", folder, e))?.file_name();
        let is_used = name.to_str().is_some_and(|name| used.binary_search_by(|used| used.as_str().cmp(name)).is_ok());
        if !is_used {
            unused.push(name);
        }
    }
    let mut renamed = Vec::new();
    for name in unused {
        if name.as_bytes().starts_with(REMOVED.as_bytes()) {
            remove(&name)?;
            continue;
        }
        let mut removed = OsString::from(REMOVED);
        removed.push(&name);
        let path = folder.join(name);
        fs::rename(&path, folder.join(&removed)).map_err(|e| Error::disk("rename", &path, e))?;
        renamed.push(removed);
    }
    directory.sync_all().map_err(|e| Error::disk("sync", folder, e))?;
    renamed.iter().try_for_each(|name| remove(name))
}
