//! Several versions of a tree, called releases, of which one is at the target. They are exchanged in one atomic step, so
//! that the target is the old tree or the new one, whole, even after a power cut.
//!
//! Next to a target `DIR` is the folder `.DIR.releases`. It has a folder for each release, whose name is a number:
//!
//! - `N/root` is the tree of the release, unless the tree is at the target.
//! - `N/release.json` says where the tree came from. It has the inode of the tree's root, so that a tree that a crash left
//!   in another place is recognized.
//! - `N/pending.json` is the same for a release that was never at the target. After a crash it becomes a release if its tree
//!   is at the target, and is removed otherwise.
//!
//! If the target is a symlink to `N/root`, no tree ever moves. Otherwise the trees at the target and in `N/root` are
//! exchanged (renameat2(2), `RENAME_EXCHANGE`), and the old one then moves to the folder of its release.

mod folder;
mod record;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{self, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

pub use self::record::{Release, ReleaseSource};

use self::folder::{At, Folder, Slot, sync};
use self::record::Record;
use crate::advice::Advice;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::unpack::DIRECTORY_FLAGS;

/// How a new tree takes the place of the old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Swap {
    /// Exchanges two folders. Fails with [`ErrorKind::Unsupported`] on filesystems that cannot (NFS, 9p, some FUSE).
    #[default]
    Exchange,
    /// Makes the target a symlink to the tree. Works on every filesystem, unless the target is a folder at first.
    Symlink,
}

/// The releases of a target, locked against other processes.
///
/// ```no_run
/// use pullet::{Cancel, Client, Options, ReleaseSource, Releases, Silent, Swap, UnpackOptions};
/// use std::path::Path;
///
/// let name = "registry.example/os:stable".parse()?;
/// let mut releases = Releases::open(Path::new("/srv/app"), &Cancel::default())?;
/// let tree = releases.begin(Swap::Exchange)?;
/// let client = Client::new(Options::default())?;
/// let streamed = client.stream(&name, &tree, &UnpackOptions::new(), &Silent)?;
/// let source = ReleaseSource { name: name.to_string(), digest: streamed.digest, unpacked_unix: None };
/// releases.publish(source, 1)?;
/// # Ok::<(), pullet::Error>(())
/// ```
pub struct Releases {
    target: PathBuf,
    /// The name of the target in its parent.
    name: OsString,
    parent: OwnedFd,
    folder: Folder,
    cancel: Cancel,
    /// The release that [`begin`](Releases::begin) began.
    begun: Option<Begun>,
}

#[derive(Clone, Copy)]
struct Begun {
    number: u64,
    swap: Swap,
}

impl Releases {
    /// Opens the releases of `target`, or begins to keep them. Completes or undoes what a killed process left. Fails if
    /// another process changes them.
    pub fn open(target: &Path, cancel: &Cancel) -> Result<Self> {
        Self::open_folder(target, cancel, true)
    }

    /// Opens the releases of `target`. Fails with [`ErrorKind::NotFound`] if none are kept.
    pub fn open_existing(target: &Path, cancel: &Cancel) -> Result<Self> {
        Self::open_folder(target, cancel, false)
    }

    /// Lists the releases of `target`, the oldest first. Does not wait for a process that changes them. Fails with
    /// [`ErrorKind::NotFound`] if none are kept.
    pub fn list(target: &Path) -> Result<Vec<Release>> {
        let place = Place::find(target)?;
        let folder = Folder::open(&place.parent, &place.name, false)?.ok_or_else(|| none_kept(target))?;
        let at = folder.target(&place.parent, &place.name)?;
        Ok(folder.slots()?.iter().filter_map(|slot| slot.release(&at)).collect())
    }

