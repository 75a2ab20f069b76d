//! Installs what a task needs on Debian. Without root, the error has the command to run.

use crate::Result;
use crate::shell::{self, find};

/// The programs that the checks around the tests need, each with its package. The tests themselves need more: [`kit::debian::PACKAGES`].
const FOR_CHECKS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("mkfs.ext4", "e2fsprogs"),
    ("setcap", "libcap2-bin"),
    ("shellcheck", "shellcheck"),
    ("time", "time"),
];

/// The registry for the tasks that pull.
pub const REGISTRY: (&str, &str) = ("docker-registry", "docker-registry");

/// Makes sure that programs are installed. Installs missing packages as root, else fails with the command to do so.
pub fn need(programs: &[(&str, &str)]) -> Result {
    install(&missing(programs))?;
    let missing = missing(programs);
    if missing.is_empty() { Ok(()) } else { Err(format!("still missing after installation: {}", missing.join(", "))) }
}

/// Makes sure that all programs are installed that the tests need.
pub fn need_for_tests() -> Result {
    need(&[kit::debian::PACKAGES, FOR_CHECKS].concat())
}

/// Makes sure that packages are installed.
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
    fn lists_packages_of_missing_programs() {
        assert!(find("sh").is_some());
        assert_eq!(missing(&[("sh", "dash"), ("no-such-program", "nowhere")]), ["nowhere"]);
    }
}
