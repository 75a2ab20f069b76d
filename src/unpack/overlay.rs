//! Layers as lower directories of overlayfs (Linux, Documentation/filesystems/overlayfs.rst), each in its own tree: a name
//! that the layer removes is a whiteout, and a directory that hides those below it is opaque.
//!
//! Some layers cannot be unpacked without those below them: a file in a directory that the layer does not have, or a hard
//! link to a file that it does not have. [`Root`] notices that, and the caller merges them instead.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, FileType, Mode, OFlags, Stat, XattrFlags};
use rustix::io::Errno;

use super::directory::{CREATE_FLAGS, OpenDirectory, is_directory, times_of};
use super::metadata::{is_allowed, is_privileged, set_implied_metadata};
use super::root::{Root, failed};
use crate::error::{Error, ErrorKind, Result};
use crate::layer::{NameKind, SafePath};

/// The first Linux whose overlayfs knows a whiteout that is a file.
const WHITEOUT_FILES: (u32, u32) = (6, 7);

/// How the trees of this process tell overlayfs what they remove. A tree is not used by a process with another form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OverlayForm {
    /// Attributes that only root can set, and that a mount reads by default.
    Trusted,
    /// Attributes of users, which a mount reads with the option `userxattr`.
    User,
    /// As [`User`](Self::User), but all files belong to this process.
    Unowned,
}

/// How one tree is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overlay {
    pub(crate) form: OverlayForm,
    /// True for a layer without those below it; false for merged layers that are the lowest tree.
    pub(crate) is_apart: bool,
}

