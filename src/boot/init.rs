//! The first program of a system, looked for in its tree as it will look itself: links lead to places inside of it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

/// As many links on one path as Linux follows.
const LINK_LIMIT: usize = 40;

/// What a kernel looks for that was not told.
pub(crate) const INITS: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];

/// Whether the tree at `root` has a program by this path.
pub(crate) fn has_program(root: &Path, path: &str) -> bool {
    let found = resolve(root, Path::new(path)).and_then(|path| path.symlink_metadata());
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Where a path of the tree really is. Nobody else changes the tree meanwhile.
fn resolve(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut inside = PathBuf::new();
    let mut ahead = components(path);
    let mut links = 0;
    while let Some(component) = ahead.pop_front() {
        if component == ".." {
            inside.pop();
            continue;
        }
        let here = root.join(&inside).join(&component);
        if !here.symlink_metadata()?.is_symlink() {
            inside.push(component);
            continue;
        }
        links += 1;
        if links > LINK_LIMIT {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let target = fs::read_link(here)?;
        if target.is_absolute() {
            inside.clear();
        }
        let mut first = components(&target);
        first.append(&mut ahead);
        ahead = first;
    }
    Ok(root.join(inside))
}

/// The names on a path, and `..`.
fn components(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir));
    named.map(|component| component.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_to_places_inside() {
        let root = std::env::temp_dir().join(format!("pullet-init-{}", std::process::id()));
        let made = || -> io::Result<()> {
            fs::create_dir_all(root.join("usr/sbin"))?;
            fs::create_dir_all(root.join("usr/lib/systemd"))?;
            for (path, mode) in [("usr/lib/systemd/systemd", 0o755), ("usr/sbin/text", 0o644)] {
                fs::write(root.join(path), "")?;
                fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode))?;
            }
            for (at, to) in [
                ("sbin", "usr/sbin"),
                ("usr/sbin/init", "/lib/systemd/systemd"),
                ("lib", "../../usr/lib"),
                ("usr/sbin/sh", "/bin/sh"),
                ("usr/sbin/up", "../../../../../usr/lib/systemd/systemd"),
                ("usr/sbin/loop", "loop"),
            ] {
                symlink(to, root.join(at))?;
            }
            Ok(())
        };
        made().unwrap_or_else(|e| panic!("{e}"));
        for (path, expected) in [
            ("/sbin/init", true),
            ("sbin/up", true),
            ("/usr/lib/systemd/systemd", true),
            ("/usr/../lib/./systemd/systemd", true),
            // The machine's own shell is not the tree's.
            ("/sbin/sh", false),
            ("/bin/sh", false),
            ("/sbin/text", false),
            ("/sbin/loop", false),
            ("/sbin", false),
            ("/", false),
            ("/usr/sbin/text/x", false),
        ] {
            assert_eq!(has_program(&root, path), expected, "{path}");
        }
        let _ = fs::remove_dir_all(&root);
    }
}
