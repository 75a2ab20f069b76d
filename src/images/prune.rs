//! Removes images that have no name, or more of them, and all blobs that no image needs.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroUsize;

use super::image::Image;
use super::lookup::images_of;
use super::remove::{Removed, Report, is_same, sweep_unneeded};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::oci::reference::Reference;
use crate::progress::Progress;
use crate::store::{ImageEntry, LockWait, Store, Sweep};

/// Decides whether an image may be removed.
type Filter<'a> = &'a mut dyn FnMut(&Image) -> Result<bool>;

/// Options of [`Store::prune`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct PruneOptions {
    all: bool,
    keep: Option<NonZeroUsize>,
    cancel: Cancel,
}

impl PruneOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to remove images that have a name too, and partial downloads. Default: no.
    pub fn all(self, all: bool) -> Self {
        Self { all, ..self }
    }

    /// Keeps this many images of each repository: those that got their names last. Removes the others, with all their names.
    /// Default: no image that has a name is removed.
    pub fn keep(self, keep: NonZeroUsize) -> Self {
        Self { keep: Some(keep), ..self }
    }

    /// A flag that stops the work. Default: a flag that is never raised.
    pub fn cancel(self, cancel: Cancel) -> Self {
        Self { cancel, ..self }
    }
}

impl Store {
    /// Removes the images that have no name, and those that the options add; with `filter`, only those that it accepts. Then
    /// removes all blobs that no image needs, and what killed loads and imports left. Signatures go with what they sign. Trees of
    /// layers go if no image and no folder with links needs them. Waits while another process fetches into the store or reads
    /// from it. If a document in the store cannot be read, no blob is removed. A store that does not exist has nothing to remove.
    ///
    /// ```no_run
    /// use pullet::{PruneOptions, Silent, Store};
    ///
    /// let store = Store::open("/var/lib/pullet");
    /// let options = PruneOptions::new().keep(std::num::NonZeroUsize::MIN.saturating_add(1));
    /// let removed = store.prune(&options, None, &Silent)?;
    /// println!("{} bytes freed", removed.bytes);
    /// # Ok::<(), pullet::Error>(())
    /// ```
    pub fn prune(
        &self,
        options: &PruneOptions,
        filter: Option<Filter<'_>>,
        progress: &dyn Progress,
    ) -> Result<Removed> {
        let context = |e: Error| e.context(format!("prune {}", self.folder().display()));
        let wait = LockWait { cancel: &options.cancel, progress };
        let Some(removal) = self.begin_removal(wait).map_err(context)? else { return Ok(Removed::default()) };
        let unwanted = self.unwanted(options, filter).map_err(context)?;
        let report = Report::new(self, &unwanted);
        removal.unname(&|entry| unwanted.iter().any(|other| is_same(other, entry))).map_err(context)?;
        let swept = sweep_unneeded(self, &removal, Sweep::All, wait).map_err(context)?;
        let mut removed = report.removed(self, swept).map_err(context)?;
        #[cfg(feature = "manage")]
        {
            removed.bytes += removal.remove_arrivals().map_err(context)?;
        }
        if options.all {
            removed.bytes += removal.remove_partial_blobs().map_err(context)?;
        }
        Ok(removed)
    }

    /// The entries to remove from the index. One with images for several platforms goes only if the filter accepts all, and
    /// one whose images cannot be read only without a filter.
    fn unwanted(&self, options: &PruneOptions, mut filter: Option<Filter<'_>>) -> Result<Vec<ImageEntry>> {
        let limits = Limits::default();
        let entries = self.all_entries_where(&|entry| entry.signed().is_none())?;
        let kept = options.keep.map(|count| newest(&entries, count.get())).unwrap_or_default();
        let mut unwanted = Vec::new();
        for entry in entries {
            options.cancel.check()?;
            let is_named = !entry.names.is_empty();
            let may_go = !is_named || options.all || options.keep.is_some();
            if !may_go || (is_named && kept.contains(&entry.manifest.digest)) {
                continue;
            }
            if let Some(filter) = &mut filter
                && !accepts_all(filter, &images_of(self, &entry, &limits))?
            {
                continue;
            }
            unwanted.push(entry);
        }
        Ok(unwanted)
    }
}

fn accepts_all(filter: Filter<'_>, images: &[Image]) -> Result<bool> {
    for image in images {
        if !filter(image)? {
            return Ok(false);
        }
    }
    Ok(!images.is_empty())
}

/// The manifests of the last `count` images of each repository, in the order of the index.
fn newest(entries: &[ImageEntry], count: usize) -> HashSet<Digest> {
    let mut repositories: BTreeMap<String, HashSet<Digest>> = BTreeMap::new();
    for entry in entries.iter().rev().filter(|entry| !entry.names.is_empty()) {
        let repository = match entry.name().parse::<Reference>() {
            Ok(name) => name.repository(),
            Err(_) => entry.name().to_owned(),
        };
        let manifests = repositories.entry(repository).or_default();
        if manifests.len() < count {
            manifests.insert(entry.manifest.digest);
        }
    }
    repositories.into_values().flatten().collect()
}
