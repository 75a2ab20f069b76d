//! Reads the layers of a stored image, each with its diff_id verified.

use std::io::Read;
use std::ops::Range;

use crate::advice::Limit;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::images::assembly::explain;
use crate::images::layers::ImageLayer;
use crate::layer::{Decoder, Entries, EntryKind, TarEntry, malformed};
use crate::limits::Limits;
use crate::store::Store;
use crate::verify::{Size, Verified};

/// Reads layers and counts what all of them have.
pub(super) struct LayerSource<'a> {
    pub(super) store: &'a Store,
    pub(super) limits: &'a Limits,
    pub(super) cancel: &'a Cancel,
    /// Entries of the layers that were read.
    pub(super) entries: u32,
    /// Bytes of them, holes of sparse files included.
    bytes: u64,
}

/// An entry, its number, and the archive that has its data.
pub(super) struct Found<'a, 'b> {
    pub(super) number: u32,
    pub(super) entry: TarEntry,
    pub(super) archive: &'a mut Entries<'b>,
}

impl<'a> LayerSource<'a> {
    pub(super) fn new(store: &'a Store, limits: &'a Limits, cancel: &'a Cancel) -> Self {
        Self { store, limits, cancel, entries: 0, bytes: 0 }
    }

    /// Reads a layer and calls `take` with each entry. Returns the numbers of its entries. The diff_id is verified at the
    /// end.
    pub(super) fn read(
        &mut self,
        layer: &ImageLayer<'_>,
        take: &mut dyn FnMut(Found<'_, '_>) -> Result<()>,
    ) -> Result<Range<u32>> {
        let first = self.entries;
        let read = self.store.blob(&layer.descriptor.blob).and_then(|mut blob| {
            let blob: &mut (dyn Read + Send) = &mut blob;
            let mut tar = Decoder::new(blob, layer.descriptor.compression, self.limits, self.cancel)?;
            self.read_archive(layer, &mut tar, take)
        });
        match read {
            Ok(()) => Ok(first..self.entries),
            Err(e) => Err(explain(e, self.store, layer.layer.digest, self.cancel).context(layer.layer.label())),
        }
    }

    /// Continues after the layers that `other` read.
    pub(super) fn continue_after(&mut self, other: &Self) {
        self.entries = other.entries;
        self.bytes = other.bytes;
    }

    /// Counts from zero again.
    pub(super) fn restart(&mut self) {
        (self.entries, self.bytes) = (0, 0);
    }

    /// Skips the entries of a layer that was read before.
    pub(super) fn skip(&mut self, numbers: &Range<u32>) {
        self.entries = numbers.end;
    }

    fn read_archive(
        &mut self,
        layer: &ImageLayer<'_>,
        tar: &mut dyn Read,
        take: &mut dyn FnMut(Found<'_, '_>) -> Result<()>,
    ) -> Result<()> {
        let left = self.limits.unpacked.saturating_sub(self.bytes);
        let size = Size::AtMost(left, "bytes of unpacked layers");
        let mut tar = Verified::new(tar, layer.diff_id, size, self.cancel.clone());
        let mut archive = Entries::new(&mut tar, self.limits);
        while let Some(entry) = archive.next()? {
            self.cancel.check()?;
            let number = self.entries;
            self.entries = self.entries.saturating_add(1);
            if u64::from(self.entries) > self.limits.entries || self.entries == u32::MAX {
                return Err(Limits::exceeded_adjustable(Limit::Entries, "archive entries", self.limits.entries));
            }
            self.bytes = self.bytes.saturating_add(size_of_holes(&entry));
            if self.bytes > self.limits.unpacked {
                let what = "bytes of unpacked layers";
                return Err(Limits::exceeded_adjustable(Limit::Unpacked, what, self.limits.unpacked));
            }
            take(Found { number, entry, archive: &mut archive })?;
        }
        tar.drain(&mut [0; 16 << 10]).map_err(|e| Error::through_read(e, |e| malformed(&e.to_string())))?;
        self.bytes = self.bytes.saturating_add(tar.count());
        tar.finish().map(drop).map_err(|e| e.context(format!("diff_id {}", layer.diff_id)))
    }
}

/// Returns the bytes of a sparse file that the archive does not contain.
fn size_of_holes(entry: &TarEntry) -> u64 {
    let EntryKind::Regular(content) = &entry.kind else { return 0 };
    let Some(extents) = &content.extents else { return 0 };
    content.size - extents.iter().map(|extent| extent.length).sum::<u64>()
}
