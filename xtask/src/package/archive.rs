//! The archive for systems without a package: one folder with the binary, the documentation and the licenses.

use std::path::PathBuf;

use super::Target;
use super::contents::Kind;
use super::release::Release;
use super::tree;
use crate::Result;

pub fn make(release: &Release, target: &Target) -> Result<PathBuf> {
    let name = format!("pullet-{}-{}", release.version, target.triple);
    let folder = release.work.join("archive").join(&name);
    tree::lay(release, &target.items(release, Kind::Archive)?, &folder)?;
    tree::archive(release, &folder, &(name + ".tar.gz"))
}
