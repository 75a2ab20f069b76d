//! `pullet artifact`: the files of an OCI artifact, in a folder.

use pullet::Sandbox;

use crate::args::Artifact;
use crate::commands::pull;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::sandbox;

/// Fetches them, and tells of each blob what became of it.
pub(crate) fn run(artifact: &Artifact, reporter: &Reporter) -> Result<(), Failure> {
    let target = &artifact.target;
    let client = pull::client(&artifact.registry)?;
    client.find_credentials(&artifact.name, reporter);
    sandbox::enter(&Sandbox::new().target(target), reporter);
    let fetched = client.artifact(&artifact.name, target, reporter)?;
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
