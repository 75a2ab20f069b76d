//! What the kernel says about a block device: what kind it is, and what uses it.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

/// A block device in sysfs.
pub(super) struct BlockDevice {
    /// Its folder, with the name of the device at the end. It may not exist, if sysfs is not mounted.
    folder: PathBuf,
    number: u64,
}

impl BlockDevice {
    /// The device with this number.
    pub(super) fn new(number: u64) -> Self {
        let link = PathBuf::from(format!("/sys/dev/block/{}:{}", major(number), minor(number)));
        Self { folder: fs::canonicalize(&link).unwrap_or(link), number }
    }

    pub(super) fn is_partition(&self) -> bool {
        self.folder.join("partition").exists()
    }

    /// The folder of the device if it is a boot partition of an eMMC: `mmcblk0boot1`.
    pub(super) fn boot_partition(&self) -> Option<&Path> {
        let name = self.folder.file_name()?.to_str()?.strip_prefix("mmcblk")?;
        name.contains("boot").then_some(&self.folder)
    }

    pub(super) fn is_read_only(&self) -> bool {
        read(&self.folder.join("ro")).is_some_and(|value| value == "1")
    }

    /// The label of the partition (`PARTNAME`), if it has one.
    pub(super) fn label(&self) -> Option<String> {
        let event = fs::read_to_string(self.folder.join("uevent")).ok()?;
        event.lines().find_map(|line| line.strip_prefix("PARTNAME=")).map(str::to_owned)
    }

    /// The node of the disk that has this partition, or of the disk itself. udev locks that one.
    pub(super) fn disk_node(&self) -> Option<PathBuf> {
        let folder = if self.is_partition() { self.folder.parent()? } else { &self.folder };
        let node = Path::new("/dev").join(folder.file_name()?);
        let number = read(&folder.join("dev"))?;
        let found = fs::metadata(&node).ok()?;
        let is_same = found.file_type().is_block_device() && named(found.rdev()) == number;
        is_same.then_some(node)
    }

    /// Says what uses the device, or one of its partitions: a mount, swap, or another device.
    pub(super) fn user(&self) -> Option<String> {
        let mut folders = vec![self.folder.clone()];
        let mut numbers = vec![self.number];
        for entry in fs::read_dir(&self.folder).ok().into_iter().flatten().flatten() {
            let folder = entry.path();
            if folder.join("partition").exists() {
                numbers.extend(read(&folder.join("dev")).and_then(|text| parse(&text)));
                folders.push(folder);
            }
        }
        let holders = folders.iter().filter_map(|folder| fs::read_dir(folder.join("holders")).ok()?.next()?.ok());
        let holder = holders.map(|entry| format!("{} uses it", entry.file_name().display())).next();
        holder.or_else(|| mount_of(&numbers)).or_else(|| swap_on(&numbers))
    }
}

/// Says where one of the devices is mounted.
fn mount_of(numbers: &[u64]) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (mount, origin) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let number = fields.nth(2).and_then(parse);
        let point = fields.nth(1)?;
        // btrfs shows a number that no device has, so the source counts too.
        let source = origin.split(' ').nth(1).and_then(device_number);
        let is_one = [number, source].into_iter().flatten().any(|number| numbers.contains(&number));
        is_one.then(|| format!("it is mounted at {point}"))
    })
}

fn swap_on(numbers: &[u64]) -> Option<String> {
    let swaps = fs::read_to_string("/proc/swaps").ok()?;
    let mut names = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let name = names.find(|name| device_number(name).is_some_and(|number| numbers.contains(&number)))?;
    Some(format!("{name} is swap space"))
}

fn device_number(path: &str) -> Option<u64> {
    let found = fs::metadata(path).ok().filter(|found| path.starts_with('/') && found.file_type().is_block_device())?;
    Some(found.rdev())
}

/// Returns true if the character device is a volume or a device of UBI.
pub(super) fn is_ubi(number: u64) -> bool {
    let link = format!("/sys/dev/char/{}:{}", major(number), minor(number));
    fs::canonicalize(link).is_ok_and(|folder| folder.components().any(|part| part.as_os_str() == "ubi"))
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// `MAJOR:MINOR`.
fn named(number: u64) -> String {
    format!("{}:{}", major(number), minor(number))
}

fn parse(text: &str) -> Option<u64> {
    let (major, minor) = text.split_once(':')?;
    Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
}