impl OverlayForm {
    /// Finds the form for this process and the filesystem of `directory`, by setting an attribute there and removing it.
    pub(crate) fn of_process(directory: &OwnedFd) -> Result<Self> {
        let failed_probe = |e: io::Error| Error::disk("prepare", "the folder of layers", e);
        let is_privileged = is_privileged().map_err(failed_probe)?;
        if is_privileged && Self::Trusted.is_supported(directory).map_err(failed_probe)? {
            return Ok(Self::Trusted);
        }
        if !Self::User.is_supported(directory).map_err(failed_probe)? {
            let text = "the filesystem of the store has none of the extended attributes that overlayfs reads";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        Ok(if is_privileged { Self::User } else { Self::Unowned })
    }

    /// The name of the folder with the trees of this form.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::User => "user",
            Self::Unowned => "unowned",
        }
    }

    fn is_supported(self, directory: &OwnedFd) -> io::Result<bool> {
        let name = self.attribute("opaque");
        match fs::fsetxattr(directory, name.as_str(), b"n", XattrFlags::empty()) {
            Ok(()) => Ok(fs::fremovexattr(directory, name.as_str()).map(|()| true)?),
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn attribute(self, name: &str) -> String {
        let space = if self == Self::Trusted { "trusted" } else { "user" };
        format!("{space}.overlay.{name}")
    }
}

impl Overlay {
    /// Returns true for a layer without those below it.
    pub(super) fn is_apart(self) -> bool {
        self.is_apart
    }

    /// Device nodes are for root alone, because a mount with `userxattr` is for user namespaces.
    pub(super) fn may_have_devices(self) -> bool {
        self.form == OverlayForm::Trusted
    }

    /// Applies a whiteout: writes it down for overlayfs. An entry of this layer with the name stays.
    pub(super) fn apply_whiteout(self, root: &mut Root, path: &SafePath, kind: NameKind<'_>) -> Result<()> {
        let failed_whiteout = |e| failed("create the whiteout", path.as_bytes(), e);
        let (NameKind::Whiteout(_) | NameKind::OpaqueWhiteout) = kind else { return Ok(()) };
        if root.enter_existing(path.parent())?.is_none() {
            return Err(root.needs_lower());
        }
        let directory = root.current()?;
        let NameKind::Whiteout(name) = kind else {
            if self.has_whiteout_files(directory).map_err(failed_whiteout)? {
                return Err(root.needs_lower());
            }
            return self.set_opaque(directory).map_err(failed_whiteout);
        };
        match directory.stat(name).map_err(failed_whiteout)? {
            None => self.create_whiteout(directory, name).map_err(failed_whiteout),
            Some(stat) if is_directory(&stat) => {
                directory.open(name).and_then(|fd| self.set_opaque(fd)).map_err(failed_whiteout)
            }
            Some(_) => Ok(()),
        }
    }

    /// Creates a whiteout for a name that the directory does not have.
    pub(super) fn create_whiteout(self, directory: &OpenDirectory, name: &[u8]) -> io::Result<()> {
        match fs::mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0) {
            // Linux before 5.8 lets only root create it, and a store on overlayfs nobody.
            Err(Errno::PERM) => self.create_whiteout_file(directory, name),
            other => Ok(other?),
        }
    }

    /// Creates a whiteout that is an empty file, and marks its directory.
    fn create_whiteout_file(self, directory: &OpenDirectory, name: &[u8]) -> io::Result<()> {
        if linux_version() < WHITEOUT_FILES {
            let text =
                "whiteouts of overlayfs cannot be created here: the store is on overlayfs, or Linux is before 5.8";
            return Err(Error::new(ErrorKind::Unsupported, text).into());
        }
        let opaque = self.form.attribute("opaque");
        match self.opacity(directory)? {
            // It hides everything below it, and would show the file.
            Some(b'y') => return Ok(()),
            Some(_) => {}
            None => fs::fsetxattr(directory, opaque.as_str(), b"x", XattrFlags::empty())?,
        }
        let file = fs::openat(directory, name, CREATE_FLAGS, Mode::RUSR | Mode::WUSR)?;
        Ok(fs::fsetxattr(file, self.form.attribute("whiteout").as_str(), b"y", XattrFlags::empty())?)
    }

    /// Hides everything below a directory.
    pub(super) fn set_opaque(self, directory: impl AsFd) -> io::Result<()> {
        Ok(fs::fsetxattr(directory, self.form.attribute("opaque").as_str(), b"y", XattrFlags::empty())?)
    }

    /// Returns true if a file is a whiteout and not an entry of the layer.
    pub(super) fn is_whiteout(self, directory: &OpenDirectory, name: &[u8], stat: &Stat) -> io::Result<bool> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice => Ok(stat.st_rdev == 0),
            FileType::RegularFile if stat.st_size == 0 && self.has_whiteout_files(directory)? => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = fs::openat(directory, name, flags, Mode::empty())?;
                Ok(fs::fgetxattr(file, self.form.attribute("whiteout").as_str(), &mut [0_u8; 1][..]).is_ok())
            }
            _ => Ok(false),
        }
    }

    /// Returns true if everything below the directory is hidden.
    pub(crate) fn is_opaque(self, directory: impl AsFd) -> io::Result<bool> {
        Ok(self.opacity(directory)? == Some(b'y'))
    }

    fn has_whiteout_files(self, directory: impl AsFd) -> io::Result<bool> {
        Ok(self.opacity(directory)? == Some(b'x'))
    }

    fn opacity(self, directory: impl AsFd) -> io::Result<Option<u8>> {
        let mut value = [0_u8; 1];
        match fs::fgetxattr(directory, self.form.attribute("opaque").as_str(), &mut value[..]) {
            Ok(_) => Ok(value.first().copied()),
            Err(Errno::NODATA) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

/// Gives the empty directory `to` the metadata of `from`; without it, those of a directory that no entry describes.
pub(crate) fn copy_metadata(from: Option<&OwnedFd>, to: &OwnedFd) -> io::Result<()> {
    set_implied_metadata(to)?;
    let Some(from) = from else { return Ok(()) };
    let (stat, own) = (fs::fstat(from)?, fs::fstat(to)?);
    if (stat.st_uid, stat.st_gid) != (own.st_uid, own.st_gid) {
        fs::fchown(to, Some(fs::Uid::from_raw(stat.st_uid)), Some(fs::Gid::from_raw(stat.st_gid)))?;
    }
    for name in attribute_names(from)?.split(|b| *b == 0).filter(|name| is_allowed(name)) {
        let mut value = vec![0; fs::fgetxattr_query(from, name)?];
        let length = fs::fgetxattr(from, name, value.as_mut_slice())?;
        value.truncate(length);
        match fs::fsetxattr(to, name, &value, XattrFlags::empty()) {
            // Another filesystem than that of the store may lack them.
            Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            other => other?,
        }
    }
    fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    Ok(fs::futimens(to, &times_of(&stat))?)
}

fn attribute_names(fd: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut names = match fs::flistxattr_query(fd) {
        Ok(length) => vec![0; length],
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let length = fs::flistxattr(fd, names.as_mut_slice())?;
    names.truncate(length);
    Ok(names)
}

/// The first two numbers of the running kernel's version.
fn linux_version() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
