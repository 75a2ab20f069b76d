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
}

/// The manifest that [`Index::choose`] chose.
#[derive(Debug)]
pub(crate) struct ChosenManifest {
    pub(crate) descriptor: Descriptor,
    /// False if the index names no platform for it. Then the caller must check the platform in the image config.
    pub(crate) has_platform: bool,
}

impl Index {
    /// Checks the descriptors of manifests and nested indexes. Skips entries of other media types, such as attached
    /// artifacts, because they are never chosen.
    pub(super) fn parse(entries: Vec<RawDescriptor>) -> Result<Self> {
        let candidates = entries.into_iter().filter(|raw| media_type::document(&raw.media_type).is_some());
        Ok(Self { entries: candidates.map(IndexEntry::parse).collect::<Result<_>>()? })
    }

    /// Chooses the entry that runs best on `platform`, the first of equal ones. An entry without a platform is the last
    /// resort.
    pub(crate) fn choose(&self, platform: &Platform) -> Result<ChosenManifest> {
        let mut best: Option<(usize, &IndexEntry)> = None;
        for entry in &self.entries {
            let rank = match &entry.platform {
                Some(other) => platform.rank(other),
                None => Some(usize::MAX),
            };
            if let Some(rank) = rank
                && best.is_none_or(|(least, _)| rank < least)
            {
                best = Some((rank, entry));
            }
        }
        let (_, entry) = best.ok_or_else(|| self.no_match(platform))?;
        Ok(ChosenManifest { descriptor: entry.descriptor.clone(), has_platform: entry.platform.is_some() })
    }

    /// The descriptors of all manifests and nested indexes.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        self.entries.iter().map(|entry| &entry.descriptor)
    }

    /// The digests of all manifests and nested indexes.
    pub(crate) fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.descriptors().map(|descriptor| &descriptor.digest)
    }

    fn no_match(&self, platform: &Platform) -> Error {
        let mut offered: Vec<String> = Vec::new();
        for platform in self.entries.iter().filter_map(|entry| entry.platform.as_ref()).map(Platform::to_string) {
            if !platform.starts_with("unknown/") && !offered.contains(&platform) {
                offered.push(platform);
            }
        }
        let error = Error::new(ErrorKind::Unsupported, format!("no image for platform {platform}"));
        if offered.is_empty() { error } else { error.with_advice(Advice::ChoosePlatform(offered)) }
    }
}

impl IndexEntry {
    fn parse(raw: RawDescriptor) -> Result<Self> {
        // An entry without an operating system is for the client's, which is Linux here.
        let platform = raw.platform.as_ref().map(|platform| {
            let os = if platform.os.is_empty() { "linux" } else { &platform.os };
            Platform::new(os, &platform.architecture, &platform.variant)
        });
        Ok(Self { descriptor: raw.check("index entry")?, platform })
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
            let chosen =
                platform.parse().and_then(|platform| index.choose(&platform).map(|chosen| chosen.descriptor.size));
            assert_eq!(chosen.ok(), Some(size), "{platform}");
        }
        let none = "linux/amd64".parse().and_then(|platform| index.choose(&platform));
        let offered = ["linux/arm/v6", "linux/arm/v7", "linux/arm64"].map(str::to_owned).to_vec();
        assert_eq!(none.err().and_then(|e| e.advice().cloned()), Some(Advice::ChoosePlatform(offered)));
    }
}
