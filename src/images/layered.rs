//! One tree for each layer, shared between images, and a folder with links to them that overlayfs mounts as the image.
//!
//! The trees are in the store: `layers/FORM/sha256-HEX/tree`, named by the diff_id. A layer that cannot be unpacked without
//! those below it is merged with them into the tree `chain-HEX`, named by the chain ID (image-spec, config.md). The tree of a
//! layer is never used for an image with a `chain` tree above it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::assembly::{Assembly, report_left_out};
use super::image::{AdmittedImage, Image};
use super::layer_folders::record_folder;
use super::layers::{ImageLayer, image_layers};
use super::space::{Need, check_space, least_tree};
use super::unpack_options::UnpackOptions;
use crate::advice::Limit;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::progress::Progress;
use crate::store::LockWait;
use crate::target::Staging;
use crate::unpack::{Overlay, OverlayForm, Tally, copy_metadata, open_directory};
use crate::workers::{self, Worker};

/// The tree in the folder of a layer.
const TREE: &str = "tree";
/// An empty file next to the tree, if the layer has an entry for its root.
const ROOT_ENTRY: &str = "root";
/// The folder in the target with the metadata of the image's root.
const ROOT: &str = "root";
/// The most lower directories of one mount (`OVL_MAX_STACK` of Linux).
const MOST_TREES: usize = 500;
/// The most bytes of `lowerdir` with absolute paths. `mount` of util-linux 2.39 and later passes options through `fsconfig`,
/// and that accepts no longer text. Older versions pass one page, which relative paths never fill.
const MOST_LOWER: usize = 255;

/// The result of [`AdmittedImage::unpack_layered`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Layered {
    /// The options for mounting the image read-only with `mount -t overlay`.
    pub mount_options: OsString,
    /// True if the paths in the options are relative to the target, because absolute ones would be too long.
    pub is_relative: bool,
    /// The number of trees that were made now.
    pub unpacked: usize,
    /// Counts of what was unpacked into them and left out.
    pub tally: Tally,
}

impl AdmittedImage {
    /// Unpacks each layer into a separate tree in the store, unless the store has it, and fills `target` with links to
    /// the trees. `target` must not exist or be an empty folder; it appears by one rename, complete, or not at all. The trees
    /// are shared between images, and [`Store::prune`](crate::Store::prune) keeps them as long as an image or a target uses
    /// them. Needs no privileges, but mounting does.
    ///
    /// The mounted tree is the same as that of [`unpack`](Self::unpack), with two exceptions: device nodes 0:0 are missing,
    /// and so are all device nodes for a process without the rights of root. Fails with
    /// [`ErrorKind::Unsupported`] if the image needs more trees than overlayfs can mount.
    ///
    /// ```no_run
    /// use pullet::{Client, Options, Silent, Store, UnpackOptions};
    /// use std::path::Path;
    ///
    /// let name = "alpine".parse()?;
    /// let image = Store::open("/var/lib/pullet").image(&name)?;
    /// let image = Client::new(Options::new())?.admit(&name, image, &Silent)?;
    /// let layered = image.unpack_layered(Path::new("/srv/alpine"), &UnpackOptions::new(), &Silent)?;
    /// println!("mount -t overlay -o {} overlay /mnt", layered.mount_options.display());
    /// # Ok::<(), pullet::Error>(())
    /// ```
    pub fn unpack_layered(&self, target: &Path, options: &UnpackOptions, progress: &dyn Progress) -> Result<Layered> {
        self.make_layered(target, options, progress).map_err(|e| e.context(format!("unpack {}", self.name())))
    }

    fn make_layered(&self, target: &Path, options: &UnpackOptions, progress: &dyn Progress) -> Result<Layered> {
        let wait = LockWait { cancel: &options.cancel, progress };
        let _kept = self.store().create(wait)?;
        let folder = self.store().layer_folder()?;
        let _lock = self.store().lock_layers(wait)?;
        let form = OverlayForm::of_process(&open_directory(&folder)?)?;
        let folder = self.store().layer_subfolder(form.name())?;
        // No other process makes trees now. What a killed one left next to a complete tree is removed by nobody else.
        Staging::sweep(&folder, &|_| true, &options.cancel);
        let staging = Staging::begin(target, &options.cancel)?;
        let layers = image_layers(self.manifest(), self.config());
        let chain_ids = chain_ids(layers.iter().map(|layer| &layer.diff_id));
        let mut work = Work {
            image: self,
            layers,
            chain_ids,
            folder,
            form,
            options,
            progress,
            unpacked: 0,
            tally: Tally::default(),
        };
        let trees = work.complete()?;
        let absolute = absolute(target)?;
        // Before the target has links to the trees, so that they are never without an owner.
        record_folder(self.store(), &absolute)?;
        let Options { text, is_relative } = publish(staging, &absolute, &trees, form)?;
        report_left_out(&work.tally, progress);
        Ok(Layered { mount_options: text, is_relative, unpacked: work.unpacked, tally: work.tally })
    }
}

