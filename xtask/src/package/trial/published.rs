//! The crate as crates.io gets it.

use std::path::Path;

use super::Subject;
use crate::{Result, cargo, disk, shell};

/// crates.io and docs.rs show README.md. Its relative links lead to files of the repository, and the crate has them too.
pub fn links(subject: &Subject) -> Result {
    let folder = subject.work.join("crate");
    disk::fresh(&folder)?;
    let archive = subject.out.join(format!("pullet-{}.tar.gz", subject.version));
    shell::run(shell::program("tar").arg("-xzf").arg(&archive).arg("--directory").arg(&folder))?;
    let root = folder.join(format!("pullet-{}", subject.version));
    let readme = disk::read(&root.join("README.md"))?;
    let broken: Vec<&str> = relative_links(&readme).filter(|link| !exists(&root, link)).collect();
    if broken.is_empty() { Ok(()) } else { Err(format!("README.md: the crate lacks {}", broken.join(", "))) }
}

/// Builds the crate from its archive, as crates.io requires, without uploading it.
pub fn dry_run(_: &Subject) -> Result {
    let mut publish = cargo::command(&["publish", "--quiet", "--package=pullet", "--dry-run", "--allow-dirty"]);
    // By default, cargo works in the folder of the packages.
    shell::run(publish.arg("--target-dir").arg(cargo::target()?.join("xtask/publish")))
}

fn exists(root: &Path, link: &str) -> bool {
    let path = link.split('#').next().unwrap_or(link);
    root.join(path).exists()
}

/// The targets of links that are neither a URL nor a part of the same page.
fn relative_links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_relative_links() {
        let text = "[a](docs/a.md), [b](https://b), [c](#c)\n![d](d.svg#x)";
        assert_eq!(relative_links(text).collect::<Vec<_>>(), ["docs/a.md", "d.svg#x"]);
    }
}
