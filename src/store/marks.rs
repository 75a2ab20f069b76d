//! Finds the blobs that entries of the index need: their documents, and the blobs that these name. A document that cannot be
//! read is reported, because it is unknown what it needs.

use std::path::Path;

use super::disk;
use super::index::ImageEntry;
use super::links::Links;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::descriptor::Descriptor;

/// The blobs of a store, and which of them are needed. Takes a few bytes for each blob, and never follows a document twice.
pub(super) struct Marks<'a> {
    root: &'a Path,
    cancel: &'a Cancel,
    /// Sorted.
    blobs: Vec<Digest>,
    /// One for each blob.
    marks: Vec<Mark>,
    /// The positions of documents that are still to be read.
    pending: Vec<usize>,
    /// Why it is unknown what some entry needs.
    pub(super) obstacle: Option<Error>,
}

/// How a blob is needed. A later one includes the earlier ones.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Mark {
    Unneeded,
    Blob,
    /// The blobs that it names are needed too.
    Document,
}

impl<'a> Marks<'a> {
    /// The blobs in the store, none of them marked.
    pub(super) fn new(root: &'a Path, cancel: &'a Cancel) -> Result<Self> {
        let blobs = disk::blobs(root)?;
        let marks = vec![Mark::Unneeded; blobs.len()];
        Ok(Self { root, cancel, blobs, marks, pending: Vec::new(), obstacle: None })
    }

    /// The blobs in the store, these of them marked, and nothing that they name.
    #[cfg(feature = "manage")]
    pub(super) fn of(root: &'a Path, cancel: &'a Cancel, blobs: &[Digest]) -> Result<Self> {
        let mut marks = Self::new(root, cancel)?;
        for digest in blobs {
            marks.mark(digest, Mark::Blob);
        }
        Ok(marks)
    }

    /// Whether a blob is in the store.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.position(digest).is_some()
    }

    /// Whether a blob is in the store and needed.
    pub(super) fn is_marked(&self, digest: &Digest) -> bool {
        let mark = self.position(digest).and_then(|at| self.marks.get(at));
        mark.is_some_and(|mark| *mark > Mark::Unneeded)
    }

    /// The blobs that are needed, or those that are not.
    pub(super) fn blobs(&self, is_needed: bool) -> impl Iterator<Item = Digest> {
        let marked = self.blobs.iter().zip(&self.marks);
        marked.filter(move |(_, mark)| (**mark > Mark::Unneeded) == is_needed).map(|(digest, _)| *digest)
    }

    /// Marks all blobs that an entry needs. An entry without its own document is not understood, but an index may lack some
    /// of its manifests.
    pub(super) fn mark_entry(&mut self, entry: &ImageEntry) -> Result<()> {
        let digest = &entry.manifest.digest;
        if !self.mark(digest, Mark::Document) {
            self.obstacle.get_or_insert_with(|| disk::missing(&entry.manifest));
        }
        while let Some(at) = self.pending.pop() {
            self.follow(at)?;
        }
        for claimed in [&entry.resolved, &entry.source] {
            if claimed != digest && self.mark(claimed, Mark::Blob) {
                self.mark_indexes(claimed)?;
            }
        }
        Ok(())
    }

    /// Records that it is unknown what an entry needs.
    pub(super) fn mark_malformed_entry(&mut self) {
        self.obstacle.get_or_insert_with(|| Error::new(ErrorKind::Unsafe, "index.json has a malformed descriptor"));
    }

    /// Reads a marked document and marks what it names.
    fn follow(&mut self, at: usize) -> Result<()> {
        let Some(digest) = self.blobs.get(at).copied() else { return Ok(()) };
        let links = match self.links(&digest) {
            Ok(links) => links,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                self.obstacle.get_or_insert(error);
                return Ok(());
            }
        };
        for manifest in links.manifests.iter().flatten() {
            self.mark(manifest, Mark::Document);
        }
        for blob in &links.blobs {
            self.mark(blob, Mark::Blob);
        }
        Ok(())
    }

    /// Marks the indexes within an index, which prove that its digest leads to a manifest. Its other manifests are not
    /// needed, and neither is a document that cannot be read.
    fn mark_indexes(&mut self, digest: &Digest) -> Result<()> {
        let mut pending = vec![*digest];
        while let Some(digest) = pending.pop() {
            self.cancel.check()?;
            let children = self.links(&digest).ok().and_then(|links| links.manifests);
            for child in children.into_iter().flatten() {
                let is_new = self.has(&child) && !self.is_marked(&child);
                if is_new && self.links(&child).is_ok_and(|links| links.manifests.is_some()) {
                    self.mark(&child, Mark::Blob);
                    pending.push(child);
                }
            }
        }
        Ok(())
    }

    /// Marks a blob. Returns false if it is not in the store.
    fn mark(&mut self, digest: &Digest, mark: Mark) -> bool {
        let Some(at) = self.position(digest) else { return false };
        if let Some(known) = self.marks.get_mut(at)
            && *known < mark
        {
            *known = mark;
            if mark == Mark::Document {
                self.pending.push(at);
            }
        }
        true
    }

    fn position(&self, digest: &Digest) -> Option<usize> {
        self.blobs.binary_search(digest).ok()
    }

    /// Reads and verifies a document of the store.
    fn links(&self, digest: &Digest) -> Result<Links> {
        self.cancel.check()?;
        let context = |e: Error| e.context(format!("blob {digest}"));
        let size = disk::blob_size(self.root, digest)?.unwrap_or(0);
        let descriptor = Descriptor { media_type: String::new(), digest: *digest, size };
        let bytes = disk::read_document(self.root, &descriptor, Limits::default().document)?;
        Links::parse(&bytes).map_err(|why| context(Error::new(ErrorKind::Unsafe, why)))
    }
}
