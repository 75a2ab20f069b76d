//! The rights that a confined thread keeps.

use std::path::PathBuf;

/// What a confined thread may still do. Everything else is given up.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "sandbox"), allow(dead_code))]
pub(crate) struct Rights {
    pub(crate) folders: Vec<WritableFolder>,
    /// Other paths that are read. They matter only to root, who may need a capability to read them.
    pub(crate) read: Vec<PathBuf>,
    /// Whether device nodes may be created in a [`FolderUse::Tree`].
    pub(crate) has_devices: bool,
    /// Whether TCP connections may be opened.
    pub(crate) may_connect: bool,
}

/// A folder below which files may be written.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "sandbox"), allow(dead_code))]
pub(crate) struct WritableFolder {
    pub(crate) path: PathBuf,
    pub(crate) usage: FolderUse,
}

/// What is created in a folder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FolderUse {
    /// Regular files and folders, which belong to the caller.
    Plain,
    /// Regular files and folders that replace those of another user, and then belong to that user.
    PlainOfOthers,
    /// The tree of an image: entries of all kinds, with owners, modes and xattrs.
    Tree,
}
