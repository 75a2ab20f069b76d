//! Removes the trees of layers that no image in the store uses any more.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::layer_folders::{FOLDERS, layer_folders};
use super::layered::tree_names;
use super::lookup::images_of;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::progress::Event;
use crate::store::{LockWait, Store};
use crate::unpack::{open_directory, remove_counted};

/// The start of the name of a tree that is being removed. No image uses such a name, so the next removal finishes the work
/// if this one is killed.
const REMOVED: &str = "removed-";

/// Removes the trees that no image in the index uses, whether it has a name or not, and to which no folder has links; and what
/// killed processes left next to them. Reports the folders that keep trees of no image. Returns the bytes that were freed. No
/// other process may be making trees or naming images: the caller has the right to remove blobs.
pub(super) fn remove_unused_trees(store: &Store, wait: LockWait<'_>) -> Result<u64> {
    let LockWait { cancel, progress } = wait;
    let mut forms = store.layer_files("")?;
    forms.retain(|folder| folder.is_dir() && !folder.ends_with(FOLDERS));
    if forms.is_empty() {
        return Ok(0);
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
    let mut linked = Vec::new();
    for mut folder in layer_folders(store)? {
        folder.trees.retain(|name| used.binary_search(name).is_err());
        if !folder.trees.is_empty() {
            let (count, path) = (folder.trees.len(), folder.path.display());
            progress.report(Event::Note(&format!(
                "{path} needs {count} trees of layers that no image has: they stay until it is removed"
            )));
            linked.append(&mut folder.trees);
        }
    }
    used.append(&mut linked);
    used.sort_unstable();
    let mut bytes = 0;
    for form in &forms {
        bytes += remove_others(form, &used, cancel)?;
    }
    Ok(bytes)
}

/// Removes everything in a folder whose name is not `used`. The names go first, durably: a tree that is trusted by its name
/// must not lack files after a power cut. Returns the bytes that were freed.
fn remove_others(folder: &Path, used: &[String], cancel: &Cancel) -> Result<u64> {
    let directory = File::from(open_directory(folder)?);
    let mut bytes = 0;
    let mut remove = |name: &OsStr| {
        let removed = remove_counted(&directory, name.as_bytes(), cancel);
        bytes += removed.map_err(|e| Error::through_read(e, |e| Error::disk("remove", folder.join(name), e)))?;
        Ok(())
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
    renamed.iter().try_for_each(|name| remove(name))?;
    Ok(bytes)
}
