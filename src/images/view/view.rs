//! The two passes over the layers of an image: one merges their names, the other one reads what is wanted.

use std::collections::hash_map::RandomState;
use std::ops::Range;

use super::merge::Merger;
use super::options::ReadOptions;
use super::source::{Found, LayerSource};
use super::tree::{MergedTree, NodeKind};
use crate::error::{Error, ErrorKind, Result};
use crate::images::image::Image;
use crate::images::layers::{ImageLayer, image_layers};
use crate::layer::{Entries, EntryKind, Extent, SafePath, TarEntry};

/// The merged tree of an image and the layers from which it was made.
pub(super) struct View<'a> {
    pub(super) image: &'a Image,
    pub(super) options: &'a ReadOptions,
    pub(super) layers: Vec<ImageLayer<'a>>,
    /// The numbers of the entries of each layer that was merged.
    pub(super) numbers: Vec<Range<u32>>,
    pub(super) source: LayerSource<'a>,
    pub(super) merger: Merger,
}

/// The entry with the content of one or more nodes.
pub(super) struct Content<'a, 'b> {
    /// The nodes: a file has several if it has hard links. In the order in which layers named them.
    pub(super) nodes: &'a [Selected],
    pub(super) entry: TarEntry,
    /// The archive, at the data of the entry.
    pub(super) archive: &'a mut Entries<'b>,
}

/// A node that is to be read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Selected {
    /// The number of its entry.
    pub(super) entry: u32,
    pub(super) node: u32,
}

impl<'a> View<'a> {
    /// A view without any layer yet. Views that are compared need the same hasher.
    pub(super) fn new(image: &'a Image, options: &'a ReadOptions, hasher: RandomState) -> Self {
        let tree = MergedTree::new(hasher, &options.limits);
        Self {
            image,
            options,
            layers: image_layers(image.manifest(), image.config()),
            numbers: Vec::new(),
            source: LayerSource::new(image.store(), &options.limits, &options.cancel),
            merger: Merger::new(tree, &options.limits, &options.cancel),
        }
    }

    /// A view of all layers.
    pub(super) fn of(image: &'a Image, options: &'a ReadOptions) -> Result<Self> {
        let mut view = Self::new(image, options, RandomState::new());
        view.merge(view.layers.len())?;
        view.settle()?;
        Ok(view)
    }

    /// Merges the next layers, up to `count` in total.
    pub(super) fn merge(&mut self, count: usize) -> Result<()> {
        let Self { layers, numbers, source, merger, .. } = self;
        for (position, layer) in layers.iter().enumerate().take(count).skip(numbers.len()) {
            merger.begin_layer(position)?;
            numbers.push(source.read(layer, &mut |found| merger.apply(&found.entry, found.number))?);
            merger.end_layer()?;
        }
        Ok(())
    }

    pub(super) fn settle(&mut self) -> Result<()> {
        self.tree_mut().settle()
    }

    pub(super) fn tree(&self) -> &MergedTree {
        &self.merger.tree
    }

    pub(super) fn tree_mut(&mut self) -> &mut MergedTree {
        &mut self.merger.tree
    }

    /// The node to which a path leads. Fails with [`ErrorKind::NotFound`] if it leads nowhere.
    pub(super) fn find(&mut self, path: &[u8]) -> Result<u32> {
        let node = self.merger.find(path)?.ok_or_else(|| no_file(path))?;
        if wants_directory(path) && self.tree().kind(node)? != NodeKind::Directory {
            return Err(no_directory(path));
        }
        Ok(node)
    }

    /// The nodes that `is_wanted` accepts and whose entries have to be read, in the order of the entries.
    pub(super) fn select(&self, is_wanted: &dyn Fn(u32) -> bool) -> Result<Vec<Selected>> {
        let mut selected = Vec::new();
        for node in self.tree().alive().filter(|node| is_wanted(*node)) {
            if let Some(entry) = self.tree().source(node)? {
                selected.push(Selected { entry, node });
            }
        }
        selected.sort_unstable();
        Ok(selected)
    }

    /// Reads the entries of the selected nodes, and calls `take` with each. Reads no layer that has none.
    pub(super) fn visit(
        &self,
        selected: &[Selected],
        take: &mut dyn FnMut(Content<'_, '_>) -> Result<()>,
    ) -> Result<()> {
        let mut left = selected;
        let mut source = LayerSource::new(self.image.store(), &self.options.limits, &self.options.cancel);
        for (layer, numbers) in self.layers.iter().zip(&self.numbers) {
            if left.first().is_none_or(|next| next.entry >= numbers.end) {
                source.skip(numbers);
                continue;
            }
            source.read(layer, &mut |Found { number, entry, archive }| {
                let count = left.iter().take_while(|next| next.entry == number).count();
                let (nodes, rest) = left.split_at(count);
                left = rest;
                if nodes.is_empty() {
                    return Ok(());
                }
                take(Content { nodes, entry, archive })
            })?;
        }
        if !left.is_empty() {
            return Err(Error::new(ErrorKind::Mismatch, "a layer changed while it was read"));
        }
        Ok(())
    }
}

/// Whether a path can only lead to a directory.
pub(super) fn wants_directory(path: &[u8]) -> bool {
    path.ends_with(b"/") || path.ends_with(b"/.")
}

pub(super) fn no_file(path: &[u8]) -> Error {
    Error::new(ErrorKind::NotFound, format!("{}: no such file", display(path)))
}

pub(super) fn no_directory(path: &[u8]) -> Error {
    Error::new(ErrorKind::NotFound, format!("{}: not a directory", display(path)))
}

/// The name of the node that an entry made.
pub(super) fn entry_name(entry: &TarEntry) -> Result<Vec<u8>> {
    Ok(SafePath::parse_entry(&entry.path)?.name().to_vec())
}

/// Passes the content of a regular file on, with zeros for the holes of a sparse one.
pub(super) fn copy_content(
    entry: &TarEntry,
    archive: &mut Entries<'_>,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let EntryKind::Regular(content) = &entry.kind else { return Ok(()) };
    let whole = [Extent { offset: 0, length: content.size }];
    let mut at = 0;
    for extent in content.extents.as_deref().unwrap_or(&whole) {
        write_zeros(extent.offset.saturating_sub(at), write)?;
        let mut left = extent.length;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let data = archive.data_up_to(most)?;
            if data.is_empty() {
                return Err(Error::new(ErrorKind::Internal, "read file: less data than its entry has"));
            }
            left -= data.len() as u64;
            write(data)?;
        }
        at = extent.offset + extent.length;
    }
    write_zeros(content.size.saturating_sub(at), write)
}

fn write_zeros(count: u64, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let zeros = [0; 4096];
    let mut left = count;
    while left > 0 {
        let chunk = zeros.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(&zeros);
        write(chunk)?;
        left -= chunk.len() as u64;
    }
    Ok(())
}

pub(super) fn display(path: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(path)
}
