//! Mounts file systems with system calls, without mount(8). Mounts are removed again unless they are kept. The caller decides
//! what is mounted where.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};

use crate::error::{Error, ErrorKind, Result};
use crate::limits::read_capped;

/// Maximum size of `/proc/filesystems` in bytes; a kernel with all file systems has about 2,000.
const FILESYSTEMS_LIMIT: usize = 64 << 10;

/// The mount points that were mounted, in order. Dropping this unmounts them.
#[derive(Default)]
pub(super) struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// Mounts a tmpfs. `size` is its mount option; the default is half of the memory.
    pub(super) fn tmpfs(&mut self, at: &Path, size: Option<&str>) -> Result<()> {
        let size = size.map(|size| format!(",size={size}")).unwrap_or_default();
        self.mount("tmpfs", at, &format!("mode=0755{size}"))
    }

    /// Mounts a block device with the first file system of the kernel that accepts it, as the kernel does for `root=`. The
    /// mount is read-only if the device is.
    pub(super) fn device(&mut self, device: &Path, at: &Path) -> Result<()> {
        create_folder(at)?;
        let filesystems = filesystems()?;
        let mut first_failure = None;
        for filesystem in &filesystems {
            match mount_device(device, at, filesystem) {
                Ok(()) => {
                    self.0.push(at.to_owned());
                    return Ok(());
                }
                // The device has another file system.
                Err(Errno::INVAL) => {}
                Err(e) => first_failure = first_failure.or(Some(e)),
            }
        }
        if let Some(e) = first_failure {
            return Err(Error::disk("mount", device, e));
        }
        let text = format!(
            "mount {}: the kernel knows no file system on it (tried: {})",
            device.display(),
            filesystems.join(", ")
        );
        Err(Error::new(ErrorKind::Disk, text).with_hint("the initramfs must load the module of the file system"))
    }

    /// Mounts the folder `from` at a second place.
    pub(super) fn bind(&mut self, from: &Path, at: &Path) -> Result<()> {
        create_folder(at)?;
        mount_bind(from, at).map_err(|e| Error::disk(&format!("mount {} on", from.display()), at, e))?;
        self.0.push(at.to_owned());
        Ok(())
    }

    /// Mounts an overlay on the folder `lower`, which does not change: writes go to `changes`, an empty folder. Neither path
    /// may have a character with a meaning in mount options, such as a comma or a colon.
    pub(super) fn overlay(&mut self, lower: &Path, changes: &Path, at: &Path) -> Result<()> {
        let (upper, work) = (changes.join("upper"), changes.join("work"));
        create_folder(&work)?;
        create_upper_folder(&upper, lower)?;
        let [lower, upper, work] = [lower, &upper, &work].map(Path::display);
        self.mount("overlay", at, &format!("lowerdir={lower},upperdir={upper},workdir={work}"))
    }

    /// Keeps the last mount and unmounts the others. The kernel keeps the file systems that the last one needs.
    pub(super) fn keep_last(mut self) {
        self.0.pop();
    }

    fn mount(&mut self, filesystem: &str, at: &Path, options: &str) -> Result<()> {
        create_folder(at)?;
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

/// Tries to mount a device with this file system, and read-only if the device is write-protected.
fn mount_device(device: &Path, at: &Path, filesystem: &str) -> rustix::io::Result<()> {
    match mount(device, at, filesystem, MountFlags::SILENT, None) {
        Err(Errno::ACCESS | Errno::ROFS) => {
            mount(device, at, filesystem, MountFlags::SILENT | MountFlags::RDONLY, None)
        }
        other => other,
    }
}

/// Makes a file system read-only, so that nothing is lost if it is never unmounted. Does nothing if the file system is in use
/// for writing.
pub(super) fn make_read_only(at: &Path) {
    let _ = mount_remount(at, MountFlags::RDONLY, c"");
}

/// Returns true if the path is a block device, or a link to one.
pub(super) fn is_block_device(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_block_device())
}

/// Returns true if a folder is on the same file system as `/`.
pub(super) fn is_on_root_filesystem(folder: &Path) -> Result<bool> {
    let device = |path: &Path| path.metadata().map(|found| found.dev()).map_err(|e| Error::disk("open", path, e));
    Ok(device(folder)? == device(Path::new("/"))?)
}

/// Returns the kernel's file systems for block devices, in its order.
fn filesystems() -> Result<Vec<String>> {
    let path = Path::new("/proc/filesystems");
    let read = File::open(path).and_then(|file| read_capped(file, FILESYSTEMS_LIMIT));
    let read = read.map_err(|e| Error::disk("read", path, e).with_hint("mount it: mount -t proc proc /proc"))?;
    let Some(bytes) = read else {
        let text = format!("read {}: more than {FILESYSTEMS_LIMIT} bytes", path.display());
        return Err(Error::new(ErrorKind::Disk, text));
    };
    // A line is `nodev`, a tab and the name, or for block devices only a tab and the name.
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().filter_map(|line| line.strip_prefix('\t')).map(str::to_owned).collect())
}

fn create_folder(at: &Path) -> Result<()> {
    fs::create_dir_all(at).map_err(|e| Error::disk("create folder", at, e))
}

/// Creates the upper folder of an overlay with the owner and mode of the lower one, because the overlay's root has those of
/// the upper folder.
fn create_upper_folder(upper: &Path, lower: &Path) -> Result<()> {
    let created = fs::create_dir(upper).and_then(|()| {
        let lower = lower.metadata()?;
        chown(upper, Some(lower.uid()), Some(lower.gid()))?;
        fs::set_permissions(upper, fs::Permissions::from_mode(lower.mode() & 0o7777))
    });
    created.map_err(|e| Error::disk("create folder", upper, e))
}
