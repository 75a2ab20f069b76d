//! The way into a new root: chroot as root, a user namespace otherwise, or none where neither is allowed.

use std::process::Command;

use crate::{cargo, shell};

pub enum Way {
    Chroot,
    Namespace,
}

/// Asks this machine rather than guessing: what it allows depends on its kernel and on whose container it is.
pub fn way_in() -> Option<Way> {
    let ways = [Way::Chroot, Way::Namespace];
    ways.into_iter().find(|way| shell::succeeds(&mut way.command("/", &["/bin/true"])))
}

impl Way {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Chroot => "chroot",
            Self::Namespace => "a user namespace",
        }
    }

    pub fn command(&self, root: &str, words: &[&str]) -> Command {
        let mut command = match self {
            Self::Chroot => Command::new("/usr/sbin/chroot"),
            Self::Namespace => {
                let mut command = Command::new("unshare");
                command.args(["--map-root-user", "/usr/sbin/chroot"]);
                command
            }
        };
        command.current_dir(cargo::root()).arg(root).args(words);
        command
    }
}
