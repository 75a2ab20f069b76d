//! `pullet manifest`: the document that a name points to.

use pullet::{RawDocument, Reference, Sandbox};

use crate::args::{Manifest, Registry};
use crate::commands::pull;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{sandbox, text};

/// Prints the document, indented or byte for byte.
pub(crate) fn run(manifest: &Manifest, reporter: &Reporter) -> Result<(), Failure> {
    let document = document(&manifest.registry, &manifest.name, reporter)?;
    match manifest.is_raw {
        true => text::print(document.bytes),
        false => text::print(document.pretty()?),
    }
}

/// What the name points to, or with `--platform` the manifest for that platform.
pub(crate) fn document(registry: &Registry, name: &Reference, reporter: &Reporter) -> Result<RawDocument, Failure> {
    let client = pull::client(registry)?;
    client.find_credentials(name, reporter);
    sandbox::enter(&Sandbox::new(), reporter);
    match registry.platform {
        None => Ok(client.document(name, reporter)?),
        Some(_) => Ok(client.resolve(name, None, reporter)?.into()),
    }
}
