//! Entry points for the fuzz targets: the index of a store.

use std::path::Path;

use super::index::ImageEntry;
use super::layout;
use super::lock::LockWait;
use crate::cancel::Cancel;
use crate::error::Result;
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
