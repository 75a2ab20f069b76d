//! The names in a directory of the merged root filesystem.

use super::options::ReadOptions;
use super::tree::{NodeKind, ROOT};
use super::view::{Content, View, entry_name};
use crate::error::{Error, ErrorKind, Result};
use crate::images::image::Image;
use crate::layer::{EntryKind, TarEntry};

/// A file, directory or link of an image's merged root filesystem.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListedFile {
    /// The path below the listed directory; the path as it was given, if that leads to something other than a directory.
    pub path: Vec<u8>,
    /// The type.
    pub file_type: FileType,
    /// The permission bits, setuid, setgid and sticky.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The size of a regular file in bytes; 0 for others.
    pub size: u64,
    /// The modification time in seconds since the Unix epoch.
    pub mtime: i64,
}

/// The type of a [`ListedFile`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileType {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symlink with its target.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A block device with its major and minor number.
    BlockDevice(u32, u32),
    /// A character device with its major and minor number.
    CharacterDevice(u32, u32),
}

impl Image {
    /// Lists a directory of the merged root filesystem, sorted by path; with `is_recursive`, everything below it. Symlinks in
    /// `path` are followed by chroot rules. The layers are verified first. The list is in memory as a whole.
    ///
    /// Fails with [`ErrorKind::NotFound`] if the path leads nowhere.
    ///
    /// ```no_run
    /// use pullet::{ReadOptions, Store};
    ///
    /// let image = Store::open("/var/lib/pullet").image(&"debian:12".parse()?)?;
    /// for file in image.list(b"/etc", false, &ReadOptions::new())? {
    ///     println!("{} {}", String::from_utf8_lossy(&file.path), file.size);
    /// }
    /// # Ok::<(), pullet::Error>(())
    /// ```
    pub fn list(&self, path: &[u8], is_recursive: bool, options: &ReadOptions) -> Result<Vec<ListedFile>> {
        self.list_files(path, is_recursive, options).map_err(|e| e.context(format!("list {}", self.name())))
    }

    fn list_files(&self, path: &[u8], is_recursive: bool, options: &ReadOptions) -> Result<Vec<ListedFile>> {
        // The name may be moved to another image meanwhile.
        let _kept = self.store().keep();
        let mut view = View::of(self, options)?;
        let top = view.find(path)?;
        let is_listed = listed(&view, top, is_recursive)?;
        let is_wanted = |node: u32| is_listed.get(node as usize).copied().unwrap_or_default();
        let tree = view.tree();
        let skipped = if top == ROOT { 0 } else { tree.directory_path(tree.directory_of(top)?)?.len() + 1 };
        let listed_path = |node: u32, name: &[u8]| -> Result<Vec<u8>> {
            if node == top {
                return Ok(path.to_vec());
            }
            let path = tree.path(node, name)?;
            path.get(skipped..).map(<[u8]>::to_vec).ok_or_else(|| Error::new(ErrorKind::Internal, "list: path outside"))
        };
        let mut files = Vec::new();
        view.visit(&view.select(&is_wanted)?, &mut |Content { nodes, entry, .. }| {
            let name = entry_name(&entry)?;
            for selected in nodes {
                files.push(listed_file(&entry, listed_path(selected.node, &name)?));
            }
            Ok(())
        })?;
        for node in tree.alive().filter(|node| is_wanted(*node)) {
            if tree.source(node)?.is_none() {
                let attributes = tree.attributes(node)?;
                files.push(ListedFile {
                    path: listed_path(node, b"")?,
                    file_type: FileType::Directory,
                    mode: attributes.mode,
                    uid: attributes.uid,
                    gid: attributes.gid,
                    size: 0,
                    mtime: attributes.mtime.seconds,
                });
            }
        }
        files.sort_unstable_by(|left, right| left.path.cmp(&right.path));
        Ok(files)
    }
}

/// Marks the nodes to list.
fn listed(view: &View<'_>, top: u32, is_recursive: bool) -> Result<Vec<bool>> {
    let tree = view.tree();
    let mut is_listed = vec![false; tree.len()];
    if tree.kind(top)? != NodeKind::Directory {
        if let Some(mark) = is_listed.get_mut(top as usize) {
            *mark = true;
        }
        return Ok(is_listed);
    }
    for node in tree.alive().filter(|node| *node != ROOT) {
        let parent = tree.parent(node)?;
        // A parent has a smaller number than its children.
        let is_below = parent == top || (is_recursive && is_listed.get(parent as usize) == Some(&true));
        if let Some(mark) = is_listed.get_mut(node as usize) {
            *mark = is_below;
        }
    }
    Ok(is_listed)
}

fn listed_file(entry: &TarEntry, path: Vec<u8>) -> ListedFile {
    let file_type = match &entry.kind {
        // An entry for a hard link is never read: the content is that of the file.
        EntryKind::Regular(_) | EntryKind::HardLink(_) => FileType::Regular,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink(target) => FileType::Symlink(target.clone()),
        EntryKind::Fifo => FileType::Fifo,
        EntryKind::BlockDevice(number) => FileType::BlockDevice(number.major, number.minor),
        EntryKind::CharacterDevice(number) => FileType::CharacterDevice(number.major, number.minor),
    };
    let size = match &entry.kind {
        EntryKind::Regular(content) => content.size,
        _ => 0,
    };
    let TarEntry { mode, uid, gid, mtime, .. } = entry;
    ListedFile { path, file_type, mode: *mode, uid: *uid, gid: *gid, size, mtime: mtime.seconds }
}
