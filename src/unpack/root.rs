//! The root of the tree. Every path is resolved inside of it by chroot rules: links are followed as a system that runs
//! in the tree would follow them, and none leads out.
//!
//! One call of `openat2` with `RESOLVE_IN_ROOT` does this if the kernel has it and no seccomp filter forbids it.
//! Otherwise a walk opens one component after the other with `O_NOFOLLOW`.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::directory::{DIRECTORY_FLAGS, OpenDirectory, times_of};
use super::metadata::set_implied_metadata;
use crate::error::{Error, ErrorKind, Result};

/// The maximum number of links on one path, as in Linux.
const LINK_LIMIT: usize = 40;

/// The root directory and the current directory. Most entries are in the same directory as the previous one, so the
/// current directory stays open.
pub(crate) struct Root {
    fd: OwnedFd,
    has_openat2: Cell<bool>,
    /// True if the image set a default ACL somewhere in the tree.
    may_have_acls: bool,
    current: Option<(Vec<u8>, OpenDirectory)>,
    /// The directory of the previous entry. It is used only if the next path is in it, because later the same path may
    /// lead elsewhere.
    kept_open: Option<(Vec<u8>, OwnedFd)>,
    /// Inodes of the implied parents that were created since the last call of [`take_created`](Root::take_created).
    created: RefCell<Vec<u64>>,
}

/// The action if a component of a path does not exist.
#[derive(Clone, Copy, PartialEq)]
enum IfMissing {
    Create,
    ReturnNone,
}

impl Root {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            has_openat2: Cell::new(true),
            may_have_acls: false,
            current: None,
            kept_open: None,
            created: RefCell::default(),
        }
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
            Some(fd) => OpenDirectory::new(fd, self.may_have_acls).map(Some).map_err(|e| failed("open", path, e)),
            None => Ok(None),
        }
    }

    /// Keeps the directory `path` open in case the next entry is in it.
    pub(super) fn keep_open(&mut self, path: &[u8], directory: OwnedFd) {
        self.kept_open = Some((path.to_vec(), directory));
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
            Some((_, fd)) => Some(fd),
            None => self.resolve(path, if_missing)?,
        };
        let Some(fd) = resolved else { return Ok(false) };
        let directory = OpenDirectory::new(fd, self.may_have_acls).map_err(|e| failed("open", path, e))?;
        self.current = Some((path.to_vec(), directory));
        Ok(true)
    }

    /// Opens the directory `path`, with one system call if possible.
    fn resolve(&self, path: &[u8], if_missing: IfMissing) -> Result<Option<OwnedFd>> {
        if !path.is_empty() && self.has_openat2.get() {
            let flags = DIRECTORY_FLAGS.difference(OFlags::NOFOLLOW);
            let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            match fs::openat2(&self.fd, path, flags, Mode::empty(), how) {
                Ok(fd) => return Ok(Some(fd)),
                Err(Errno::NOENT | Errno::NOTDIR) if if_missing == IfMissing::ReturnNone => return Ok(None),
                Err(Errno::NOTDIR) => return Err(not_a_directory(path)),
                Err(Errno::LOOP) => return Err(too_many_links(path)),
                // The kernel is old. EPERM does not prove that, because a seccomp filter may deny one call and allow
                // the next one (crun#546).
                Err(Errno::NOSYS) => self.has_openat2.set(false),
                Err(_) => {}
            }
        }
        Walk::new(&self.fd, &self.created)?.resolve(path, if_missing)
    }
}

/// A walk from the root to a directory. One directory is open at a time, so a deep path costs no descriptors. The walk
/// counts its depth and ignores `..` at the root.
struct Walk<'a> {
    root: &'a OwnedFd,
    created: &'a RefCell<Vec<u64>>,
    directory: OwnedFd,
    depth: usize,
    links: usize,
}

impl<'a> Walk<'a> {
    fn new(root: &'a OwnedFd, created: &'a RefCell<Vec<u64>>) -> Result<Self> {
        Ok(Self { root, created, directory: reopen(root)?, depth: 0, links: 0 })
    }

    fn resolve(mut self, path: &[u8], if_missing: IfMissing) -> Result<Option<OwnedFd>> {
        // A stack: the next component is the last element.
        let mut components: Vec<Vec<u8>> = Vec::new();
        push_components(&mut components, path);
        while let Some(component) = components.pop() {
            if component == b".." {
                self.go_up(path)?;
                continue;
            }
            match fs::openat(&self.directory, component.as_slice(), DIRECTORY_FLAGS, Mode::empty()) {
                Ok(fd) => self.go_down(fd),
                Err(Errno::NOENT) if if_missing == IfMissing::ReturnNone => return Ok(None),
                Err(Errno::NOENT) => {
                    let created = self.create_implied(&component).map_err(|e| failed("create", path, e))?;
                    self.go_down(created);
                }
                Err(Errno::NOTDIR | Errno::LOOP) => match self.read_link(&component, path)? {
                    Some(target) => self.follow(&target, path, &mut components)?,
                    None if if_missing == IfMissing::ReturnNone => return Ok(None),
                    None => return Err(not_a_directory(path)),
                },
                Err(e) => return Err(failed("open", path, e.into())),
            }
        }
        Ok(Some(self.directory))
    }

    fn go_down(&mut self, child: OwnedFd) {
        self.directory = child;
        self.depth += 1;
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
            self.directory = reopen(self.root)?;
            self.depth = 0;
        }
        push_components(components, target);
        Ok(())
    }

    /// Creates an implied parent: the archive has files in it, but so far no entry for it. Its own parent keeps its
    /// times.
    fn create_implied(&self, component: &[u8]) -> io::Result<OwnedFd> {
        let parent = fs::fstat(&self.directory)?;
        fs::mkdirat(&self.directory, component, Mode::RWXU)?;
        let fd = fs::openat(&self.directory, component, DIRECTORY_FLAGS, Mode::empty())?;
        self.created.borrow_mut().push(fs::fstat(&fd)?.st_ino);
        set_implied_metadata(&fd)?;
        fs::futimens(&self.directory, &times_of(&parent))?;
        Ok(fd)
    }
}

/// Pushes the components of `path` on a stack, so that the first one is on top.
fn push_components(components: &mut Vec<Vec<u8>>, path: &[u8]) {
    let new = path.split(|&b| b == b'/').filter(|component| !matches!(*component, b"" | b"."));
    components.extend(new.rev().map(<[u8]>::to_vec));
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
            let confined = Root::new(fd);
            confined.has_openat2.set(has_openat2);
            let found = confined.resolve(path.as_bytes(), if_missing).map_err(|e| e.kind())?;
            Ok(found.map(|fd| {
                let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
                let real = std::fs::read_link(link).unwrap_or_default();
                real.strip_prefix(root).map(Path::to_path_buf).unwrap_or_else(|_| PathBuf::from("OUTSIDE"))
            }))
        });
        let [with, without] = found;
        assert_eq!(with, without, "{path}");
        with
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
