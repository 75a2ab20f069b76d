//! The merged root filesystem as one tar, and one file of it.

use std::io::{BufWriter, Write};
use std::path::Path;

use super::options::ReadOptions;
use super::probe::{Answer, Probe};
use super::tree::{Attributes, MergedTree, NodeKind, ROOT};
use super::view::{Content, View, copy_content, display, entry_name, no_directory, no_file, wants_directory};
use crate::error::{Error, ErrorKind, Result};
use crate::images::image::Image;
use crate::layer::{Entries, EntryKind, FileContent, TarEntry, TarWriter};
use crate::target::NewFile;
use crate::unpack::is_allowed;

/// Bytes that are collected before they are written.
const BUFFER: usize = 64 << 10;

impl Image {
    /// Writes the merged root filesystem to `out` as one tar. It unpacks to the tree that [`AdmittedImage::unpack`](crate::AdmittedImage::unpack) makes,
    /// and the same image always gives the same bytes: entries keep the order of the layers, each directory comes before
    /// what is in it, and each path occurs once. Sparse files are written with their holes as zeros. Extended attributes
    /// that images may not set are left out.
    ///
    /// Nothing is written unless all layers match their diff_ids. If an error follows later, the tar is incomplete.
    ///
    /// ```no_run
    /// use pullet::{ReadOptions, Store};
    ///
    /// let image = Store::open("/var/lib/pullet").image(&"debian:12".parse()?)?;
    /// image.export(&ReadOptions::new(), &mut std::io::stdout())?;
    /// # Ok::<(), pullet::Error>(())
    /// ```
    pub fn export(&self, options: &ReadOptions, out: &mut dyn Write) -> Result<()> {
        self.write_tar(options, out).map_err(|e| e.context(format!("export {}", self.name())))
    }

    /// Like [`export`](Self::export), into a file that appears complete or not at all, also in place of an older one. Only
    /// its owner can read a new file.
    pub fn export_file(&self, options: &ReadOptions, path: &Path) -> Result<()> {
        let mut file = NewFile::begin(path)?;
        self.export(options, &mut file)?;
        file.publish()
    }

    /// Writes the content of one regular file of the merged root filesystem to `out`. Symlinks are followed by chroot rules,
    /// from the image's root. The layers are read from
    /// the top, and no more of them than it takes to be sure of the file. Nothing is written unless those match their diff_ids.
    ///
    /// Fails with [`ErrorKind::NotFound`] if the path leads nowhere, with [`ErrorKind::Usage`] if it leads to something
    /// other than a regular file, and with [`ErrorKind::Unsafe`] if it leads through too many links.
    ///
    /// ```no_run
    /// use pullet::{ReadOptions, Store};
    ///
    /// let image = Store::open("/var/lib/pullet").image(&"debian:12".parse()?)?;
    /// let mut text = Vec::new();
    /// image.read_file(b"/etc/os-release", &ReadOptions::new(), &mut text)?;
    /// # Ok::<(), pullet::Error>(())
    /// ```
    pub fn read_file(&self, path: &[u8], options: &ReadOptions, out: &mut dyn Write) -> Result<()> {
        self.write_file(path, options, out).map_err(|e| e.context(format!("read {}", self.name())))
    }

    fn write_tar(&self, options: &ReadOptions, out: &mut dyn Write) -> Result<()> {
        // The name may be moved to another image meanwhile.
        let _kept = self.store().keep();
        let mut view = View::of(self, options)?;
        view.tree_mut().forget_table();
        let selected = view.select(&|_| true)?;
        let mut out = BufWriter::with_capacity(BUFFER, out);
        let mut exporter = Exporter::new(view.tree(), &mut out);
        exporter.write_kept_directory(ROOT)?;
        view.visit(&selected, &mut |content| exporter.write(content))?;
        for node in view.tree().alive() {
            options.cancel.check()?;
            exporter.write_directory(node)?;
        }
        exporter.tar.finish()
    }

    fn write_file(&self, path: &[u8], options: &ReadOptions, out: &mut dyn Write) -> Result<()> {
        let _kept = self.store().keep();
        let is_directory = || Error::new(ErrorKind::Usage, format!("{}: it is a directory", display(path)));
        let mut write = |content: Content<'_, '_>| write_content(content, path, out);
        let mut probe = Probe::new(self, options);
        match probe.find(path)? {
            Answer::File(_) if wants_directory(path) => return Err(no_directory(path)),
            Answer::File(position) => probe.visit(position, &mut write)?,
            Answer::Directory => return Err(is_directory()),
            Answer::Absent => return Err(no_file(path)),
            Answer::Unsure => {
                drop(probe);
                let mut view = View::of(self, options)?;
                let node = view.find(path)?;
                if view.tree().kind(node)? == NodeKind::Directory {
                    return Err(is_directory());
                }
                view.visit(&view.select(&|other| other == node)?, &mut write)?;
            }
        }
        out.flush().map_err(|e| Error::through_read(e, |e| Error::disk("write", "the file", e)))
    }
}

