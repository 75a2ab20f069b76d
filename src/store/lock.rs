//! The store's locks: kernel advisory locks, released automatically when the process exits. Readers take none.
//!
//! - `lock` is held while `index.json` changes.
//! - A partial blob is locked by the process that fills it.
//! - `prune.lock` is held shared by every process that relies on blobs that have no name yet, from its first look at
//!   the store until the name is in the index. Removing unnamed blobs takes the lock exclusively before it looks for
//!   them.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::disk::{open_or_create, open_regular};
use crate::cancel::Cancel;
use crate::error::{Error, Result};

/// How often a lock that another process holds is tried.
const LOCK_POLL: Duration = Duration::from_millis(50);
const PRUNE: &str = "prune.lock";

/// While this exists, no process removes unnamed blobs.
#[derive(Debug)]
#[must_use]
pub(crate) struct PruneGuard(#[expect(dead_code, reason = "holds the lock until it is dropped")] Option<File>);

/// Prevents the removal of unnamed blobs. Waits for a removal that is running.
pub(super) fn keep(root: &Path, cancel: &Cancel) -> Result<PruneGuard> {
    let path = root.join(PRUNE);
    let file = open_or_create(&path)?;
    wait(&path, cancel, || file.try_lock_shared())?;
    Ok(PruneGuard(Some(file)))
}

/// Prevents the removal of unnamed blobs for a reader. Does not wait; has no effect if the lock cannot be taken.
pub(super) fn keep_if_free(root: &Path) -> PruneGuard {
    let file = open_regular(&root.join(PRUNE)).ok().flatten();
    PruneGuard(file.filter(|file| file.try_lock_shared().is_ok()))
}

/// Locks the index in order to change it.
pub(super) fn index(root: &Path, cancel: &Cancel) -> Result<File> {
    let path = root.join("lock");
    let file = open_or_create(&path)?;
    exclusive(&file, &path, cancel)?;
    Ok(file)
}

/// Locks the file. Waits for its holder until the work is cancelled or its deadline passes.
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
