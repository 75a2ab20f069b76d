//! The Debian package, by dpkg-deb, which sorts the files and takes the release's date for its headers.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Target;
use super::contents::Kind;
use super::release::Release;
use super::tree;
use crate::{Result, disk, shell};

/// Makes the package, unless Debian has no port for the target.
pub fn make(release: &Release, target: &Target) -> Result<Option<PathBuf>> {
    let Some(architecture) = &target.names.deb else { return Ok(None) };
    let root = release.work.join("deb");
    tree::lay(release, &target.items(release, Kind::Deb)?, &root)?;
    add_control(release, target, architecture, &root)?;
    let file = release.out.join(format!("pullet_{}-1_{architecture}.deb", release.version));
    let mut dpkg = release.command("dpkg-deb");
    // Several threads of xz would give other bytes.
    dpkg.env("DPKG_DEB_THREADS_MAX", "1").args(["--root-owner-group", "-Zxz", "--build"]).arg(&root).arg(&file);
    shell::run(&mut dpkg)?;
    Ok(Some(file))
}

fn add_control(release: &Release, target: &Target, architecture: &str, root: &Path) -> Result {
    let paths: Vec<String> = target.items(release, Kind::Deb)?.into_iter().map(|item| item.path).collect();
    let mut bytes = 0;
    for path in &paths {
        bytes += disk::size(&root.join(path))?;
    }
    let size = bytes.div_ceil(1024).to_string();
    let values = [("ARCHITECTURE", architecture), ("SIZE", &size), ("MAINTAINER", target.maintainer)];
    let source = |name: &str| disk::read(&release.root.join("packaging/deb").join(name));
    let sums = shell::read(Command::new("md5sum").arg("--").args(&paths).current_dir(root))?;
    tree::put(root, "DEBIAN/control", release.fill(&source("control")?, &values)?.as_bytes(), 0o644)?;
    tree::put(root, "DEBIAN/md5sums", sums.as_bytes(), 0o644)?;
    tree::put(root, "DEBIAN/postinst", source("postinst")?.as_bytes(), 0o755)?;
    tree::settle(root, release.time())
}
