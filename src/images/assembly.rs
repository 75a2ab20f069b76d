//! From layers to a tree: each layer's bytes are inflated, and with more than one job so on a thread of its own, ahead of
//! what hashes them and makes the files. Where the bytes come from is its caller's business.

use std::io::{self, Read};
use std::path::Path;

use super::unpack_options::UnpackOptions;
use crate::advice::Advice;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::Decoder;
use crate::oci::manifest;
use crate::oci::media_type::Compression;
use crate::progress::{Event, Layer, Progress};
use crate::store::Store;
use crate::target::Staging;
use crate::unpack::{Tally, Tree};
use crate::workers;

/// Bytes of a layer's blob between two reports of its unpacking.
const REPORT_INTERVAL: u64 = 1 << 20;

/// A tree on its way to a target.
pub(crate) struct Assembly<'a> {
    staging: Staging,
    tree: Tree,
    options: &'a UnpackOptions,
    progress: &'a dyn Progress,
}

impl<'a> Assembly<'a> {
    /// Begins a tree for `target`, which must not exist or be an empty folder.
    pub(crate) fn begin(target: &Path, options: &'a UnpackOptions, progress: &'a dyn Progress) -> Result<Self> {
        let staging = Staging::begin(target)?;
        let tree = Tree::new(staging.open_tree()?, staging.granted()?, options.config())?;
        Ok(Self { staging, tree, options, progress })
    }

    /// Applies the next layer and proves its diff_id. What goes wrong while `blob` is read must be a typed error, or it is
    /// taken for a broken archive.
    pub(crate) fn apply(
        &mut self,
        layer: Layer,
        (compression, diff_id): (Compression, Digest),
        blob: impl Read + Send,
    ) -> Result<()> {
        let blob = Reported { blob, read: 0, reported: 0, layer, progress: self.progress };
        let mut tar = Decoder::new(blob, compression, self.options.bounds())?;
        match self.options.jobs > 1 && compression != Compression::None {
            true => workers::ahead(tar, |tar| self.tree.apply(tar, diff_id))?,
            false => self.tree.apply(&mut tar, diff_id)?,
        }
        self.progress.report(Event::Unpacking { layer, read: layer.size });
        Ok(())
    }

    /// Applies the next layer out of a store.
    pub(crate) fn apply_stored(
        &mut self,
        store: &Store,
        layer: Layer,
        (described, diff_id): (&manifest::LayerDescriptor, Digest),
    ) -> Result<()> {
        let blob = store.blob(&described.blob);
        let applied = blob.and_then(|blob| self.apply(layer, (described.compression, diff_id), blob));
        applied.map_err(|e| self.blame(e, store, layer.digest).context(layer.label()))
    }

    /// A layer that cannot be unpacked may have been damaged since it was proven. That is another error than a bad
    /// archive, with another way out.
    fn blame(&self, error: Error, store: &Store, digest: Digest) -> Error {
        if !matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Unsafe) {
            return error;
        }
        let mut fault = None;
        let checked = store.verify_blob(digest, false, &self.options.cancel, &mut |check| fault = check.fault.clone());
        match (checked, fault) {
            (Ok(()), Some(fault)) => {
                let text = format!("the blob was damaged in the store: {fault}");
                Error::new(ErrorKind::Mismatch, text).with_advice(Advice::RepairStore)
            }
            _ => error,
        }
    }

    /// Gives the tree its place.
    pub(crate) fn publish(self) -> Result<Tally> {
        let finished = self.tree.finish()?;
        self.staging.publish()?;
        finished.set_root_mode()?;
        let tally = finished.tally;
        let left_out = [
            (tally.owners, "owners left out: only root can give files away"),
            (tally.devices, "device nodes left out"),
            (tally.xattrs, "extended attributes left out: not for images to set, or refused by the filesystem"),
        ];
        for (count, what) in left_out.iter().filter(|(count, _)| *count > 0) {
            self.progress.report(Event::Note(&format!("{count} {what}")));
        }
        Ok(tally)
    }
}

/// A blob whose reading is reported.
struct Reported<'a, R> {
    blob: R,
    read: u64,
    reported: u64,
    layer: Layer,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for Reported<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.read >= self.reported {
            self.progress.report(Event::Unpacking { layer: self.layer, read: self.read });
            self.reported = self.read + REPORT_INTERVAL;
        }
        let n = self.blob.read(buf).map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => e,
            // Without its name a bad disk would look like a bad archive above.
            _ => Error::through_read(e, |e| Error::disk("read", format!("blob {}", self.layer.digest), e)).into(),
        })?;
        self.read += n as u64;
        Ok(n)
    }
}
