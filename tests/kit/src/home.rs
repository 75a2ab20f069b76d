//! A temporary home for one test: `$HOME`, a store, and room for targets.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::process::{Finished, Pullet};

/// A temporary folder that is removed when the value is dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    /// Creates a folder with a name that no other test uses.
    pub fn new() -> TempDir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        // The real path, because tests are not about links above the system's temporary folder.
        let parent = std::env::temp_dir().canonicalize().unwrap();
        loop {
            let name = format!("pullet-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
            let path = parent.join(name);
            match fs::create_dir(&path) {
                Ok(()) => return TempDir(path),
                // A process with the same ID was killed before it could remove its folders.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("create {}: {error}", path.display()),
            }
        }
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if fs::remove_dir_all(&self.0).is_err() {
            make_writable(&self.0);
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Makes every folder below writable, because an image may have folders that even their owner cannot empty.
fn make_writable(folder: &Path) {
    let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        make_writable(&entry.path());
    }
}

/// A temporary folder with a home folder in it. The program under test runs here, with a store in `store`.
pub struct Home {
    dir: TempDir,
}

impl Home {
    /// Creates the folder and an empty home folder, but no store.
    pub fn new() -> Home {
        let dir = TempDir::new();
        fs::create_dir(dir.path().join("home")).unwrap();
        Home { dir }
    }

    /// Returns a path in the temporary folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns a path in the temporary folder as text, to pass as an argument.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_string()
    }

    /// Writes a file into the temporary folder and returns its path as text.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), text).unwrap();
        self.arg(name)
    }

    /// Returns the path of the store, which may not exist yet.
    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Returns a command that runs pullet with these arguments in this home.
    pub fn pullet<S: AsRef<OsStr>>(&self, args: &[S]) -> Pullet<'_> {
        Pullet::new(self, args)
    }

    /// Runs pullet with these arguments: short for `pullet(args).run()`.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Finished {
        self.pullet(args).run()
    }

    /// Writes a folder for [`Pullet::with_etc`] that has these files, and in which `registry.example` is loopback.
    pub fn etc(&self, files: &[(&str, &str)]) -> String {
        let etc = self.path("etc");
        let _ = fs::remove_dir_all(&etc);
        let hosts = [("hosts", "127.0.0.1 localhost registry.example\n"), ("nsswitch.conf", "hosts: files\n")];
        for (name, text) in hosts.iter().chain(files) {
            fs::create_dir_all(etc.join(name).parent().unwrap()).unwrap();
            fs::write(etc.join(name), text).unwrap();
        }
        self.arg("etc")
    }

    /// Returns the manifests in the store's `index.json`, or none if there is no store.
    pub fn index(&self) -> Vec<Value> {
        let Ok(bytes) = fs::read(self.store().join("index.json")) else { return Vec::new() };
        let index: Value = serde_json::from_slice(&bytes).expect("index.json is JSON");
        index["manifests"].as_array().expect("index.json has manifests").clone()
    }

    /// Returns the names of the images in the store's index.
    pub fn names(&self) -> Vec<String> {
        let name =
            |entry: &Value| entry["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_string);
        self.index().iter().filter_map(name).collect()
    }

    /// Returns the path at which the store keeps a blob.
    pub fn blob(&self, digest: &str) -> PathBuf {
        self.store().join("blobs").join(digest.replacen(':', "/", 1))
    }
}
