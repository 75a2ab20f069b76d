//! Files from Debian packages: a minimal root, and large packages. They come from the mirror of this machine's apt.

use std::path::Path;

use crate::disk::Temporary;
use crate::{Result, disk, shell};

/// The folders of debootstrap that an image does not need.
const LEFT_OVER: [&str; 2] = ["var/cache/apt/archives", "var/lib/apt/lists"];

/// Makes a minimal Debian root.
pub fn minimal_root(root: &Path) -> Result {
    debootstrap(&[], root)
}

/// Makes a minimal root for another architecture. Its packages are unpacked but not configured, as that needs their
/// programs.
pub fn foreign_root(architecture: &str, root: &Path) -> Result {
    debootstrap(&["--foreign", "--arch", architecture], root)?;
    // In a container, the first stage may leave a link to the host's /proc.
    let proc = root.join("proc");
    if disk::metadata(&proc)?.is_symlink() {
        disk::named("remove", &proc, std::fs::remove_file(&proc))?;
        disk::create_folder(&proc)?;
    }
    Ok(())
}

/// Unpacks the first of these packages that apt has. Package names differ between Debian releases.
pub fn unpack(candidates: &[&str], into: &Path) -> Result {
    let work = Temporary::new(into.with_extension("deb"))?;
    let mut reasons = Vec::new();
    for package in candidates {
        let mut apt = shell::program("apt-get");
        // apt's unprivileged download user cannot write to this folder.
        apt.args(["--quiet", "--option", "APT::Sandbox::User=root", "download", package]).current_dir(work.path());
        match shell::run(&mut apt) {
            Err(reason) => reasons.push(reason),
            Ok(()) => {
                disk::create_folder(into)?;
                let packages = disk::list(work.path())?;
                return packages
                    .iter()
                    .try_for_each(|deb| shell::run(shell::program("dpkg-deb").arg("--extract").arg(deb).arg(into)));
            }
        }
    }
    Err(reasons.join("\n"))
}

fn debootstrap(options: &[&str], root: &Path) -> Result {
    let (mirror, suite) = mirror()?;
    let mut debootstrap = shell::program("debootstrap");
    shell::run(debootstrap.arg("--variant=minbase").args(options).arg(&suite).arg(root).arg(mirror))?;
    LEFT_OVER.iter().try_for_each(|folder| disk::fresh(&root.join(folder)))
}

/// The URL of the archive from which apt gets this machine's release, and the name of the release.
pub fn mirror() -> Result<(String, String)> {
    let release = disk::read(Path::new("/etc/os-release"))?;
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let suite = suite.ok_or("/etc/os-release: no VERSION_CODENAME")?;
    let mut apt = shell::program("apt-get");
    let targets = shell::read(apt.args(["indextargets", "--format=$(SITE) $(RELEASE)", "Created-By: Packages"]))?;
    let archive = archive_of(&targets, suite).ok_or_else(|| format!("apt has no archive for {suite}"))?;
    Ok((archive.to_owned(), suite.to_owned()))
}

/// The first archive with exactly this suite, from lines `ARCHIVE SUITE`.
fn archive_of<'a>(targets: &'a str, suite: &str) -> Option<&'a str> {
    let mut lines = targets.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(_, release)| *release == suite).map(|(archive, _)| archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_archive_of_the_release() {
        let targets = "http://a/updates stable-updates\nhttp://a/debian stable\nhttp://b/debian stable\n";
        assert_eq!(archive_of(targets, "stable"), Some("http://a/debian"));
        assert_eq!(archive_of(targets, "testing"), None);
    }
}
