//! `pullet artifact`: the files of an OCI artifact, in a folder.

use crate::args::Artifact;
use crate::exit::Failure;
use crate::pull;
use crate::report::Reporter;

/// Fetches them, and tells of each blob what became of it.
pub(crate) fn run(artifact: &Artifact, reporter: &Reporter) -> Result<(), Failure> {
    let target = &artifact.target;
    let fetched = pull::client(&artifact.registry)?.artifact(&artifact.name, target, reporter)?;
    for file in &fetched.files {
        reporter.tell(&format!("{}: {}", file.blob.digest.short(), file.name));
    }
    for blob in &fetched.untitled {
        reporter.tell(&format!("{}: left out: it has no title ({})", blob.digest, blob.media_type));
    }
    let count = fetched.files.len();
    reporter.tell(&format!("Placed {count} files of {} ({}) in {}", artifact.name, fetched.kind, target.display()));
    Ok(())
}
