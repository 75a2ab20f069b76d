//! Removes names from the index, and blobs that nothing needs. The names go first, durably, so that after a crash the index
//! names no image without its blobs; what is left over goes with the next removal.

use std::fs;
use std::path::{Path, PathBuf};

#[cfg(feature = "manage")]
use super::arrival;
use super::index::ImageEntry;
use super::lock::{self, LockWait, PruneGuard};
use super::marks::Marks;
use super::owner::check_owner;
use super::{disk, layout};
use crate::digest::Digest;
use crate::error::Result;
use crate::progress::Event;

/// How often documents that sign other signatures are looked for.
const SIGNATURE_DEPTH: usize = 3;

/// Which of the blobs that nothing needs are removed.
#[derive(Clone, Copy)]
pub(crate) enum Sweep<'a> {
    /// All of them.
    All,
    /// Those that these entries needed, which are no longer in the index.
    Of(&'a [ImageEntry]),
    /// These, which a load that failed has added.
    #[cfg(feature = "manage")]
    Added(&'a [Digest]),
}

/// The right to remove. No other process relies on unnamed blobs while this exists.
pub(crate) struct Removal<'a> {
    root: PathBuf,
    wait: LockWait<'a>,
    _guard: PruneGuard,
}

/// What was removed.
#[derive(Default)]
pub(crate) struct Swept {
    pub(crate) blobs: Vec<Digest>,
    /// The sizes of the files in bytes.
    pub(crate) bytes: u64,
    /// True if it is unknown which blobs are needed. Then none was removed.
    pub(crate) has_obstacle: bool,
}

impl<'a> Removal<'a> {
    /// Waits until no process relies on unnamed blobs. `None` if there is no index, because without one nothing is known to
    /// be unneeded.
    pub(super) fn begin(root: &Path, wait: LockWait<'a>) -> Result<Option<Self>> {
        check_owner(root)?;
        if !layout::exists(root)? {
            return Ok(None);
        }
        let guard = lock::remove(root, wait)?;
        Ok(Some(Self { root: root.to_owned(), wait, _guard: guard }))
    }

    /// The same without waiting; `None` too if some process relies on unnamed blobs.
    #[cfg(feature = "manage")]
    pub(super) fn begin_if_free(root: &Path, wait: LockWait<'a>) -> Result<Option<Self>> {
        let guard = lock::remove_if_free(root)?;
        Ok(guard.map(|guard| Self { root: root.to_owned(), wait, _guard: guard }))
    }

    /// Removes the entries that `is_unwanted` accepts from the index.
    pub(crate) fn unname(&self, is_unwanted: &dyn Fn(&ImageEntry) -> bool) -> Result<()> {
        layout::unname(&self.root, is_unwanted, self.wait)
    }

    /// Removes blobs that no entry of the index needs, and the signatures of images that are gone. Removes neither, and reports
    /// why, if it is unknown what an entry needs.
    pub(crate) fn sweep(&self, sweep: Sweep<'_>) -> Result<Swept> {
        let former = match sweep {
            Sweep::All => None,
            Sweep::Of(entries) => Some(self.needed_by(entries)?),
            #[cfg(feature = "manage")]
            Sweep::Added(blobs) => Some(Marks::of(&self.root, self.wait.cancel, blobs)?),
        };
        let needed = self.needed(former.as_ref())?;
        let mut swept = Swept::default();
        if let Some(obstacle) = &needed.obstacle {
            let text = format!("no blob was removed, because it is unknown which are needed: {obstacle}");
            self.wait.progress.report(Event::Warning(&text));
            swept.has_obstacle = true;
            return Ok(swept);
        }
        self.unname(&|entry| entry.signed().is_some() && !needed.is_marked(&entry.manifest.digest))?;
        let unneeded: Vec<Digest> = match former {
            None => needed.blobs(false).collect(),
            Some(former) => former.blobs(true).filter(|digest| !needed.is_marked(digest)).collect(),
        };
        for digest in unneeded {
            self.wait.cancel.check()?;
            swept.bytes += disk::blob_size(&self.root, &digest).ok().flatten().unwrap_or(0);
            disk::remove(&disk::blob_path(&self.root, &digest))?;
            swept.blobs.push(digest);
        }
        Ok(swept)
    }

    /// Removes all partial downloads. Returns their sizes in bytes.
    pub(crate) fn remove_partial_blobs(&self) -> Result<u64> {
        self.remove_ingests(|_| true)
    }

    /// Removes the temporary files of loads and imports that were killed, because nothing resumes from them. Returns their
    /// sizes in bytes.
    #[cfg(feature = "manage")]
    pub(crate) fn remove_arrivals(&self) -> Result<u64> {
        self.remove_ingests(arrival::is_leftover)
    }

    fn remove_ingests(&self, is_unneeded: fn(&Path) -> bool) -> Result<u64> {
        let mut bytes = 0;
        let paths = disk::files(&self.root.join("ingest"))?;
        for path in paths.into_iter().filter(|path| is_unneeded(path)) {
            bytes += fs::symlink_metadata(&path).map_or(0, |metadata| metadata.len());
            disk::remove(&path)?;
        }
        Ok(bytes)
    }

    /// Marks what the entries of the index need. A signature is needed if what it signs is; with `former`, a signature of
    /// anything else than the blobs marked there is needed too.
    fn needed(&self, former: Option<&Marks<'_>>) -> Result<Marks<'_>> {
        let mut marks = Marks::new(&self.root, self.wait.cancel)?;
        self.visit(&mut |entry| match entry {
            None => {
                marks.mark_malformed_entry();
                Ok(())
            }
            Some(entry) => match (entry.signed(), former) {
                (None, _) => marks.mark_entry(entry),
                (Some(signed), Some(former)) if !former.is_marked(&signed) => marks.mark_entry(entry),
                (Some(_), _) => Ok(()),
            },
        })?;
        for _ in 0..SIGNATURE_DEPTH {
            self.visit(&mut |entry| {
                let Some(entry) = entry else { return Ok(()) };
                let is_needed = entry.signed().is_some_and(|signed| marks.is_marked(&signed));
                if is_needed && marks.has(&entry.manifest.digest) { marks.mark_entry(entry) } else { Ok(()) }
            })?;
        }
        Ok(marks)
    }

    /// Marks what some entries need, as far as that is known, and their signatures.
    fn needed_by(&self, entries: &[ImageEntry]) -> Result<Marks<'_>> {
        let mut marks = Marks::new(&self.root, self.wait.cancel)?;
        entries.iter().try_for_each(|entry| marks.mark_entry(entry))?;
        self.visit(&mut |entry| match entry {
            Some(entry) if entry.signed().is_some_and(|signed| marks.is_marked(&signed)) => marks.mark_entry(entry),
            _ => Ok(()),
        })?;
        Ok(marks)
    }

    /// Calls `visit` for each entry of the index, up to the first failure.
    fn visit(&self, visit: &mut dyn FnMut(Option<&ImageEntry>) -> Result<()>) -> Result<()> {
        let mut outcome = Ok(());
        layout::visit(&self.root, &mut |entry| {
            if outcome.is_ok() {
                outcome = visit(entry.as_ref());
            }
        })?;
        outcome
    }
}