    /// Begins a release. Returns the path for its tree, which does not exist yet: unpack there, then call
    /// [`publish`](Releases::publish). Checks first that the swap will work. Fails with [`ErrorKind::Disk`] if the target is
    /// something that cannot be replaced.
    pub fn begin(&mut self, swap: Swap) -> Result<PathBuf> {
        let at = self.at()?;
        let swap = self.possible_swap(&at, swap)?;
        if swap == Swap::Exchange || matches!(at, At::Tree(_)) {
            self.folder.probe_exchange().map_err(|e| self.cannot_exchange(e, swap))?;
        }
        if matches!(at, At::Tree(_)) {
            self.probe_move()?;
        }
        let slots = self.folder.slots()?;
        let number = slots.iter().map(|slot| slot.number).max().unwrap_or(0).saturating_add(1);
        self.folder.create_slot(number)?;
        self.begun = Some(Begun { number, swap });
        Ok(self.folder.path(self.target.parent()).join(number.to_string()).join("root"))
    }

    /// Puts the tree of the begun release at the target, and keeps `keep` older releases. The release that was at the target
    /// is the first of them.
    pub fn publish(mut self, source: ReleaseSource, keep: usize) -> Result<()> {
        let unbegun = || Error::new(ErrorKind::Internal, "publish a release: it was not begun");
        let Begun { number, swap } = self.begun.take().ok_or_else(unbegun)?;
        let replaced = self.current_or_adopted()?;
        let mut record = Record::of_tree(&self.folder.open_root(number)?)?;
        record.source = Some(source);
        record.replaced = replaced;
        self.folder.write_record(number, &record)?;
        self.switch(number, swap)?;
        self.recover()?;
        self.trim(replaced, keep)
    }

    /// Puts an older release back at the target: `number`, or the one that the current release replaced. Returns it. Fails
    /// with [`ErrorKind::NotFound`] if it is not kept.
    pub fn roll_back(self, number: Option<u64>) -> Result<Release> {
        let at = self.at()?;
        let slots = self.folder.slots()?;
        let current = slots.iter().find(|slot| slot.is_at(&at));
        let wanted = number.or_else(|| previous(current?, &slots));
        let kept = slots.iter().find(|slot| Some(slot.number) == wanted && slot.root.is_some() && !slot.is_at(&at));
        let slot = kept.ok_or_else(|| self.not_kept(number))?;
        let swap = self.possible_swap(&at, Swap::Exchange)?;
        if matches!(at, At::Tree(_)) && current.is_none() {
            self.current_or_adopted()?;
        }
        self.switch(slot.number, swap)?;
        self.recover()?;
        let at = self.at()?;
        let lost = || Error::new(ErrorKind::Internal, "the release is not at the target");
        self.folder.slots()?.iter().find(|slot| slot.is_at(&at)).and_then(|slot| slot.release(&at)).ok_or_else(lost)
    }

    fn open_folder(target: &Path, cancel: &Cancel, may_create: bool) -> Result<Self> {
        let Place { absolute: target, parent, name } = Place::find(target)?;
        let folder = Folder::open(&parent, &name, may_create)?.ok_or_else(|| none_kept(&target))?;
        folder.lock(&target)?;
        let releases = Self { target, name, parent, folder, cancel: cancel.clone(), begun: None };
        releases.recover()?;
        Ok(releases)
    }

    fn at(&self) -> Result<At> {
        self.folder.target(&self.parent, &self.name)
    }

    /// How to replace what is at the target; `wanted` if there is a choice.
    fn possible_swap(&self, at: &At, wanted: Swap) -> Result<Swap> {
        match at {
            // A link of ours stays a link.
            At::Release(_) => Ok(Swap::Symlink),
            At::Nothing | At::Tree(_) => Ok(wanted),
            At::Other => Err(self.refused("it exists and is no folder, and no link to a release")),
            At::MountPoint => Err(self.mount_point()),
        }
    }

    /// Checks that the folder at the target can be moved: overlayfs cannot move a folder of a lower layer.
    fn probe_move(&self) -> Result<()> {
        match self.folder.probe_move(&self.parent, &self.name) {
            Err(Errno::XDEV) => {
                let text =
                    format!("replace {}: overlayfs cannot move a folder of a lower layer", self.target.display());
                let hint = "a copy of the folder (cp -a) can be replaced, also under the same name";
                Err(Error::new(ErrorKind::Unsupported, text).with_hint(hint))
            }
            Err(Errno::BUSY) => Err(self.mount_point()),
            // Other obstacles are of the probe, or are removed before the swap.
            _ => Ok(()),
        }
    }