/// The names of all trees that an image may have.
pub(super) fn tree_names(image: &Image) -> Vec<String> {
    let diff_ids = &image.config().diff_ids;
    let layers = diff_ids.iter().map(layer_name);
    layers.chain(chain_ids(diff_ids.iter()).iter().map(chain_name)).collect()
}

/// The trees of one image that are made now.
struct Work<'a> {
    image: &'a Image,
    layers: Vec<ImageLayer<'a>>,
    chain_ids: Vec<Digest>,
    /// The folder with the trees of this form.
    folder: PathBuf,
    form: OverlayForm,
    options: &'a UnpackOptions,
    progress: &'a dyn Progress,
    unpacked: usize,
    tally: Tally,
}

impl Work<'_> {
    /// Makes the trees that are missing. Returns the folders of all, from the top down.
    fn complete(&mut self) -> Result<Vec<PathBuf>> {
        let mut merged =
            (0..self.layers.len()).rev().find(|index| self.chain_folder(*index).is_some_and(|f| f.is_dir()));
        let first = merged.map_or(0, |index| index + 1);
        // From the top down, because the layers below one that needs them are merged with it.
        let mut missing: Vec<usize> = Vec::new();
        let mut trees: Vec<PathBuf> = Vec::new();
        for index in (first..self.layers.len()).rev() {
            let Some(folder) = self.layer_folder(index) else { continue };
            // overlayfs mounts no tree twice. The upper one of two equal layers hides the other.
            if trees.contains(&folder) {
                continue;
            }
            if !folder.is_dir() {
                missing.push(index);
            }
            trees.push(folder);
        }
        self.check(&missing, trees.len())?;
        if let Some(index) = self.unpack_apart(&missing)? {
            self.unpack_merged(index)?;
            let above: Vec<PathBuf> =
                (index + 1..self.layers.len()).filter_map(|index| self.layer_folder(index)).collect();
            trees.retain(|folder| above.contains(folder));
            merged = Some(index);
        }
        trees.extend(merged.and_then(|index| self.chain_folder(index)));
        Ok(trees)
    }

    /// Fails if there are too many trees, or no room for those that are missing.
    fn check(&self, missing: &[usize], trees: usize) -> Result<()> {
        // One more is the root, and another one the merged tree.
        if trees + 2 > MOST_TREES {
            let text =
                format!("the image has {trees} different layers, and overlayfs mounts at most {MOST_TREES} folders");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let mut bytes = 0_u64;
        for layer in missing.iter().filter_map(|index| self.layers.get(*index)) {
            bytes = bytes.saturating_add(least_tree(std::slice::from_ref(layer)));
        }
        check_space(&[Need { path: &self.folder, bytes, files: 0 }])
    }

    /// Unpacks these layers, side by side if there are several jobs. Returns the first one that needs the layers below it,
    /// and leaves those out.
    fn unpack_apart(&mut self, missing: &[usize]) -> Result<Option<usize>> {
        let jobs = self.options.jobs.min(missing.len());
        if jobs <= 1 {
            for index in missing {
                match self.unpack_layer(*index, self.options)? {
                    Some(tally) => self.add(tally)?,
                    None => return Ok(Some(*index)),
                }
            }
            return Ok(None);
        }
        let mut tallies = Vec::new();
        let mut dependent = None;
        let this = &*self;
        let workers = (0..jobs).map(|_| {
            let options = this.options.for_worker();
            Worker { cancel: options.cancel.clone(), work: move |index: &usize| this.unpack_layer(*index, &options) }
        });
        let outcome = workers::in_order(workers.collect(), missing, |index, tally| match tally {
            Some(tally) => {
                tallies.push(tally);
                Ok(())
            }
            None => {
                dependent = Some(*index);
                Err(Error::new(ErrorKind::Internal, "a layer needs those below it"))
            }
        });
        if dependent.is_none() {
            outcome?;
        }
        tallies.into_iter().try_for_each(|tally| self.add(tally))?;
        Ok(dependent)
    }

    /// Unpacks one layer; `None` if it needs the layers below it.
    fn unpack_layer(&self, index: usize, options: &UnpackOptions) -> Result<Option<Tally>> {
        let (Some(layer), Some(folder)) = (self.layers.get(index), self.layer_folder(index)) else {
            return Err(Error::new(ErrorKind::Internal, "unpack layers: no such layer"));
        };
        let options = options.for_overlay(Overlay { form: self.form, is_apart: true });
        let mut assembly = Assembly::begin_inside(&folder, TREE, &options, self.progress)?;
        match assembly.apply_stored(self.image.store(), layer) {
            Err(_) if assembly.root().is_lower_needed() => return Ok(None),
            applied => applied?,
        }
        if assembly.has_root_entry() {
            assembly.add_file(ROOT_ENTRY, b"")?;
        }
        assembly.publish_silently().map(Some)
    }

    /// Merges the layers up to this one.
    fn unpack_merged(&mut self, index: usize) -> Result<()> {
        let Some(folder) = self.chain_folder(index) else { return Ok(()) };
        let options = self.options.for_overlay(Overlay { form: self.form, is_apart: false });
        let mut assembly = Assembly::begin_inside(&folder, TREE, &options, self.progress)?;
        for layer in self.layers.iter().take(index + 1) {
            assembly.apply_stored(self.image.store(), layer)?;
        }
        assembly.add_file(ROOT_ENTRY, b"")?;
        let tally = assembly.publish_silently()?;
        self.add(tally)
    }

    /// Counts a tree. The limits are for all of them together.
    fn add(&mut self, tally: Tally) -> Result<()> {
        self.unpacked += 1;
        self.tally.add(&tally);
        let limits = &self.options.limits;
        if self.tally.entries > limits.entries {
            return Err(Limits::exceeded_adjustable(Limit::Entries, "archive entries", limits.entries));
        }
        if self.tally.bytes > limits.unpacked {
            return Err(Limits::exceeded_adjustable(Limit::Unpacked, "bytes of unpacked layers", limits.unpacked));
        }
        Ok(())
    }

    fn layer_folder(&self, index: usize) -> Option<PathBuf> {
        self.layers.get(index).map(|layer| self.folder.join(layer_name(&layer.diff_id)))
    }

    fn chain_folder(&self, index: usize) -> Option<PathBuf> {
        self.chain_ids.get(index).map(|digest| self.folder.join(chain_name(digest)))
    }
}

