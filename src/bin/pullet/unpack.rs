//! `pullet unpack`: a root filesystem out of an image, pulled first if the store lacks it.

use pullet::{Client, Error, ErrorKind, Image, Sandbox, Store, Tally, UnpackOptions};

use crate::args::{Common, PullWhen, Unpack};
use crate::exit::Failure;
use crate::report::{self, Reporter};
use crate::{pull, sandbox, text};

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

/// The image, and the sandbox entered. Where the store has it, no credentials are looked for: its own documents, which
/// were proven when they came, are read before.
fn image(store: &Store, unpack: &Unpack, reporter: &Reporter) -> Result<Image, Failure> {
    let sandbox = Sandbox::new().target(&unpack.target);
    let is_here = match unpack.when {
        PullWhen::Always => None,
        PullWhen::Missing | PullWhen::Never => Some(here(store, unpack)),
    };
    match is_here {
        Some(Ok(image)) => {
            sandbox::enter(&sandbox, reporter);
            Ok(image)
        }
        Some(Err(error)) if unpack.when == PullWhen::Never || !is_mended_by_a_pull(&error) => Err(error.into()),
        _ => {
            let client = Client::new(pull::options(&unpack.registry)?.unpack_to(&unpack.target))?;
            client.find_credentials(&unpack.name, reporter);
            sandbox::enter(&sandbox.store(store), reporter);
            Ok(client.pull(&unpack.name, store, reporter)?.image)
        }
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
