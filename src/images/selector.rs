//! How a user names an image of the store: by its name, or by the beginning of its ID, as with Docker.

use std::str::FromStr;

use super::image::Image;
use super::lookup::{has_name, images_of};
#[cfg(feature = "manage")]
use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Result};
use crate::host;
use crate::limits::Limits;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::store::{ImageEntry, Store};

/// A name, or the beginning of an image ID, such as `4e38e38c8ce0` or `sha256:4e38`. A name comes first if the text may be
/// both.
///
/// ```
/// let selector: pullet::Selector = "4e38e38c8ce0".parse()?;
/// assert_eq!(selector.to_string(), "4e38e38c8ce0");
/// # Ok::<(), pullet::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Selector {
    text: String,
    /// At least one of the two is there.
    name: Option<Reference>,
    /// The first hexadecimal digits of the ID.
    id: Option<String>,
}

/// The entries that a selector means.
pub(super) struct Selected {
    pub(super) entries: Vec<ImageEntry>,
    /// Whether the ID selected them, not a name.
    pub(super) is_by_id: bool,
}

impl FromStr for Selector {
    type Err = Error;

    /// Fails with [`ErrorKind::Usage`] if the text is neither a name nor hexadecimal.
    fn from_str(text: &str) -> Result<Self> {
        Self::new(text, text)
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Selector {
    /// A selector for what a user typed. As a name it means `name`, which may have a registry that `text` lacks.
    pub fn new(text: &str, name: &str) -> Result<Self> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let is_id = (1..=64).contains(&digits.len()) && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let id = is_id.then(|| digits.to_owned());
        let name = match name.parse() {
            Ok(name) => Some(name),
            Err(_) if is_id => None,
            Err(error) => return Err(error),
        };
        Ok(Self { text: text.to_owned(), name, id })
    }

    /// The error for a selector that means nothing in a store.
    fn absent(&self, store: &Store) -> Error {
        match (&self.name, &self.id) {
            (Some(name), None) => store.absent(name),
            _ => {
                let text = format!("image {self} is not in the store {}", store.folder().display());
                Error::new(ErrorKind::NotFound, text)
            }
        }
    }

    fn selects(&self, image: &Image) -> bool {
        self.id.as_ref().is_some_and(|id| image.id().hex().starts_with(id))
    }
}

impl Store {
    /// Finds the image that a user means. A name means the image for this machine's platform, as with
    /// [`image`](Self::image). Fails with [`ErrorKind::NotFound`] if no image matches, and with [`ErrorKind::Usage`] if several
    /// IDs begin like this.
    pub fn select(&self, selector: &Selector) -> Result<Image> {
        self.find(selector, &host::platform())
    }

    /// As [`select`](Self::select), for another platform. Fails with [`ErrorKind::Unsupported`] if the image does not run on it.
    #[cfg(feature = "manage")]
    pub fn select_for(&self, selector: &Selector, platform: &Platform) -> Result<Image> {
        let image = self.find(selector, platform)?;
        if platform.rank(image.platform()).is_some() {
            return Ok(image);
        }
        let text = format!("image {selector} in the store: no image for platform {platform}");
        let offered = Advice::ChoosePlatform(vec![image.platform().to_string()]);
        Err(Error::new(ErrorKind::Unsupported, text).with_advice(offered))
    }

    fn find(&self, selector: &Selector, platform: &Platform) -> Result<Image> {
        if let Some(name) = &selector.name {
            match self.image_for(name, platform) {
                Err(error) if error.kind() == ErrorKind::NotFound && selector.id.is_some() => {}
                found => return found,
            }
        }
        let mut images = self.images()?;
        images.retain(|image| selector.selects(image));
        require_one_id(selector, &images)?;
        images.into_iter().next().ok_or_else(|| selector.absent(self))
    }

    /// The entries of the index that a user means: all of the name, or else all with the ID.
    pub(super) fn selected(&self, selector: &Selector) -> Result<Selected> {
        if let Some(name) = &selector.name {
            let mut entries = self.entries()?;
            entries.retain(|entry| has_name(self, entry, name));
            if !entries.is_empty() {
                return Ok(Selected { entries, is_by_id: false });
            }
        }
        let (mut entries, mut images) = (Vec::new(), Vec::new());
        for entry in self.all_entries_where(&|entry| entry.signed().is_none())? {
            let mut found = images_of(self, &entry, &Limits::default());
            found.retain(|image| selector.selects(image));
            if !found.is_empty() {
                entries.push(entry);
                images.extend(found);
            }
        }
        require_one_id(selector, &images)?;
        if entries.is_empty() { Err(selector.absent(self)) } else { Ok(Selected { entries, is_by_id: true }) }
    }
}

fn require_one_id(selector: &Selector, images: &[Image]) -> Result<()> {
    let mut ids = images.iter().map(Image::id);
    let first = ids.next();
    if ids.all(|id| Some(id) == first) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, format!("the IDs of several images begin with {selector}")))
}
