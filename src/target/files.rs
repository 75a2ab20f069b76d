//! A directory of files whose contents are whole blobs. Each file is verified before it gets its name, and the
//! directory appears by one rename. All names are checked before the first byte is requested.

use std::collections::HashSet;
use std::fs::Permissions;
use std::io::{Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::staging::Staging;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::SafePath;
use crate::limits::Limits;
use crate::oci::descriptor::Descriptor;
use crate::unpack::{Root, failed};
use crate::verify::{Size, Verified, filled};

const BUFFER: usize = 64 << 10;

/// A directory of files that grows next to its target. Dropping it without [`publish`](Files::publish) removes it.
pub(crate) struct Files {
    root: Root,
    staging: Staging,
    names: Vec<SafePath>,
}

impl Files {
    /// Starts the files `names` for `target`, which must not exist or be an empty directory. Fails with
    /// [`ErrorKind::Unsafe`] if a name leads out of the directory, is used twice, or is the directory of another.
    pub(crate) fn begin(target: &Path, names: &[String], limits: &Limits, cancel: &Cancel) -> Result<Self> {
        let names = check_names(names)?;
        let staging = Staging::begin(target, cancel)?;
        let root = Root::new(staging.open_tree()?, limits, cancel);
        Ok(Self { root, staging, names })
    }

    /// Creates the file with the name at `index` from the body of its blob. Calls `report` with the number of bytes
    /// that were written so far.
    pub(crate) fn create(
        &mut self,
        index: usize,
        blob: &Descriptor,
        body: impl Read,
        cancel: &Cancel,
        report: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let unnamed = || Error::new(ErrorKind::Internal, "create file: no name for it");
        let path = self.names.get(index).ok_or_else(unnamed)?;
        let failed_write = |e| failed("write", path.as_bytes(), e);
        let mut file = self.staging.create_partial()?;
        let mut body = Verified::new(body, blob.digest, Size::Exactly(blob.size), cancel.clone());
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = body.read(&mut buffer).map_err(|e| Error::through_read(e, |e| Error::disk("read", "blob", e)))?;
            if n == 0 {
                break;
            }
            file.write_all(filled(&buffer, n)?).map_err(failed_write)?;
            report(body.count());
        }
        body.finish()?;
        file.set_permissions(Permissions::from_mode(0o644)).map_err(failed_write)?;
        file.sync_all().map_err(failed_write)?;
        let directory = self.root.enter(path.parent())?;
        // A filesystem may treat two names as the same, for example if it ignores case.
        if directory.stat(path.name()).map_err(failed_write)?.is_some() {
            return Err(used_twice(path));
        }
        self.staging.move_partial(directory, path.name()).map_err(failed_write)
    }

    /// Makes the directory appear at the target.
    pub(crate) fn publish(mut self) -> Result<()> {
        self.root.forget_times();
        let tree = self.staging.open_tree()?;
        rustix::fs::fchmod(&tree, rustix::fs::Mode::from_raw_mode(0o755))
            .map_err(|e| Error::disk("set mode of", "the directory", e))?;
        self.staging.publish()
    }
}

fn check_names(names: &[String]) -> Result<Vec<SafePath>> {
    let paths: Vec<SafePath> = names.iter().map(|name| check_name(name)).collect::<Result<_>>()?;
    let mut known = HashSet::new();
    for path in &paths {
        if !known.insert(path.as_bytes()) {
            return Err(used_twice(path));
        }
    }
    for path in &paths {
        let bytes = path.as_bytes();
        let slashes = bytes.iter().enumerate().filter(|(_, b)| **b == b'/');
        for directory in slashes.filter_map(|(slash, _)| bytes.get(..slash)) {
            if known.contains(directory) {
                return Err(unsafe_name(path, &format!("\"{}\" is a file", String::from_utf8_lossy(directory))));
            }
        }
    }
    Ok(paths)
}

/// Accepts only a plain relative path. An archive may have other names, such as those with a leading slash, but a title
/// has no reason for them.
fn check_name(name: &str) -> Result<SafePath> {
    let reject = |why: &str| Err(Error::new(ErrorKind::Unsafe, format!("unsafe name \"{name}\": {why}")));
    let path = SafePath::parse(name.as_bytes())?;
    if path.is_root() {
        return reject("it names no file");
    }
    if name.contains(char::is_control) {
        return reject("control character");
    }
    if name.strip_prefix("./").unwrap_or(name).as_bytes() != path.as_bytes() {
        return reject("not a plain relative path");
    }
    Ok(path)
}

fn used_twice(path: &SafePath) -> Error {
    unsafe_name(path, "it is used twice")
}

fn unsafe_name(path: &SafePath, why: &str) -> Error {
    let name = String::from_utf8_lossy(path.as_bytes());
    Error::new(ErrorKind::Unsafe, format!("unsafe name \"{name}\": {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_plain_names_that_do_not_conflict() {
        let check = |names: &[&str], good: bool| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(
                check_names(&names).map_err(|e| e.kind()).err(),
                (!good).then_some(ErrorKind::Unsafe),
                "{names:?}"
            );
        };
        check(&[], true);
        check(&["a", "b/a", "b/c", "..a", "a.b"], true);
        check(&["./a", "b"], true);
        for bad in
            ["", ".", "./", "..", "../a", "a/../b", "/a", "//a", "a/", "a/.", "a//b", "a\0", "a\nb", "a\u{1b}[2J"]
        {
            check(&[bad], false);
        }
        check(&["a", "a"], false);
        check(&["a", "./a"], false);
        check(&["a/b/c", "a/b"], false);
        check(&["a", "a/b"], false);
        check(&[&"a".repeat(256)], false);
        check(&[&"a/".repeat(2500)], false);
    }
}
