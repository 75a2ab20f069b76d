//! The checksums are right, and the archive has a binary that runs.

use std::process::Command;

use super::Subject;
use crate::package::SUMS;
use crate::{Result, disk, shell};

pub fn all(subject: &Subject) -> Result {
    let mut sums = shell::program("sha256sum");
    shell::run(sums.args(["--check", "--strict", "--quiet", SUMS]).current_dir(subject.out))?;
    let listed = disk::read(&subject.out.join(SUMS))?.lines().count();
    let found = disk::list(subject.out)?.iter().filter(|path| !path.to_string_lossy().contains(SUMS)).count();
    if listed != found {
        return Err(format!("{SUMS} has {listed} files of {found}"));
    }
    let folder = subject.work.join("archive");
    disk::fresh(&folder)?;
    let archive = subject.file(&format!("-{}.tar.gz", subject.triple))?;
    shell::run(shell::program("tar").arg("-xzf").arg(&archive).arg("--directory").arg(&folder))?;
    let top = disk::list(&folder)?.pop().ok_or("the archive is empty")?;
    subject.expect_version(&shell::read(Command::new(top.join("pullet")).arg("--version"))?)?;
    // The documentation refers to these.
    for name in ["README.md", "LICENSE-MIT", "docs/options.md", "initramfs/README.md"] {
        disk::metadata(&top.join(name))?;
    }
    Ok(())
}
