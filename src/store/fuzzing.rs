//! Entry points for the fuzz targets: the index of a store, and the record of a watch.

use std::path::Path;

use super::index::ImageEntry;
use super::layout;
use super::lock::LockWait;
#[cfg(feature = "manage")]
use super::watch::WatchRecord;
use crate::cancel::Cancel;
#[cfg(feature = "manage")]
use crate::digest::Digest;
use crate::error::Result;
#[cfg(feature = "manage")]
use crate::oci::reference::Reference;
use crate::progress::Silent;

/// Reads the index of the store in `folder`, and puts its first entry into it again. Returns the names of the entries
/// that have one.
pub fn index_json(folder: &Path) -> Result<Vec<String>> {
    let has_name = |entry: &ImageEntry| !entry.names.is_empty();
    let entries = layout::entries(folder, &has_name)?;
    if let Some(entry) = entries.first() {
        layout::name(folder, std::slice::from_ref(entry), LockWait { cancel: &Cancel::default(), progress: &Silent })?;
    }
    Ok(layout::entries(folder, &has_name)?.iter().map(|entry| entry.name().to_owned()).collect())
}

/// Opens the record of a watch of `name` in `file`, and records that the handling of `digest` begins and fails. Returns what the
/// record says when it is opened again: whether the digest has failed, and the one that was handled.
#[cfg(feature = "manage")]
pub fn watch_record(file: &Path, name: &Reference, digest: Digest) -> Result<(bool, Option<Digest>)> {
    let mut record = WatchRecord::open(file, false, name, &Silent)?;
    let handled = record.handled;
    record.begin(digest)?;
    record.fail(digest)?;
    drop(record);
    let record = WatchRecord::open(file, false, name, &Silent)?;
    assert_eq!(record.handled, handled, "the digest that was handled is lost");
    Ok((record.has_failed(&digest), handled))
}
