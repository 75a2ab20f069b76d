//! Fetches OCI artifacts: files that a registry keeps as blobs, each under the name in its title annotation, into one
//! folder. Nothing of them goes into a store.

use std::path::Path;

use super::body::{BlobSource, ResumingBody};
use super::client::Client;
use super::gate::Admitted;
use super::resolved::ResolvedContent;
use super::retry::MismatchRetry;
use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Result};
use crate::images::{Need, check_space};
use crate::oci::artifact::{ArtifactBlob, ArtifactManifest};
use crate::oci::descriptor::Descriptor;
use crate::oci::media_type::{self, Compression};
use crate::oci::reference::Reference;
use crate::progress::{Event, Layer, LayerState, Progress};
use crate::target::Files;

/// An artifact whose files are in place.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Artifact {
    /// The type of the artifact: its `artifactType`, else the media type of its config.
    pub kind: String,
    /// The files, in the order of the manifest.
    pub files: Vec<ArtifactFile>,
    /// Blobs without a title, which were left out.
    pub untitled: Vec<Descriptor>,
}

/// One file of an artifact.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ArtifactFile {
    /// Its name within the folder.
    pub name: String,
    /// Its content.
    pub blob: Descriptor,
}

impl Client {
    /// Fetches the files of an OCI artifact into `target`, which must not exist or be an empty folder. Each file is
    /// verified before it gets its name. The folder appears by one rename, complete, or not at all.
    ///
    /// The name of a file is its title annotation. Blobs without one are left out. A folder that ORAS packed stays an
    /// archive; its name is the title and the suffix of the archive. Fails with [`ErrorKind::Unsupported`] for an image.
    pub fn artifact(&self, name: &Reference, target: &Path, progress: &dyn Progress) -> Result<Artifact> {
        let resolved = self.find_manifest(name, None, progress);
        let fetched = resolved
            .and_then(|resolved| self.admit_resolved(resolved, None))
            .and_then(|admitted| self.fetch_artifact(admitted, target));
        fetched.map_err(|e| e.context(format!("artifact {name}")))
    }

    fn fetch_artifact(&self, admitted: Admitted<'_>, target: &Path) -> Result<Artifact> {
        let mut resolved = admitted.into_resolved();
        let artifact = match &resolved.content {
            ResolvedContent::Artifact(manifest) => describe(manifest),
            ResolvedContent::Image(_) => {
                let error = Error::new(ErrorKind::Unsupported, "it is an image and no artifact");
                return Err(error.with_advice(Advice::FetchAsImage));
            }
        };
        if artifact.files.is_empty() {
            let text = format!("none of its {} blobs has a title, which would be a file name", artifact.untitled.len());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let names: Vec<String> = artifact.files.iter().map(|file| file.name.clone()).collect();
        let mut files = Files::begin(target, &names, &self.options.limits, &self.options.cancel)?;
        let total = artifact.files.len();
        let bytes = artifact.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.blob.size));
        check_space(&[Need { path: target, bytes, files: total as u64 }])?;
        let progress = resolved.progress;
        progress.report(Event::Plan {
            layers: total,
            size: bytes,
            missing: total,
            bytes,
            kept: 0,
            is_resumable: false,
        });
        let cancel = &self.options.cancel;
        for (index, file) in artifact.files.iter().enumerate() {
            cancel.check()?;
            let blob = &file.blob;
            let layer = Layer { index, total, digest: blob.digest, size: blob.size };
            progress.report(Event::Layer { layer, state: LayerState::Waiting });
            let mut report = |count| {
                progress.report(Event::Layer { layer, state: LayerState::Downloading(count) });
            };
            let mut mismatches = MismatchRetry::default();
            loop {
                let source = BlobSource::registry_only(blob);
                let body = ResumingBody::new(self, &mut resolved.repository, source, cancel, progress);
                match files.create(index, blob, body, cancel, &mut report) {
                    Ok(()) => break,
                    Err(error) if mismatches.should_repeat(&error, &mut resolved.repository) => {}
                    Err(error) => {
                        let context = format!("file \"{}\" ({})", file.name, blob.digest.short());
                        return Err(error.context(context));
                    }
                }
            }
            progress.report(Event::Layer { layer, state: LayerState::Complete });
        }
        files.publish()?;
        self.keep_versions(&resolved, None)?;
        Ok(artifact)
    }
}

fn describe(manifest: &ArtifactManifest) -> Artifact {
    let mut files = Vec::new();
    let mut untitled = Vec::new();
    for ArtifactBlob { blob, title, is_packed, .. } in &manifest.blobs {
        let Some(title) = title else {
            untitled.push(blob.clone());
            continue;
        };
        let suffix = if *is_packed { archive_suffix(&blob.media_type) } else { "" };
        files.push(ArtifactFile { name: format!("{title}{suffix}"), blob: blob.clone() });
    }
    Artifact { kind: manifest.kind.clone(), files, untitled }
}

/// ORAS gives a packed folder the title of the folder, but the blob is an archive.
fn archive_suffix(media_type: &str) -> &'static str {
    match media_type::layer(media_type) {
        Some(Compression::None) => ".tar",
        Some(Compression::Zstd) => ".tar.zst",
        Some(Compression::Gzip) | None => ".tar.gz",
    }
}
