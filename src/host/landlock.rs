//! Gives up what this process does not need of the file system, with Linux's Landlock. The only file that names the crate
//! of that name. Decides nothing: which folders stay writable is the caller's choice.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
};

use crate::error::{Error, ErrorKind, Result};

/// From now on nothing but what is below these folders is written, made, removed or renamed by this thread and the
/// threads and programs that it starts, nothing is executed, and no program gains rights by being run. Files that are
/// open stay open.
///
/// Renames between folders are needed, for blobs and for trees: a kernel whose Landlock forbids them all (before 5.19)
/// is not asked.
pub(crate) fn confine(folders: &[PathBuf]) -> Result<()> {
    // Old kernels have this alone.
    rustix::thread::set_no_new_privs(true).map_err(|e| unable(&e))?;
    restrict(folders).map_err(|e| unable(&e))
}

fn restrict(folders: &[PathBuf]) -> std::result::Result<(), RulesetError> {
    let writing = AccessFs::from_write(ABI::V3);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(writing | AccessFs::Execute)?
        .create()?;
    for folder in folders.iter().filter_map(|folder| nearest(folder)) {
        rules = rules.add_rule(PathBeneath::new(folder, writing))?;
    }
    rules.restrict_self().map(drop)
}

/// The folder, or the first above it that is there: in that one it would be made. None of them is for nobody to write.
fn nearest(folder: &Path) -> Option<PathFd> {
    let absolute = std::path::absolute(folder).ok()?;
    absolute.ancestors().find_map(|folder| PathFd::new(folder).ok())
}

fn unable(why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unsupported, format!("restrict writing: {why}"))
}
