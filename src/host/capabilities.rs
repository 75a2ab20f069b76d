//! Gives up the capabilities of root that a confined thread does not need.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open, stat};
use rustix::io;
use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities,
};

use super::environment::Environment;
use super::rights::{FolderUse, Rights};

/// Capabilities that make owners and modes no obstacle to writing.
const WRITE_ANYWHERE: CapabilitySet =
    CapabilitySet::CHOWN.union(CapabilitySet::DAC_OVERRIDE).union(CapabilitySet::FOWNER);

/// Capabilities that an image's tree needs: for owners and modes, for setgid bits, for file capabilities, and
/// `CAP_SYS_ADMIN` for the xattrs `security.ima` and, without SELinux, `security.selinux`.
const TREE: CapabilitySet =
    WRITE_ANYWHERE.union(CapabilitySet::FSETID).union(CapabilitySet::SETFCAP).union(CapabilitySet::SYS_ADMIN);

/// Gives up all capabilities of this thread that `rights` do not need, also those that a program could get that this
/// thread runs. Threads that it starts inherit what is left.
pub(super) fn limit(rights: &Rights) -> io::Result<()> {
    let all = capabilities(None)?;
    if (all.permitted | all.inheritable).is_empty() {
        return Ok(());
    }
    let needed = needed_for_content(rights) | needed_for_access(rights, all)?;
    // Kernels before 4.3 have no ambient set, and dropping from the bounding set needs CAP_SETPCAP. Neither set matters
    // to this thread: no_new_privs keeps programs from getting more than it has.
    let _ = clear_ambient_capability_set();
    let numbers = (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number));
    for capability in numbers {
        if remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
    let left = CapabilitySets {
        effective: all.effective & needed,
        permitted: all.permitted & needed,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, left)
}

fn needed_for_content(rights: &Rights) -> CapabilitySet {
    let mut needed = CapabilitySet::empty();
    for folder in &rights.folders {
        needed |= match folder.usage {
            FolderUse::Plain => CapabilitySet::empty(),
            FolderUse::PlainOfOthers => WRITE_ANYWHERE,
            FolderUse::Tree if rights.has_devices => TREE | CapabilitySet::MKNOD,
            FolderUse::Tree => TREE,
        };
    }
    needed
}

/// Returns the capabilities without which this thread cannot use the folders and files of `rights`: those in the home of
/// another user, for example. Root has no other reason to need them.
fn needed_for_access(rights: &Rights, all: CapabilitySets) -> io::Result<CapabilitySet> {
    // Access is checked with the effective capabilities. The permitted ones bring them back.
    set_capabilities(None, CapabilitySets { effective: CapabilitySet::empty(), ..all })?;
    let mut needed = CapabilitySet::empty();
    if !rights.folders.iter().all(|folder| is_own(&folder.path)) {
        needed |= WRITE_ANYWHERE;
    }
    let is_readable = rights.read.iter().chain(&configured_files()).all(|path| is_readable(path));
    if !is_readable || has_configuration_of_another() {
        needed |= CapabilitySet::DAC_READ_SEARCH;
    }
    set_capabilities(None, all)?;
    Ok(needed)
}

/// Returns true if this user owns the folder and its mode lets its owner write. If it does not exist yet, the folder in
/// which it will be created decides.
fn is_own(folder: &Path) -> bool {
    let Ok(absolute) = std::path::absolute(folder) else { return false };
    for folder in absolute.ancestors() {
        match stat(folder) {
            Ok(stat) => {
                let mode = Mode::from_raw_mode(stat.st_mode);
                return stat.st_uid == geteuid().as_raw() && mode.contains(Mode::RWXU);
            }
            Err(io::Errno::NOENT) => {}
            Err(_) => return false,
        }
    }
    false
}

/// Returns true if the path can be opened, or cannot be for another reason than its owner and mode.
fn is_readable(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).err() != Some(io::Errno::ACCESS)
}

/// The files and folders that environment variables name and that are read when they are needed.
fn configured_files() -> Vec<PathBuf> {
    let environment = Environment::of_process();
    let files = ["SSL_CERT_FILE", "CONTAINERS_REGISTRIES_CONF"].map(|variable| environment.path(variable));
    let mut paths: Vec<PathBuf> = files.into_iter().flatten().collect();
    if let Some(list) = environment.variable("SSL_CERT_DIR") {
        paths.extend(std::env::split_paths(&list));
    }
    paths
}

/// Returns true if the user's configuration belongs to another user: `sudo` may keep `$HOME`.
fn has_configuration_of_another() -> bool {
    let folder = Environment::of_process().config_folder();
    folder.is_some_and(|folder| match stat(folder) {
        Ok(stat) => stat.st_uid != geteuid().as_raw(),
        Err(error) => error == io::Errno::ACCESS,
    })
}
