//! Mounts, as the kernel makes them: no mount(8) is run. What was mounted is taken away again unless it is kept; what was
//! there before is left alone. Decides nothing of what is mounted where.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};

use crate::error::{Error, ErrorKind, Result};
use crate::limits::read_capped;

/// Bytes of `/proc/filesystems`; a kernel with everything has some two thousand.
const FILESYSTEMS_LIMIT: usize = 64 << 10;

/// What was mounted, in order. Dropped, it is unmounted.
#[derive(Default)]
pub(crate) struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// A tmpfs, of `size` in its own words.
    pub(crate) fn tmpfs(&mut self, at: &Path, size: Option<&str>) -> Result<()> {
        let size = size.map(|size| format!(",size={size}")).unwrap_or_default();
        self.mount("tmpfs", at, &format!("mode=0755{size}"))
    }

    /// What is on a block device, by the first filesystem of this kernel's that takes it, as the kernel does it for `root=`;
    /// read-only where the device is.
    pub(crate) fn device(&mut self, device: &Path, at: &Path) -> Result<()> {
        make_folder(at)?;
        let filesystems = filesystems()?;
        let mut refusal = None;
        for filesystem in &filesystems {
            let attempt = |flags| mount(device, at, filesystem.as_str(), flags | MountFlags::SILENT, None);
            let mounted = attempt(MountFlags::empty()).or_else(|e| match e {
                Errno::ACCESS | Errno::ROFS => attempt(MountFlags::RDONLY),
                e => Err(e),
            });
            match mounted {
                Ok(()) => {
                    self.0.push(at.to_owned());
                    return Ok(());
                }
                // It is none of its own.
                Err(Errno::INVAL) => {}
                Err(e) => refusal = refusal.or(Some(e)),
            }
        }
        match refusal {
            Some(e) => Err(Error::disk("mount", device, e)),
            None => {
                let tried = filesystems.join(", ");
                let text =
                    format!("mount {}: no filesystem of this kernel's is on it (tried: {tried})", device.display());
                Err(Error::new(ErrorKind::Disk, text).with_hint("the initramfs must load the module of the filesystem"))
            }
        }
    }

    /// The folder `from` once more.
    pub(crate) fn bind(&mut self, from: &Path, at: &Path) -> Result<()> {
        make_folder(at)?;
        mount_bind(from, at).map_err(|e| Error::disk(&format!("mount {} on", from.display()), at, e))?;
        self.0.push(at.to_owned());
        Ok(())
    }

    /// The folder `lower`, which stays as it is: what is written goes to `changes`, an empty folder. Neither path may have
    /// a character that has a meaning in options.
    pub(crate) fn overlay(&mut self, lower: &Path, changes: &Path, at: &Path) -> Result<()> {
        let (upper, work) = (changes.join("upper"), changes.join("work"));
        make_folder(&work)?;
        make_alike(lower, &upper)?;
        let [lower, upper, work] = [lower, &upper, &work].map(Path::display);
        self.mount("overlay", at, &format!("lowerdir={lower},upperdir={upper},workdir={work}"))
    }

    /// The last mount holds what it is made of: it stays, and the others go.
    pub(crate) fn keep_last(mut self) {
        self.0.pop();
    }

    fn mount(&mut self, filesystem: &str, at: &Path, options: &str) -> Result<()> {
        make_folder(at)?;
        let failed = |e: std::io::Error| Error::disk(&format!("mount {filesystem} on"), at, e);
        let options = CString::new(options).map_err(|e| failed(e.into()))?;
        let mounted = mount(filesystem, at, filesystem, MountFlags::empty(), Some(options.as_c_str()));
        mounted.map_err(|e| failed(e.into()))?;
        self.0.push(at.to_owned());
        Ok(())
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for at in self.0.iter().rev() {
            let _ = unmount(at, UnmountFlags::DETACH);
        }
    }
}

/// Lets nobody write to a filesystem any more: with nothing left to be written, it need not be unmounted in the end. One
/// that is in use elsewhere stays as it is.
pub(crate) fn freeze(at: &Path) {
    let _ = mount_remount(at, MountFlags::RDONLY, c"");
}

/// Whether there is a block device by this name, or at the end of this link.
pub(crate) fn is_block_device(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_block_device())
}

/// Whether a folder is of the filesystem of `/`.
pub(crate) fn is_of_root(folder: &Path) -> Result<bool> {
    let device = |path: &Path| path.metadata().map(|found| found.dev()).map_err(|e| Error::disk("open", path, e));
    Ok(device(folder)? == device(Path::new("/"))?)
}

/// The filesystems that this kernel has on block devices, in its order.
fn filesystems() -> Result<Vec<String>> {
    let path = Path::new("/proc/filesystems");
    let read = File::open(path).and_then(|file| read_capped(file, FILESYSTEMS_LIMIT));
    let read = read.map_err(|e| Error::disk("read", path, e).with_hint("mount it: mount -t proc proc /proc"))?;
    let text = String::from_utf8_lossy(&read.unwrap_or_default()).into_owned();
    // `nodev` and a tab before the name, or the tab alone.
    Ok(text.lines().filter_map(|line| line.strip_prefix('\t')).map(str::to_owned).collect())
}

fn make_folder(at: &Path) -> Result<()> {
    fs::create_dir_all(at).map_err(|e| Error::disk("create folder", at, e))
}

/// An overlay's root has the owner and the mode of its upper folder.
fn make_alike(model: &Path, folder: &Path) -> Result<()> {
    let made = fs::create_dir(folder).and_then(|()| {
        let model = model.metadata()?;
        chown(folder, Some(model.uid()), Some(model.gid()))?;
        fs::set_permissions(folder, fs::Permissions::from_mode(model.mode() & 0o7777))
    });
    made.map_err(|e| Error::disk("create folder", folder, e))
}
