//! Restricts this process's access to the file system with Linux's Landlock. The only file that uses the crate
//! `landlock`. The caller decides which folders stay writable.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
};

use crate::error::{Error, ErrorKind, Result};

/// Restricts this thread, and the threads and programs that it starts: they can write, create, remove and rename only
/// below these folders, execute nothing, and gain no privileges from set-user-ID programs. Open files stay open.
///
/// Blobs and trees are renamed from folder to folder. Landlock before Linux 5.19 forbids all such renames, so it is not
/// used there.
pub(crate) fn confine(folders: &[PathBuf]) -> Result<()> {
    // Kernels without Landlock support this part.
    rustix::thread::set_no_new_privs(true).map_err(|e| unsupported(&e))?;
    restrict(folders).map_err(|e| unsupported(&e))
}

fn restrict(folders: &[PathBuf]) -> std::result::Result<(), RulesetError> {
    let writing = AccessFs::from_write(ABI::V3);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(writing | AccessFs::Execute)?
        .create()?;
    for folder in folders {
        if let Some(existing) = open_nearest(folder) {
            rules = rules.add_rule(PathBeneath::new(existing, writing))?;
        }
    }
    rules.restrict_self()?;
    Ok(())
}

/// Opens the folder, or if it is missing its nearest existing ancestor, because the folder will be created there.
/// Returns `None` if none of them can be opened: then nothing can be written there anyway.
fn open_nearest(folder: &Path) -> Option<PathFd> {
    let absolute = std::path::absolute(folder).ok()?;
    absolute.ancestors().find_map(|folder| PathFd::new(folder).ok())
}

fn unsupported(cause: &dyn Display) -> Error {
    Error::new(ErrorKind::Unsupported, format!("restrict file system access: {cause}"))
}
