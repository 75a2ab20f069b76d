//! The environment variables and the file system root that the other modules of `host` read. Tests replace both.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Access to environment variables, and the folder that stands for `/`.
#[derive(Clone, Copy)]
pub(super) struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    root: &'a Path,
}

impl Environment<'static> {
    /// The environment of this process.
    pub(super) fn of_process() -> Self {
        Self::new(&|name| env::var_os(name), Path::new("/"))
    }
}

impl<'a> Environment<'a> {
    pub(super) fn new(variable: &'a dyn Fn(&str) -> Option<OsString>, root: &'a Path) -> Self {
        Self { variable, root }
    }

    /// Returns the value of a variable, or `None` if it is unset or empty.
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// Returns the path in a variable, or `None` if it is unset or empty.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).map(PathBuf::from)
    }

    /// Returns the user's configuration folder: `$XDG_CONFIG_HOME`, else `$HOME/.config`.
    pub(super) fn config_folder(&self) -> Option<PathBuf> {
        self.path("XDG_CONFIG_HOME").or_else(|| self.in_home(".config"))
    }

    /// Returns a path below `$HOME`, or `None` if that is unset.
    pub(super) fn in_home(&self, path: &str) -> Option<PathBuf> {
        self.path("HOME").map(|home| home.join(path))
    }

    /// Returns a path below the root folder. `path` is relative.
    pub(super) fn in_root(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}
