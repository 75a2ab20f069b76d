//! Artifact manifests: manifests whose config is not an image config (image-spec, manifest.md, "Guidelines for Artifact
//! Usage"). Parses them; does not judge the titles.

use std::collections::BTreeMap;

use serde_json::Value;

use super::descriptor::{Descriptor, RawAnnotations, RawDescriptor, check_total_size, malformed, unsupported};
use crate::advice::Advice;
#[cfg(feature = "device")]
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::limits::Limits;

/// A checked artifact manifest.
#[derive(Clone, Debug)]
pub(crate) struct ArtifactManifest {
    /// Its `artifactType`, else the media type of its config. Untrusted text.
    pub(crate) kind: String,
    pub(crate) blobs: Vec<ArtifactBlob>,
    #[cfg_attr(not(feature = "trust"), expect(dead_code, reason = "only the check of a version reads them"))]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// One blob of an artifact.
#[derive(Clone, Debug)]
pub(crate) struct ArtifactBlob {
    pub(crate) blob: Descriptor,
    /// The name that its file should have. Untrusted text.
    pub(crate) title: Option<String>,
    /// True if the blob is an archive of a folder, made by ORAS.
    pub(crate) is_packed: bool,
    /// What the annotations say about the unpacked content.
    #[cfg(feature = "device")]
    pub(crate) unpacked: UnpackedFacts,
}

/// Claims about the unpacked content of a blob.
#[cfg(feature = "device")]
#[derive(Clone, Debug, Default)]
pub(crate) struct UnpackedFacts {
    pub(crate) digest: Option<Digest>,
    /// In bytes.
    pub(crate) size: Option<u64>,
}

impl ArtifactManifest {
    /// Checks the descriptors of an artifact manifest.
    pub(super) fn parse(
        artifact_type: Option<String>,
        config: RawDescriptor,
        blobs: Vec<RawDescriptor>,
        annotations: BTreeMap<String, String>,
        limits: &Limits,
    ) -> Result<Self> {
        let kind = artifact_type.unwrap_or_else(|| config.media_type.clone());
        config.check("config")?;
        let blobs: Vec<ArtifactBlob> = blobs.into_iter().map(ArtifactBlob::parse).collect::<Result<_>>()?;
        check_total_size(blobs.iter().map(|one| &one.blob), limits)?;
        Ok(Self { kind, blobs, annotations })
    }

    /// The total size of its blobs in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.blobs.iter().fold(0, |sum, one| sum.saturating_add(one.blob.size))
    }

    /// The error for a caller that wants an image of this name.
    pub(crate) fn not_an_image(&self, name: &str) -> Error {
        let error = unsupported(&format!("an artifact of type \"{}\", which is not an image,", self.kind));
        error.with_advice(Advice::FetchAsArtifact(name.to_owned()))
    }
}

impl ArtifactBlob {
    /// Ignores `urls`: only the registry is asked, because the author of a manifest must not choose which servers receive
    /// requests (CVE-2020-15157).
    fn parse(mut raw: RawDescriptor) -> Result<Self> {
        let annotations = raw.annotations.take().unwrap_or_default();
        #[cfg(feature = "device")]
        let unpacked = UnpackedFacts::parse(&annotations)?;
        let RawAnnotations { title, unpack, .. } = annotations;
        let title = match title {
            None => None,
            Some(Value::String(title)) => Some(title),
            Some(_) => return Err(malformed("a title is not a string")),
        };
        let is_packed = unpack == Some(Value::String("true".to_owned()));
        Ok(Self {
            blob: raw.check("blob")?,
            title,
            is_packed,
            #[cfg(feature = "device")]
            unpacked,
        })
    }
}

#[cfg(feature = "device")]
impl UnpackedFacts {
    /// An annotation that says nothing that can be checked is an error, because it would be taken for a proof.
    fn parse(annotations: &RawAnnotations) -> Result<Self> {
        let digest = match &annotations.unpacked_digest {
            None => None,
            Some(Value::String(text)) => Some(text.parse().map_err(malformed)?),
            Some(_) => return Err(malformed("a digest of unpacked content is not a string")),
        };
        let size = match &annotations.unpacked_size {
            None => None,
            Some(Value::String(text)) => {
                Some(text.parse().map_err(|_| malformed("a size of unpacked content is no number"))?)
            }
            Some(_) => return Err(malformed("a size of unpacked content is not a string")),
        };
        Ok(Self { digest, size })
    }
}
