//! The time of the last success, for machines whose clock is not set: a private file that is replaced atomically.

use std::path::Path;

use super::Store;
use super::disk::{read_small, replace_private};
use super::lock::{self, LockWait};
use super::owner::check_owner;
use crate::error::{Error, ErrorKind, Result};

/// The file with the time at which a certificate was accepted last, in seconds since 1970.
const TIME: &str = "time";
/// The most bytes of the file.
const TIME_LIMIT: usize = 64;
/// The time is renewed only if it is older than this many seconds, because each write wears out flash.
const TIME_STEP: u64 = 3600;

impl Store {
    /// Returns the latest time at which a certificate was accepted, in seconds since 1970, if a run has kept one.
    pub(crate) fn verified_time(&self) -> Result<Option<u64>> {
        check_owner(&self.root)?;
        read_time(&self.root.join(TIME))
    }

    /// Keeps this time, unless a later one or nearly the same is kept already.
    pub(crate) fn keep_verified_time(&self, seconds: u64, wait: LockWait<'_>) -> Result<()> {
        let is_known = |kept: Option<u64>| kept.is_some_and(|kept| kept.saturating_add(TIME_STEP) > seconds);
        if is_known(self.verified_time()?) {
            return Ok(());
        }
        let _held = lock::index(&self.root, wait)?;
        let path = self.root.join(TIME);
        if is_known(read_time(&path)?) {
            return Ok(());
        }
        replace_private(&path, seconds.to_string().as_bytes())
    }
}

fn read_time(path: &Path) -> Result<Option<u64>> {
    let Some(bytes) = read_small(path, TIME_LIMIT)? else { return Ok(None) };
    let text = std::str::from_utf8(&bytes).ok();
    match text.and_then(|text| text.trim_end().parse().ok()) {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(Error::new(ErrorKind::Disk, format!("read {}: not a number of seconds", path.display()))),
    }
}
