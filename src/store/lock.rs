//! The store's locks: advisory, of the kernel, so that they die with their process. Who reads needs none.
//!
//! `lock` is held by who changes `index.json`, for that moment alone. A partial blob is locked by who fills it. `prune.lock`
//! is shared by all who rely on blobs that no name keeps yet, from their first look until the name is in the index; who
//! removes unnamed blobs takes it alone, and looks for them only then.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::disk::{open_or_create, open_regular};
use crate::cancel::Cancel;
use crate::error::{Error, Result};

/// How often a held lock is looked at.
const LOCK_POLL: Duration = Duration::from_millis(50);
const PRUNE: &str = "prune.lock";

/// While this lives, no blob is removed for having no name.
#[derive(Debug)]
#[must_use]
pub(crate) struct PruneGuard(#[expect(dead_code, reason = "it is held, not used")] Option<File>);

/// Keeps blobs from being pruned; waits for a prune that is under way.
pub(super) fn keep(root: &Path, cancel: &Cancel) -> Result<PruneGuard> {
    let path = root.join(PRUNE);
    let file = open_or_create(&path)?;
    wait(&path, cancel, || file.try_lock_shared())?;
    Ok(PruneGuard(Some(file)))
}

/// The same for who reads, without waiting, and where it can be had.
pub(super) fn keep_if_free(root: &Path) -> PruneGuard {
    let file = open_regular(&root.join(PRUNE)).ok().flatten();
    PruneGuard(file.filter(|file| file.try_lock_shared().is_ok()))
}

/// Locks the index for a change.
pub(super) fn index(root: &Path, cancel: &Cancel) -> Result<File> {
    let path = root.join("lock");
    let file = open_or_create(&path)?;
    exclusive(&file, &path, cancel)?;
    Ok(file)
}

/// Waits for whoever holds the file, but not beyond a cancellation or a deadline.
pub(super) fn exclusive(file: &File, path: &Path, cancel: &Cancel) -> Result<()> {
    wait(path, cancel, || file.try_lock())
}

fn wait(path: &Path, cancel: &Cancel, lock: impl Fn() -> std::result::Result<(), TryLockError>) -> Result<()> {
    loop {
        match lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => cancel.wait(LOCK_POLL)?,
            Err(TryLockError::Error(e)) => return Err(Error::disk("lock", path, e)),
        }
    }
}
