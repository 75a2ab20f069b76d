//! The tree's root: every path is resolved inside of it, by chroot rules. Links on the way are followed as the system
//! in the tree would follow them, and none leads out: `openat2` with `RESOLVE_IN_ROOT` where the kernel has it and no
//! filter forbids it, else a walk with `O_NOFOLLOW`, component by component.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::folder::{DIRECTORY, Folder, dress_as_implied, times_of};
use crate::error::{Error, ErrorKind, Result};

/// As many links on one path as Linux follows.
const LINK_LIMIT: usize = 40;

/// The root directory, and the directory in which the work is: entries of one directory mostly follow each other.
pub(crate) struct Root {
    fd: OwnedFd,
    has_openat2: Cell<bool>,
    current: Option<(Vec<u8>, Folder)>,
    /// A directory that an entry just made or dressed. It is good for the next look at a path alone: later its path may
    /// lead elsewhere.
    kept: Option<(Vec<u8>, OwnedFd)>,
    /// Inodes of implied parents that were made since they were asked for.
    made: RefCell<Vec<u64>>,
}

impl Root {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd, has_openat2: Cell::new(true), current: None, kept: None, made: RefCell::default() }
    }

    /// Opens the root directory again.
    pub(crate) fn reopen(&self) -> Result<OwnedFd> {
        reopen(&self.fd)
    }

    /// Returns the root directory.
    pub(crate) fn into_inner(self) -> OwnedFd {
        self.fd
    }

    /// The directory `path`, made with its parents if it is missing.
    pub(crate) fn enter(&mut self, path: &[u8]) -> Result<&Folder> {
        match self.switch(path, Missing::Create)? {
            true => self.current.as_ref().map(|(_, folder)| folder).ok_or_else(vanished),
            false => Err(vanished()),
        }
    }

    /// The directory `path`; `None` if it is missing.
    pub(crate) fn enter_existing(&mut self, path: &[u8]) -> Result<Option<&Folder>> {
        Ok(match self.switch(path, Missing::Tell)? {
            true => self.current.as_ref().map(|(_, folder)| folder),
            false => None,
        })
    }

    /// The implied parents that were made since the last call.
    pub(crate) fn take_made(&self) -> Vec<u64> {
        self.made.take()
    }

    /// The directory in which the work is.
    pub(crate) fn current(&self) -> Result<&Folder> {
        self.current.as_ref().map(|(_, folder)| folder).ok_or_else(vanished)
    }

    /// Opens the directory `path` beside the current one; `None` if it is missing.
    pub(crate) fn open(&self, path: &[u8]) -> Result<Option<Folder>> {
        match self.resolve(path, Missing::Tell)? {
            Some(fd) => Folder::new(fd).map(Some).map_err(|e| failed("open", path, e)),
            None => Ok(None),
        }
    }

    /// Keeps the open directory `path` in case the next entry is in it.
    pub(crate) fn keep(&mut self, path: &[u8], directory: OwnedFd) {
        self.kept = Some((path.to_vec(), directory));
    }

    /// Finishes with the current directory without restoring its times, for they were just set.
    pub(crate) fn forget(&mut self) {
        self.current = None;
    }

    /// Finishes with the current directory, if there is one.
    pub(crate) fn leave(&mut self) -> Result<()> {
        match self.current.take() {
            Some((path, folder)) => folder.leave().map_err(|e| failed("set times of", &path, e)),
            None => Ok(()),
        }
    }

    fn switch(&mut self, path: &[u8], missing: Missing) -> Result<bool> {
        let kept = self.kept.take().filter(|(kept, _)| kept == path);
        if self.current.as_ref().is_some_and(|(current, _)| current == path) {
            return Ok(true);
        }
        self.leave()?;
        let resolved = kept.map_or_else(|| self.resolve(path, missing), |(_, fd)| Ok(Some(fd)))?;
        let Some(fd) = resolved else { return Ok(false) };
        let folder = Folder::new(fd).map_err(|e| failed("open", path, e))?;
        self.current = Some((path.to_vec(), folder));
        Ok(true)
    }

    fn resolve(&self, path: &[u8], missing: Missing) -> Result<Option<OwnedFd>> {
        let in_one_call = match (path, self.has_openat2.get()) {
            ([], _) => Err(Errno::NOSYS),
            (path, true) => {
                let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
                fs::openat2(&self.fd, path, flags, Mode::empty(), how)
            }
            (_, false) => Err(Errno::NOSYS),
        };
        match in_one_call {
            Ok(fd) => return Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR) if missing == Missing::Tell => return Ok(None),
            Err(Errno::NOTDIR) => return Err(not_a_directory(path)),
            Err(Errno::LOOP) => return Err(too_many_links(path)),
            // An old kernel. EPERM is no such proof: a filter may be there today and gone tomorrow (crun#546).
            Err(Errno::NOSYS) if !path.is_empty() => self.has_openat2.set(false),
            Err(_) => {}
        }
        Walk::new(&self.fd, &self.made)?.to(path, missing)
    }
}

