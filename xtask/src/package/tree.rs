//! Lays out the files of a package in a folder, with the modes and times that the package has.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::contents::Item;
use super::release::Release;
use crate::{Result, disk, shell};

/// Copies the items into an empty folder.
pub fn lay(release: &Release, items: &[Item], root: &Path) -> Result {
    disk::fresh(root)?;
    for item in items {
        let bytes = if item.is_compressed { gzip(release, &item.source)? } else { disk::read_bytes(&item.source)? };
        put(root, &item.path, &bytes, item.mode)?;
    }
    settle(root, release.time())
}

/// Packs a folder with GNU tar and gzip, sorted and owned by root, and returns the path of the archive.
pub fn archive(release: &Release, folder: &Path, name: &str) -> Result<PathBuf> {
    let (above, own) = (folder.parent(), folder.file_name());
    let (above, own) = above.zip(own).ok_or_else(|| format!("{}: no name", folder.display()))?;
    let plain = folder.with_extension("tar");
    let mut tar = release.command("tar");
    tar.args(["--create", "--format=ustar", "--sort=name", "--owner=root:0", "--group=root:0"]);
    shell::run(tar.arg("--file").arg(&plain).arg("--directory").arg(above).arg(own))?;
    let file = release.out.join(name);
    disk::write(&file, compress(release, &["gzip", "-9nc"], &plain)?)?;
    Ok(file)
}

/// Writes one file, and the folders above it.
pub fn put(root: &Path, path: &str, bytes: &[u8], mode: u32) -> Result {
    let path = root.join(path);
    if let Some(folder) = path.parent() {
        disk::create_folder(folder)?;
    }
    disk::write(&path, bytes)?;
    disk::named("chmod", &path, fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
}

/// Gives every file and folder the time, and every folder the mode 0755, whatever the umask.
pub fn settle(folder: &Path, time: SystemTime) -> Result {
    for path in disk::list(folder)? {
        if path.is_dir() {
            settle(&path, time)?;
        } else {
            set_time(&path, time)?;
        }
    }
    disk::named("chmod", folder, fs::set_permissions(folder, fs::Permissions::from_mode(0o755)))?;
    set_time(folder, time)
}

fn set_time(path: &Path, time: SystemTime) -> Result {
    disk::named("set time of", path, disk::open(path)?.set_modified(time))
}

fn gzip(release: &Release, path: &Path) -> Result<Vec<u8>> {
    compress(release, &["gzip", "-9nc"], path)
}

/// The output of a compressor for the file.
pub fn compress(release: &Release, words: &[&str], path: &Path) -> Result<Vec<u8>> {
    let (program, options) = words.split_first().ok_or("no compressor")?;
    let output = shell::try_output(release.command(program).args(options).arg(path))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("{program} {}: {}", path.display(), output.status))
    }
}
