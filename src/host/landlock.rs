//! Restricts what this process may do to files, other processes and the network with Linux's Landlock. The only file that
//! uses the crate `landlock`. The caller decides what stays allowed.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

use super::rights::{FolderUse, Rights};

/// Restricts this thread, and the threads and programs that it starts, to `rights`. Open files stay open.
///
/// Blobs and trees are renamed from folder to folder. Landlock before Linux 5.19 forbids all such renames, so it is not
/// used there. All other restrictions are those that the kernel has.
pub(super) fn restrict(rights: &Rights) -> Result<(), RulesetError> {
    let mut connections = BitFlags::from(AccessNet::BindTcp);
    if !rights.may_connect {
        connections |= AccessNet::ConnectTcp;
    }
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_write(ABI::V5) | AccessFs::Execute)?
        .handle_access(connections)?
        .scope(Scope::from_all(ABI::V6))?
        .create()?;
    for folder in &rights.folders {
        if let Some(existing) = open_nearest(&folder.path) {
            rules = rules.add_rule(PathBeneath::new(existing, allowed(folder.usage, rights.has_devices)))?;
        }
    }
    rules.restrict_self()?;
    Ok(())
}

/// Returns what may be done below a folder. Device nodes may be created only in a tree with devices, and controlled nowhere.
fn allowed(usage: FolderUse, has_devices: bool) -> BitFlags<AccessFs> {
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock;
    let all = AccessFs::from_write(ABI::V3);
    match usage {
        FolderUse::Tree if has_devices => all,
        FolderUse::Tree => all & !devices,
        FolderUse::Plain | FolderUse::PlainOfOthers => {
            all & !(devices | AccessFs::MakeSock | AccessFs::MakeFifo | AccessFs::MakeSym)
        }
    }
}

/// Opens the folder, or if it is missing its nearest existing ancestor, because the folder will be created there.
/// Returns `None` if none of them can be opened: then nothing can be written there anyway.
fn open_nearest(folder: &Path) -> Option<PathFd> {
    let absolute = std::path::absolute(folder).ok()?;
    absolute.ancestors().find_map(|folder| PathFd::new(folder).ok())
}
