//! Runs commands in a new root: with chroot as root, else in a user namespace.

use std::process::Command;

use crate::{cargo, shell};

pub enum Way {
    Chroot,
    Namespace,
}

/// The first way that works here. It is tried out, because it depends on the kernel and the container.
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
