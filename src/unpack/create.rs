//! Applies one entry to the tree: creates the file, replacing whatever has its name, writes its content and sets its
//! metadata. Only a file that was just created is opened for writing.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::FileType;

use super::directory::{OpenDirectory, is_directory};
use super::layer_writer::LayerWriter;
use super::metadata::{self, Origin};
use super::remove::remove_tree;
use super::root::failed;
use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::{DeviceNumber, Entries, EntryKind, Extent, FileContent, SafePath, TarEntry};

/// The maximum length of a symlink's target in bytes: `PATH_MAX` of Linux without the NUL byte.
const TARGET_LIMIT: usize = 4095;

/// Creates `entry` at `path` and writes its content from `entries`.
pub(super) fn create_entry(
    layer: &mut LayerWriter<'_>,
    path: &SafePath,
    entry: &TarEntry,
    entries: &mut Entries<'_>,
) -> Result<()> {
    if path.is_root() {
        return set_root_metadata(layer, entry);
    }
    match &entry.kind {
        EntryKind::Regular(content) => create_file(layer, path, entry, content, entries),
        EntryKind::Directory => create_directory(layer, path, entry),
        EntryKind::HardLink(target) => create_hard_link(layer, path, target),
        EntryKind::Symlink(target) => {
            check_symlink(path, target)?;
            create_node(layer, path, entry, &|directory, name| directory.create_symlink(name, target))
        }
        EntryKind::Fifo => create_node(layer, path, entry, &|directory, name| directory.create_fifo(name)),
        EntryKind::BlockDevice(number) => create_device(layer, path, entry, FileType::BlockDevice, *number),
        EntryKind::CharacterDevice(number) => create_device(layer, path, entry, FileType::CharacterDevice, *number),
    }
}

/// Applies an entry for the root. It may only set metadata (CVE-2021-29136: one replaced the root with a link).
fn set_root_metadata(layer: &mut LayerWriter<'_>, entry: &TarEntry) -> Result<()> {
    if !matches!(entry.kind, EntryKind::Directory) {
        return Err(Error::new(ErrorKind::Unsafe, "unsafe name: the entry of the root is not a directory"));
    }
    *layer.has_root_entry = true;
    layer.root.leave()?;
    let fd = layer.root.enter(b"")?.open(b".").map_err(|e| failed("open", b".", e))?;
    set_directory_metadata(layer, b"", fd, entry, Origin::Existing)?;
    // The current directory would restore the times from before.
    layer.root.forget_times();
    Ok(())
}

fn create_file(
    layer: &mut LayerWriter<'_>,
    path: &SafePath,
    entry: &TarEntry,
    content: &FileContent,
    entries: &mut Entries<'_>,
) -> Result<()> {
    layer.enter(path)?;
    let directory = layer.root.current()?;
    let creation = layer.policy.creation_mode(directory, entry);
    let fd = create_replacing(layer, path, &|directory, name| directory.create_file(name, creation.mode))?;
    let origin = Origin::created_in(directory);
    layer.record(path)?;
    let mut file = File::from(fd);
    match &content.extents {
        None => write_whole(&mut file, entries, path)?,
        Some(extents) => write_sparse(&mut file, entries, extents, content.size, path)?,
    }
    let mode = (!creation.is_final).then_some(entry.mode);
    metadata::set_by_fd(file.as_fd(), entry, mode, origin, &layer.policy, layer.tally)
        .map_err(|e| failed("set attributes of", path.as_bytes(), e))
}

fn write_whole(file: &mut File, entries: &mut Entries<'_>, path: &SafePath) -> Result<()> {
    loop {
        let data = entries.data()?;
        if data.is_empty() {
            return Ok(());
        }
        file.write_all(data).map_err(|e| failed("write", path.as_bytes(), e))?;
    }
}

/// Writes the extents of a sparse file and leaves the holes unwritten. The reader checked that the extents are as long
/// as the data.
fn write_sparse(
    file: &mut File,
    entries: &mut Entries<'_>,
    extents: &[Extent],
    size: u64,
    path: &SafePath,
) -> Result<()> {
    let failed_write = |e| failed("write", path.as_bytes(), e);
    file.set_len(size).map_err(failed_write)?;
    let mut extents = extents.iter();
    let mut left = 0;
    loop {
        let mut data = entries.data()?;
        if data.is_empty() {
            return Ok(());
        }
        while !data.is_empty() {
            if left == 0 {
                let Some(extent) = extents.next() else {
                    return Err(Error::new(ErrorKind::Internal, "write sparse file: more data than extents"));
                };
                file.seek(SeekFrom::Start(extent.offset)).map_err(failed_write)?;
                left = extent.length;
            }
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
            let (now, later) = data.split_at(n);
            file.write_all(now).map_err(failed_write)?;
            left -= n as u64;
            data = later;
        }
    }
}

