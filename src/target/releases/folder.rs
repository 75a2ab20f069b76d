//! The folder with the releases of one target, and the steps that change it. Each step is durable before the next begins.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::record::{Record, Release};
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::unpack::{DIRECTORY_FLAGS, remove_acls, remove_tree};

/// The tree in the folder of a release.
pub(super) const ROOT: &str = "root";
/// A symlink on its way to the target.
pub(super) const LINK: &str = "link";
/// The most bytes of a target's name.
pub(super) const NAME_LIMIT: usize = 240;
const RECORD: &str = "release.json";
const PENDING: &str = "pending.json";
/// The ending of the name of a release that is being removed.
const REMOVED: &str = ".removed";
/// The names of the folders with which it is tried what the filesystem can.
const PROBES: [&str; 2] = ["probe.0", "probe.1"];
/// The most bytes of a record.
const RECORD_LIMIT: u64 = 64 << 10;

/// The folder, open.
pub(super) struct Folder {
    fd: OwnedFd,
    name: OsString,
}

/// The folder of one release.
pub(super) struct Slot {
    pub(super) number: u64,
    pub(super) record: Option<Record>,
    /// True if the release has no confirmed record: it was never at the target, or is not complete.
    pub(super) is_pending: bool,
    /// The inode of the tree in it, if there is one.
    pub(super) root: Option<u64>,
}

/// What the target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Nothing,
    /// A folder with this inode.
    Tree(u64),
    /// A symlink to the tree of this release.
    Release(u64),
    MountPoint,
    Other,
}

impl Slot {
    /// Returns true if the target is this release.
    pub(super) fn is_at(&self, at: &At) -> bool {
        match at {
            At::Tree(inode) => self.record.as_ref().is_some_and(|record| record.inode == *inode),
            At::Release(number) => *number == self.number,
            _ => false,
        }
    }

    /// The release, unless it was never at the target or has no tree any more.
    pub(super) fn release(&self, at: &At) -> Option<Release> {
        let record = self.record.as_ref()?;
        let is_current = self.is_at(at);
        if self.is_pending || (!is_current && self.root.is_none()) {
            return None;
        }
        Some(Release { number: self.number, is_current, source: record.source.clone() })
    }
}