/// What to do about a component that does not exist.
#[derive(Clone, Copy, PartialEq)]
enum Missing {
    Create,
    Tell,
}

/// A walk from the root. It holds one directory at a time, so a deep path costs no descriptors; going up is refused
/// at the root, for it counts how deep it is.
struct Walk<'a> {
    root: &'a OwnedFd,
    made: &'a RefCell<Vec<u64>>,
    at: OwnedFd,
    depth: usize,
    links: usize,
}

impl<'a> Walk<'a> {
    fn new(root: &'a OwnedFd, made: &'a RefCell<Vec<u64>>) -> Result<Self> {
        Ok(Self { root, made, at: reopen(root)?, depth: 0, links: 0 })
    }

    fn to(mut self, path: &[u8], missing: Missing) -> Result<Option<OwnedFd>> {
        let mut ahead: Vec<Vec<u8>> = Vec::new();
        push_components(&mut ahead, path);
        while let Some(component) = ahead.pop() {
            if component == b".." {
                self.up(path)?;
                continue;
            }
            match fs::openat(&self.at, component.as_slice(), DIRECTORY, Mode::empty()) {
                Ok(fd) => self.down(fd),
                Err(Errno::NOENT) if missing == Missing::Tell => return Ok(None),
                Err(Errno::NOENT) => self.create(&component, path)?,
                Err(Errno::NOTDIR | Errno::LOOP) => match self.read_link(&component, path)? {
                    Some(target) => self.follow(&target, path, &mut ahead)?,
                    None if missing == Missing::Tell => return Ok(None),
                    None => return Err(not_a_directory(path)),
                },
                Err(e) => return Err(failed("open", path, e.into())),
            }
        }
        Ok(Some(self.at))
    }

    fn down(&mut self, fd: OwnedFd) {
        self.at = fd;
        self.depth += 1;
    }

    fn up(&mut self, path: &[u8]) -> Result<()> {
        if self.depth > 0 {
            let parent = fs::openat(&self.at, "..", DIRECTORY, Mode::empty());
            self.at = parent.map_err(|e| failed("open", path, e.into()))?;
            self.depth -= 1;
        }
        Ok(())
    }

    /// Where a link leads; `None` if the component is something else.
    fn read_link(&self, component: &[u8], path: &[u8]) -> Result<Option<Vec<u8>>> {
        match fs::readlinkat(&self.at, component, Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::INVAL) => Ok(None),
            Err(e) => Err(failed("read link in", path, e.into())),
        }
    }

    fn follow(&mut self, target: &[u8], path: &[u8], ahead: &mut Vec<Vec<u8>>) -> Result<()> {
        self.links += 1;
        if self.links > LINK_LIMIT {
            return Err(too_many_links(path));
        }
        if target.starts_with(b"/") {
            self.at = reopen(self.root)?;
            self.depth = 0;
        }
        push_components(ahead, target);
        Ok(())
    }

    /// Makes an implied parent: the archive names what is in it but not itself. The time of the directory around it stays.
    fn create(&mut self, component: &[u8], path: &[u8]) -> Result<()> {
        let made = self.create_at(component);
        made.map_err(|e| failed("create", path, e)).map(|fd| self.down(fd))
    }

    fn create_at(&self, component: &[u8]) -> io::Result<OwnedFd> {
        let around = fs::fstat(&self.at)?;
        fs::mkdirat(&self.at, component, Mode::RWXU)?;
        let fd = fs::openat(&self.at, component, DIRECTORY, Mode::empty())?;
        self.made.borrow_mut().push(fs::fstat(&fd)?.st_ino);
        dress_as_implied(&fd)?;
        fs::futimens(&self.at, &times_of(&around))?;
        Ok(fd)
    }
}