/// Creates a directory. An existing one keeps its content; anything else, including a link to a directory, is replaced.
fn create_directory(layer: &mut LayerWriter<'_>, path: &SafePath, entry: &TarEntry) -> Result<()> {
    layer.enter(path)?;
    let directory = layer.root.current()?;
    let failed_create = |e| failed("create directory", path.as_bytes(), e);
    let mut origin = Origin::created_in(directory);
    match directory.create_directory(path.name()) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let existing = directory.stat(path.name()).map_err(failed_create)?;
            if existing.is_some_and(|stat| is_directory(&stat)) {
                origin = Origin::Existing;
            } else {
                create_replacing(layer, path, &|directory, name| directory.create_directory(name))?;
                if let Some(overlay) = layer.apart() {
                    // What it replaces removed a directory of lower layers.
                    directory.open(path.name()).and_then(|fd| overlay.set_opaque(fd)).map_err(failed_create)?;
                }
            }
        }
        Err(e) => return Err(failed_create(e)),
    }
    let fd = directory.open(path.name()).map_err(failed_create)?;
    layer.record(path)?;
    set_directory_metadata(layer, path.as_bytes(), fd, entry, origin)
}

/// Sets the metadata of a directory. An ordinary user must be able to fill a directory whose mode denies it to its
/// owner, so such modes are set at the end.
fn set_directory_metadata(
    layer: &mut LayerWriter<'_>,
    path: &[u8],
    fd: OwnedFd,
    entry: &TarEntry,
    origin: Origin,
) -> Result<()> {
    const OWNER: u32 = 0o700;
    let failed_set = |e| failed("set attributes of", path, e);
    if metadata::has_default_acl(entry) {
        layer.root.expect_default_acls();
    }
    let mode = if layer.policy.owners { entry.mode } else { entry.mode | OWNER };
    metadata::set_by_fd(fd.as_fd(), entry, Some(mode), origin, &layer.policy, layer.tally).map_err(failed_set)?;
    if !layer.policy.owners {
        let inode = rustix::fs::fstat(&fd).map_err(|e| failed_set(e.into()))?.st_ino;
        if mode == entry.mode {
            layer.deferred_modes.remove(inode);
        } else {
            layer.deferred_modes.set(inode, entry.mode);
        }
    }
    // Most often the next entry is in this directory.
    layer.root.keep_open(path, fd);
    Ok(())
}

/// Creates a symlink or FIFO with `create`.
fn create_node(
    layer: &mut LayerWriter<'_>,
    path: &SafePath,
    entry: &TarEntry,
    create: &dyn Fn(&OpenDirectory, &[u8]) -> io::Result<()>,
) -> Result<()> {
    layer.enter(path)?;
    create_replacing(layer, path, create)?;
    finish_node(layer, path, entry)
}

/// Sets the metadata of a symlink, FIFO or device node that was just created, and records it.
fn finish_node(layer: &mut LayerWriter<'_>, path: &SafePath, entry: &TarEntry) -> Result<()> {
    let directory = layer.root.current()?;
    metadata::set_by_name(directory, path.name(), entry, &layer.policy, layer.tally)
        .map_err(|e| failed("set attributes of", path.as_bytes(), e))?;
    layer.record(path)
}

fn create_device(
    layer: &mut LayerWriter<'_>,
    path: &SafePath,
    entry: &TarEntry,
    kind: FileType,
    number: DeviceNumber,
) -> Result<()> {
    // overlayfs refuses the device 0:0 to everyone, because it is its whiteout. Other devices may still be created there.
    let is_whiteout = kind == FileType::CharacterDevice && number.major == 0 && number.minor == 0;
    if !layer.policy.devices || (is_whiteout && layer.overlay.is_some()) {
        return skip_device(layer, path);
    }
    layer.enter(path)?;
    let created = create_replacing(layer, path, &|directory, name| {
        match directory.create_device(name, kind, number) {
            // A user namespace has the capability but may not use it.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && !is_whiteout => Ok(false),
            other => other.map(|()| true),
        }
    });
    match created {
        Ok(true) => finish_node(layer, path, entry),
        Ok(false) => {
            layer.policy.devices = false;
            skip_device(layer, path)
        }
        Err(e) => Err(e.with_advice(Advice::SkipDevices)),
    }
}

