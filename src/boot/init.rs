//! Finds the init program in the tree of a system. Symbolic links are resolved as the system will resolve them once the tree
//! is its root.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

/// Maximum number of symbolic links on one path, as in Linux.
const LINK_LIMIT: usize = 40;

/// The paths that the kernel tries without `init=`.
pub(super) const DEFAULTS: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];

/// Returns true if the tree at `root` has an executable file at this path.
pub(super) fn has_program(root: &Path, path: &str) -> bool {
    let metadata = resolve(root, Path::new(path)).and_then(|path| path.symlink_metadata());
    metadata.is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Resolves a path as if `root` were `/`. Paths are checked and then used, which is safe because no other process changes
/// the tree during a boot.
fn resolve(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut resolved = PathBuf::new();
    let mut remaining = components(path);
    let mut links = 0;
    while let Some(component) = remaining.pop_front() {
        if component == ".." {
            resolved.pop();
            continue;
        }
        let next = root.join(&resolved).join(&component);
        if !next.symlink_metadata()?.is_symlink() {
            resolved.push(component);
            continue;
        }
        links += 1;
        if links > LINK_LIMIT {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let target = fs::read_link(next)?;
        if target.is_absolute() {
            resolved.clear();
        }
        let mut of_target = components(&target);
        of_target.append(&mut remaining);
        remaining = of_target;
    }
    Ok(root.join(resolved))
}

/// Returns the components of a path, without the root and `.`.
fn components(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir));
    named.map(|component| component.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn resolves_links_inside_the_tree() {
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
            // Only the machine has this shell, not the tree.
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
