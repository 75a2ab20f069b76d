//! OCI artifacts: files that a registry keeps as blobs, each under the name that its title annotation says, in one
//! folder. Nothing of them goes into a store.

use std::path::Path;

use super::client::Client;
use super::resolve::{Resolved, ResolvedContent};
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
    /// What it calls itself: its `artifactType`, else the media type of its config.
    pub kind: String,
    /// The files, in the manifest's order.
    pub files: Vec<ArtifactFile>,
    /// Blobs that have no title, and were left out.
    pub untitled: Vec<Descriptor>,
}

/// One file of an artifact.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ArtifactFile {
    /// Its name within the folder.
    pub name: String,
    /// What it is.
    pub blob: Descriptor,
}

impl Client {
    /// Fetches the files of an OCI artifact into `target`, which must not exist or be an empty folder. Each is proven
    /// before it has its name; the folder appears by one rename, whole, or not at all.
    ///
    /// A file's name is its title annotation; blobs without one are left out. A folder that ORAS packed stays the archive
    /// that it is, under the title and the archive's suffix. Fails with [`ErrorKind::Unsupported`] for an image.
    pub fn artifact(&self, name: &Reference, target: &Path, progress: &dyn Progress) -> Result<Artifact> {
        let resolved = self.resolve_inner(name, None, progress);
        let fetched = resolved.and_then(|resolved| self.fetch_artifact(resolved, target, progress));
        fetched.map_err(|e| e.context(format!("artifact {name}")))
    }

    fn fetch_artifact(&self, mut resolved: Resolved<'_>, target: &Path, progress: &dyn Progress) -> Result<Artifact> {
        let artifact = match &resolved.content {
            ResolvedContent::Artifact(artifact) => described(artifact),
            ResolvedContent::Image(_) | ResolvedContent::Schema1(_) => return Err(is_image()),
        };
        if artifact.files.is_empty() {
            let text = format!("none of its {} blobs has a title to be a file's name", artifact.untitled.len());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let names: Vec<String> = artifact.files.iter().map(|file| file.name.clone()).collect();
        let mut files = Files::begin(target, &names)?;
        let total = artifact.files.len();
        let bytes = artifact.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.blob.size));
        check_space(&[Need { path: target, bytes, files: total as u64 }])?;
        for (index, ArtifactFile { name, blob }) in artifact.files.iter().enumerate() {
            self.options.cancel.check()?;
            let layer = Layer { index, total, digest: blob.digest, size: blob.size };
            progress.report(Event::Layer { layer, state: LayerState::Waiting });
            let report = &mut |count| progress.report(Event::Layer { layer, state: LayerState::Downloading(count) });
            let placed = self.ask(&mut resolved.repository, progress, |repository| {
                let (body, _) = repository.blob(blob, 0)?;
                files.place(index, (body, blob), &self.options.cancel, report)
            });
            placed.map_err(|e| e.context(format!("file \"{name}\" ({})", blob.digest.short())))?;
            progress.report(Event::Layer { layer, state: LayerState::Complete });
        }
        files.publish()?;
        Ok(artifact)
    }
}

fn described(artifact: &ArtifactManifest) -> Artifact {
    let (mut files, mut untitled) = (Vec::new(), Vec::new());
    for ArtifactBlob { blob, title, is_packed } in &artifact.blobs {
        match title {
            None => untitled.push(blob.clone()),
            Some(title) => {
                let suffix = if *is_packed { archive_suffix(&blob.media_type) } else { "" };
                files.push(ArtifactFile { name: format!("{title}{suffix}"), blob: blob.clone() });
            }
        }
    }
    Artifact { kind: artifact.kind.clone(), files, untitled }
}

/// ORAS gives a packed folder the title of the folder; what lies there is an archive.
fn archive_suffix(media_type: &str) -> &'static str {
    match media_type::layer(media_type) {
        Some(Compression::None) => ".tar",
        Some(Compression::Zstd) => ".tar.zst",
        Some(Compression::Gzip) | None => ".tar.gz",
    }
}

fn is_image() -> Error {
    Error::new(ErrorKind::Unsupported, "it is an image and no artifact").with_advice(Advice::FetchAsImage)
}
