//! Opens what an image is written to, and refuses what must not be overwritten: before anything is fetched, and before a
//! sandbox takes the right to open it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, ioctl_blksszget};
use rustix::io::Errno;

use super::super::new_file::NewFile;
use super::force_ro::ForceRo;
use super::medium::Disk;
use super::options::WriteOptions;
use super::sysfs::{BlockDevice, is_ubi};
use super::writer::{Counts, Place, Writer, too_small};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// The sector in bytes of a device that does not say it.
const SECTOR: usize = 512;
/// The major number of raw flash (`Documentation/admin-guide/devices.txt`).
const MTD: u32 = 90;

/// A file or a block device that is open for one image.
///
/// A block device is opened exclusively and never created, and nothing is written before the first bytes of the image are there.
/// A file is written under another name and renamed, unless [`WriteOptions::skip_same`] asks for the file itself.
pub struct RawTarget {
    path: PathBuf,
    options: WriteOptions,
    kind: Kind,
}

/// What is open. The fields are dropped in this order.
enum Kind {
    /// A new file, which replaces the old one when it is complete.
    New(NewFile),
    /// A file or a device that is written in place.
    InPlace(InPlace),
}

struct InPlace {
    file: File,
    /// The size of a device in bytes.
    capacity: Option<u64>,
    sector: usize,
    is_whole_disk: bool,
    /// The disk, locked against udev.
    lock: Option<File>,
    protection: Option<ForceRo>,
}

/// An image while it is written.
pub(crate) struct OpenImage {
    pub(crate) writer: Writer,
    file: Option<NewFile>,
    _lock: Option<File>,
    _protection: Option<ForceRo>,
}

