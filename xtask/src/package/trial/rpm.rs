//! The .rpm in an empty root.

use std::process::Command;

use super::Subject;
use super::root::Root;
use crate::{Result, disk, shell};

pub fn install(subject: &Subject) -> Result {
    let root = Root::empty(subject.work.join("rpm"))?;
    // Where /proc is mounted.
    disk::create_folder(&root.path.join("proc"))?;
    let package = subject.rpm()?;
    let rpm = |words: &[&str]| shell::read(command(&root).args(words));
    rpm(&["--initdb"])?;
    let path = package.display().to_string();
    let listed = rpm(&["-qpl", &path])?;
    rpm(&["--install", &path])?;
    subject.expect_version(&root.run(&["/usr/bin/pullet", "--version"])?)?;
    // Compares sizes, modes and digests with the package.
    rpm(&["--verify", "pullet"])?;
    for line in listed.lines() {
        disk::metadata(&root.path.join(line.trim_start_matches('/')))?;
    }
    let mut cpio = shell::program("sh");
    let names = shell::read(cpio.args(["-c", "rpm2cpio \"$0\" | cpio --list --quiet", &path]))?;
    if names.lines().count() != listed.lines().count() {
        return Err(format!("rpm lists {} files, cpio {}", listed.lines().count(), names.lines().count()));
    }
    rpm(&["--erase", "pullet"])?;
    // Nobody owns the folders /usr, /usr/bin and so on in an empty root, so rpm leaves them.
    let mut find = shell::program("find");
    let left = shell::read(find.arg(root.path.join("usr")).args(["!", "-type", "d", "-o", "-name", "*pullet*"]))?;
    if left.is_empty() { Ok(()) } else { Err(format!("the package left:\n{left}")) }
}

fn command(root: &Root) -> Command {
    let mut rpm = shell::program("rpm");
    rpm.arg("--root").arg(&root.path);
    rpm
}
