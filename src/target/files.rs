//! Files out of blobs, without any archive: each is proven before it has its name, and all appear together with their
//! folder by one rename. Names are judged before the first byte is asked for.

use std::collections::HashSet;
use std::fs::Permissions;
use std::io::{Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::staging::Staging;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::SafePath;
use crate::oci::descriptor::Descriptor;
use crate::unpack::{Root, failed};
use crate::verify::{Size, Verified, filled};

const BUFFER: usize = 64 << 10;

/// A folder of files that grows beside its target.
pub(crate) struct Files {
    root: Root,
    staging: Staging,
    names: Vec<SafePath>,
}

impl Files {
    /// Begins the files `names` of `target`, which must not exist or be an empty folder. Fails with
    /// [`ErrorKind::Unsafe`] if a name leads out of it or is in the way of another.
    pub(crate) fn begin(target: &Path, names: &[String]) -> Result<Self> {
        let names = checked(names)?;
        let staging = Staging::begin(target)?;
        let root = Root::new(staging.open_tree()?);
        Ok(Self { root, staging, names })
    }

    /// Fills the file of the `index`-th name with `body`, proves it and gives it the name. `report` hears the bytes.
    pub(crate) fn place(
        &mut self,
        index: usize,
        (body, blob): (impl Read, &Descriptor),
        cancel: &Cancel,
        report: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let absent = || Error::new(ErrorKind::Internal, "place file: it has no name");
        let path = self.names.get(index).ok_or_else(absent)?;
        let shown = |e| failed("write", path.as_bytes(), e);
        let mut file = self.staging.create_partial()?;
        let mut body = Verified::new(body, blob.digest, Size::Exactly(blob.size), cancel.clone());
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = body.read(&mut buffer).map_err(|e| Error::through_read(e, |e| Error::disk("read", "blob", e)))?;
            if n == 0 {
                break;
            }
            file.write_all(filled(&buffer, n)?).map_err(shown)?;
            report(body.count());
        }
        body.finish()?;
        file.set_permissions(Permissions::from_mode(0o644)).and_then(|()| file.sync_all()).map_err(shown)?;
        let folder = self.root.enter(path.parent())?;
        // A filesystem may take two names for one.
        match folder.stat(path.name()).map_err(shown)? {
            None => self.staging.move_partial(folder, path.name()).map_err(shown),
            Some(_) => Err(twice(path)),
        }
    }

    /// Gives the files their place, all at once.
    pub(crate) fn publish(mut self) -> Result<()> {
        self.root.forget();
        let tree = self.staging.open_tree()?;
        rustix::fs::fchmod(&tree, rustix::fs::Mode::from_raw_mode(0o755))
            .map_err(|e| Error::disk("set mode of", "the folder", e))?;
        self.staging.publish()
    }
}

fn checked(names: &[String]) -> Result<Vec<SafePath>> {
    let paths: Vec<SafePath> = names.iter().map(|name| parse(name)).collect::<Result<_>>()?;
    let mut known = HashSet::new();
    for path in &paths {
        if !known.insert(path.as_bytes()) {
            return Err(twice(path));
        }
    }
    for path in &paths {
        let bytes = path.as_bytes();
        let mut folders = bytes.iter().enumerate().filter(|(_, b)| **b == b'/').filter_map(|(at, _)| bytes.get(..at));
        if let Some(folder) = folders.find(|folder| known.contains(folder)) {
            let text = format!("unsafe name \"{}\": \"{}\" is a file", shown(bytes), shown(folder));
            return Err(Error::new(ErrorKind::Unsafe, text));
        }
    }
    Ok(paths)
}

/// A plain relative path. What archives may write and titles need not, a leading slash above all, is refused.
fn parse(name: &str) -> Result<SafePath> {
    let refuse = |why: &str| Err(Error::new(ErrorKind::Unsafe, format!("unsafe name \"{name}\": {why}")));
    let path = SafePath::parse(name.as_bytes())?;
    match name {
        _ if path.is_root() => refuse("it names no file"),
        odd if odd.contains(char::is_control) => refuse("it has control characters"),
        plain if plain.strip_prefix("./").unwrap_or(plain).as_bytes() == path.as_bytes() => Ok(path),
        _ => refuse("it is no plain relative path"),
    }
}

fn twice(path: &SafePath) -> Error {
    Error::new(ErrorKind::Unsafe, format!("unsafe name \"{}\": it is there twice", shown(path.as_bytes())))
}

fn shown(path: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_out_of_each_others_way() {
        let check = |names: &[&str], good: bool| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(checked(&names).map_err(|e| e.kind()).err(), (!good).then_some(ErrorKind::Unsafe), "{names:?}");
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