    /// The number of the release at the target. A tree that something else made becomes a release without a source.
    fn current_or_adopted(&self) -> Result<Option<u64>> {
        let at = self.at()?;
        let slots = self.folder.slots()?;
        if let Some(slot) = slots.iter().find(|slot| slot.is_at(&at)) {
            return Ok(Some(slot.number));
        }
        if !matches!(at, At::Tree(_)) {
            return Ok(None);
        }
        let tree = fs::openat(&self.parent, &self.name, DIRECTORY_FLAGS, Mode::empty())
            .map_err(|e| Error::disk("open", &self.target, e))?;
        let record = Record::of_tree(&tree)?;
        let number = slots.iter().map(|slot| slot.number).max().unwrap_or(0).saturating_add(1);
        self.folder.create_slot(number)?;
        self.folder.write_record(number, &record)?;
        self.folder.confirm(number)?;
        Ok(Some(number))
    }

    /// Puts the tree of a release at the target, in one atomic step, and syncs.
    fn switch(&self, number: u64, swap: Swap) -> Result<()> {
        let failed = |e: io::Error| Error::disk("put the release at", &self.target, e);
        if swap == Swap::Symlink {
            self.folder.make_link(number)?;
            self.replace_target(self.folder.fd(), folder::LINK).map_err(failed)?;
        } else {
            let slot = self.folder.open_slot(number)?;
            self.make_writable(&slot)?;
            self.replace_target(&slot, folder::ROOT).map_err(failed)?;
            sync(&slot).map_err(failed)?;
        }
        Ok(())
    }

    /// Moves `name` of a folder to the target. What is at the target takes its place, unless it is a link of ours.
    fn replace_target(&self, from: &OwnedFd, name: &str) -> io::Result<()> {
        if !matches!(self.at()?, At::Tree(_)) {
            // Not renameat2, which some filesystems lack.
            fs::renameat(from, name, &self.parent, &self.name)?;
            return sync(&self.parent);
        }
        let exchange = || fs::renameat_with(from, name, &self.parent, &self.name, RenameFlags::EXCHANGE);
        exchange()?;
        sync(&self.parent).inspect_err(|_| {
            // The exchange may not survive a crash. Undo it, so that the state is the one on disk.
            let _ = exchange();
        })
    }

