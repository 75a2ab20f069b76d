//! Puts one entry into the tree: makes it, in place of what has its name, fills it and dresses it. Only what was just
//! made is ever opened for writing.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::FileType;

use super::folder::{Folder, is_directory};
use super::layer_writer::LayerWriter;
use super::metadata::{self, Made};
use super::remove::remove_tree;
use super::root::failed;
use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::SafePath;
use crate::layer::{Entries, EntryKind, FileContent, TarEntry};

/// Places `entry` at `path` and writes its content from `entries`.
pub(super) fn place<R: Read>(
    layer: &mut LayerWriter<'_>,
    path: &SafePath,
    entry: &TarEntry,
    entries: &mut Entries<R>,
) -> Result<()> {
    if path.is_root() {
        return place_root(layer, entry);
    }
    match &entry.kind {
        EntryKind::Regular(content) => place_file(layer, path, entry, content, entries),
        EntryKind::Directory => place_directory(layer, path, entry),
        EntryKind::HardLink(target) => place_hard_link(layer, path, target),
        EntryKind::Symlink(target) => {
            check_link(path, target)?;
            place_node(layer, path, entry, &|folder, name| folder.create_symlink(name, target))
        }
        EntryKind::Fifo => {
            place_node(layer, path, entry, &|folder, name| folder.create_node(name, FileType::Fifo, (0, 0)))
        }
        EntryKind::Device { .. } if !layer.policy.devices => leave_device_out(layer, path),
        EntryKind::Device { is_block, number } => {
            let kind = if *is_block { FileType::BlockDevice } else { FileType::CharacterDevice };
            let made = place_node(layer, path, entry, &|folder, name| folder.create_node(name, kind, *number));
            made.map_err(|e| e.with_advice(Advice::SkipDevices))
        }
    }
}

/// What the device would have replaced goes all the same.
fn leave_device_out(layer: &mut LayerWriter<'_>, path: &SafePath) -> Result<()> {
    let removed = remove_tree(layer.enter(path)?, path.name());
    removed.map_err(|e| failed("remove", path.as_bytes(), e))?;
    layer.tally.devices += 1;
    layer.left_out.add(0, path.as_bytes());
    Ok(())
}

/// The root itself: an entry for it may only dress it (CVE-2021-29136 made it a link).
fn place_root(layer: &mut LayerWriter<'_>, entry: &TarEntry) -> Result<()> {
    if !matches!(entry.kind, EntryKind::Directory) {
        return Err(Error::new(ErrorKind::Unsafe, "unsafe name: the root itself is not a directory"));
    }
    layer.root.leave()?;
    let fd = layer.root.enter(b"")?.open(b".").map_err(|e| failed("open", b".", e))?;
    dress_directory(layer, b"", fd, entry, Made::Existed)?;
    // What the current folder remembers of its times is from before.
    layer.root.forget();
    Ok(())
}

fn place_file<R: Read>(
    layer: &mut LayerWriter<'_>,
    path: &SafePath,
    entry: &TarEntry,
    content: &FileContent,
    entries: &mut Entries<R>,
) -> Result<()> {
    layer.enter(path)?;
    let folder = layer.root.current()?;
    let (mode, is_right) = layer.policy.first_mode(entry);
    let fd = instead(folder, path, &|folder, name| folder.create_file(name, mode))?;
    let made = Made::in_folder(folder);
    layer.remember(path)?;
    let mut file = File::from(fd);
    match &content.sparse {
        None => write_plain(&mut file, entries, path)?,
        Some(map) => write_sparse(&mut file, entries, map, content.size, path)?,
    }
    let mode = (!is_right).then_some(entry.mode);
    metadata::by_fd(file.as_fd(), entry, mode, made, &layer.policy, layer.tally)
        .map_err(|e| failed("set attributes of", path.as_bytes(), e))
}

fn write_plain<R: Read>(file: &mut File, entries: &mut Entries<R>, path: &SafePath) -> Result<()> {
    loop {
        let data = entries.data()?;
        if data.is_empty() {
            return Ok(());
        }
        file.write_all(data).map_err(|e| failed("write", path.as_bytes(), e))?;
    }
}

/// The holes stay holes; their sum was counted against the limits before.
fn write_sparse<R: Read>(
    file: &mut File,
    entries: &mut Entries<R>,
    map: &[(u64, u64)],
    size: u64,
    path: &SafePath,
) -> Result<()> {
    let write = |e| failed("write", path.as_bytes(), e);
    file.set_len(size).map_err(write)?;
    let mut parts = map.iter().copied();
    let mut left = 0;
    loop {
        let mut data = entries.data()?;
        if data.is_empty() {
            return Ok(());
        }
        while !data.is_empty() {
            if left == 0 {
                let Some((offset, length)) = parts.next() else { return Ok(()) };
                file.seek(SeekFrom::Start(offset)).map_err(write)?;
                left = length;
            }
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
            let (now, later) = data.split_at(n);
            file.write_all(now).map_err(write)?;
            left -= n as u64;
            data = later;
        }
    }
}

