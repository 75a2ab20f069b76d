//! The variables of the environment that name folders and files.

use std::env;
use std::path::PathBuf;

/// The path that a variable names; an empty one names none.
pub(super) fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
