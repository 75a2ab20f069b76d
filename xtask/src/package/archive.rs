//! The archive for systems without a package: one folder in a tar, by GNU tar and gzip.

use std::path::PathBuf;

use super::Target;
use super::contents::Kind;
use super::release::Release;
use super::tree;
use crate::{Result, disk, shell};

pub fn make(release: &Release, target: &Target) -> Result<PathBuf> {
    let name = format!("pullet-{}-{}", release.version, target.triple);
    let root = release.work.join("archive");
    disk::fresh(&root)?;
    tree::lay(release, &target.items(release, Kind::Archive)?, &root.join(&name))?;
    let plain = release.work.join("archive.tar");
    let mut tar = release.command("tar");
    tar.args(["--create", "--format=ustar", "--sort=name", "--owner=root:0", "--group=root:0"]);
    shell::run(tar.arg("--file").arg(&plain).arg("--directory").arg(&root).arg(&name))?;
    let file = release.out.join(name + ".tar.gz");
    disk::write(&file, tree::compress(release, &["gzip", "-9nc"], &plain)?)?;
    Ok(file)
}
