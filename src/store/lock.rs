//! The store's locks: kernel advisory locks, released automatically when the process exits. Readers take none.
//!
//! - `lock` is held while `index.json` changes.
//! - A partial blob is locked by the process that fills it.
//! - `layers.lock` is held by the process that makes trees of layers.
//! - `prune.lock` is held shared by every process that relies on blobs that have no name yet, from its first look at
//!   the store until the name is in the index. Removing unnamed blobs takes the lock exclusively before it looks for
//!   them.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::{open_private, open_regular};
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};

/// How often a lock that another process holds is tried.
const LOCK_POLL: Duration = Duration::from_millis(50);
/// The number of attempts after which the wait is reported. They take one second.
const ATTEMPTS_UNTIL_REPORT: u32 = 20;
const INDEX: &str = "lock";
const PRUNE: &str = "prune.lock";
const LAYERS: &str = "layers.lock";

/// What ends the wait for a lock that another process holds, and who learns of it.
#[derive(Clone, Copy)]
pub(crate) struct LockWait<'a> {
    pub(crate) cancel: &'a Cancel,
    pub(crate) progress: &'a dyn Progress,
}

/// While this exists, no other process removes unnamed blobs.
#[derive(Debug)]
#[must_use]
pub(crate) struct PruneGuard(#[expect(dead_code, reason = "holds the lock until it is dropped")] Option<File>);

/// The lock files.
pub(super) fn files(root: &Path) -> [PathBuf; 3] {
    [root.join(INDEX), root.join(PRUNE), root.join(LAYERS)]
}

/// Prevents the removal of unnamed blobs. Waits for a removal that is running.
pub(super) fn keep(root: &Path, wait: LockWait<'_>) -> Result<PruneGuard> {
    let path = root.join(PRUNE);
    let file = open_private(&path)?;
    wait.until(&path, || file.try_lock_shared())?;
    Ok(PruneGuard(Some(file)))
}

/// Prevents the removal of unnamed blobs for a reader. Does not wait; has no effect if the lock cannot be taken.
pub(super) fn keep_if_free(root: &Path) -> PruneGuard {
    let file = open_regular(&root.join(PRUNE)).ok().flatten();
    PruneGuard(file.filter(|file| file.try_lock_shared().is_ok()))
}

/// Prevents others from relying on unnamed blobs. Waits until no process does.
pub(super) fn remove(root: &Path, wait: LockWait<'_>) -> Result<PruneGuard> {
    let path = root.join(PRUNE);
    let file = open_private(&path)?;
    exclusive(&file, &path, wait)?;
    Ok(PruneGuard(Some(file)))
}

/// The same without waiting; `None` if some process relies on unnamed blobs.
#[cfg(feature = "manage")]
pub(super) fn remove_if_free(root: &Path) -> Result<Option<PruneGuard>> {
    let file = open_private(&root.join(PRUNE))?;
    Ok(file.try_lock().is_ok().then_some(PruneGuard(Some(file))))
}

/// Locks the index in order to change it.
pub(super) fn index(root: &Path, wait: LockWait<'_>) -> Result<File> {
    let path = root.join(INDEX);
    let file = open_private(&path)?;
    exclusive(&file, &path, wait)?;
    Ok(file)
}

/// Locks the trees of layers in order to make some.
#[cfg(feature = "manage")]
pub(super) fn layers(root: &Path, wait: LockWait<'_>) -> Result<File> {
    let path = root.join(LAYERS);
    let file = open_private(&path)?;
    exclusive(&file, &path, wait)?;
    Ok(file)
}

/// Locks the file. Waits for its holder until the work is cancelled or its deadline passes.
pub(super) fn exclusive(file: &File, path: &Path, wait: LockWait<'_>) -> Result<()> {
    wait.until(path, || file.try_lock())
}

impl LockWait<'_> {
    fn until(self, path: &Path, lock: impl Fn() -> std::result::Result<(), TryLockError>) -> Result<()> {
        let mut attempts = 0;
        loop {
            match lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => return Err(Error::disk("lock", path, e)),
            }
            attempts += 1;
            if attempts == ATTEMPTS_UNTIL_REPORT {
                let text = format!("waiting for another process, which has locked {}", path.display());
                self.progress.report(Event::Note(&text));
            }
            self.cancel.wait(LOCK_POLL).map_err(|e| e.context(format!("lock {}", path.display())))?;
        }
    }
}
