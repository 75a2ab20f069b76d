//! The folder in which a target is unpacked, with a canary tree that must not change.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// The variable with the path of the folder. `cargo xtask fuzz` mounts a separate file system there, because malicious
/// images are unpacked in it.
const VARIABLE: &str = "PULLET_FUZZ_FOLDER";

/// A folder with a canary tree, in which the target is unpacked.
pub struct Watched {
    folder: PathBuf,
    canary: Vec<State>,
}

/// The state of a file. Any change to it changes the state: ctime covers the mode, the owner, xattrs and links.
#[derive(Debug, PartialEq)]
struct State {
    path: PathBuf,
    content: Vec<u8>,
    numbers: [i64; 7],
}

impl Watched {
    pub fn new() -> Self {
        let folder = std::env::var_os(VARIABLE).map(PathBuf::from);
        let folder = folder.unwrap_or_else(|| panic!("${VARIABLE} is not set: run this with cargo xtask fuzz"));
        let canary = folder.join("canary");
        fs::create_dir_all(canary.join("folder")).expect("cannot make the canary");
        fs::write(canary.join("file"), "canary").expect("cannot make the canary");
        fs::write(canary.join("folder/secret"), "canary").expect("cannot make the canary");
        fs::set_permissions(canary.join("folder/secret"), Permissions::from_mode(0o600))
            .expect("cannot make the canary");
        symlink("folder", canary.join("link")).expect("cannot make the canary");
        let mut watched = Self { folder, canary: Vec::new() };
        watched.canary = watched.states();
        watched
    }

    /// The path that replaces `%` in a script.
    pub fn folder(&self) -> &str {
        self.folder.to_str().expect("the path of the folder is not UTF-8")
    }

    pub fn target(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Panics if the canary has changed, if the target does not exist as `is_published` says, or if the folder contains
    /// anything else. Then removes the target.
    pub fn check(&self, is_published: bool) {
        assert_eq!(self.states(), self.canary, "something outside the target was changed");
        let mut expected = vec![OsString::from("canary")];
        expected.extend(is_published.then(|| OsString::from("root")));
        assert_eq!(names(&self.folder), expected, "the folder around the target (published: {is_published})");
        if is_published {
            fs::remove_dir_all(self.target()).expect("cannot remove the target");
        }
    }

    fn states(&self) -> Vec<State> {
        let canary = self.folder.join("canary");
        let below = |folder: PathBuf| names(&folder).into_iter().map(move |name| folder.join(name));
        let inside = below(canary.clone()).chain(below(canary.join("folder")));
        std::iter::once(canary.clone()).chain(inside).map(State::of).collect()
    }
}

impl Default for Watched {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn of(path: PathBuf) -> Self {
        let metadata = path.symlink_metadata().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let content = if metadata.is_file() { fs::read(&path).expect("cannot read the canary") } else { Vec::new() };
        let numbers = [
            metadata.mode().into(),
            metadata.uid().into(),
            metadata.gid().into(),
            metadata.nlink() as i64,
            metadata.mtime(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        ];
        Self { path, content, numbers }
    }
}

fn names(folder: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut names: Vec<OsString> = entries.map(|entry| entry.expect("cannot read the folder").file_name()).collect();
    names.sort();
    names
}
