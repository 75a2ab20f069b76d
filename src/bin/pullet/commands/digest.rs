//! `pullet digest`: what a name points to, as a digest.

use crate::args::Digest;
use crate::commands::manifest;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::text;

/// Prints the digest of what the registry has under the name, or has for the platform.
pub(crate) fn run(digest: &Digest, reporter: &Reporter) -> Result<(), Failure> {
    let document = manifest::document(&digest.registry, &digest.name, reporter)?;
    text::print(format!("{}\n", document.digest))
}
