//! Puts one entry into the tree: makes it, in place of what has its name, fills it and dresses it. Only what was just
//! made is ever opened for writing.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::FileType;

use super::clear::remove_tree;
use super::dress::{self, Made};
use super::entries::{Content, Entries, Entry, Kind};
use super::folder::{Folder, is_directory};
use super::layer::{Deferred, Layer};
use super::path::SafePath;
use super::root::failed;
use crate::error::{Error, ErrorKind, Result};

/// Places `entry` at `path` and writes its content from `entries`.
pub(super) fn place<R: Read>(
    layer: &mut Layer<'_>,
    path: &SafePath,
    entry: &Entry,
    entries: &mut Entries<R>,
) -> Result<()> {
    if path.is_root() {
        return place_root(layer, entry);
    }
    match &entry.kind {
        Kind::CharDevice(..) | Kind::BlockDevice(..) if !layer.policy.devices => {
            layer.tally.devices += 1;
            return Ok(());
        }
        Kind::HardLink(target) => return place_hard_link(layer, path, target),
        _ => {}
    }
    layer.root.enter(path.parent())?;
    match &entry.kind {
        Kind::Regular(content) => place_file(layer, path, entry, content, entries),
        Kind::Directory => place_directory(layer, path, entry),
        Kind::Symlink(target) => {
            check_link(path, target)?;
            place_node(layer, path, entry, &|folder, name| folder.create_symlink(name, target))
        }
        Kind::Fifo => place_node(layer, path, entry, &|folder, name| folder.create_node(name, FileType::Fifo, (0, 0))),
        Kind::CharDevice(major, minor) => place_node(layer, path, entry, &|folder, name| {
            folder.create_node(name, FileType::CharacterDevice, (*major, *minor))
        }),
        Kind::BlockDevice(major, minor) => place_node(layer, path, entry, &|folder, name| {
            folder.create_node(name, FileType::BlockDevice, (*major, *minor))
        }),
        Kind::HardLink(_) => Ok(()),
    }
}

/// The root itself: an entry for it may only dress it (CVE-2021-29136 made it a link).
fn place_root(layer: &mut Layer<'_>, entry: &Entry) -> Result<()> {
    if !matches!(entry.kind, Kind::Directory) {
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
    layer: &mut Layer<'_>,
    path: &SafePath,
    entry: &Entry,
    content: &Content,
    entries: &mut Entries<R>,
) -> Result<()> {
    let folder = layer.root.current()?;
    let fd = instead(folder, path, &|folder, name| folder.create_file(name))?;
    let made = Made::in_folder(folder);
    layer.remember(path)?;
    let mut file = File::from(fd);
    match &content.sparse {
        None => write_plain(&mut file, entries, path)?,
        Some(map) => write_sparse(&mut file, entries, map, content.size, path)?,
    }
    dress::by_fd(file.as_fd(), entry, entry.mode, made, &layer.policy, layer.tally)
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
fn place_directory(layer: &mut Layer<'_>, path: &SafePath, entry: &Entry) -> Result<()> {
    let folder = layer.root.current()?;
    let io = |e| failed("create folder", path.as_bytes(), e);
    let existed = folder.stat(path.name()).map_err(io)?.is_some_and(|stat| is_directory(&stat));
    if !existed {
        instead(folder, path, &|folder, name| folder.create_directory(name))?;
    }
    let fd = folder.open(path.name()).map_err(io)?;
    let made = if existed { Made::Existed } else { Made::in_folder(folder) };
    layer.remember(path)?;
    dress_directory(layer, path.as_bytes(), fd, entry, made)
}

/// An ordinary user must be able to fill a directory that denies it to its owner: such modes come at the end.
fn dress_directory(layer: &mut Layer<'_>, path: &[u8], fd: OwnedFd, entry: &Entry, made: Made) -> Result<()> {
    const OWNER: u32 = 0o700;
    let io = |e| failed("set attributes of", path, e);
    let now = if layer.policy.owners { entry.mode } else { entry.mode | OWNER };
    dress::by_fd(fd.as_fd(), entry, now, made, &layer.policy, layer.tally).map_err(io)?;
    layer.deferred.retain(|deferred| deferred.path != path);
    if now != entry.mode {
        layer.deferred.push(Deferred { path: path.to_vec(), mode: entry.mode });
    }
    Ok(())
}

fn place_node(
    layer: &mut Layer<'_>,
    path: &SafePath,
    entry: &Entry,
    make: &dyn Fn(&Folder, &[u8]) -> io::Result<()>,
) -> Result<()> {
    let folder = layer.root.current()?;
    let is_device = matches!(entry.kind, Kind::CharDevice(..) | Kind::BlockDevice(..));
    instead(folder, path, make)
        .map_err(|e| if is_device { e.with_hint("leave devices out with --no-devices") } else { e })?;
    dress::by_name(folder, path.name(), entry, &layer.policy, layer.tally)
        .map_err(|e| failed("set attributes of", path.as_bytes(), e))?;
    layer.remember(path)
}

/// A hard link: to what is in the tree by now, of this layer or a lower one, never a directory and never followed.
fn place_hard_link(layer: &mut Layer<'_>, path: &SafePath, target: &[u8]) -> Result<()> {
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
        (Some(stat), _) if is_directory(&stat) => refuse("its target is a directory"),
        (Some(stat), Some(from)) => {
            let folder = layer.root.enter(path.parent())?;
            let there = folder.stat(path.name()).map_err(|e| failed("read", path.as_bytes(), e))?;
            // Removing the name first would remove the only one it has.
            if there.is_none_or(|there| (there.st_dev, there.st_ino) != (stat.st_dev, stat.st_ino)) {
                instead(folder, path, &|folder, name| folder.create_hard_link(name, &from, safe.name()))?;
            }
            layer.remember(path)
        }
        _ if !layer.policy.devices && layer.tally.devices > 0 => {
            // It may be a further name of a device that was left out.
            layer.tally.devices += 1;
            Ok(())
        }
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
