//! Builds a root filesystem from layers: decompresses each layer, on a separate thread with more than one job, and applies
//! it to a staging tree. The caller supplies the bytes.

use std::io::{self, Read};
use std::path::Path;

use super::layers::ImageLayer;
use super::unpack_options::UnpackOptions;
use crate::advice::Advice;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::Decoder;
use crate::oci::media_type::Compression;
use crate::progress::{Event, Layer, Progress};
use crate::store::Store;
use crate::target::Staging;
#[cfg(feature = "manage")]
use crate::unpack::Root;
use crate::unpack::{Tally, Tree};
use crate::workers;

/// Bytes of a layer's blob between two progress events.
const REPORT_INTERVAL: u64 = 1 << 20;

/// A tree that grows in a staging folder until it is published at its target. Dropped before that, it is removed.
pub(crate) struct Assembly<'a> {
    staging: Staging,
    tree: Tree,
    options: &'a UnpackOptions,
    progress: &'a dyn Progress,
}

impl<'a> Assembly<'a> {
    /// Begins a tree for `target`, which must not exist or be an empty folder.
    pub(crate) fn begin(target: &Path, options: &'a UnpackOptions, progress: &'a dyn Progress) -> Result<Self> {
        let staging = begin_staging(target, options)?;
        let tree = Tree::new(staging.open_tree()?, options.config())?;
        Ok(Self { staging, tree, options, progress })
    }

    /// Begins a tree in a new folder inside `target`, which must not exist or be an empty folder.
    #[cfg(feature = "manage")]
    pub(crate) fn begin_inside(
        target: &Path,
        folder: &str,
        options: &'a UnpackOptions,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let staging = begin_staging(target, options)?;
        let tree = Tree::new(staging.create_inside(folder)?, options.config())?;
        Ok(Self { staging, tree, options, progress })
    }

    /// Adds a file next to the folder that [`begin_inside`](Self::begin_inside) created.
    #[cfg(feature = "manage")]
    pub(crate) fn add_file(&self, name: &str, content: &[u8]) -> Result<()> {
        self.staging.add_file(name, content)
    }

    /// The root of the tree, for reading files in it.
    #[cfg(feature = "manage")]
    pub(crate) fn root(&self) -> &Root {
        self.tree.root()
    }

    /// Applies the next layer and verifies its diff_id. Errors from reading `blob` must be typed; others are taken for a
    /// broken archive.
    pub(crate) fn apply(&mut self, layer: &ImageLayer<'_>, blob: &mut (dyn Read + Send)) -> Result<()> {
        let compression = layer.descriptor.compression;
        let mut blob = ReportingReader { blob, read: 0, reported: 0, layer: layer.layer, progress: self.progress };
        // One type for all decoders, because each further one would add some 6 KB of code.
        let blob: &mut (dyn Read + Send) = &mut blob;
        let mut tar = Decoder::new(blob, compression, &self.options.limits, &self.options.cancel)?;
        if self.options.jobs > 1 && compression != Compression::None {
            workers::read_ahead(tar, |tar| self.tree.apply(tar, layer.diff_id))?;
        } else {
            self.tree.apply(&mut tar, layer.diff_id)?;
        }
        self.progress.report(Event::Unpacking { layer: layer.layer, read: layer.layer.size });
        Ok(())
    }

    /// Applies the next layer from a store.
    pub(crate) fn apply_stored(&mut self, store: &Store, layer: &ImageLayer<'_>) -> Result<()> {
        let blob = store.blob(&layer.descriptor.blob);
        let applied = blob.and_then(|mut blob| self.apply(layer, &mut blob));
        applied.map_err(|e| explain(e, store, layer.layer.digest, &self.options.cancel).context(layer.layer.label()))
    }

    /// True if a layer has an entry for the root of the tree.
    #[cfg(feature = "manage")]
    pub(crate) fn has_root_entry(&self) -> bool {
        self.tree.has_root_entry()
    }

    /// Publishes the tree at its target, and reports what was left out.
    pub(crate) fn publish(self) -> Result<Tally> {
        let progress = self.progress;
        let tally = self.publish_silently()?;
        report_left_out(&tally, progress);
        Ok(tally)
    }

    /// Publishes the tree at its target.
    pub(crate) fn publish_silently(self) -> Result<Tally> {
        let finished = self.tree.finish()?;
        #[cfg(feature = "manage")]
        if self.staging.is_in_place() {
            self.staging.publish_in_place(finished.root_mode())?;
            return Ok(finished.tally);
        }
        self.staging.publish()?;
        finished.set_root_mode()?;
        Ok(finished.tally)
    }
}

fn begin_staging(target: &Path, options: &UnpackOptions) -> Result<Staging> {
    #[cfg(feature = "manage")]
    if options.is_in_place {
        return Staging::begin_in_place(target, &options.cancel);
    }
    Staging::begin(target, &options.cancel)
}

/// Reports what was left out of a tree.
pub(super) fn report_left_out(tally: &Tally, progress: &dyn Progress) {
    let left_out = [
        (tally.owners, "owners left out: this process cannot give files to them"),
        (tally.devices, "device nodes left out"),
        (tally.xattrs, "extended attributes left out: not for images to set, or refused by the filesystem"),
    ];
    for (count, what) in left_out {
        if count > 0 {
            progress.report(Event::Warning(&format!("{count} {what}")));
        }
    }
}

/// A blob that cannot be unpacked may have been damaged since it was verified. Reads it again, because a damaged blob has
/// another remedy than a bad archive.
pub(super) fn explain(error: Error, store: &Store, digest: Digest, cancel: &Cancel) -> Error {
    if !matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Unsafe) {
        return error;
    }
    let mut fault = None;
    let checked = store.verify_blob(digest, false, cancel, &mut |check| fault = check.fault.clone());
    match (checked, fault) {
        (Ok(()), Some(fault)) => {
            let text = format!("the blob was damaged in the store: {fault}");
            Error::new(ErrorKind::Mismatch, text).with_advice(Advice::RepairStore)
        }
        _ => error,
    }
}

/// Reports how much of a blob was read.
struct ReportingReader<'a> {
    blob: &'a mut (dyn Read + Send),
    read: u64,
    reported: u64,
    layer: Layer,
    progress: &'a dyn Progress,
}

impl Read for ReportingReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // The end is reported after the diff_id is verified.
        if self.read >= self.reported && self.read < self.layer.size {
            self.progress.report(Event::Unpacking { layer: self.layer, read: self.read });
            self.reported = self.read + REPORT_INTERVAL;
        }
        let n = self.blob.read(buf).map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => e,
            // An untyped disk error would be taken for a broken archive.
            _ => Error::through_read(e, |e| Error::disk("read", format!("blob {}", self.layer.digest), e)).into(),
        })?;
        self.read += n as u64;
        Ok(n)
    }
}
