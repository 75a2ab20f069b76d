//! Fetches Debian packages for a guest, and packages that must not be installed on this machine. It runs apt with a
//! separate state and the archive of this machine's apt. Packages are unpacked into a folder, not installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::disk::Temporary;
use crate::{Result, disk, packages, shell};

const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

pub struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// Fetches the package lists of this architecture into the folder.
    pub fn new(folder: &Path, architecture: &str) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            disk::create_folder(&folder.join(part))?;
        }
        let (mirror, suite) = packages::mirror()?;
        let sources = folder.join("sources.list");
        disk::write(&sources, format!("deb [signed-by={KEYS}] {mirror} {suite} main\n"))?;
        disk::write(&folder.join("status"), "")?;
        let own = shell::read(shell::program("dpkg").arg("--print-architecture"))?;
        // Programs that run here can use the packages that are installed here.
        let is_own = own.trim() == architecture;
        let status = if is_own { PathBuf::from("/var/lib/dpkg/status") } else { folder.join("status") };
        let folder = folder.display();
        let settings = [
            format!("APT::Architecture={architecture}"),
            format!("APT::Architectures::={architecture}"),
            format!("Dir::State={folder}"),
            format!("Dir::State::status={}", status.display()),
            format!("Dir::Cache={folder}/cache"),
            format!("Dir::Etc::SourceList={}", sources.display()),
            "Dir::Etc::SourceParts=/dev/null".into(),
            "Acquire::Languages=none".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            // apt's unprivileged download user cannot write to this folder.
            "APT::Sandbox::User=root".into(),
        ];
        let apt = Self { options: settings.into_iter().flat_map(|setting| ["--option".into(), setting]).collect() };
        shell::run(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    /// The first dependency whose name has this prefix. Used to resolve metapackages.
    pub fn dependency(&self, package: &str, prefix: &str) -> Result<String> {
        let depends = shell::read(self.command("apt-cache").args(["depends", package]))?;
        let mut names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let found = names.find(|name| name.starts_with(prefix));
        found.map(str::to_owned).ok_or_else(|| format!("{package} has no dependency {prefix}*:\n{depends}"))
    }

    /// The package and all its dependencies that are not installed here.
    pub fn missing(&self, package: &str) -> Result<Vec<String>> {
        let mut simulation = self.command("apt-get");
        let plan = shell::read(simulation.args(["--simulate", "--no-install-recommends", "install", package]))?;
        Ok(installed_by(&plan).map(str::to_owned).collect())
    }

    /// Downloads packages and unpacks them into the folder.
    pub fn unpack(&self, packages: &[String], into: &Path) -> Result {
        let work = Temporary::new(into.with_extension("deb"))?;
        shell::run(self.command("apt-get").arg("download").args(packages).current_dir(work.path()))?;
        disk::create_folder(into)?;
        let unpack = |deb: &PathBuf| shell::run(shell::program("dpkg-deb").arg("--extract").arg(deb).arg(into));
        disk::list(work.path())?.iter().try_for_each(unpack)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = shell::program(program);
        command.args(&self.options);
        command
    }
}

/// The packages that a simulation would install, from its lines `Inst NAME (VERSION …)`.
fn installed_by(plan: &str) -> impl Iterator<Item = &str> {
    plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_packages_of_a_simulation() {
        let plan = "Reading…\nRemv qemu-utils [1:10]\nInst seabios (1.16 Debian:12 [all])\nInst q [1] (2 D [amd64])\n";
        assert_eq!(installed_by(plan).collect::<Vec<_>>(), ["seabios", "q"]);
    }
}
