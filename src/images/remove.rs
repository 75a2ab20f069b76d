//! Takes names from images, and removes blobs that no other image needs.

use super::image::Image;
use super::lookup::images_of;
use super::selector::{Selected, Selector};
#[cfg(feature = "manage")]
use super::unused_trees::remove_unused_trees;
use crate::advice::Advice;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::reference::Reference;
use crate::progress::Progress;
use crate::store::{ImageEntry, LockWait, Removal, Store, Sweep, Swept};

/// Options of [`Store::remove`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RemoveOptions {
    force: bool,
    cancel: Cancel,
}

/// What a removal did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Removed {
    /// The names that images lost, in short form: `alpine:3.20`, and `alpine@sha256:…` if no other name of the repository
    /// has the digest.
    pub untagged: Vec<String>,
    /// The digests of the blobs that were removed, image IDs first.
    pub deleted: Vec<Digest>,
    /// The size of the removed blobs and other files of the store in bytes, and the space that removed trees of layers took.
    pub bytes: u64,
}

impl RemoveOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to remove an image that its ID selects although it has several names, with all of them. Default: no.
    pub fn force(self, force: bool) -> Self {
        Self { force, ..self }
    }

    /// A flag that stops the work. Default: a flag that is never raised.
    pub fn cancel(self, cancel: Cancel) -> Self {
        Self { cancel, ..self }
    }
}

impl Store {
    /// Takes the name from an image, or all its names if its ID selects it, and removes the blobs that no other image needs,
    /// with the signatures of what was removed. Waits while another process fetches into the store or reads from it. If a
    /// document in the store cannot be read, the name goes, but no blob.
    ///
    /// Fails with [`ErrorKind::NotFound`] if the store lacks the image, and with [`ErrorKind::Usage`] if an ID selects an
    /// image with several names.
    ///
    /// ```no_run
    /// use pullet::{RemoveOptions, Silent, Store};
    ///
    /// let store = Store::open("/var/lib/pullet");
    /// let removed = store.remove(&"app:1".parse()?, &RemoveOptions::new(), &Silent)?;
    /// println!("{} bytes freed", removed.bytes);
    /// # Ok::<(), pullet::Error>(())
    /// ```
    pub fn remove(&self, selector: &Selector, options: &RemoveOptions, progress: &dyn Progress) -> Result<Removed> {
        let context = |e: Error| e.context(format!("remove {selector}"));
        // Without the image there is no reason to wait.
        self.selected(selector).map_err(context)?;
        let wait = LockWait { cancel: &options.cancel, progress };
        let Some(removal) = self.begin_removal(wait).map_err(context)? else { return Ok(Removed::default()) };
        let selected = self.selected(selector).map_err(context)?;
        if selected.is_by_id && !options.force {
            self.check_single(&selected).map_err(context)?;
        }
        let entries = selected.entries;
        let report = Report::new(self, &entries);
        let is_unwanted = |entry: &ImageEntry| entries.iter().any(|unwanted| is_same(unwanted, entry));
        removal.unname(&is_unwanted).map_err(context)?;
        let swept = sweep_unneeded(self, &removal, Sweep::Of(&entries), wait).map_err(context)?;
        report.removed(self, swept).map_err(context)
    }

    /// Fails if an image that its ID selected has several names, or if its entry has further images.
    fn check_single(&self, selected: &Selected) -> Result<()> {
        let limits = Limits::default();
        let count = |entry: &ImageEntry| images_of(self, entry, &limits).len();
        let names: Vec<String> = selected.entries.iter().map(familiar).collect();
        let problem = if names.len() > 1 {
            format!("the image has several names: {}", names.join(", "))
        } else if selected.entries.iter().any(|entry| count(entry) > 1) {
            format!("{} has images for other platforms too", names.concat())
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Usage, problem).with_advice(Advice::ForceRemoval))
    }
}

/// Removes the blobs that nothing needs any more, and the trees of layers. Counts the bytes of both.
pub(super) fn sweep_unneeded(
    store: &Store,
    removal: &Removal<'_>,
    blobs: Sweep<'_>,
    wait: LockWait<'_>,
) -> Result<Swept> {
    let mut swept = removal.sweep(blobs)?;
    if !swept.has_obstacle {
        swept.bytes += remove_unused_trees(store, wait)?;
    }
    Ok(swept)
}

/// Without the feature, a store has no trees of layers.
#[cfg(not(feature = "manage"))]
fn remove_unused_trees(_store: &Store, _wait: LockWait<'_>) -> Result<u64> {
    Ok(0)
}

/// What is known about entries before they are removed.
pub(super) struct Report {
    names: Vec<NamedDigest>,
    ids: Vec<Digest>,
}

/// An entry that has a name.
struct NamedDigest {
    /// In short form.
    name: String,
    /// `None` if the name is malformed.
    repository: Option<String>,
    /// The digest to which the name resolved; `None` if the image cannot be read.
    digest: Option<Digest>,
}

impl Report {
    /// Reads the images of these entries.
    pub(super) fn new(store: &Store, entries: &[ImageEntry]) -> Self {
        let limits = Limits::default();
        let (mut names, mut ids) = (Vec::new(), Vec::new());
        for entry in entries {
            let images = images_of(store, entry, &limits);
            if !entry.names.is_empty() {
                names.push(NamedDigest {
                    name: familiar(entry),
                    repository: entry.name().parse().ok().map(|name: Reference| name.familiar_repository()),
                    digest: images.first().map(|image| *image.digest()),
                });
            }
            ids.extend(images.iter().map(Image::id));
        }
        Self { names, ids }
    }

    /// The report after the removal.
    pub(super) fn removed(self, store: &Store, swept: Swept) -> Result<Removed> {
        let mut untagged: Vec<String> = Vec::new();
        let mut push = |name: String| {
            if !untagged.contains(&name) {
                untagged.push(name);
            }
        };
        let left = store.entries()?;
        for NamedDigest { name, repository, digest } in self.names {
            push(name);
            let (Some(repository), Some(digest)) = (repository, digest) else { continue };
            let has_it = |entry: &ImageEntry| {
                let name = entry.name().parse::<Reference>();
                name.is_ok_and(|name| name.familiar_repository() == repository)
                    && [entry.resolved, entry.manifest.digest].contains(&digest)
            };
            if !left.iter().any(has_it) {
                push(format!("{repository}@{digest}"));
            }
        }
        let (mut deleted, others): (Vec<_>, Vec<_>) = swept.blobs.iter().partition(|digest| self.ids.contains(digest));
        deleted.extend(others);
        Ok(Removed { untagged, deleted, bytes: swept.bytes })
    }
}

/// The name of an entry in short form; `<none>` without one.
fn familiar(entry: &ImageEntry) -> String {
    match entry.name().parse::<Reference>() {
        Ok(name) => name.familiar(),
        Err(_) if entry.names.is_empty() => "<none>".to_owned(),
        Err(_) => entry.name().to_owned(),
    }
}

/// Whether an entry of the index is one that was read before.
pub(super) fn is_same(one: &ImageEntry, other: &ImageEntry) -> bool {
    one.names == other.names && one.manifest.digest == other.manifest.digest && one.subject == other.subject
}
