//! Whiteouts (image-spec, layer.md): an entry whose name says that lower layers' entries are gone. Entries of the same
//! layer stay, in whatever order they and the whiteouts come.

use std::io;

use super::directory::{OpenDirectory, is_directory};
use super::remove::{remove_if_empty, remove_unwritten};
use super::root::{Root, failed};
use super::written::Written;
use crate::cancel::Cancel;
use crate::error::Result;

/// Removes what lower layers have as `name` in `directory`. It is no error if they have nothing.
pub(super) fn apply_whiteout(
    root: &mut Root,
    directory: &[u8],
    name: &[u8],
    written: &mut Written,
    cancel: &Cancel,
) -> Result<()> {
    let Some(parent) = root.enter_existing(directory)? else { return Ok(()) };
    let removed = match parent.stat(name) {
        Ok(None) => Ok(()),
        Ok(Some(stat)) if is_directory(&stat) => remove_directory(parent, name, written, cancel),
        Ok(Some(_)) if written.has(parent.inode(), name) => Ok(()),
        Ok(Some(_)) => parent.unlink(name),
        Err(e) => Err(e),
    };
    removed.map_err(|e| failed("remove", &[directory, b"/", name].concat(), e))
}

/// Removes everything that lower layers have in `directory`.
pub(super) fn apply_opaque(root: &mut Root, directory: &[u8], written: &mut Written, cancel: &Cancel) -> Result<()> {
    let Some(current) = root.enter_existing(directory)? else { return Ok(()) };
    let removed = current.open(b".").and_then(|fd| remove_unwritten(fd, written, cancel));
    removed.map(drop).map_err(|e| failed("remove lower layers' entries from", directory, e))
}

/// Removes a directory except for what this layer wrote in it. If that is anything, the directory becomes an implied
/// one.
fn remove_directory(parent: &OpenDirectory, name: &[u8], written: &mut Written, cancel: &Cancel) -> io::Result<()> {
    let is_written = written.has(parent.inode(), name);
    let is_kept = remove_unwritten(parent.open(name)?, written, cancel)?;
    if is_written {
        return Ok(());
    }
    if is_kept {
        return written.imply(&parent.open(name)?);
    }
    remove_if_empty(parent, name).map(drop)
}
