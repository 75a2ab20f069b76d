//! Image indexes: one manifest for each platform. Chooses the manifest that runs best.

use super::descriptor::{Descriptor, RawDescriptor};
use super::media_type;
use super::platform::Platform;
use crate::advice::Advice;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// A checked image index (image-spec, image-index.md) or Docker manifest list.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    entries: Vec<IndexEntry>,
}

#[derive(Clone, Debug)]
struct IndexEntry {
    descriptor: Descriptor,
    platform: Option<Platform>,
    /// The version of the operating system that the image needs, as in Windows images.
    os_version: String,
    /// The index says that the entry is an artifact.
    is_artifact: bool,
    /// The image needs a feature that no machine of pullet has.
    is_unusable: bool,
}

/// An entry of an index that may be the one for a platform.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) descriptor: Descriptor,
    /// False if the index names no platform for it. Then only the image config shows whether it fits.
    pub(crate) has_platform: bool,
    /// How well the platform that the index names fits. 0 is the best.
    pub(crate) rank: usize,
}

/// Values of `os.features` that do not change how an image is unpacked. Images of Windows Server have this one.
const HARMLESS_FEATURES: [&str; 1] = ["win32k"];

impl Index {
    /// Checks the descriptors of manifests and nested indexes. Skips entries of other media types, such as attached
    /// artifacts, because they are never chosen.
    pub(super) fn parse(entries: Vec<RawDescriptor>) -> Result<Self> {
        let candidates = entries.into_iter().filter(|raw| media_type::document(&raw.media_type).is_some());
        Ok(Self { entries: candidates.map(IndexEntry::parse).collect::<Result<_>>()? })
    }

    /// The entries that may run on `platform`, best first. Entries without a platform come last. Of equal entries, one
    /// without an `os.version` comes first, because no version is compared with the machine's; then the order of the index
    /// counts. Skips entries with an unknown `os.features`, and artifacts unless the index has nothing else.
    pub(crate) fn candidates(&self, platform: &Platform) -> Vec<Candidate> {
        let has_images = self.entries.iter().any(|entry| !entry.is_artifact);
        let mut ranked = Vec::new();
        for entry in &self.entries {
            if entry.is_unusable || (entry.is_artifact && has_images) {
                continue;
            }
            let rank = match &entry.platform {
                Some(other) => platform.rank(other),
                None => Some(usize::MAX),
            };
            if let Some(rank) = rank {
                ranked.push((rank, !entry.os_version.is_empty(), entry));
            }
        }
        ranked.sort_by_key(|(rank, has_version, _)| (*rank, *has_version));
        let mut candidates = Vec::new();
        for (rank, _, entry) in ranked {
            let (descriptor, has_platform) = (entry.descriptor.clone(), entry.platform.is_some());
            candidates.push(Candidate { descriptor, has_platform, rank });
        }
        candidates
    }

    /// The descriptors of all manifests and nested indexes.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        self.entries.iter().map(|entry| &entry.descriptor)
    }

    /// The digests of all manifests and nested indexes.
    pub(crate) fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.descriptors().map(|descriptor| &descriptor.digest)
    }

    /// The platforms that the index names, without those of attestations.
    pub(crate) fn offered(&self) -> Vec<String> {
        let mut offered: Vec<String> = Vec::new();
        for entry in self.entries.iter().filter(|entry| !entry.is_unusable && !entry.is_artifact) {
            let Some(platform) = entry.platform.as_ref().map(Platform::to_string) else { continue };
            if !platform.starts_with("unknown/") && !offered.contains(&platform) {
                offered.push(platform);
            }
        }
        offered
    }
}

/// The error for an index without an image for `platform`, which has images for the `offered` ones.
pub(crate) fn no_image(platform: &Platform, offered: Vec<String>) -> Error {
    let error = Error::new(ErrorKind::Unsupported, format!("no image for platform {platform}"));
    if offered.is_empty() { error } else { error.with_advice(Advice::ChoosePlatform(offered)) }
}