/// A directory over a directory keeps what is in it; over anything else, a link to a directory too, it replaces.
fn place_directory(layer: &mut LayerWriter<'_>, path: &SafePath, entry: &TarEntry) -> Result<()> {
    layer.enter(path)?;
    let folder = layer.root.current()?;
    let io = |e| failed("create folder", path.as_bytes(), e);
    let existed = match folder.create_directory(path.name()) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let existed = folder.stat(path.name()).map_err(io)?.is_some_and(|stat| is_directory(&stat));
            if !existed {
                instead(folder, path, &|folder, name| folder.create_directory(name))?;
            }
            existed
        }
        made => made.map(|()| false).map_err(io)?,
    };
    let fd = folder.open(path.name()).map_err(io)?;
    let made = if existed { Made::Existed } else { Made::in_folder(folder) };
    layer.remember(path)?;
    dress_directory(layer, path.as_bytes(), fd, entry, made)
}

/// An ordinary user must be able to fill a directory that denies it to its owner: such modes wait for the end.
fn dress_directory(layer: &mut LayerWriter<'_>, path: &[u8], fd: OwnedFd, entry: &TarEntry, made: Made) -> Result<()> {
    const OWNER: u32 = 0o700;
    let io = |e| failed("set attributes of", path, e);
    let now = if layer.policy.owners { entry.mode } else { entry.mode | OWNER };
    metadata::by_fd(fd.as_fd(), entry, Some(now), made, &layer.policy, layer.tally).map_err(io)?;
    if !layer.policy.owners {
        let inode = rustix::fs::fstat(&fd).map_err(|e| io(e.into()))?.st_ino;
        layer.waiting.set(inode, (now != entry.mode).then_some(entry.mode));
    }
    // What is in a directory mostly follows it.
    layer.root.keep(path, fd);
    Ok(())
}

fn place_node(
    layer: &mut LayerWriter<'_>,
    path: &SafePath,
    entry: &TarEntry,
    make: &dyn Fn(&Folder, &[u8]) -> io::Result<()>,
) -> Result<()> {
    layer.enter(path)?;
    let folder = layer.root.current()?;
    instead(folder, path, make)?;
    metadata::by_name(folder, path.name(), entry, &layer.policy, layer.tally)
        .map_err(|e| failed("set attributes of", path.as_bytes(), e))?;
    layer.remember(path)
}

/// A hard link: to what is in the tree by now, of this layer or a lower one, never a directory and never followed.
fn place_hard_link(layer: &mut LayerWriter<'_>, path: &SafePath, target: &[u8]) -> Result<()> {
    let refuse = |why: &str| {
        let shown = (String::from_utf8_lossy(path.as_bytes()), String::from_utf8_lossy(target));
        Err(Error::new(ErrorKind::Unsafe, format!("hard link \"{}\" to \"{}\": {why}", shown.0, shown.1)))
    };
    let safe = SafePath::parse(target)?;
    let from = layer.root.open(safe.parent())?;
    let stat =
        from.as_ref().map(|from| from.stat(safe.name())).transpose().map_err(|e| failed("read", target, e))?.flatten();
    match (stat, from) {
        _ if safe.is_root() => refuse("its target is the root"),
        _ if safe.as_bytes().starts_with(&[path.as_bytes(), b"/"].concat()) => refuse("its target lies in itself"),
        (Some(stat), _) if is_directory(&stat) => refuse("its target is a directory"),
        (Some(stat), Some(from)) => {
            let folder = layer.enter(path)?;
            let there = folder.stat(path.name()).map_err(|e| failed("read", path.as_bytes(), e))?;
            // Removing the name first would remove the only one it has.
            if there.is_none_or(|there| (there.st_dev, there.st_ino) != (stat.st_dev, stat.st_ino)) {
                instead(folder, path, &|folder, name| folder.create_hard_link(name, &from, safe.name()))?;
            }
            layer.remember(path)
        }
        _ if layer.left_out.has(0, safe.as_bytes()) => leave_device_out(layer, path),
        _ => refuse("its target is not there"),
    }
}

/// Makes something under the path's name, in place of whatever has it.
fn instead<T>(folder: &Folder, path: &SafePath, make: &dyn Fn(&Folder, &[u8]) -> io::Result<T>) -> Result<T> {
    let made = match make(folder, path.name()) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            remove_tree(folder, path.name()).and_then(|()| make(folder, path.name()))
        }
        other => other,
    };
    made.map_err(|e| failed("create", path.as_bytes(), e))
}

fn check_link(path: &SafePath, target: &[u8]) -> Result<()> {
    match target.is_empty() || target.len() > 4095 || target.contains(&0) {
        false => Ok(()),
        true => {
            let shown = String::from_utf8_lossy(path.as_bytes());
            Err(Error::new(
                ErrorKind::Unsafe,
                format!("symlink \"{shown}\": its target is empty, too long or has a NUL byte"),
            ))
        }
    }
}
