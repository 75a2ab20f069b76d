//! The folder in which a target is unpacked, with a tree beside it that must stay as it is.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// Names it. A file system of its own, for hostile images are unpacked there: `cargo xtask fuzz` makes it.
const VARIABLE: &str = "PULLET_FUZZ_FOLDER";

/// A folder with a canary tree and room for a target.
pub struct Watched {
    folder: PathBuf,
    canary: Vec<State>,
}

/// All that a change would change: ctime tells of mode, owner, xattrs and links too.
#[derive(Debug, PartialEq)]
struct State {
    path: PathBuf,
    content: Vec<u8>,
    numbers: [i64; 7],
}

impl Watched {
    pub fn new() -> Self {
        let folder = std::env::var_os(VARIABLE).map(PathBuf::from);
        let folder = folder.unwrap_or_else(|| panic!("${VARIABLE} names no folder: run this by cargo xtask fuzz"));
        let canary = folder.join("canary");
        fs::create_dir_all(canary.join("folder")).expect("a canary is made");
        fs::write(canary.join("file"), "canary").expect("a canary is made");
        fs::write(canary.join("folder/secret"), "canary").expect("a canary is made");
        fs::set_permissions(canary.join("folder/secret"), Permissions::from_mode(0o600)).expect("a canary is made");
        symlink("folder", canary.join("link")).expect("a canary is made");
        let mut watched = Self { folder, canary: Vec::new() };
        watched.canary = watched.states();
        watched
    }

    /// What `%` means in a script.
    pub fn folder(&self) -> &str {
        self.folder.to_str().expect("the folder's path is UTF-8")
    }

    pub fn target(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Compares the canary, demands the target to be there or not and nothing else to be there, and removes the target.
    pub fn check(&self, is_published: bool) {
        assert_eq!(self.states(), self.canary, "something outside of the target was changed");
        let mut expected = vec![OsString::from("canary")];
        expected.extend(is_published.then(|| OsString::from("root")));
        assert_eq!(names(&self.folder), expected, "the folder around the target (published: {is_published})");
        if is_published {
            fs::remove_dir_all(self.target()).expect("the target can be removed");
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
        let is = path.symlink_metadata().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let content = if is.is_file() { fs::read(&path).expect("a canary is read") } else { Vec::new() };
        let numbers = [
            is.mode().into(),
            is.uid().into(),
            is.gid().into(),
            is.nlink() as i64,
            is.mtime(),
            is.ctime(),
            is.ctime_nsec(),
        ];
        Self { path, content, numbers }
    }
}

fn names(folder: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut names: Vec<OsString> = entries.map(|entry| entry.expect("a folder is read").file_name()).collect();
    names.sort();
    names
}
