//! A copy of the source tree that keeps its build, so that a mutation is built incrementally.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::list::Mutation;
use crate::{Result, cargo, disk, shell};

/// What is in the root folder and is not part of the source. In a linked worktree, `.git` is a file.
const OTHERS: [&str; 2] = ["target", ".git"];

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
        let names: BTreeSet<PathBuf> = files(&cargo::root())?.into_iter().collect();
        for name in &names {
            tree.update(name)?;
        }
        for name in files(&tree.root)?.iter().filter(|name| !names.contains(*name)) {
            let path = tree.root.join(name);
            disk::named("remove", &path, std::fs::remove_file(&path))?;
        }
        Ok(tree)
    }

    fn update(&self, name: &Path) -> Result {
        let (from, to) = (cargo::root().join(name), self.root.join(name));
        let bytes = disk::read_bytes(&from)?;
        if disk::read_bytes(&to).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        disk::create_folder(to.parent().unwrap_or(&self.root))?;
        disk::write(&to, bytes)
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

/// The files below a source tree, relative to it.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let others = OTHERS.map(|name| root.join(name));
    let (mut files, mut pending) = (Vec::new(), vec![root.to_owned()]);
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(disk::list(&path)?.into_iter().filter(|path| !others.contains(path)));
        } else {
            files.extend(path.strip_prefix(root).map(Path::to_owned));
        }
    }
    Ok(files)
}

impl Changed {
    /// Undoes the mutation.
    pub fn restore(self) -> Result {
        disk::write(&self.path, self.original)
    }
}
