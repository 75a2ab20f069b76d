//! `pullet unpack`: a root filesystem out of an image, pulled first if the store lacks it.

use pullet::{Client, Error, ErrorKind, Image, Store, Tally, UnpackOptions};

use crate::args::{Common, PullWhen, Unpack};
use crate::exit::Failure;
use crate::report::{self, Reporter};
use crate::{pull, text};

/// Unpacks one image.
pub(crate) fn run(common: &Common, unpack: Unpack, reporter: &Reporter) -> Result<(), Failure> {
    let store = report::store(common)?;
    let image = image(&store, &unpack, reporter)?;
    let options = UnpackOptions::new().devices(unpack.devices).cancel(unpack.registry.cancel.clone());
    let options = options.limits(unpack.registry.limits.clone());
    let tally = image.unpack(&unpack.target, &options, reporter)?;
    let Tally { entries, bytes, .. } = tally;
    let target = unpack.target.display();
    reporter.tell(&format!("Unpacked {} into {target}: {entries} entries, {}", image.name(), text::bytes(bytes)));
    Ok(())
}

fn image(store: &Store, unpack: &Unpack, reporter: &Reporter) -> Result<Image, Failure> {
    let pulled = || {
        let client = Client::new(pull::options(&unpack.registry)?.unpack_to(&unpack.target))?;
        Ok(client.pull(&unpack.name, store, reporter)?.image)
    };
    match unpack.when {
        PullWhen::Always => pulled(),
        PullWhen::Never => Ok(here(store, unpack)?),
        PullWhen::Missing => match here(store, unpack) {
            Ok(image) => Ok(image),
            Err(error) if is_mended_by_a_pull(&error) => pulled(),
            Err(error) => Err(error.into()),
        },
    }
}

/// The store's image of this name, whole and for the platform that was asked for.
fn here(store: &Store, unpack: &Unpack) -> Result<Image, Error> {
    let image = store.image(&unpack.name)?;
    let suits = unpack.registry.platform.as_ref().is_none_or(|platform| image.runs_on(platform));
    match suits && image.is_complete()? {
        true => Ok(image),
        false => Err(store.absent(&unpack.name)),
    }
}

fn is_mended_by_a_pull(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Mismatch)
}
