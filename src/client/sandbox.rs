//! Restricts where the process may write before it reads untrusted input. A program must ask for it: a library does not
//! restrict its host by itself.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::host;
use crate::store::Store;

/// The folders that stay writable when a program gives up write access to all others.
///
/// ```
/// use pullet::{Sandbox, Store};
/// use std::path::Path;
///
/// let sandbox = Sandbox::new().store(&Store::open("/var/lib/pullet")).target(Path::new("/srv/root"));
/// # if false {
/// if let Err(error) = sandbox.enter() {
///     println!("going on without a sandbox: {error}");
/// }
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Sandbox {
    folders: Vec<PathBuf>,
}

impl Sandbox {
    /// A sandbox without any writable folder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a store, so that images can be fetched into it.
    pub fn store(mut self, store: &Store) -> Self {
        let folder = store.folder();
        // Each of these may be a symlink to another disk.
        let inside = ["blobs", "blobs/sha256", "blobs/sha512", "ingest"].map(|name| folder.join(name));
        self.folders.push(folder.to_owned());
        self.folders.extend(inside.into_iter().filter(|folder| folder.is_dir()));
        self
    }

    /// Adds the parent folder of an unpacking target, because the staging folder is created there.
    pub fn target(self, target: &Path) -> Self {
        let absolute = std::path::absolute(target).unwrap_or_else(|_| target.to_owned());
        self.folder(absolute.parent().unwrap_or(&absolute))
    }

    /// Adds a folder. If it does not exist, its deepest existing parent is added.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folders.push(folder.to_owned());
        self
    }

    /// The folders.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.folders.iter().map(PathBuf::as_path)
    }

    /// Restricts the calling thread, and the threads and programs that it starts, permanently: files can be written, created,
    /// removed and renamed only in these folders, nothing can be executed, and running a program grants no privileges
    /// (`no_new_privs`). Open files stay open, and reading is not restricted. Landlock does not restrict changes of modes,
    /// owners, times and extended attributes.
    ///
    /// Call it before other threads are started, after [`Client::find_credentials`](crate::Client::find_credentials) and
    /// before the first request. Fails with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if the kernel has no
    /// Landlock (before Linux 5.19, or switched off) or the feature `sandbox` was not compiled in; the caller may continue
    /// without it.
    pub fn enter(&self) -> Result<()> {
        host::confine(&self.folders)
    }
}
