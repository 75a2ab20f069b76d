//! `pullet unpack`: a root filesystem out of an image, pulled first if the store lacks it.

use std::num::NonZeroUsize;

use pullet::{Error, ErrorKind, Image, Sandbox, Store, Tally, UnpackOptions};

use crate::args::{Common, PullWhen, Unpack};
use crate::commands::pull;
use crate::exit::Failure;
use crate::report::{self, Reporter};
use crate::{sandbox, text};

/// Unpacks one image.
pub(crate) fn run(common: &Common, unpack: Unpack, reporter: &Reporter) -> Result<(), Failure> {
    let store = report::store(common)?;
    let registry = &unpack.registry;
    let mut options = UnpackOptions::new().devices(unpack.devices).limits(registry.limits.clone());
    options = options.cancel(registry.cancel.clone()).jobs(registry.jobs.unwrap_or(NonZeroUsize::MIN));
    let tally = match stored(&store, &unpack)? {
        Some(image) => {
            sandbox::enter(&Sandbox::new().target(&unpack.target), reporter);
            image.unpack(&unpack.target, &options, reporter)?
        }
        None => fetched(&store, &unpack, &options, reporter)?,
    };
    let Tally { entries, bytes, .. } = tally;
    let (name, target) = (&unpack.name, unpack.target.display());
    reporter.tell(&format!("Unpacked {name} into {target}: {entries} entries, {}", text::bytes(bytes)));
    Ok(())
}

/// The image, if the registry need not be asked for it. Its own documents, which were proven when they came, are read
/// before the sandbox is entered: no credentials are looked for then.
fn stored(store: &Store, unpack: &Unpack) -> Result<Option<Image>, Failure> {
    match unpack.when {
        PullWhen::Always => Ok(None),
        PullWhen::Never => Ok(Some(here(store, unpack)?)),
        PullWhen::Missing => match here(store, unpack) {
            Ok(image) => Ok(Some(image)),
            // Whoever streams may have a place for the tree and for nothing else.
            Err(error) if unpack.is_streamed || is_mended_by_a_pull(&error) => Ok(None),
            Err(error) => Err(error.into()),
        },
    }
}

fn fetched(store: &Store, unpack: &Unpack, options: &UnpackOptions, reporter: &Reporter) -> Result<Tally, Failure> {
    let client = pull::client(&unpack.registry)?;
    client.find_credentials(&unpack.name, reporter);
    let sandbox = Sandbox::new().target(&unpack.target);
    if unpack.is_streamed {
        sandbox::enter(&sandbox, reporter);
        return Ok(client.stream(&unpack.name, &unpack.target, options, reporter)?.tally);
    }
    sandbox::enter(&sandbox.store(store), reporter);
    Ok(client.unpack(&unpack.name, store, &unpack.target, options, reporter)?.1)
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