impl IndexEntry {
    fn parse(raw: RawDescriptor) -> Result<Self> {
        // An entry without an operating system is for the client's, which is Linux here.
        let platform = raw.platform.as_ref().map(|platform| {
            let os = if platform.os.is_empty() { "linux" } else { &platform.os };
            Platform::new(os, &platform.architecture, &platform.variant)
        });
        let is_harmless = |feature: &String| HARMLESS_FEATURES.contains(&feature.as_str());
        let is_unusable = raw.platform.as_ref().is_some_and(|platform| !platform.os_features.iter().all(is_harmless));
        let os_version = raw.platform.as_ref().map_or_else(String::new, |platform| platform.os_version.clone());
        let kind = &raw.artifact_type;
        let is_artifact = !kind.is_empty() && !media_type::is_config(kind, &raw.media_type);
        Ok(Self { descriptor: raw.check("index entry")?, platform, os_version, is_artifact, is_unusable })
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::Document;
    use super::media_type::OCI_MANIFEST;
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn chooses_the_best_platform_or_lists_the_offered_ones() {
        const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let entry = |platform: &str, size: usize| {
            format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{D}","size":{size},"platform":{platform}}}"#)
        };
        let entries = [
            entry(r#"{"os":"unknown","architecture":"unknown"}"#, 1),
            entry(r#"{"os":"linux","architecture":"arm","variant":"v6"}"#, 2),
            entry(r#"{"os":"linux","architecture":"arm","variant":"v7"}"#, 3),
            entry(r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#, 4),
        ];
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        let parsed = Document::parse(text.as_bytes(), media_type::OCI_INDEX, None, &Limits::default());
        let Ok((Document::Index(index), _)) = parsed else { panic!("no index") };
        for (platform, size) in [("linux/arm/v7", 3), ("linux/arm/v6", 2), ("linux/arm64", 4), ("linux/arm/v8", 3)] {
            let candidates = index.candidates(&platform.parse().unwrap());
            assert_eq!(candidates.first().map(|best| best.descriptor.size), Some(size), "{platform}");
        }
        assert!(index.candidates(&"linux/amd64".parse().unwrap()).is_empty());
        let offered = ["linux/arm/v6", "linux/arm/v7", "linux/arm64"].map(str::to_owned).to_vec();
        assert_eq!(index.offered(), offered);
    }

    /// The sizes of the candidates for linux/amd64 in an index of entries with these members. The size of an entry is its
    /// number, from 1.
    fn candidates(entries: &[&str]) -> Vec<u64> {
        const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let mut list = Vec::new();
        for (at, members) in entries.iter().enumerate() {
            list.push(format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{D}","size":{}{members}}}"#, at + 1));
        }
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, list.join(","));
        let parsed = Document::parse(text.as_bytes(), media_type::OCI_INDEX, None, &Limits::default());
        let Ok((Document::Index(index), _)) = parsed else { panic!("no index: {text}") };
        let found = index.candidates(&Platform::new("linux", "amd64", ""));
        found.iter().map(|candidate| candidate.descriptor.size).collect()
    }

    #[test]
    fn skips_features_that_pullet_does_not_have() {
        let amd64 = |extra: &str| format!(r#","platform":{{"os":"linux","architecture":"amd64"{extra}}}"#);
        let erofs = amd64(r#","os.features":["erofs"]"#);
        assert_eq!(candidates(&[&erofs, &amd64("")]), [2]);
        assert_eq!(candidates(&[&erofs]), [0; 0]);
        for harmless in [r#","os.features":[]"#, r#","os.features":null"#, r#","os.features":["win32k"]"#] {
            assert_eq!(candidates(&[&amd64(harmless), &amd64("")]), [1, 2], "{harmless}");
        }
        assert_eq!(candidates(&[&amd64(r#","os.version":"6.1""#), &amd64("")]), [2, 1]);
        assert_eq!(candidates(&[&amd64(r#","os.version":"2""#), &amd64(r#","os.version":"1""#)]), [1, 2]);
    }

    #[test]
    fn skips_artifacts_unless_there_is_nothing_else() {
        let amd64 = r#","platform":{"os":"linux","architecture":"amd64"}"#;
        let sbom = r#","artifactType":"application/vnd.example.sbom","platform":{"os":"linux","architecture":"amd64"}"#;
        let arm64 = r#","platform":{"os":"linux","architecture":"arm64"}"#;
        assert_eq!(candidates(&[sbom, amd64, ""]), [2, 3]);
        assert_eq!(candidates(&[sbom, arm64]), [0; 0]);
        assert_eq!(candidates(&[sbom]), [1]);
        // Some tools repeat the media type of the config here.
        let typed = r#","artifactType":"application/vnd.oci.image.config.v1+json""#;
        assert_eq!(candidates(&[typed]), [1]);
    }
}
