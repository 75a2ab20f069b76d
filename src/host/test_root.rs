//! A root folder and variables for the tests that read configuration files.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use super::environment::Environment;

/// A root folder with files, and variables, for tests. Dropped, it removes the folder.
pub(super) struct TestRoot {
    pub(super) root: PathBuf,
    variables: Vec<(&'static str, OsString)>,
}

impl TestRoot {
    /// `name` must be unique among the tests. `files` are relative paths and contents.
    pub(super) fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root = env::temp_dir().join(format!("pullet-host-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self { root, variables: Vec::new() }
    }

    /// Sets a variable to a path below the root.
    pub(super) fn with(mut self, name: &'static str, path: &str) -> Self {
        self.variables.push((name, self.root.join(path).into_os_string()));
        self
    }

    /// Calls `work` with this environment.
    pub(super) fn enter<T>(&self, work: impl FnOnce(Environment<'_>) -> T) -> T {
        let variable = |name: &str| {
            let found = self.variables.iter().rfind(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone())
        };
        work(Environment::new(&variable, &self.root))
    }

    /// Removes the path of the root from a text.
    pub(super) fn without_root(&self, text: &str) -> String {
        text.replace(&self.root.display().to_string(), "")
    }
}

impl Drop for TestRoot {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}
