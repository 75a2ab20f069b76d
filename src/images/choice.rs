//! Chooses the manifest for a platform from an index, through nested indexes. An index may leave the platform of an entry
//! out, and may list artifacts next to images; then only the documents themselves show which entry fits.

use crate::error::{ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::artifact::ArtifactManifest;
use crate::oci::config::ImageConfig;
use crate::oci::descriptor::Descriptor;
use crate::oci::document::Document;
use crate::oci::index::{Candidate, Index, no_image};
use crate::oci::manifest::Manifest;
use crate::oci::platform::Platform;

/// The most documents that are read for one choice. An index with more entries without a platform is refused, because each
/// entry would cost two requests.
const DOCUMENTS: usize = 64;

/// Where documents come from: a registry or a store. What it returns is verified.
pub(crate) trait DocumentSource {
    /// Gets a manifest or an index.
    fn document(&mut self, descriptor: &Descriptor) -> Result<SourceDocument>;

    /// Gets the config of an image.
    fn config(&mut self, manifest: &Manifest) -> Result<ImageConfig>;
}

/// A manifest or an index, not parsed.
pub(crate) struct SourceDocument {
    pub(crate) bytes: Vec<u8>,
    /// The `Content-Type` of the response; empty if the document came from a store.
    pub(crate) content_type: String,
}

/// A small blob for the store.
#[derive(Clone, Debug)]
pub(crate) struct StoredDocument {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
}

/// The document for a platform.
pub(crate) struct Chosen {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
    pub(crate) content: ChosenContent,
    /// The nested indexes that led to it, the outermost first.
    pub(crate) indexes: Vec<StoredDocument>,
    /// Whether an index or a config says that it fits the platform. Otherwise the caller must check the config.
    pub(crate) is_chosen: bool,
}

/// What was chosen.
pub(crate) enum ChosenContent {
    Image(Manifest),
    Artifact(ArtifactManifest),
}

/// Chooses the image in `index` that runs best on `platform`. An artifact is only chosen if there is no image. Fails with
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if nothing fits.
pub(crate) fn choose(
    index: &Index,
    platform: &Platform,
    limits: &Limits,
    source: &mut dyn DocumentSource,
) -> Result<Chosen> {
    let mut search = Search { platform, limits, source, read: 0 };
    match search.search(index, 1, false)? {
        Found::Image { chosen, .. } | Found::Artifact(chosen) => Ok(chosen),
        Found::Nothing { offered } => Err(no_image(platform, offered)),
    }
}

struct Search<'a> {
    platform: &'a Platform,
    limits: &'a Limits,
    source: &'a mut dyn DocumentSource,
    /// The number of documents that were read.
    read: usize,
}

/// What an index or an entry has for the platform.
enum Found {
    /// The smallest `rank` is the best.
    Image {
        rank: usize,
        chosen: Chosen,
    },
    Artifact(Chosen),
    Nothing {
        /// The platforms that there are.
        offered: Vec<String>,
    },
}

impl Search<'_> {
    /// `depth` is the number of indexes up to this one. With `must_fit`, an image counts only if an index or its config says
    /// that it fits, because there are others to choose from.
    fn search(&mut self, index: &Index, depth: usize, must_fit: bool) -> Result<Found> {
        if depth > self.limits.index_depth {
            return Err(Limits::exceeded("nested indexes", self.limits.index_depth));
        }
        let candidates = index.candidates(self.platform);
        let must_fit = must_fit || candidates.len() > 1;
        let mut offered = index.offered();
        let (mut best, mut artifact, mut missing) = (None, None, None);
        for candidate in candidates {
            match self.examine(&candidate, depth, must_fit) {
                Ok(Found::Image { rank, chosen }) => {
                    if rank == 0 || candidate.has_platform {
                        return Ok(Found::Image { rank, chosen });
                    }
                    if best.as_ref().is_none_or(|(least, _)| rank < *least) {
                        best = Some((rank, chosen));
                    }
                }
                Ok(Found::Artifact(chosen)) => artifact = artifact.or(Some((candidate.has_platform, chosen))),
                Ok(Found::Nothing { offered: others }) => {
                    let new = others.into_iter().filter(|platform| !offered.contains(platform));
                    offered.extend(new.collect::<Vec<_>>());
                }
                // A partial copy of an index may have the entry that fits.
                Err(e) if !candidate.has_platform && e.kind() == ErrorKind::NotFound => missing = missing.or(Some(e)),
                Err(e) => return Err(e),
            }
        }
        if let Some((rank, chosen)) = best {
            return Ok(Found::Image { rank, chosen });
        }
        if let Some((has_platform, chosen)) = artifact
            && (has_platform || offered.is_empty())
        {
            return Ok(Found::Artifact(chosen));
        }
        match missing {
            Some(error) => Err(error),
            None => Ok(Found::Nothing { offered }),
        }
    }

    fn examine(&mut self, candidate: &Candidate, depth: usize, must_fit: bool) -> Result<Found> {
        self.read += 1;
        if self.read > DOCUMENTS {
            return Err(Limits::exceeded("documents to choose a platform from", DOCUMENTS));
        }
        let SourceDocument { bytes, content_type } = self.source.document(&candidate.descriptor)?;
        let expected = Some(candidate.descriptor.media_type.as_str());
        let (document, media_type) = Document::parse(&bytes, &content_type, expected, self.limits)?;
        let descriptor = Descriptor { media_type, ..candidate.descriptor.clone() };
        let (mut rank, mut is_chosen) = (candidate.rank, candidate.has_platform);
        let manifest = match document {
            Document::Manifest(manifest) => manifest,
            Document::Artifact(artifact) => {
                let content = ChosenContent::Artifact(artifact);
                return Ok(Found::Artifact(Chosen { descriptor, bytes, content, indexes: Vec::new(), is_chosen }));
            }
            Document::Index(nested) => {
                let mut found = self.search(&nested, depth + 1, must_fit && !candidate.has_platform)?;
                if let Found::Image { chosen, .. } | Found::Artifact(chosen) = &mut found {
                    chosen.indexes.insert(0, StoredDocument { descriptor, bytes });
                }
                return Ok(found);
            }
        };
        if must_fit && !candidate.has_platform {
            let platform = self.source.config(&manifest)?.platform;
            // A config without an operating system does not say that it does not fit.
            let fit = if platform.os().is_empty() { Some(usize::MAX) } else { self.platform.rank(&platform) };
            let Some(fit) = fit else { return Ok(Found::Nothing { offered: vec![platform.to_string()] }) };
            (rank, is_chosen) = (fit, true);
        }
        let content = ChosenContent::Image(manifest);
        let chosen = Chosen { descriptor, bytes, content, indexes: Vec::new(), is_chosen };
        Ok(Found::Image { rank, chosen })
    }
}