/// The components of `path` on the stack `ahead`, the first on top.
fn push_components(ahead: &mut Vec<Vec<u8>>, path: &[u8]) {
    let components = path.split(|&b| b == b'/').filter(|component| !matches!(*component, b"" | b"."));
    ahead.extend(components.rev().map(<[u8]>::to_vec));
}

fn reopen(directory: &OwnedFd) -> Result<OwnedFd> {
    fs::openat(directory, ".", DIRECTORY, Mode::empty()).map_err(|e| failed("open", b".", e.into()))
}

/// The disk's refusal to `verb` the path, as the archive has it.
pub(crate) fn failed(verb: &str, path: &[u8], error: io::Error) -> Error {
    Error::through_read(error, |error| Error::disk(verb, String::from_utf8_lossy(path).as_ref(), error))
}

fn not_a_directory(path: &[u8]) -> Error {
    hostile(path, "a component of it is not a directory")
}

fn too_many_links(path: &[u8]) -> Error {
    hostile(path, "too many links on the way")
}

fn hostile(path: &[u8], why: &str) -> Error {
    Error::new(ErrorKind::Unsafe, format!("folder \"{}\": {why}", String::from_utf8_lossy(path)))
}

fn vanished() -> Error {
    Error::new(ErrorKind::Internal, "no current folder")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    /// Resolves by both ways, which must agree, and tells where each ended below the root.
    fn resolve(root: &Path, path: &str, missing: Missing) -> std::result::Result<Option<PathBuf>, ErrorKind> {
        let found = [true, false].map(|has_openat2| {
            let fd = fs::open(root, DIRECTORY, Mode::empty()).unwrap_or_else(|e| panic!("{e}"));
            let confined = Root::new(fd);
            confined.has_openat2.set(has_openat2);
            let found = confined.resolve(path.as_bytes(), missing).map_err(|e| e.kind())?;
            Ok(found.map(|fd| {
                let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
                let real = std::fs::read_link(link).unwrap_or_default();
                real.strip_prefix(root).map(Path::to_path_buf).unwrap_or_else(|_| PathBuf::from("OUTSIDE"))
            }))
        });
        let [one, other] = found;
        assert_eq!(one, other, "{path}");
        one
    }

    #[test]
    fn every_path_stays_inside() {
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
        assert_eq!(resolve(&root, "usr/lib", Missing::Tell), inside("usr/lib"));
        assert_eq!(resolve(&root, "lib/deep", Missing::Tell), inside("usr/lib/deep"));
        assert_eq!(resolve(&root, "abs/deep", Missing::Tell), inside("usr/lib/deep"));
        assert_eq!(resolve(&root, "up/lib", Missing::Tell), inside("usr/lib"));
        assert_eq!(resolve(&root, "out", Missing::Tell), inside(""));
        assert_eq!(resolve(&root, "usr/back/lib", Missing::Tell), inside("usr/lib"));
        assert_eq!(resolve(&root, "chain", Missing::Tell), inside("usr/lib/deep"));
        assert_eq!(resolve(&root, "conf", Missing::Tell), Ok(None));
        assert_eq!(resolve(&root, "loop/x", Missing::Tell), Err(ErrorKind::Unsafe));
        assert_eq!(resolve(&root, "file/x", Missing::Tell), Ok(None));
        assert_eq!(resolve(&root, "file/x", Missing::Create), Err(ErrorKind::Unsafe));
        assert_eq!(resolve(&root, "file", Missing::Create), Err(ErrorKind::Unsafe));
        assert_eq!(resolve(&root, "conf/new", Missing::Create), inside("etc/new"));
        assert_eq!(resolve(&root, "dead", Missing::Create), inside("missing/dir"));
        let _ = std::fs::remove_dir_all(&root);
    }
}
