//! The image that the guests boot: Debian's minimal root, and on it one small script that says from where it runs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::guest::Guest;
use super::once;
use crate::disk::Temporary;
use crate::image::{Image, Layer};
use crate::registry::Registry;
use crate::{Result, disk, packages, push, shell};

const REPOSITORY: &str = "boot/debian";
const TAG: &str = "latest";
/// Changes with what the image is made of.
const VERSION: &str = "image-1";
/// The init that the guests are told to start.
pub const INIT: &str = "/sbin/booted";
const SCRIPT: &str = r#"#!/bin/sh
# /proc has come along. The last file system that was mounted at the root is the one that is seen there.
while read -r _ place kind _; do
    [ "$place" != / ] || root=$kind
done </proc/mounts
read -r up _ </proc/uptime
read -r version </etc/debian_version
echo "[$up] /bin/sh of the new root: Debian $version, $(uname -m), root on $root"
sleep 600
"#;

/// Where it is, and which it is.
pub struct Subject {
    pub digest: String,
    /// A registry's.
    pub folder: PathBuf,
}

impl Subject {
    pub fn there(guest: &Guest, folder: &Path) -> Result<Self> {
        let folder = once(folder.join(VERSION), |into| {
            println!("making an image of Debian's minimal root for {}, once", guest.architecture);
            make(guest, into)
        })?;
        let digest = disk::read(&folder.join("digest"))?;
        Ok(Self { digest, folder })
    }
}

/// Its name for a guest, at this port of the host's loopback.
pub fn name(port: u16) -> String {
    format!("10.0.2.2:{port}/{REPOSITORY}:{TAG}")
}

fn make(guest: &Guest, folder: &Path) -> Result {
    let work = Temporary::new(folder.join("work"))?;
    let (root, script) = (work.path().join("root"), work.path().join("script"));
    let own = shell::read(shell::program("dpkg").arg("--print-architecture"))?;
    match own.trim() == guest.architecture {
        true => packages::minimal_root(&root)?,
        false => packages::foreign_root(guest.architecture, &root)?,
    }
    let init = script.join(INIT.trim_start_matches('/'));
    disk::create_folder(init.parent().unwrap_or(&script))?;
    disk::write(&init, SCRIPT)?;
    disk::named("make executable", &init, std::fs::set_permissions(&init, PermissionsExt::from_mode(0o755)))?;
    let layers = vec![
        Layer::of_folder(&root, work.path().join("root.layer"))?,
        Layer::of_folder(&script, work.path().join("script.layer"))?,
    ];
    let architecture = format!("\"architecture\":\"{}\"", guest.architecture);
    let image = Image::of(&architecture, work.path(), layers)?;
    let registry = Registry::start(folder)?;
    push::image(registry.address(), REPOSITORY, TAG, &image)?;
    disk::write(&folder.join("digest"), &image.manifest.digest)
}
