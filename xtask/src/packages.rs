//! Files out of Debian's packages: a minimal root, and the largest packages there are. They come from the mirror that
//! this machine's own apt is configured with.

use std::path::Path;

use crate::disk::Temporary;
use crate::{Result, disk, shell};

/// What debootstrap leaves in a root that an image has no use for.
const LEFT_OVER: [&str; 2] = ["var/cache/apt/archives", "var/lib/apt/lists"];

/// Makes the minimal root that images of Debian are made of.
pub fn minimal_root(root: &Path) -> Result {
    debootstrap(&[], root)
}

/// The same for machines whose programs do not run here: its packages are unpacked, and not configured.
pub fn foreign_root(architecture: &str, root: &Path) -> Result {
    debootstrap(&["--foreign", "--arch", architecture], root)?;
    // Its first stage may leave a link to itself there, in a container.
    let proc = root.join("proc");
    if disk::metadata(&proc)?.is_symlink() {
        disk::named("remove", &proc, std::fs::remove_file(&proc))?;
        disk::create_folder(&proc)?;
    }
    Ok(())
}

/// Unpacks the first of these packages that apt has, as its names change with Debian's releases.
pub fn unpack(candidates: &[&str], into: &Path) -> Result {
    let work = Temporary::new(into.with_extension("deb"))?;
    let mut reasons = Vec::new();
    for package in candidates {
        let mut apt = shell::program("apt-get");
        // The user that apt would become to download may not write here.
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

/// The archive that apt takes this machine's own release from, and the release's name.
pub fn mirror() -> Result<(String, String)> {
    let release = disk::read(Path::new("/etc/os-release"))?;
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let suite = suite.ok_or("/etc/os-release: no VERSION_CODENAME")?;
    let mut apt = shell::program("apt-get");
    let targets = shell::read(apt.args(["indextargets", "--format=$(SITE) $(RELEASE)", "Created-By: Packages"]))?;
    let archive = archive_of(&targets, suite).ok_or_else(|| format!("apt has no archive of {suite}"))?;
    Ok((archive.to_owned(), suite.to_owned()))
}

/// The first archive that has exactly this suite, of lines with both.
fn archive_of<'a>(targets: &'a str, suite: &str) -> Option<&'a str> {
    let mut lines = targets.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(_, release)| *release == suite).map(|(archive, _)| archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_of_the_release_itself() {
        let targets = "http://a/updates stable-updates\nhttp://a/debian stable\nhttp://b/debian stable\n";
        assert_eq!(archive_of(targets, "stable"), Some("http://a/debian"));
        assert_eq!(archive_of(targets, "testing"), None);
    }
}
