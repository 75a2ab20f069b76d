//! The root of the tree. Every path is resolved inside of it by chroot rules: links are followed as a system that runs
//! in the tree would follow them, and none leads out.
//!
//! One call of `openat2` with `RESOLVE_IN_ROOT` opens a path without links, if the kernel has it and no seccomp filter
//! forbids it. Otherwise a walk opens one component after the other with `O_NOFOLLOW`, because only a walk knows how deep
//! a path through links leads and what it costs.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;

#[cfg(feature = "manage")]
use rustix::fs::FileType;
use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::directory::{DIRECTORY_FLAGS, OpenDirectory, times_of};
use super::metadata::set_implied_metadata;
use crate::advice::Limit;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// The maximum number of links on one path, as in Linux.
pub(crate) const LINK_LIMIT: usize = 40;
/// How many components of links' targets a path may have on average, over all paths so far. A link is paid for once, but
/// followed by any number of paths. With this limit, their cost together stays proportional to the size of the archive.
pub(crate) const LINK_COMPONENTS: usize = 64;
/// How many more components of links' targets the first paths may have.
pub(crate) const LINK_COMPONENTS_AHEAD: usize = 4096;

/// The root directory and the current directory. Most entries are in the same directory as the previous one, so the
/// current directory stays open.
pub(crate) struct Root {
    fd: OwnedFd,
    has_openat2: Cell<bool>,
    /// The maximum number of components of a path.
    depth_limit: usize,
    /// How many components of links' targets may still be walked.
    link_components: Cell<usize>,
    cancel: Cancel,
    /// True if the image set a default ACL somewhere in the tree.
    may_have_acls: bool,
    current: Option<(Vec<u8>, OpenDirectory)>,
    /// The depth of the current directory.
    depth: usize,
    /// The directory of the previous entry. It is used only if the next path is in it, because later the same path may
    /// lead elsewhere.
    kept_open: Option<(Vec<u8>, Found)>,
    /// Inodes of the implied parents that were created since the last call of [`take_created`](Root::take_created).
    created: RefCell<Vec<u64>>,
    /// True if the tree has one layer without those below it. Then a directory that is missing may be in one of those.
    is_apart: bool,
    is_lower_needed: Cell<bool>,
}

/// A directory that a path led to.
struct Found {
    fd: OwnedFd,
    /// The number of components of its path without links; 0 for the root.
    depth: usize,
}

/// The action if a component of a path does not exist.
#[derive(Clone, Copy, PartialEq)]
enum IfMissing {
    Create,
    ReturnNone,
}

impl Root {
    pub(crate) fn new(fd: OwnedFd, limits: &Limits, cancel: &Cancel) -> Self {
        Self {
            fd,
            has_openat2: Cell::new(true),
            depth_limit: limits.depth,
            link_components: Cell::new(LINK_COMPONENTS_AHEAD),
            cancel: cancel.clone(),
            may_have_acls: false,
            current: None,
            depth: 0,
            kept_open: None,
            created: RefCell::default(),
            is_apart: false,
            is_lower_needed: Cell::new(false),
        }
    }

    /// From here on, a missing directory is an error, because lower layers may have it.
    pub(super) fn set_apart(&mut self) {
        self.is_apart = true;
    }

    /// Returns true if the work failed because the layer cannot be unpacked without those below it.
    #[cfg(feature = "manage")]
    pub(crate) fn is_lower_needed(&self) -> bool {
        self.is_lower_needed.get()
    }

    /// Returns the error for a layer that cannot be unpacked without those below it.
    pub(super) fn needs_lower(&self) -> Error {
        self.is_lower_needed.set(true);
        Error::new(ErrorKind::Internal, "a layer needs those below it")
    }

    /// From here on, checks directories for a default ACL when they are entered.
    pub(super) fn expect_default_acls(&mut self) {
        self.may_have_acls = true;
    }

    /// Opens the root directory again.
    pub(super) fn reopen(&self) -> Result<OwnedFd> {
        reopen(&self.fd)
    }

