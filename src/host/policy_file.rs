//! The places of policies: pullet's own, then those of podman and skopeo, in the order of containers-policy.json(5). The first
//! file that exists counts alone.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::private_file;
use crate::error::{Error, ErrorKind, Result};

/// A file, and its content.
#[derive(Debug)]
pub(crate) struct PolicyFile {
    pub(crate) path: PathBuf,
    pub(crate) text: Vec<u8>,
}

/// Reads the policy of this machine, or the one that the caller names. `None` if neither exists.
pub(crate) fn find_policy(given: Option<&Path>) -> Result<Option<PolicyFile>> {
    match given {
        Some(path) => read_named(path).map(Some),
        None => find_in(Environment::of_process()),
    }
}

/// Reads a policy, or a file that a policy names.
pub(crate) fn read_named(path: &Path) -> Result<PolicyFile> {
    match private_file::read(path)? {
        Some(text) => Ok(PolicyFile { path: path.to_owned(), text }),
        None => Err(Error::new(ErrorKind::Usage, format!("read {}: the file does not exist", path.display()))),
    }
}

fn find_in(environment: Environment<'_>) -> Result<Option<PolicyFile>> {
    let own = environment.in_root("etc/pullet/policy.json");
    if let Some(text) = private_file::read(&own)? {
        return Ok(Some(PolicyFile { path: own, text }));
    }
    if let Some(path) = environment.path("CONTAINERS_POLICY_JSON") {
        return read_named(&path).map(Some);
    }
    let user = environment.config_folder().map(|folder| folder.join("containers/policy.json"));
    let system = ["etc/containers/policy.json", "usr/share/containers/policy.json"];
    for path in user.into_iter().chain(system.map(|path| environment.in_root(path))) {
        if let Some(text) = private_file::read(&path)? {
            return Ok(Some(PolicyFile { path, text }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::test_root::TestRoot;
    use super::*;

    #[test]
    fn the_first_policy_that_exists_counts() {
        let places = [
            "etc/pullet/policy.json",
            "variable.json",
            "home/.config/containers/policy.json",
            "etc/containers/policy.json",
            "usr/share/containers/policy.json",
        ];
        for first in 0..places.len() {
            let files: Vec<_> = places[first..].iter().map(|path| (*path, *path)).collect();
            let mut root = TestRoot::new("policy", &files).with("HOME", "home");
            if first <= 1 {
                root = root.with("CONTAINERS_POLICY_JSON", "variable.json");
            }
            let found = root.enter(find_in).unwrap().unwrap();
            assert_eq!(found.text, places[first].as_bytes());
            assert_eq!(root.without_root(&found.path.display().to_string()), format!("/{}", places[first]));
        }
        assert!(TestRoot::new("policy-none", &[]).with("HOME", "home").enter(find_in).unwrap().is_none());
    }

    #[test]
    fn a_policy_that_is_named_must_exist() {
        let root = TestRoot::new("policy-missing", &[("etc/containers/policy.json", "")]);
        let root = root.with("CONTAINERS_POLICY_JSON", "missing");
        assert!(root.enter(find_in).is_err_and(|e| e.kind() == ErrorKind::Usage));
        assert!(find_policy(Some(&root.root.join("missing"))).is_err_and(|e| e.kind() == ErrorKind::Usage));
        let folder = root.root.join("etc/containers");
        assert!(find_policy(Some(&folder)).is_err_and(|e| e.kind() == ErrorKind::Disk));
    }
}