impl RawTarget {
    /// Opens a file or a block device.
    ///
    /// Fails with [`ErrorKind::Usage`] if it is something else, or not the partition that
    /// [`WriteOptions::expect_partlabel`] names, with [`ErrorKind::Unsupported`] if it is a volume of UBI, and with
    /// [`ErrorKind::Disk`] if it is a device that is missing, read-only, or in use: mounted, swap, part of another device, or
    /// open exclusively elsewhere.
    pub fn open(path: &Path, options: WriteOptions) -> Result<Self> {
        let kind = open(path, &options).map_err(|error| error.context(format!("write {}", path.display())))?;
        Ok(Self { path: path.to_owned(), options, kind })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true for a block device.
    pub fn is_device(&self) -> bool {
        matches!(&self.kind, Kind::InPlace(opened) if opened.capacity.is_some())
    }

    /// Returns true if a new file is written, next to the path.
    pub(crate) fn is_new(&self) -> bool {
        matches!(&self.kind, Kind::New(_))
    }

    pub(crate) fn options(&self) -> &WriteOptions {
        &self.options
    }

    /// Returns true if the image is read back.
    pub(crate) fn reads_back(&self) -> bool {
        self.options.readback.unwrap_or(self.is_device())
    }

    /// Fails if an image of this size does not fit.
    pub(crate) fn check_size(&self, size: u64) -> Result<()> {
        match &self.kind {
            Kind::InPlace(InPlace { capacity: Some(capacity), .. }) if size > *capacity => {
                Err(too_small(&self.path, *capacity, &size.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Begins to write the image that this blob has.
    pub(crate) fn begin(self, blob: Digest) -> Result<OpenImage> {
        let path = self.path;
        match self.kind {
            Kind::New(file) => {
                let opened = file.try_clone()?;
                let place = Place { path, capacity: None, sector: SECTOR, is_whole_disk: false, is_new: true };
                let writer = Writer::new(Box::new(Disk::new(opened, false)), place, blob);
                Ok(OpenImage { writer, file: Some(file), _lock: None, _protection: None })
            }
            Kind::InPlace(InPlace { file, capacity, sector, is_whole_disk, lock, protection }) => {
                let place = Place { path, capacity, sector, is_whole_disk, is_new: false };
                let writer = Writer::new(Box::new(Disk::new(file, capacity.is_some())), place, blob);
                Ok(OpenImage { writer, file: None, _lock: lock, _protection: protection })
            }
        }
    }
}

impl OpenImage {
    /// Writes the head, and gives a new file its name.
    pub(crate) fn publish(mut self, verify: bool) -> Result<Counts> {
        self.writer.publish_head(verify)?;
        if let Some(file) = self.file.take() {
            file.publish()?;
        }
        Ok(self.writer.counts())
    }
}

fn open(path: &Path, options: &WriteOptions) -> Result<Kind> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound && is_in_dev(path) => {
            return refuse(ErrorKind::Disk, "there is no such device");
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && options.partlabel.is_none() => {
            return Ok(Kind::New(NewFile::begin(path)?));
        }
        Err(e) => return Err(Error::disk("find", path, e)),
    };
    let kind = found.file_type();
    if kind.is_block_device() {
        return open_device(path, found.rdev(), options).map(Kind::InPlace);
    }
    if options.partlabel.is_some() {
        return refuse(ErrorKind::Usage, "it is no partition");
    }
    if kind.is_char_device() {
        return refuse_character_device(found.rdev());
    }
    if !kind.is_file() {
        return refuse(ErrorKind::Usage, "it is neither a file nor a block device");
    }
    if is_in_dev(path) {
        return refuse(ErrorKind::Disk, "it is a file in /dev, not a device");
    }
    if options.skip_same {
        return open_in_place(path).map(Kind::InPlace);
    }
    Ok(Kind::New(NewFile::begin(path)?))
}

/// Returns true for a path among the devices, where a mistyped name must never become a file: in the filesystem of `/dev`, which
/// may be mounted elsewhere too. `/dev/shm` has its own.
fn is_in_dev(path: &Path) -> bool {
    let filesystem = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let Some(parent) = absolute.parent().and_then(|parent| fs::canonicalize(parent).ok()) else {
        return absolute.starts_with("/dev");
    };
    let devices = Path::new("/dev");
    filesystem(&parent) == filesystem(devices)
        && (parent.starts_with(devices) || filesystem(devices) != filesystem(Path::new("/")))
}

fn refuse_character_device(number: u64) -> Result<Kind> {
    if is_ubi(number) {
        let error = Error::new(ErrorKind::Unsupported, "volumes of UBI are not supported");
        return Err(error.with_hint("write the image to a file, and that with ubiupdatevol"));
    }
    if rustix::fs::major(number) == MTD {
        let error = Error::new(ErrorKind::Usage, "raw flash has bad blocks and must be erased first");
        return Err(error.with_hint("write the image to a file, and that with nandwrite, flashcp or ubiupdatevol"));
    }
    refuse(ErrorKind::Usage, "it is a character device, and neither a file nor a block device")
}

fn open_device(path: &Path, number: u64, options: &WriteOptions) -> Result<InPlace> {
    let device = &BlockDevice::new(number);
    if let Some(expected) = &options.partlabel {
        match device.label() {
            Some(label) if label == *expected => {}
            Some(label) => {
                return refuse(ErrorKind::Usage, &format!("its partition label is \"{label}\", not \"{expected}\""));
            }
            None => {
                return refuse(ErrorKind::Usage, &format!("it has no partition label, \"{expected}\" was expected"));
            }
        }
    }
    if let Some(user) = device.user() {
        return refuse(ErrorKind::Disk, &format!("it is in use: {user}"));
    }
    let lock = lock_disk(device)?;
    let protection = match device.boot_partition() {
        Some(folder) => ForceRo::lift(folder)?,
        None => None,
    };
    if device.is_read_only() {
        return refuse(ErrorKind::Disk, "it is read-only");
    }
    let file = open_exclusively(path).map_err(|e| match Errno::from_io_error(&e) {
        Some(Errno::BUSY) => Error::new(ErrorKind::Disk, "it is in use: the kernel says that it is busy")
            .with_hint("it may be mounted elsewhere, or be part of a RAID or another device"),
        _ => Error::disk("open", path, e),
    })?;
    // The name may be another device's by now, or a link that was changed.
    let opened = file.metadata().map_err(|e| Error::disk("read", path, e))?;
    if !opened.file_type().is_block_device() || opened.rdev() != number {
        return refuse(ErrorKind::Disk, "it was replaced by another device meanwhile");
    }
    let capacity =
        rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0)).map_err(|e| Error::disk("measure", path, e))?;
    let sector = ioctl_blksszget(&file).ok().and_then(|sector| usize::try_from(sector).ok()).unwrap_or(SECTOR);
    let is_whole_disk = !device.is_partition();
    Ok(InPlace { file, capacity: Some(capacity), sector, is_whole_disk, lock, protection })
}

/// Opens a device for this process alone. Without `O_CREAT`, so a name that vanishes meanwhile never becomes a file.
fn open_exclusively(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(OFlags::EXCL.bits().cast_signed()).open(path)
}

/// Locks the disk, as the rules of udev ask, so that udev does not probe a half-written image.
fn lock_disk(device: &BlockDevice) -> Result<Option<File>> {
    let Some(node) = device.disk_node() else { return Ok(None) };
    let Ok(disk) = File::open(&node) else { return Ok(None) };
    match disk.try_lock() {
        Ok(()) => Ok(Some(disk)),
        Err(TryLockError::WouldBlock) => {
            refuse(ErrorKind::Disk, &format!("another process has locked {}", node.display()))
        }
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

fn open_in_place(path: &Path) -> Result<InPlace> {
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(|e| Error::disk("open", path, e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return refuse(ErrorKind::Disk, "another process is writing it"),
        Err(TryLockError::Error(e)) => return Err(Error::disk("lock", path, e)),
    }
    Ok(InPlace { file, capacity: None, sector: SECTOR, is_whole_disk: false, lock: None, protection: None })
}

fn refuse<T>(kind: ErrorKind, why: &str) -> Result<T> {
    Err(Error::new(kind, why))
}
