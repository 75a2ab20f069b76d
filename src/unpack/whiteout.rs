//! Whiteouts (image-spec, layer.md): what a layer says is gone from the layers below it. Its own entries stay, in
//! whatever order they and the whiteouts come.

use super::folder::{Folder, is_directory};
use super::remove::{Written, clear, remove_unless};
use super::root::{Root, failed};
use crate::error::Result;

/// Removes `name` in `folder`, as far as lower layers brought it there. What is not there is fine.
pub(super) fn whiteout(root: &mut Root, folder: &[u8], name: &[u8], written: &mut Written) -> Result<()> {
    let Some(parent) = root.enter_existing(folder)? else { return Ok(()) };
    let removed = match parent.stat(name) {
        Ok(None) => Ok(()),
        Ok(Some(stat)) if is_directory(&stat) => whiteout_directory(parent, name, written),
        Ok(Some(_)) if written.has(parent.inode(), name) => Ok(()),
        Ok(Some(_)) => parent.unlink(name),
        Err(e) => Err(e),
    };
    removed.map_err(|e| failed("remove", &[folder, b"/", name].concat(), e))
}

/// What this layer has in the directory stays, and the directory then is no more than implied by it.
fn whiteout_directory(parent: &Folder, name: &[u8], written: &mut Written) -> std::io::Result<()> {
    let is_ours = written.has(parent.inode(), name);
    let is_left = clear(parent.open(name)?, written)?;
    if is_left && !is_ours {
        written.imply(&parent.open(name)?)?;
    }
    remove_unless(parent, name, is_left || is_ours).map(drop)
}

/// Removes all that lower layers brought into `folder`.
pub(super) fn opaque(root: &mut Root, folder: &[u8], written: &mut Written) -> Result<()> {
    let Some(directory) = root.enter_existing(folder)? else { return Ok(()) };
    let cleared = directory.open(b".").and_then(|fd| clear(fd, written));
    cleared.map(drop).map_err(|e| failed("clear", folder, e))
}
