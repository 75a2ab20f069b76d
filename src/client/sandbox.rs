//! What a process that pulls and unpacks may still write, once it begins to read what is foreign. It is for programs to
//! ask for: a library does not restrict its host by itself.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::host;
use crate::store::Store;

/// The folders that stay writable when a program gives up all others.
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
pub struct Sandbox {
    folders: Vec<PathBuf>,
}

impl Sandbox {
    /// No folder at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store, so that images can be fetched into it.
    pub fn store(mut self, store: &Store) -> Self {
        let folder = store.folder();
        // Each may be a link to another disk.
        let inside = ["blobs", "blobs/sha256", "blobs/sha512", "ingest"].map(|name| folder.join(name));
        self.folders.push(folder.to_owned());
        self.folders.extend(inside.into_iter().filter(|folder| folder.is_dir()));
        self
    }

    /// A target of unpacking. It grows beside its place, so this is the folder that it is in.
    pub fn target(self, target: &Path) -> Self {
        let absolute = std::path::absolute(target).unwrap_or_else(|_| target.to_owned());
        self.folder(absolute.parent().unwrap_or(&absolute))
    }

    /// A folder; where it does not exist, the one above in which it would be made.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folders.push(folder.to_owned());
        self
    }

    /// The folders.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.folders.iter().map(PathBuf::as_path)
    }

    /// Restricts the calling thread, and the threads and programs that it starts, for good: writing, making, removing
    /// and renaming is possible in these folders alone, nothing can be executed, and no program gains rights by being
    /// run (`no_new_privs`). What is open stays open, and reading stays as it is. Landlock does not restrict changes of
    /// modes, owners, times and extended attributes.
    ///
    /// To be called before other threads are started, after [`Client::find_credentials`](crate::Client::find_credentials)
    /// and before anything is asked for. Fails with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where the
    /// kernel has no Landlock (before Linux 5.19, or switched off) or this was built without the feature `sandbox`;
    /// work can go on.
    pub fn enter(&self) -> Result<()> {
        host::confine(&self.folders)
    }
}