/// Fills the target: a folder with the metadata of the image's root, and a link to each tree, numbered from the base up.
/// Returns the mount options.
fn publish(staging: Staging, target: &Path, trees: &[PathBuf], form: OverlayForm) -> Result<Options> {
    let overlay = Overlay { form, is_apart: true };
    let mut root = None;
    let mut visible = Vec::new();
    let mut is_hidden = false;
    for folder in trees {
        let tree = folder.join(TREE);
        let fd = open_directory(&tree)?;
        if !is_hidden {
            visible.push(tree);
        }
        // overlayfs ignores this attribute at the root of a tree.
        is_hidden |= overlay.is_opaque(&fd).map_err(|e| Error::disk("read", folder, e))?;
        if root.is_none() && folder.join(ROOT_ENTRY).exists() {
            root = Some(fd);
        }
    }
    let folder = staging.create_inside(ROOT)?;
    copy_metadata(root.as_ref(), &folder).map_err(|e| Error::disk("set attributes of", target.join(ROOT), e))?;
    if visible.is_empty() {
        // overlayfs wants two folders.
        copy_metadata(None, &staging.create_inside("0")?).map_err(|e| Error::disk("set attributes of", target, e))?;
    }
    for (index, tree) in visible.iter().rev().enumerate() {
        staging.add_link(&index.to_string(), tree)?;
    }
    staging.publish()?;
    Ok(mount_options(target, visible.len().max(1), form))
}

fn absolute(target: &Path) -> Result<PathBuf> {
    std::path::absolute(target).map_err(|e| Error::disk("find", target, e))
}

/// Mount options, and whether their paths are relative to the target.
struct Options {
    text: OsString,
    is_relative: bool,
}

/// The options for a target with this many trees, the top first.
fn mount_options(target: &Path, trees: usize, form: OverlayForm) -> Options {
    let mut lower = lower_dirs(target, trees);
    let is_relative = lower.len() > MOST_LOWER;
    if is_relative {
        lower = lower_dirs(Path::new(""), trees);
    }
    let mut text = [b"lowerdir=", lower.as_slice()].concat();
    if form != OverlayForm::Trusted {
        text.extend(b",userxattr");
    }
    Options { text: OsString::from_vec(text), is_relative }
}

/// The value of `lowerdir`.
fn lower_dirs(target: &Path, trees: usize) -> Vec<u8> {
    let mut lower = escaped(target.join(ROOT).as_os_str());
    for index in (0..trees).rev() {
        lower.push(b':');
        lower.extend(escaped(target.join(index.to_string()).as_os_str()));
    }
    lower
}

/// A path within mount options.
fn escaped(path: &OsStr) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in path.as_bytes() {
        if matches!(byte, b'\\' | b':' | b',') {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    escaped
}

fn layer_name(diff_id: &Digest) -> String {
    format!("{}-{}", diff_id.algorithm(), diff_id.hex())
}

fn chain_name(chain_id: &Digest) -> String {
    format!("chain-{}", chain_id.hex())
}

/// The chain ID of each layer: it stands for the layer and all those below it.
fn chain_ids<'d>(diff_ids: impl Iterator<Item = &'d Digest>) -> Vec<Digest> {
    let mut ids: Vec<Digest> = Vec::new();
    for diff_id in diff_ids {
        let id = match ids.last() {
            Some(below) => Digest::sha256(format!("{below} {diff_id}").as_bytes()),
            None => *diff_id,
        };
        ids.push(id);
    }
    ids
}
