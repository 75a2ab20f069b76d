//! Tries packages: each is installed into a clean root, used and removed.

mod deb;
mod files;
mod image;
mod initramfs;
mod published;
mod recipes;
mod root;
mod rpm;
mod signature;

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::contents::Names;
use crate::{Result, debian, disk, show};

/// The programs of the trials, with their Debian packages.
const PROGRAMS: &[(&str, &str)] = &[
    debian::REGISTRY,
    ("cpio", "cpio"),
    ("mmdebstrap", "mmdebstrap"),
    ("podman", "podman"),
    ("rpm", "rpm"),
    ("rpm2cpio", "rpm2cpio"),
    ("skopeo", "skopeo"),
    ("unshare", "util-linux"),
];

/// The packages of a target that this machine runs.
pub struct Subject<'a> {
    /// The folder with the packages.
    pub out: &'a Path,
    pub binary: &'a Path,
    pub triple: &'a str,
    pub names: &'a Names,
    pub version: &'a str,
    pub homepage: &'a str,
    /// The name of the image.
    pub image: &'a str,
    /// A folder for the roots.
    pub work: &'a Path,
}

impl Subject<'_> {
    /// The only package whose name ends like this.
    fn file(&self, ending: &str) -> Result<PathBuf> {
        let mut files = disk::list(self.out)?;
        files.retain(|path| path.to_string_lossy().ends_with(ending));
        if let [file] = &files[..] { Ok(file.clone()) } else { Err(format!("{} packages *{ending}", files.len())) }
    }

    fn deb(&self) -> Result<PathBuf> {
        self.file(&format!("_{}.deb", self.names.deb.as_deref().ok_or("no .deb for this target")?))
    }

    fn rpm(&self) -> Result<PathBuf> {
        self.file(&format!(".{}.rpm", self.names.rpm.as_deref().ok_or("no .rpm for this target")?))
    }

    fn image(&self) -> Result<PathBuf> {
        self.file(&super::image::ending(self.names))
    }

    fn expect_version(&self, output: &str) -> Result {
        if output.starts_with(&format!("pullet {}", self.version)) {
            return Ok(());
        }
        Err(format!("expected pullet {}, got {output:?}", self.version))
    }
}

pub type Trial = (&'static str, fn(&Subject) -> Result);

/// The trials that take seconds.
pub const QUICK: &[Trial] = &[
    ("checksums and archive", files::all),
    ("crate: links of README.md", published::links),
    ("signature: minisign", signature::verify),
    ("recipes: Alpine, Buildroot, OpenWrt, Yocto, Nix", recipes::check),
    ("image: skopeo, podman", image::load),
    (".rpm: installed and removed in an empty root", rpm::install),
    (".deb: installed, used and removed in a clean root", deb::install),
];

/// The trials that take minutes: they build the crate, and install a kernel and the makers of its initramfs.
pub const LONG: &[Trial] = &[
    ("crate: cargo publish --dry-run", published::dry_run),
    ("initramfs-tools and dracut: images with pullet", initramfs::make),
];

pub fn run(subject: &Subject, trials: &[Trial]) -> Result {
    debian::need(PROGRAMS)?;
    for (name, trial) in trials {
        let start = Instant::now();
        trial(subject).map_err(|reason| format!("{name}: {reason}"))?;
        println!("{} {name} ({})", show::green("ok"), show::seconds(start.elapsed()));
    }
    Ok(())
}