    /// Returns the root directory.
    pub(super) fn into_inner(self) -> OwnedFd {
        self.fd
    }

    /// Makes `path` the current directory. Creates it and its parents if they are missing.
    pub(crate) fn enter(&mut self, path: &[u8]) -> Result<&OpenDirectory> {
        self.change_to(path, IfMissing::Create)?;
        self.current()
    }

    /// Makes `path` the current directory; `None` if it does not exist.
    pub(super) fn enter_existing(&mut self, path: &[u8]) -> Result<Option<&OpenDirectory>> {
        if !self.change_to(path, IfMissing::ReturnNone)? {
            return Ok(None);
        }
        self.current().map(Some)
    }

    /// Returns the current directory.
    pub(super) fn current(&self) -> Result<&OpenDirectory> {
        match &self.current {
            Some((_, directory)) => Ok(directory),
            None => Err(Error::new(ErrorKind::Internal, "unpack: no current directory")),
        }
    }

    /// Opens the directory `path` in addition to the current one; `None` if it does not exist.
    pub(super) fn open(&self, path: &[u8]) -> Result<Option<OpenDirectory>> {
        match self.resolve(path, IfMissing::ReturnNone)? {
            Some(found) => {
                OpenDirectory::new(found.fd, self.may_have_acls).map(Some).map_err(|e| failed("open", path, e))
            }
            None => Ok(None),
        }
    }

    /// Opens a regular file for reading, through the symlinks that lead to it; `None` if it does not exist. Any other kind
    /// of file is an error.
    #[cfg(feature = "manage")]
    pub(crate) fn open_file(&self, path: &[u8]) -> Result<Option<std::fs::File>> {
        const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
        let mut path = path.to_vec();
        for _ in 0..=LINK_LIMIT {
            let name_at = path.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
            let (parent, name) = path.split_at(name_at);
            let Some(directory) = self.open(parent)? else { return Ok(None) };
            match fs::openat(&directory, name, FLAGS, Mode::empty()) {
                Ok(fd) => {
                    let stat = fs::fstat(&fd).map_err(|e| failed("read", &path, e.into()))?;
                    if !FileType::from_raw_mode(stat.st_mode).is_file() {
                        let text = format!("file \"{}\": not a regular file", String::from_utf8_lossy(&path));
                        return Err(Error::new(ErrorKind::Unsafe, text));
                    }
                    return Ok(Some(fd.into()));
                }
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP) => {
                    let target = fs::readlinkat(&directory, name, Vec::new());
                    let target = target.map_err(|e| failed("read link", &path, e.into()))?.into_bytes();
                    path = if target.starts_with(b"/") { target } else { [parent, target.as_slice()].concat() };
                }
                Err(e) => return Err(failed("open", &path, e.into())),
            }
        }
        Err(too_many_links(&path))
    }

    /// Keeps the directory `path`, which is the root or in the current directory, open in case the next entry is in it.
    pub(super) fn keep_open(&mut self, path: &[u8], directory: OwnedFd) {
        let depth = if path.is_empty() { 0 } else { self.depth + 1 };
        self.kept_open = Some((path.to_vec(), Found { fd: directory, depth }));
    }

    /// Returns the inodes of the implied parents that were created since the last call.
    pub(super) fn take_created(&self) -> Vec<u64> {
        self.created.take()
    }

    /// Closes the current directory and restores its times.
    pub(super) fn leave(&mut self) -> Result<()> {
        match self.current.take() {
            Some((path, directory)) => directory.leave().map_err(|e| failed("set times of", &path, e)),
            None => Ok(()),
        }
    }

    /// Closes the current directory without restoring its times.
    pub(crate) fn forget_times(&mut self) {
        self.current = None;
    }

    /// Makes `path` the current directory. Returns false if it does not exist.
    fn change_to(&mut self, path: &[u8], if_missing: IfMissing) -> Result<bool> {
        let kept_open = self.kept_open.take().filter(|(kept, _)| kept == path);
        if self.current.as_ref().is_some_and(|(current, _)| current == path) {
            return Ok(true);
        }
        self.leave()?;
        let resolved = match kept_open {
            Some((_, found)) => Some(found),
            None => self.resolve(path, if_missing)?,
        };
        let Some(found) = resolved else { return Ok(false) };
        // The entries of this directory have one component more.
        if found.depth >= self.depth_limit {
            return Err(self.too_deep());
        }
        self.depth = found.depth;
        let directory = OpenDirectory::new(found.fd, self.may_have_acls).map_err(|e| failed("open", path, e))?;
        self.current = Some((path.to_vec(), directory));
        Ok(true)
    }

    /// Opens the directory `path`, with one system call if possible.
    fn resolve(&self, path: &[u8], if_missing: IfMissing) -> Result<Option<Found>> {
        let if_missing = if self.is_apart { IfMissing::ReturnNone } else { if_missing };
        let found = self.resolve_links(path, if_missing)?;
        if found.is_none() && self.is_apart {
            return Err(self.needs_lower());
        }
        Ok(found)
    }

    /// Opens the directory `path`. Follows links one by one if it has any.
    fn resolve_links(&self, path: &[u8], if_missing: IfMissing) -> Result<Option<Found>> {
        let depth = components(path).count();
        if depth >= self.depth_limit {
            return Err(self.too_deep());
        }
        self.link_components.set(self.link_components.get().saturating_add(LINK_COMPONENTS));
        if !path.is_empty() && self.has_openat2.get() {
            let flags = DIRECTORY_FLAGS.difference(OFlags::NOFOLLOW);
            match fs::openat2(&self.fd, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS) {
                Ok(fd) => return Ok(Some(Found { fd, depth })),
                Err(Errno::NOENT | Errno::NOTDIR) if if_missing == IfMissing::ReturnNone => return Ok(None),
                Err(Errno::NOTDIR) => return Err(not_a_directory(path)),
                // The kernel is old. EPERM does not prove that, because a seccomp filter may deny one call and allow
                // the next one (crun#546).
                Err(Errno::NOSYS) => self.has_openat2.set(false),
                Err(_) => {}
            }
        }
        Walk::new(self)?.resolve(path, if_missing)
    }

    fn too_deep(&self) -> Error {
        Limits::exceeded_adjustable(Limit::Depth, "components of a path", self.depth_limit as u64)
    }
}

