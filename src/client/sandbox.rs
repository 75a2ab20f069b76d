//! Gives up rights of the process before it reads untrusted input. A program must ask for it: a library does not restrict
//! its host by itself.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::host::{self, FolderUse, Rights, WritableFolder};
use crate::store::Store;
#[cfg(feature = "device")]
use crate::target::RawTarget;

/// The rights that a program keeps when it gives up all others: the folders in which it may write, and what it may create
/// there.
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
#[derive(Clone, Debug)]
#[must_use]
pub struct Sandbox {
    rights: Rights,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self { rights: Rights { folders: Vec::new(), read: Vec::new(), has_devices: true, may_connect: true } }
    }
}

impl Sandbox {
    /// A sandbox without any writable folder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a store, so that images can be fetched into it: regular files and folders can be created there.
    pub fn store(mut self, store: &Store) -> Self {
        let folder = store.folder();
        self = self.folder(folder);
        // Each of these may be a symlink to another disk.
        for name in ["blobs", "blobs/sha256", "blobs/sha512", "ingest"] {
            let inside = folder.join(name);
            if inside.is_dir() {
                self = self.folder(&inside);
            }
        }
        self
    }

    /// Adds the trees of layers in a store, as [`AdmittedImage::unpack_layered`](crate::AdmittedImage::unpack_layered) makes
    /// them. Entries of all kinds can be created there.
    #[cfg(feature = "manage")]
    pub fn layers(self, store: &Store) -> Self {
        self.add(&store.layers(), FolderUse::Tree)
    }

    /// Adds a store from which images are removed, and the trees of layers in it if there are any.
    #[cfg(feature = "manage")]
    pub fn removal(self, store: &Store) -> Self {
        let sandbox = self.store(store);
        if store.layers().is_dir() { sandbox.layers(store).devices(false) } else { sandbox }
    }

    /// Adds a store that is read. Reading is never denied, but root may need a capability to read a store in the folder of
    /// another user.
    pub fn stored(mut self, store: &Store) -> Self {
        self.rights.read.push(store.folder().to_owned());
        self
    }

    /// Adds the parent folder of an unpacking target, because the staging folder is created there. Entries of all kinds can
    /// be created, with any owner if the caller is root.
    pub fn target(self, target: &Path) -> Self {
        self.add(&parent(target), FolderUse::Tree)
    }

    /// Adds an unpacking target that is filled in place.
    #[cfg(feature = "manage")]
    pub fn target_in_place(self, target: &Path) -> Self {
        self.add(target, FolderUse::Tree)
    }

    /// Denies device nodes in unpacking targets. They are allowed by default.
    pub fn devices(mut self, devices: bool) -> Self {
        self.rights.has_devices = devices;
        self
    }

    /// Adds the parent folder of a file or folder that is written under another name and then renamed. Regular files and
    /// folders can be created there. If root replaces another user's file, the new one can get the same owner.
    pub fn output(self, path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let parent = parent(path);
        let owner = |path: &Path| path.metadata().map(|metadata| metadata.uid()).ok();
        let is_of_another = owner(path).is_some_and(|uid| Some(uid) != owner(&parent));
        self.add(&parent, if is_of_another { FolderUse::PlainOfOthers } else { FolderUse::Plain })
    }

    /// Adds the folder of a new file, if the target is one. Devices and files that are written in place are open already.
    #[cfg(feature = "device")]
    pub fn raw_target(self, target: &RawTarget) -> Self {
        if target.is_new() { self.output(target.path()) } else { self }
    }

    /// Adds a folder for regular files and folders. If it does not exist, its deepest existing parent is added.
    pub fn folder(self, folder: &Path) -> Self {
        self.add(folder, FolderUse::Plain)
    }

    /// Denies TCP connections, if the kernel can do that (Linux 6.7). Sockets of other kinds are not restricted.
    pub fn offline(mut self) -> Self {
        self.rights.may_connect = false;
        self
    }

    /// The folders.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.rights.folders.iter().map(|folder| folder.path.as_path())
    }

    /// Restricts the calling thread, and the threads and programs that it starts, permanently.
    ///
    /// Files can be written, created, removed and renamed only in these folders, and nothing can be executed. No TCP port
    /// can be bound. Where the kernel can restrict that too, devices cannot be controlled with `ioctl`, signals go only to
    /// processes inside the sandbox, and so do connections to abstract Unix sockets. Open files stay open, and reading is
    /// not restricted. Landlock does not restrict changes of modes, owners, times and extended attributes.
    ///
    /// Root gives up all capabilities, except those that an unpacking target needs, or without which a folder or a file of
    /// another user cannot be used. Running a program grants no privileges (`no_new_privs`).
    ///
    /// Call it before other threads are started, after [`Client::find_credentials`](crate::Client::find_credentials) and
    /// before the first request. Fails with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if the kernel has no
    /// Landlock (before Linux 5.19, or switched off) or the feature `sandbox` was not compiled in; the caller may continue
    /// without it. Capabilities are given up in the first case.
    pub fn enter(&self) -> Result<()> {
        host::confine(&self.rights)
    }

    fn add(mut self, path: &Path, usage: FolderUse) -> Self {
        self.rights.folders.push(WritableFolder { path: path.to_owned(), usage });
        self
    }
}

fn parent(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.parent().unwrap_or(&absolute).to_owned()
}
