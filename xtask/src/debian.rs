//! Set-up on Debian: what a task needs is there afterwards, or the error is the command that brings it.

use crate::Result;
use crate::shell::{self, find};

/// What the tests need: each program with the package that brings it.
pub const FOR_TESTS: &[(&str, &str)] = &[
    ("debootstrap", "debootstrap"),
    ("docker-registry", "docker-registry"),
    ("nginx", "nginx-light"),
    ("ip", "iproute2"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("script", "bsdutils"),
    ("setcap", "libcap2-bin"),
    ("setfattr", "attr"),
    ("shellcheck", "shellcheck"),
    ("skopeo", "skopeo"),
    ("strace", "strace"),
    ("time", "time"),
    ("umoci", "umoci"),
    ("zstd", "zstd"),
];

/// The registry that the demo and `mem` pull from.
pub const REGISTRY: (&str, &str) = ("docker-registry", "docker-registry");

/// Makes sure of programs. Missing packages are installed as root; anybody else is told how.
pub fn need(programs: &[(&str, &str)]) -> Result {
    install(&missing(programs))?;
    match missing(programs) {
        still if still.is_empty() => Ok(()),
        still => Err(format!("installed, and yet missing: {}", still.join(", "))),
    }
}

/// Makes sure of packages that are more than a program.
pub fn need_packages(packages: &[&str]) -> Result {
    let installed = |package: &str| {
        let mut query = shell::program("dpkg-query");
        let status = shell::read(query.args(["--show", "--showformat=${db:Status-Status}", package]));
        status.is_ok_and(|status| status == "installed")
    };
    install(&packages.iter().copied().filter(|package| !installed(package)).collect::<Vec<_>>())
}

fn install(packages: &[&str]) -> Result {
    if packages.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if !is_root()? {
        let missing = packages.join(", ");
        return Err(format!("missing on this machine: {missing}\nhint: sudo apt-get update && sudo {install}"));
    }
    println!("installing {}", packages.join(", "));
    apt_get(&["update"])?;
    apt_get(&install.split(' ').skip(1).collect::<Vec<_>>())
}

pub fn is_root() -> Result<bool> {
    Ok(shell::read(shell::program("id").arg("-u"))?.trim() == "0")
}

fn missing<'a>(programs: &[(&str, &'a str)]) -> Vec<&'a str> {
    programs.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect()
}

fn apt_get(arguments: &[&str]) -> Result {
    let mut command = shell::program("apt-get");
    command.args(["-o", "Dpkg::Use-Pty=0"]).args(arguments);
    shell::run(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_and_what_is_not_is_missing() {
        assert!(find("sh").is_some());
        assert_eq!(missing(&[("sh", "dash"), ("no-such-program", "nowhere")]), ["nowhere"]);
    }
}