/// A walk from the root to a directory. One directory is open at a time, so a deep path costs no descriptors. The walk
/// counts its depth and ignores `..` at the root.
struct Walk<'a> {
    root: &'a Root,
    directory: OwnedFd,
    depth: usize,
    links: usize,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Root) -> Result<Self> {
        Ok(Self { root, directory: root.reopen()?, depth: 0, links: 0 })
    }

    fn resolve(mut self, path: &[u8], if_missing: IfMissing) -> Result<Option<Found>> {
        // A stack: the next component is the last element.
        let mut components: Vec<Vec<u8>> = Vec::new();
        push_components(&mut components, path);
        while let Some(component) = components.pop() {
            self.root.cancel.check()?;
            if component == b".." {
                self.go_up(path)?;
                continue;
            }
            match fs::openat(&self.directory, component.as_slice(), DIRECTORY_FLAGS, Mode::empty()) {
                Ok(fd) => self.go_down(fd)?,
                Err(Errno::NOENT) if if_missing == IfMissing::ReturnNone => return Ok(None),
                Err(Errno::NOENT) => {
                    let created = self.create_implied(&component).map_err(|e| failed("create", path, e))?;
                    self.go_down(created)?;
                }
                Err(Errno::NOTDIR | Errno::LOOP) => match self.read_link(&component, path)? {
                    Some(target) => self.follow(&target, path, &mut components)?,
                    None if if_missing == IfMissing::ReturnNone => return Ok(None),
                    None => return Err(not_a_directory(path)),
                },
                Err(e) => return Err(failed("open", path, e.into())),
            }
        }
        Ok(Some(Found { fd: self.directory, depth: self.depth }))
    }

    fn go_down(&mut self, child: OwnedFd) -> Result<()> {
        self.directory = child;
        self.depth += 1;
        if self.depth >= self.root.depth_limit {
            return Err(self.root.too_deep());
        }
        Ok(())
    }

    fn go_up(&mut self, path: &[u8]) -> Result<()> {
        if self.depth > 0 {
            let parent = fs::openat(&self.directory, "..", DIRECTORY_FLAGS, Mode::empty());
            self.directory = parent.map_err(|e| failed("open", path, e.into()))?;
            self.depth -= 1;
        }
        Ok(())
    }

    /// Returns the target of a symlink; `None` if the component is another kind of file.
    fn read_link(&self, component: &[u8], path: &[u8]) -> Result<Option<Vec<u8>>> {
        match fs::readlinkat(&self.directory, component, Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::INVAL) => Ok(None),
            Err(e) => Err(failed("read link in", path, e.into())),
        }
    }

    fn follow(&mut self, target: &[u8], path: &[u8], components: &mut Vec<Vec<u8>>) -> Result<()> {
        self.links += 1;
        if self.links > LINK_LIMIT {
            return Err(too_many_links(path));
        }
        if target.starts_with(b"/") {
            self.directory = self.root.reopen()?;
            self.depth = 0;
        }
        let before = components.len();
        push_components(components, target);
        let left = self.root.link_components.get().checked_sub(components.len() - before);
        self.root.link_components.set(left.ok_or_else(|| unsafe_path(path, "its links have too many components"))?);
        Ok(())
    }

    /// Creates an implied parent: the archive has files in it, but so far no entry for it. Its own parent keeps its
    /// times.
    fn create_implied(&self, component: &[u8]) -> io::Result<OwnedFd> {
        let parent = fs::fstat(&self.directory)?;
        fs::mkdirat(&self.directory, component, Mode::RWXU)?;
        let fd = fs::openat(&self.directory, component, DIRECTORY_FLAGS, Mode::empty())?;
        self.root.created.borrow_mut().push(fs::fstat(&fd)?.st_ino);
        set_implied_metadata(&fd)?;
        fs::futimens(&self.directory, &times_of(&parent))?;
        Ok(fd)
    }
}

