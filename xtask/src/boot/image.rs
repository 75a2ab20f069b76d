//! The image that the guests boot: Debian's minimal root, and a small script as init that prints where it runs.

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
/// Change this with the content of the image, so that it is made again.
const VERSION: &str = "image-1";
/// The init that the guests start.
pub const INIT: &str = "/sbin/booted";
const SCRIPT: &str = r#"#!/bin/sh
# The initramfs has moved /proc here. The last file system mounted at / is the visible one.
while read -r _ place kind _; do
    [ "$place" != / ] || root=$kind
done </proc/mounts
read -r up _ </proc/uptime
read -r version </etc/debian_version
echo "[$up] /bin/sh of the new root: Debian $version, $(uname -m), root on $root"
sleep 600
"#;

/// The image in the storage of a registry.
pub struct Subject {
    pub digest: String,
    /// The folder of the registry.
    pub folder: PathBuf,
}

impl Subject {
    pub fn get_or_make(guest: &Guest, folder: &Path) -> Result<Self> {
        let folder = once(folder.join(VERSION), |into| {
            println!("making an image of Debian's minimal root for {} (only once)", guest.architecture);
            make(guest, into)
        })?;
        let digest = disk::read(&folder.join("digest"))?;
        Ok(Self { digest, folder })
    }
}

/// The image's name for a guest, if the registry is at this port of the host's loopback.
pub fn name(port: u16) -> String {
    format!("10.0.2.2:{port}/{REPOSITORY}:{TAG}")
}

fn make(guest: &Guest, folder: &Path) -> Result {
    let work = Temporary::new(folder.join("work"))?;
    let (root, script) = (work.path().join("root"), work.path().join("script"));
    let own = shell::read(shell::program("dpkg").arg("--print-architecture"))?;
    if own.trim() == guest.architecture {
        packages::minimal_root(&root)?;
    } else {
        packages::foreign_root(guest.architecture, &root)?;
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