impl Folder {
    /// Opens the folder for the target `name` of `parent`. Returns `None` if it does not exist and may not be created.
    /// Fails if it belongs to another user, who could change the trees.
    pub(super) fn open(parent: &OwnedFd, target: &OsStr, may_create: bool) -> Result<Option<Self>> {
        let name = OsString::from_vec([b".", target.as_bytes(), b".releases"].concat());
        let path = Path::new(&name);
        if may_create {
            match fs::mkdirat(parent, &name, Mode::RWXU) {
                Ok(()) => sync(parent).map_err(|e| Error::disk("sync the parent of", path, e))?,
                Err(Errno::EXIST) => {}
                Err(e) => return Err(Error::disk("create", path, e)),
            }
        }
        let fd = match fs::openat(parent, &name, DIRECTORY_FLAGS, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(Error::disk("open", path, e)),
        };
        if fs::fstat(&fd).map_err(|e| Error::disk("read", path, e))?.st_uid != rustix::process::geteuid().as_raw() {
            return Err(Error::new(ErrorKind::Disk, format!("{} belongs to another user", path.display())));
        }
        Ok(Some(Self { fd, name }))
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The path of the folder. `parent` is that of the target.
    pub(super) fn path(&self, parent: Option<&Path>) -> PathBuf {
        parent.unwrap_or(Path::new("/")).join(&self.name)
    }

    /// Locks the folder until it is closed.
    pub(super) fn lock(&self, target: &Path) -> Result<()> {
        match fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let text = format!("another process changes the releases of {}", target.display());
                return Err(Error::new(ErrorKind::Disk, text));
            }
            Err(e) => return Err(Error::disk("lock", &self.name, e)),
        }
        // The trees must not inherit the default ACL of the folder around the target.
        remove_acls(self.fd.as_fd()).map_err(|e| Error::disk("remove the ACL of", &self.name, e))
    }

    /// What the target is: `name` of `parent`.
    pub(super) fn target(&self, parent: &OwnedFd, name: &OsStr) -> Result<At> {
        let failed = |e: Errno| Error::disk("read", name, e);
        let stat = match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(At::Nothing),
            Err(e) => return Err(failed(e)),
        };
        match fs::FileType::from_raw_mode(stat.st_mode) {
            fs::FileType::Directory if stat.st_dev != fs::fstat(parent).map_err(failed)?.st_dev => Ok(At::MountPoint),
            fs::FileType::Directory => Ok(At::Tree(stat.st_ino)),
            fs::FileType::Symlink => {
                let link = fs::readlinkat(parent, name, Vec::new()).map_err(failed)?;
                Ok(self.release_of_link(link.as_bytes()).map_or(At::Other, At::Release))
            }
            _ => Ok(At::Other),
        }
    }

    /// All releases, by number.
    pub(super) fn slots(&self) -> Result<Vec<Slot>> {
        let mut slots = Vec::new();
        for name in self.names()? {
            let Some(number) = parse_number(&name) else { continue };
            let folder = self.open_slot(number)?;
            let (mut record, mut is_pending) = (self.read_record(&folder, RECORD)?, false);
            if record.is_none() {
                (record, is_pending) = (self.read_record(&folder, PENDING)?, true);
            }
            slots.push(Slot { number, record, is_pending, root: inode_of(&folder, ROOT) });
        }
        slots.sort_by_key(|slot| slot.number);
        Ok(slots)
    }

    /// Creates the folder of a release.
    pub(super) fn create_slot(&self, number: u64) -> Result<()> {
        let create = || {
            fs::mkdirat(&self.fd, number.to_string(), Mode::RWXU)?;
            sync(&self.fd)
        };
        create().map_err(|e| Error::disk("create a release in", &self.name, e))
    }

    /// Opens the folder of a release.
    pub(super) fn open_slot(&self, number: u64) -> Result<OwnedFd> {
        fs::openat(&self.fd, number.to_string(), DIRECTORY_FLAGS, Mode::empty())
            .map_err(|e| Error::disk("open a release in", &self.name, e))
    }

    /// Opens the tree of a release.
    pub(super) fn open_root(&self, number: u64) -> Result<OwnedFd> {
        fs::openat(self.open_slot(number)?, ROOT, DIRECTORY_FLAGS, Mode::empty())
            .map_err(|e| Error::disk("open the tree of a release in", &self.name, e))
    }

    /// Writes the record of a release that is not at the target yet.
    pub(super) fn write_record(&self, number: u64, record: &Record) -> Result<()> {
        let slot = self.open_slot(number)?;
        let write = || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = std::fs::File::from(fs::openat(&slot, PENDING, flags, Mode::RUSR | Mode::WUSR)?);
            file.write_all(record.to_json().as_bytes())?;
            file.sync_all()?;
            sync(&slot)
        };
        write().map_err(|e| Error::disk("write the record of a release in", &self.name, e))
    }

    /// Marks that a release was at the target.
    pub(super) fn confirm(&self, number: u64) -> Result<()> {
        let slot = self.open_slot(number)?;
        let rename = || {
            fs::renameat(&slot, PENDING, &slot, RECORD)?;
            sync(&slot)
        };
        rename().map_err(|e| Error::disk("write the record of a release in", &self.name, e))
    }

    /// Removes a release with its tree. If the process is killed meanwhile, the rest is a leftover.
    pub(super) fn remove_slot(&self, number: u64, cancel: &Cancel) -> Result<()> {
        let removed = format!("{number}{REMOVED}");
        let remove = || {
            fs::renameat(&self.fd, number.to_string(), &self.fd, &removed)?;
            sync(&self.fd)?;
            remove_tree(&self.fd, removed.as_bytes(), cancel)
        };
        remove().map_err(|e| Error::through_read(e, |e| Error::disk("remove a release from", &self.name, e)))
    }

    /// Removes what a killed process left.
    pub(super) fn remove_leftovers(&self, cancel: &Cancel) -> Result<()> {
        for name in self.names()? {
            if name.ends_with(REMOVED.as_bytes()) || PROBES.iter().any(|probe| probe.as_bytes() == name) {
                remove_tree(&self.fd, &name, cancel)
                    .map_err(|e| Error::through_read(e, |e| Error::disk("remove a release from", &self.name, e)))?;
            }
        }
        // A folder of this name is a tree that made room for a symlink.
        match fs::unlinkat(&self.fd, LINK, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR | Errno::PERM) => Ok(()),
            Err(e) => Err(Error::disk("remove a link from", &self.name, e)),
        }
    }

    /// Moves trees that an exchange left in the place of another one to the folders of their releases.
    pub(super) fn return_trees(&self, slots: &[Slot]) -> Result<()> {
        let owner =
            |inode: u64| slots.iter().find(|slot| slot.record.as_ref().is_some_and(|record| record.inode == inode));
        for slot in slots {
            let Some(inode) = slot.root else { continue };
            if let Some(owner) = owner(inode).filter(|owner| owner.number != slot.number) {
                self.move_tree(&self.open_slot(slot.number)?, ROOT, owner)?;
            }
        }
        if let Some(owner) = inode_of(&self.fd, LINK).and_then(owner) {
            self.move_tree(&self.fd, LINK, owner)?;
        }
        Ok(())
    }

    fn move_tree(&self, from: &OwnedFd, name: &str, owner: &Slot) -> Result<()> {
        let to = self.open_slot(owner.number)?;
        let rename = || {
            // Fails if there is a tree already, because that is not empty.
            fs::renameat(from, name, &to, ROOT)?;
            sync(&to)?;
            sync(from)
        };
        rename().map_err(|e| Error::disk("move the old tree in", &self.name, e))
    }

    /// Makes the symlink that [`release_of_link`](Self::release_of_link) understands. Other users may pass through the
    /// folders on its way.
    pub(super) fn make_link(&self, number: u64) -> Result<()> {
        let mut link = self.name.clone();
        link.push(format!("/{number}/{ROOT}"));
        let passable = Mode::from_raw_mode(0o711);
        let make = || {
            fs::chmodat(&self.fd, number.to_string(), passable, AtFlags::empty())?;
            fs::fchmod(&self.fd, passable)?;
            fs::symlinkat(&link, &self.fd, LINK)?;
            sync(&self.fd)
        };
        make().map_err(|e| Error::disk("create a link in", &self.name, e))
    }

    /// The number in a link of the form `.NAME.releases/NUMBER/root`.
    fn release_of_link(&self, link: &[u8]) -> Option<u64> {
        let rest = link.strip_prefix(self.name.as_bytes())?.strip_prefix(b"/")?;
        parse_number(rest.strip_suffix(ROOT.as_bytes())?.strip_suffix(b"/")?)
    }

    /// Exchanges two new folders, to see whether the filesystem can.
    pub(super) fn probe_exchange(&self) -> io::Result<()> {
        let [first, second] = PROBES;
        fs::mkdirat(&self.fd, first, Mode::RWXU)?;
        let exchanged = fs::mkdirat(&self.fd, second, Mode::RWXU)
            .and_then(|()| fs::renameat_with(&self.fd, first, &self.fd, second, RenameFlags::EXCHANGE));
        for probe in PROBES {
            let _ = fs::unlinkat(&self.fd, probe, AtFlags::REMOVEDIR);
        }
        Ok(exchanged?)
    }

    /// Asks the filesystem to move a folder to the place of another one that is not empty, which always fails: with `EXDEV` or
    /// `EBUSY` if the folder cannot be moved at all.
    pub(super) fn probe_move(&self, parent: &OwnedFd, name: &OsStr) -> std::result::Result<(), Errno> {
        let [first, second] = PROBES;
        let inside = format!("{first}/{second}");
        let probe = || {
            fs::mkdirat(&self.fd, first, Mode::RWXU)?;
            fs::mkdirat(&self.fd, &inside, Mode::RWXU)?;
            fs::renameat(parent, name, &self.fd, first)
        };
        let probed = probe();
        let _ = fs::unlinkat(&self.fd, &inside, AtFlags::REMOVEDIR);
        let _ = fs::unlinkat(&self.fd, first, AtFlags::REMOVEDIR);
        probed
    }

    fn names(&self) -> Result<Vec<Vec<u8>>> {
        let read = || {
            let mut names = Vec::new();
            for entry in Dir::read_from(&self.fd)? {
                names.push(entry?.file_name().to_bytes().to_vec());
            }
            Ok::<_, Errno>(names)
        };
        read().map_err(|e| Error::disk("read", &self.name, e))
    }

    fn read_record(&self, slot: &OwnedFd, name: &str) -> Result<Option<Record>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match fs::openat(slot, name, flags, Mode::empty()) {
            Ok(fd) => std::fs::File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(Error::disk("read the record of a release in", &self.name, e)),
        };
        let mut text = Vec::new();
        file.take(RECORD_LIMIT)
            .read_to_end(&mut text)
            .map_err(|e| Error::disk("read the record of a release in", &self.name, e))?;
        // A record that a crash left incomplete has never been confirmed.
        let record = Record::parse(&text);
        if record.is_none() && name == RECORD {
            let text = format!("malformed record of a release in {}", Path::new(&self.name).display());
            return Err(Error::new(ErrorKind::Disk, text));
        }
        Ok(record)
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync(folder: &OwnedFd) -> io::Result<()> {
    Ok(retry_on_intr(|| fs::fsync(folder))?)
}

/// The inode of a folder in a folder.
fn inode_of(folder: &OwnedFd, name: &str) -> Option<u64> {
    let stat = fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    (fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::Directory).then_some(stat.st_ino)
}

/// The number of a release: decimal digits without leading zeros.
fn parse_number(name: &[u8]) -> Option<u64> {
    let number: u64 = std::str::from_utf8(name).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == name).then_some(number)
}