/// Pushes the components of `path` on a stack, so that the first one is on top.
fn push_components(stack: &mut Vec<Vec<u8>>, path: &[u8]) {
    stack.extend(components(path).rev().map(<[u8]>::to_vec));
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&b| b == b'/').filter(|component| !matches!(*component, b"" | b"."))
}

fn reopen(directory: &OwnedFd) -> Result<OwnedFd> {
    fs::openat(directory, ".", DIRECTORY_FLAGS, Mode::empty()).map_err(|e| failed("open", b".", e.into()))
}

/// Returns the error for an operation, named by `verb`, on a path of the archive.
pub(crate) fn failed(verb: &str, path: &[u8], error: io::Error) -> Error {
    Error::through_read(error, |error| Error::disk(verb, String::from_utf8_lossy(path).as_ref(), error))
}

fn not_a_directory(path: &[u8]) -> Error {
    unsafe_path(path, "a component is not a directory")
}

fn too_many_links(path: &[u8]) -> Error {
    unsafe_path(path, "too many links")
}

fn unsafe_path(path: &[u8], why: &str) -> Error {
    Error::new(ErrorKind::Unsafe, format!("directory \"{}\": {why}", String::from_utf8_lossy(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    /// Resolves a path with and without `openat2`, which must agree. Returns the result relative to the root.
    fn resolve(root: &Path, path: &str, if_missing: IfMissing) -> std::result::Result<Option<PathBuf>, ErrorKind> {
        let found = [true, false].map(|has_openat2| {
            let fd = fs::open(root, DIRECTORY_FLAGS, Mode::empty()).unwrap_or_else(|e| panic!("{e}"));
            let confined = Root::new(fd, &Limits::default(), &Cancel::default());
            confined.has_openat2.set(has_openat2);
            let found = confined.resolve(path.as_bytes(), if_missing).map_err(|e| e.kind())?;
            Ok(found.map(|found| {
                let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found.fd));
                let real = std::fs::read_link(link).unwrap_or_default();
                real.strip_prefix(root).map(Path::to_path_buf).unwrap_or_else(|_| PathBuf::from("OUTSIDE"))
            }))
        });
        let [with, without] = found;
        assert_eq!(with, without, "{path}");
        with
    }

    #[test]
    fn a_walk_ends_at_the_cancel_flag() {
        let fd = fs::open(std::env::temp_dir(), DIRECTORY_FLAGS, Mode::empty()).unwrap_or_else(|e| panic!("{e}"));
        let cancel = Cancel::default();
        cancel.cancel();
        let root = Root::new(fd, &Limits::default(), &cancel);
        root.has_openat2.set(false);
        let resolved = root.resolve(b"pullet-missing", IfMissing::ReturnNone).map(drop);
        assert_eq!(resolved.map_err(|e| e.kind()), Err(ErrorKind::Interrupted));
    }

    #[test]
    fn no_path_leads_out_of_the_root() {
        let root = std::env::temp_dir().join(format!("pullet-root-{}", std::process::id()));
        let make = |path: &str| std::fs::create_dir_all(root.join(path)).unwrap_or_else(|e| panic!("{e}"));
        let link = |at: &str, to: &str| symlink(to, root.join(at)).unwrap_or_else(|e| panic!("{e}"));
        make("usr/lib/deep");
        std::fs::write(root.join("file"), "").unwrap_or_else(|e| panic!("{e}"));
        for (at, to) in [
            ("lib", "usr/lib"),
            ("abs", "/usr/lib"),
            ("up", "../../../usr"),
            ("out", "/../.."),
            ("conf", "/etc"),
            ("loop", "loop"),
            ("dead", "missing/dir"),
            ("usr/back", ".."),
            ("chain", "lib/deep"),
        ] {
            link(at, to);
        }
        let inside = |path: &str| Ok(Some(PathBuf::from(path)));
        assert_eq!(resolve(&root, "usr/lib", IfMissing::ReturnNone), inside("usr/lib"));
        assert_eq!(resolve(&root, "lib/deep", IfMissing::ReturnNone), inside("usr/lib/deep"));
        assert_eq!(resolve(&root, "abs/deep", IfMissing::ReturnNone), inside("usr/lib/deep"));
        assert_eq!(resolve(&root, "up/lib", IfMissing::ReturnNone), inside("usr/lib"));
        assert_eq!(resolve(&root, "out", IfMissing::ReturnNone), inside(""));
        assert_eq!(resolve(&root, "usr/back/lib", IfMissing::ReturnNone), inside("usr/lib"));
        assert_eq!(resolve(&root, "chain", IfMissing::ReturnNone), inside("usr/lib/deep"));
        assert_eq!(resolve(&root, "conf", IfMissing::ReturnNone), Ok(None));
        assert_eq!(resolve(&root, "loop/x", IfMissing::ReturnNone), Err(ErrorKind::Unsafe));
        assert_eq!(resolve(&root, "file/x", IfMissing::ReturnNone), Ok(None));
        assert_eq!(resolve(&root, "file/x", IfMissing::Create), Err(ErrorKind::Unsafe));
        assert_eq!(resolve(&root, "file", IfMissing::Create), Err(ErrorKind::Unsafe));
        assert_eq!(resolve(&root, "conf/new", IfMissing::Create), inside("etc/new"));
        assert_eq!(resolve(&root, "dead", IfMissing::Create), inside("missing/dir"));
        let _ = std::fs::remove_dir_all(&root);
    }
}