    /// An ordinary user may move a folder to another parent only if it is writable. [`recover`](Self::recover) restores the
    /// modes.
    fn make_writable(&self, slot: &OwnedFd) -> Result<()> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        for (parent, name) in [(slot, Path::new(folder::ROOT)), (&self.parent, Path::new(&self.name))] {
            let Ok(tree) = fs::openat(parent, name, DIRECTORY_FLAGS, Mode::empty()) else { continue };
            let mode = Mode::from_raw_mode(fs::fstat(&tree).map_err(|e| Error::disk("read", name, e))?.st_mode);
            if !mode.contains(Mode::WUSR) {
                fs::fchmod(&tree, mode | Mode::WUSR).map_err(|e| Error::disk("set mode of", name, e))?;
            }
        }
        Ok(())
    }

    /// Brings the folder into a sound state: after a switch, and after a crash at any point.
    fn recover(&self) -> Result<()> {
        self.folder.remove_leftovers(&self.cancel)?;
        let at = self.at()?;
        for slot in self.folder.slots()? {
            if slot.is_pending && slot.is_at(&at) {
                self.folder.confirm(slot.number)?;
            }
        }
        let slots = self.folder.slots()?;
        // First, because a release that is removed below may have the tree of another one.
        self.folder.return_trees(&slots)?;
        for slot in &slots {
            if slot.is_pending {
                self.folder.remove_slot(slot.number, &self.cancel)?;
            }
        }
        self.restore_modes(&slots, &at)
    }

    fn restore_modes(&self, slots: &[Slot], at: &At) -> Result<()> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        for slot in slots {
            let Some(record) = &slot.record else { continue };
            let tree = if *at == At::Tree(record.inode) {
                fs::openat(&self.parent, &self.name, DIRECTORY_FLAGS, Mode::empty()).map_err(io::Error::from)
            } else {
                self.folder.open_root(slot.number).map_err(|e| io::Error::other(e.to_string()))
            };
            let Ok(tree) = tree else { continue };
            fs::fchmod(&tree, Mode::from_raw_mode(record.mode))
                .map_err(|e| Error::disk("set mode of", &self.target, e))?;
        }
        Ok(())
    }

    /// Removes all but `keep` of the releases that are not at the target. `replaced` is the last to go.
    fn trim(&self, replaced: Option<u64>, keep: usize) -> Result<()> {
        let at = self.at()?;
        let mut numbers: Vec<u64> =
            self.folder.slots()?.iter().filter(|slot| !slot.is_at(&at)).map(|slot| slot.number).collect();
        numbers.sort_by_key(|number| (Some(*number) == replaced, *number));
        let excess = numbers.len().saturating_sub(keep);
        for number in numbers.into_iter().take(excess) {
            self.folder.remove_slot(number, &self.cancel)?;
        }
        Ok(())
    }

    fn mount_point(&self) -> Error {
        self.refused("it is a mount point, which a rename cannot replace")
    }

    fn refused(&self, why: &str) -> Error {
        Error::new(ErrorKind::Disk, format!("replace {}: {why}", self.target.display()))
    }

    fn cannot_exchange(&self, error: io::Error, swap: Swap) -> Error {
        let is_unsupported =
            [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP].contains(&Errno::from_io_error(&error).unwrap_or(Errno::IO));
        if !is_unsupported {
            return Error::disk("exchange folders next to", &self.target, error);
        }
        let text = format!("replace {}: the filesystem cannot exchange two folders atomically", self.target.display());
        let error = Error::new(ErrorKind::Unsupported, text);
        if swap == Swap::Symlink {
            return error.with_hint("remove or rename the folder, so that a symlink can take its place");
        }
        error.with_advice(Advice::SwapSymlink)
    }

    fn not_kept(&self, number: Option<u64>) -> Error {
        let what = match number {
            Some(number) => format!("release {number}"),
            None => "an older release".to_owned(),
        };
        Error::new(ErrorKind::NotFound, format!("{what} of {} is not kept", self.target.display()))
    }
}

/// The release that a rollback of the current one goes to: the one that it replaced, else the newest one before it.
fn previous(current: &Slot, slots: &[Slot]) -> Option<u64> {
    let replaced = current.record.as_ref().and_then(|record| record.replaced);
    let is_kept = |number: u64| slots.iter().any(|slot| slot.number == number && slot.root.is_some());
    if let Some(number) = replaced.filter(|number| is_kept(*number)) {
        return Some(number);
    }
    slots.iter().map(|slot| slot.number).filter(|number| *number < current.number && is_kept(*number)).max()
}

/// The target's parent and its name there.
struct Place {
    absolute: PathBuf,
    parent: OwnedFd,
    name: OsString,
}

impl Place {
    fn find(target: &Path) -> Result<Self> {
        let absolute = std::path::absolute(target).map_err(|e| Error::disk("find", target, e))?;
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            let text = format!("{}: the path does not name a directory that can be replaced", target.display());
            return Err(Error::new(ErrorKind::Usage, text));
        };
        if name.as_bytes().len() > folder::NAME_LIMIT {
            return Err(Error::new(ErrorKind::Usage, format!("{}: the name is too long", target.display())));
        }
        let flags = DIRECTORY_FLAGS.difference(OFlags::NOFOLLOW);
        let opened = fs::open(parent, flags, Mode::empty()).map_err(|e| Error::disk("open", parent, e))?;
        let name = name.to_owned();
        Ok(Self { absolute, parent: opened, name })
    }
}

fn none_kept(target: &Path) -> Error {
    Error::new(ErrorKind::NotFound, format!("no releases of {} are kept", target.display()))
}
