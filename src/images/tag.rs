//! Gives images of the store another name.

use super::selector::{Selected, Selector};
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::reference::Reference;
use crate::progress::Progress;
use crate::store::{LockWait, Store};

impl Store {
    /// Gives an image another name, which must have no digest. An image that had the name loses it. A name means its images
    /// for all platforms. Fails with [`ErrorKind::NotFound`] if the store lacks the image.
    ///
    /// ```no_run
    /// use pullet::{Cancel, Silent, Store};
    ///
    /// let store = Store::open("/var/lib/pullet");
    /// store.tag(&"app:2".parse()?, &"app:current".parse()?, &Cancel::default(), &Silent)?;
    /// # Ok::<(), pullet::Error>(())
    /// ```
    pub fn tag(&self, source: &Selector, name: &Reference, cancel: &Cancel, progress: &dyn Progress) -> Result<()> {
        let context = |e: Error| e.context(format!("tag {source}"));
        if name.digest().is_some() {
            let text = format!("{} has a digest, which the image decides", name.familiar());
            return Err(context(Error::new(ErrorKind::Usage, text)));
        }
        self.select(source).map_err(context)?;
        let wait = LockWait { cancel, progress };
        // Otherwise the blobs could be removed before the new name is in the index.
        let _guard = self.create(wait).map_err(context)?;
        let image = self.select(source).map_err(context)?;
        let Selected { mut entries, is_by_id } = self.selected(source).map_err(context)?;
        if is_by_id {
            // All have the same image. In an index it may be one of several.
            entries.truncate(1);
            for entry in entries.iter_mut().filter(|entry| entry.manifest.digest != image.descriptor().digest) {
                entry.manifest = image.descriptor().clone();
                entry.platform = image.platform().clone();
            }
        }
        for entry in &mut entries {
            entry.names = vec![name.to_string()];
        }
        self.name_all(&entries, wait).map_err(context)
    }
}