/// Leaves a device node out. The file that it replaces is removed nevertheless.
fn skip_device(layer: &mut LayerWriter<'_>, path: &SafePath) -> Result<()> {
    let cancel = layer.cancel;
    let directory = layer.enter(path)?;
    remove_tree(directory, path.name(), cancel).map_err(|e| failed("remove", path.as_bytes(), e))?;
    if let Some(overlay) = layer.apart() {
        let created = overlay.create_whiteout(layer.root.current()?, path.name());
        created.map_err(|e| failed("create the whiteout", path.as_bytes(), e))?;
    }
    layer.tally.devices += 1;
    layer.skipped_devices.insert(path);
    Ok(())
}

/// Creates a hard link to a file of this layer or a lower one. The target must exist and must not be a directory. If it
/// is a symlink, the symlink itself is linked.
fn create_hard_link(layer: &mut LayerWriter<'_>, path: &SafePath, target: &[u8]) -> Result<()> {
    let unsafe_link = |why: &str| {
        let (link, target) = (String::from_utf8_lossy(path.as_bytes()), String::from_utf8_lossy(target));
        Err(Error::new(ErrorKind::Unsafe, format!("hard link \"{link}\" to \"{target}\": {why}")))
    };
    let target_path = SafePath::parse(target)?;
    if target_path.is_root() {
        return unsafe_link("the target is the root");
    }
    if target_path.as_bytes().starts_with(&[path.as_bytes(), b"/"].concat()) {
        return unsafe_link("the target is below the link");
    }
    let source = layer.root.open(target_path.parent())?;
    let stat = match &source {
        Some(source) => source.stat(target_path.name()).map_err(|e| failed("read", target, e))?,
        None => None,
    };
    if let (Some(overlay), Some(source)) = (layer.apart(), &source) {
        let is_gone = match &stat {
            Some(stat) => {
                overlay.is_whiteout(source, target_path.name(), stat).map_err(|e| failed("read", target, e))?
            }
            None => true,
        };
        if is_gone && !layer.skipped_devices.contains(&target_path) {
            return Err(layer.root.needs_lower());
        }
        if is_gone {
            return skip_device(layer, path);
        }
    }
    let (Some(source), Some(stat)) = (source, stat) else {
        if layer.skipped_devices.contains(&target_path) {
            return skip_device(layer, path);
        }
        return unsafe_link("the target does not exist");
    };
    if is_directory(&stat) {
        return unsafe_link("the target is a directory");
    }
    let directory = layer.enter(path)?;
    let existing = directory.stat(path.name()).map_err(|e| failed("read", path.as_bytes(), e))?;
    // If the name is the target already, replacing it would remove the file, because it may have no other name.
    let is_linked = existing.is_some_and(|existing| (existing.st_dev, existing.st_ino) == (stat.st_dev, stat.st_ino));
    if !is_linked {
        let created = create_replacing(layer, path, &|directory, name| {
            directory.create_hard_link(name, &source, target_path.name())
        });
        let is_gone = || source.stat(target_path.name()).is_ok_and(|stat| stat.is_none());
        if created.as_ref().is_err_and(|e| e.kind() == ErrorKind::Disk) && is_gone() {
            // The target was in the directory that the link replaced; its path led there through another link.
            return unsafe_link("the target is below the link");
        }
        created?;
    }
    layer.record(path)
}

/// Creates a file in the current directory with `create`. If the name is taken, it is removed first, with everything below it.
fn create_replacing<T>(
    layer: &LayerWriter<'_>,
    path: &SafePath,
    create: &dyn Fn(&OpenDirectory, &[u8]) -> io::Result<T>,
) -> Result<T> {
    let directory = layer.root.current()?;
    let created = match create(directory, path.name()) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            remove_tree(directory, path.name(), layer.cancel).and_then(|()| create(directory, path.name()))
        }
        other => other,
    };
    created.map_err(|e| failed("create", path.as_bytes(), e))
}

pub(crate) fn check_symlink(path: &SafePath, target: &[u8]) -> Result<()> {
    if target.is_empty() || target.len() > TARGET_LIMIT || target.contains(&0) {
        let link = String::from_utf8_lossy(path.as_bytes());
        let text = format!("symlink \"{link}\": the target is empty, too long or has a NUL byte");
        return Err(Error::new(ErrorKind::Unsafe, text));
    }
    Ok(())
}
