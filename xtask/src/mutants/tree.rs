//! A copy of the source tree that keeps its build, so that a mutation is built incrementally.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::list::Mutation;
use crate::{Result, cargo, disk, shell};

pub struct Tree {
    root: PathBuf,
    target: PathBuf,
}

/// A file with a mutation.
#[must_use]
pub struct Changed {
    path: PathBuf,
    original: String,
}

impl Tree {
    /// Updates the copy in a folder. Files that are equal are left alone, because cargo builds what is newer.
    pub fn copy(folder: &Path) -> Result<Self> {
        let tree = Self { root: folder.join("tree"), target: folder.join("target") };
        disk::create_folder(&tree.root)?;
        let listed = shell::read(
            shell::program("git")
                .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
                .current_dir(cargo::root()),
        )?;
        let names: BTreeSet<&str> = listed.split('\0').filter(|name| cargo::root().join(name).is_file()).collect();
        for name in &names {
            tree.update(name)?;
        }
        tree.remove_others(&tree.root, &names)?;
        Ok(tree)
    }

    fn update(&self, name: &str) -> Result {
        let (from, to) = (cargo::root().join(name), self.root.join(name));
        let bytes = disk::read_bytes(&from)?;
        if disk::read_bytes(&to).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        disk::create_folder(to.parent().unwrap_or(&self.root))?;
        disk::write(&to, bytes)
    }

    /// Removes files that are no longer in the source tree.
    fn remove_others(&self, folder: &Path, names: &BTreeSet<&str>) -> Result {
        for path in disk::list(folder)? {
            let name = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
            if path.is_dir() {
                self.remove_others(&path, names)?;
            } else if !name.is_some_and(|name| names.contains(name)) {
                disk::named("remove", &path, std::fs::remove_file(&path))?;
            }
        }
        Ok(())
    }

    /// Builds the program and returns its path.
    pub fn build(&self) -> Result<PathBuf> {
        let mut command = cargo::command(&["build", "--quiet", "--package=pullet", "--bin=pullet", "--all-features"]);
        command.arg("--message-format=json-render-diagnostics").current_dir(&self.root);
        command.env("CARGO_TARGET_DIR", &self.target);
        // The mutation may leave something unused.
        command.env("RUSTFLAGS", "--cap-lints=warn");
        cargo::executable(&shell::read(&mut command)?, "pullet")
    }

    /// Applies a mutation.
    pub fn change(&self, mutation: &Mutation) -> Result<Changed> {
        let path = self.root.join("src").join(mutation.file);
        let original = disk::read(&path)?;
        let count = original.matches(mutation.old).count();
        if count != 1 {
            return Err(format!("expected its text once in src/{}, found it {count} times", mutation.file));
        }
        disk::write(&path, original.replacen(mutation.old, mutation.new, 1))?;
        Ok(Changed { path, original })
    }
}

impl Changed {
    /// Undoes the mutation.
    pub fn restore(self) -> Result {
        disk::write(&self.path, self.original)
    }
}
