//! Entry points for the fuzz targets: the index of a store.

use std::path::Path;

use super::layout;
use crate::cancel::Cancel;
use crate::error::Result;

/// Reads the index of the store in `folder`, and puts its first entry into it again. Returns the names of the entries.
pub fn index_json(folder: &Path) -> Result<Vec<String>> {
    let entries = layout::entries(folder)?;
    if let Some(entry) = entries.first() {
        layout::name(folder, entry, &Cancel::default())?;
    }
    Ok(layout::entries(folder)?.iter().map(|entry| entry.name().to_owned()).collect())
}