fn write_content(content: Content<'_, '_>, path: &[u8], out: &mut dyn Write) -> Result<()> {
    let Content { entry, archive, .. } = content;
    if !matches!(entry.kind, EntryKind::Regular(_)) {
        return Err(Error::new(ErrorKind::Usage, format!("{}: it is not a regular file", display(path))));
    }
    copy_content(&entry, archive, &mut |bytes| {
        let failed = |e| Error::through_read(e, |e| Error::disk("write", "the file", e));
        out.write_all(bytes).map_err(failed)
    })
}

struct Exporter<'a> {
    tree: &'a MergedTree,
    tar: TarWriter<'a>,
    /// Whether each node that is a directory was written.
    is_written: Vec<bool>,
}

impl<'a> Exporter<'a> {
    fn new(tree: &'a MergedTree, out: &'a mut dyn Write) -> Self {
        Self { tree, tar: TarWriter::new(out), is_written: vec![false; tree.len()] }
    }

    /// Writes the first name of a file with its content, and the others as hard links to the first.
    fn write(&mut self, content: Content<'_, '_>) -> Result<()> {
        let Content { nodes, mut entry, archive } = content;
        let name = entry_name(&entry)?;
        let mut first = None;
        for node in nodes.iter().map(|selected| selected.node) {
            self.write_parents(node)?;
            entry.path = self.tree.path(node, &name)?;
            match &first {
                None => {
                    first = Some(entry.path.clone());
                    self.write_whole(node, &mut entry, archive)?;
                }
                Some(target) => {
                    entry.kind = EntryKind::HardLink(target.clone());
                    entry.xattrs.clear();
                    self.tar.entry(&entry)?;
                }
            }
        }
        Ok(())
    }

    fn write_whole(&mut self, node: u32, entry: &mut TarEntry, archive: &mut Entries<'_>) -> Result<()> {
        entry.atime = entry.mtime;
        entry.xattrs.retain(|(name, _)| is_allowed(name));
        if matches!(entry.kind, EntryKind::Directory) {
            entry.path.push(b'/');
            self.mark(node)?;
        }
        let EntryKind::Regular(content) = &entry.kind else { return self.tar.entry(entry) };
        let plain = TarEntry {
            path: std::mem::take(&mut entry.path),
            kind: EntryKind::Regular(FileContent { size: content.size, extents: None }),
            xattrs: std::mem::take(&mut entry.xattrs),
            ..*entry
        };
        self.tar.entry(&plain)?;
        let tar = &mut self.tar;
        copy_content(entry, archive, &mut |bytes| tar.data(bytes))
    }

    /// Writes the directories above a node that were not written yet, the highest first.
    fn write_parents(&mut self, node: u32) -> Result<()> {
        let mut missing = Vec::new();
        let mut at = self.tree.parent(node)?;
        while !self.is_written.get(at as usize).copied().unwrap_or(true) {
            missing.push(at);
            at = self.tree.parent(at)?;
        }
        while let Some(directory) = missing.pop() {
            self.write_kept_directory(directory)?;
        }
        Ok(())
    }

    /// Writes a directory if that was not done yet.
    fn write_directory(&mut self, node: u32) -> Result<()> {
        if self.tree.kind(node)? != NodeKind::Directory || self.is_written.get(node as usize) == Some(&true) {
            return Ok(());
        }
        self.write_parents(node)?;
        self.write_kept_directory(node)
    }

    /// Writes a directory whose attributes are in the tree. The entry of any other one comes before what is in it.
    fn write_kept_directory(&mut self, node: u32) -> Result<()> {
        self.mark(node)?;
        let mut path = self.tree.directory_path(node)?;
        if node == ROOT {
            path.push(b'.');
        }
        path.push(b'/');
        let mut entry = directory_entry(self.tree.attributes(node)?, path);
        entry.xattrs.retain(|(name, _)| is_allowed(name));
        self.tar.entry(&entry)
    }

    fn mark(&mut self, node: u32) -> Result<()> {
        let lost = || Error::new(ErrorKind::Internal, "export: no such directory");
        *self.is_written.get_mut(node as usize).ok_or_else(lost)? = true;
        Ok(())
    }
}

fn directory_entry(attributes: Attributes, path: Vec<u8>) -> TarEntry {
    let Attributes { mode, uid, gid, mtime, xattrs } = attributes;
    TarEntry { path, kind: EntryKind::Directory, mode, uid, gid, mtime, atime: mtime, xattrs }
}
