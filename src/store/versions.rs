//! The versions of signed images that were accepted: private files next to the images and outside of every tree, each replaced
//! atomically, so that a crash leaves the old version or the new one.

use std::path::PathBuf;

use super::Store;
use super::disk::{create_private_folder, files, remove, replace_private};
use super::lock::{self, LockWait};
use super::owner::check_owner;
use super::stamp::{AcceptedImage, SignedVersion, Stamp, read_stamp};
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::reference::Reference;
use crate::oci::version::Version;
use crate::progress::Progress;

/// The folder with the versions that were accepted, one file for each repository and key.
const VERSIONS: &str = "versions";
/// The ending of a version that was accepted.
const ACCEPTED: &str = "version";
/// The ending of a version that was installed and is not confirmed yet.
const PROPOSED: &str = "proposed";

/// A version belongs to one repository and one key, so that a stolen key that signs a high
/// version blocks no updates once it is no longer among the keys.
impl Store {
    /// Returns the versions that were accepted of a repository and these keys.
    pub(crate) fn accepted_versions(&self, repository: &str, keys: &[&Digest]) -> Result<Vec<Version>> {
        check_owner(&self.root)?;
        let mut versions = Vec::new();
        for key in keys {
            versions.extend(read_stamp(&self.version_path(repository, key))?.map(|stamp| stamp.version));
        }
        Ok(versions)
    }

    /// Keeps the versions of an accepted image. Never replaces a version by an older one.
    pub(crate) fn raise_versions(&self, image: &AcceptedImage<'_>, wait: LockWait<'_>) -> Result<()> {
        self.write_versions(image, wait, &|stamp| self.raise_version(stamp))
    }

    /// Keeps the versions of an image that is installed and has not proven good yet, until [`confirm`](Self::confirm).
    pub(crate) fn propose_versions(&self, image: &AcceptedImage<'_>, wait: LockWait<'_>) -> Result<()> {
        self.write_versions(image, wait, &|stamp| {
            let path = self.version_path(&stamp.repository, &stamp.key);
            replace_private(&path.with_extension(PROPOSED), stamp.text().as_bytes())
        })
    }

    fn write_versions(
        &self,
        image: &AcceptedImage<'_>,
        wait: LockWait<'_>,
        write: &dyn Fn(&Stamp) -> Result<()>,
    ) -> Result<()> {
        let AcceptedImage { repository, digest, versions } = image;
        if versions.is_empty() {
            return Ok(());
        }
        check_owner(&self.root)?;
        create_private_folder(&self.root.join(VERSIONS))?;
        let _held = lock::index(&self.root, wait)?;
        for SignedVersion { key, version } in versions {
            let (repository, version) = (repository.clone(), version.clone());
            write(&Stamp { version, repository, key: *key, digest: **digest })?;
        }
        Ok(())
    }

    /// Confirms that an image that was installed is good: from now on, older ones of its repository are refused. Returns the
    /// versions. A digest in the name must be the one to which the name resolved. May be repeated. Fails with
    /// [`ErrorKind::NotFound`] if no version of the image is known.
    pub fn confirm(&self, name: &Reference, cancel: &Cancel, progress: &dyn Progress) -> Result<Vec<Version>> {
        self.confirm_versions(name, LockWait { cancel, progress }).map_err(|e| e.context(format!("confirm {name}")))
    }

    fn confirm_versions(&self, name: &Reference, wait: LockWait<'_>) -> Result<Vec<Version>> {
        check_owner(&self.root)?;
        let folder = self.root.join(VERSIONS);
        let (mut proposed, mut confirmed) = (Vec::new(), Vec::new());
        let held = if folder.is_dir() { Some(lock::index(&self.root, wait)?) } else { None };
        for path in files(&folder)? {
            let is_proposed = path.extension().is_some_and(|ending| ending == PROPOSED);
            // Other files are temporary ones of processes that died.
            if !is_proposed && path.extension().is_none_or(|ending| ending != ACCEPTED) {
                continue;
            }
            let Some(stamp) = read_stamp(&path)? else { continue };
            let is_meant = name.digest().is_none_or(|digest| stamp.digest == *digest);
            if stamp.repository != name.repository() || !is_meant {
                continue;
            }
            if is_proposed {
                proposed.push((path, stamp));
            } else {
                confirmed.push(stamp.version);
            }
        }
        for (path, stamp) in &proposed {
            self.raise_version(stamp)?;
            // After the stamp is on the disk, so that a crash between the two repeats the confirmation.
            remove(path)?;
        }
        drop(held);
        if !proposed.is_empty() {
            confirmed = proposed.into_iter().map(|(_, stamp)| stamp.version).collect();
        }
        if confirmed.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "no version of this image is known"));
        }
        Ok(confirmed)
    }

    fn raise_version(&self, stamp: &Stamp) -> Result<()> {
        let path = self.version_path(&stamp.repository, &stamp.key);
        // A version that cannot be compared was allowed by a person, and begins a new order.
        let is_newer = |kept: Stamp| stamp.version.compare(&kept.version).is_none_or(|order| order.is_gt());
        if read_stamp(&path)?.is_none_or(is_newer) {
            replace_private(&path, stamp.text().as_bytes())?;
        }
        Ok(())
    }

    fn version_path(&self, repository: &str, key: &Digest) -> PathBuf {
        let name = Digest::sha256(format!("{repository}\n{key}").as_bytes());
        self.root.join(VERSIONS).join(name.hex()).with_extension(ACCEPTED)
    }
}
