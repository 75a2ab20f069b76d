//! Manifests and indexes: parsed strictly, checked whole, and only then handed on. Media types, digests and sizes are
//! looked at here, before any layer byte moves; nothing is fetched.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::json;
use super::media_type::{self, Compression, DocumentKind};
use super::platform::Platform;
use crate::advice::{Advice, Limit};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::progress;

/// A checked pointer to content: media type, digest and size in bytes (image-spec, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Descriptor {
    /// The content's media type, as written.
    pub media_type: String,
    /// The content's digest.
    pub digest: Digest,
    /// The content's bytes.
    pub size: u64,
}

/// A document that a name can point to.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
    Artifact(ArtifactManifest),
}

/// What is no image: a manifest with another config (image-spec, manifest.md, "Guidelines for Artifact Usage").
#[derive(Clone, Debug)]
pub(crate) struct ArtifactManifest {
    /// What it calls itself; foreign text.
    pub(crate) kind: String,
    pub(crate) blobs: Vec<Titled>,
}

/// One blob of an artifact.
#[derive(Clone, Debug)]
pub(crate) struct Titled {
    pub(crate) blob: Descriptor,
    /// The name that its file should have; foreign text.
    pub(crate) title: Option<String>,
    /// The file is a folder that ORAS packed.
    pub(crate) is_packed: bool,
}

/// An image manifest, OCI or Docker schema 2: a config and layers of supported kinds, in order from the base up.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<LayerDescriptor>,
}

/// One layer of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct LayerDescriptor {
    pub(crate) blob: Descriptor,
    pub(crate) compression: Compression,
    /// Where else it may be had, if it is a foreign layer; foreign text.
    pub(crate) urls: Vec<String>,
}

/// An image index, OCI or Docker manifest list.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    entries: Vec<PlatformManifest>,
}

#[derive(Clone, Debug)]
struct PlatformManifest {
    descriptor: Descriptor,
    platform: Option<Platform>,
}

impl Document {
    /// Parses a document. `content_type` is what the server called it, `expected` what the descriptor that led to it
    /// did, and both must agree with what it calls itself (CVE-2021-41190). Gives the media type too.
    pub(crate) fn parse(
        bytes: &[u8],
        content_type: &str,
        expected: Option<&str>,
        limits: &Limits,
    ) -> Result<(Self, String)> {
        let content_type = media_type::essence(content_type);
        if media_type::is_schema_1(&content_type) {
            return Err(unsupported("Docker image manifest schema 1"));
        }
        if !media_type::is_generic(&content_type) && media_type::document(&content_type).is_none() {
            return Err(unsupported(&format!("media type \"{content_type}\" for a manifest")));
        }
        let raw: RawDocument = json::parse(bytes).map_err(malformed)?;
        let media_type = raw.media_type(&content_type, expected)?;
        let document = match media_type::document(&media_type) {
            Some(DocumentKind::Manifest) => raw.manifest(limits)?,
            Some(DocumentKind::Index) => Self::Index(raw.index()?),
            None => return Err(unsupported(&format!("media type \"{media_type}\" for a manifest"))),
        };
        Ok((document, media_type))
    }
}

impl ArtifactManifest {
    /// Bytes of its blobs together.
    pub(crate) fn size(&self) -> u64 {
        self.blobs.iter().fold(0, |sum, titled| sum.saturating_add(titled.blob.size))
    }

    /// The error of who wants an image.
    pub(crate) fn is_no_image(&self, name: &str) -> Error {
        let error = unsupported(&format!("an artifact of type \"{}\", which is no image,", self.kind));
        error.with_advice(Advice::FetchAsArtifact(name.to_owned()))
    }
}

impl Manifest {
    /// Fails if a layer is a foreign one: a manifest's author would choose which servers are asked (CVE-2020-15157).
    pub(crate) fn expect_no_foreign_layer(&self) -> Result<()> {
        match self.layers.iter().all(|layer| layer.urls.is_empty()) {
            true => Ok(()),
            false => Err(foreign().with_advice(Advice::AllowForeignLayers)),
        }
    }

    /// Bytes of config and layers together.
    pub(crate) fn size(&self) -> u64 {
        self.layers.iter().fold(self.config.size, |sum, layer| sum.saturating_add(layer.blob.size))
    }

    /// The layers with their places, from the base up.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (progress::Layer, &LayerDescriptor)> {
        let total = self.layers.len();
        self.layers.iter().enumerate().map(move |(index, layer)| {
            let Descriptor { digest, size, .. } = layer.blob;
            (progress::Layer { index, total, digest, size }, layer)
        })
    }

    /// The same image as an OCI manifest. Readers of an image layout look for OCI's media types only: skopeo and umoci
    /// do not find a Docker manifest there. The blobs stay the ones they are, the image ID too.
    pub(crate) fn to_oci(&self) -> (Descriptor, Vec<u8>) {
        let descriptor = |media_type: &str, blob: &Descriptor| json!({ "mediaType": media_type, "digest": blob.digest.to_string(), "size": blob.size });
        let layer = |layer: &LayerDescriptor| descriptor(media_type::oci_layer(layer.compression), &layer.blob);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": descriptor(media_type::OCI_CONFIG, &self.config),
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
        });
        let bytes = manifest.to_string().into_bytes();
        let media_type = media_type::OCI_MANIFEST.to_owned();
        (Descriptor { media_type, digest: Digest::sha256(&bytes), size: bytes.len() as u64 }, bytes)
    }
}

impl Index {
    /// The entry that runs best on `platform`; the first of equals. One without a platform is the last resort, and
    /// `false` beside it says that its config must tell.
    pub(crate) fn choose(&self, platform: &Platform) -> Result<(Descriptor, bool)> {
        let rank = |entry: &&PlatformManifest| match &entry.platform {
            Some(other) => platform.rank(other),
            None => Some(usize::MAX),
        };
        let chosen = self.entries.iter().filter(|entry| rank(entry).is_some()).min_by_key(|entry| rank(entry));
        let found = chosen.map(|entry| (entry.descriptor.clone(), entry.platform.is_some()));
        found.ok_or_else(|| self.no_match(platform))
    }

    fn no_match(&self, platform: &Platform) -> Error {
        let mut offered: Vec<String> = Vec::new();
        for platform in self.entries.iter().filter_map(|entry| entry.platform.as_ref()).map(Platform::to_string) {
            if !platform.starts_with("unknown/") && !offered.contains(&platform) {
                offered.push(platform);
            }
        }
        let error = Error::new(ErrorKind::Unsupported, format!("no image for platform {platform}"));
        match offered.as_slice() {
            [] => error,
            some => error.with_advice(Advice::ChoosePlatform(some.to_vec())),
        }
    }
}

/// URLs that one foreign layer may have; Windows' base layers have one.
const URLS: usize = 16;

fn foreign() -> Error {
    unsupported("a foreign layer, to be had from other URLs than the registry's,")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    fs_layers: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<RawPlatform>,
    urls: Option<Vec<String>>,
    annotations: Option<RawAnnotations>,
}

/// Only artifacts have a use for them, so elsewhere they may be anything.
#[derive(Deserialize)]
struct RawAnnotations {
    #[serde(rename = "org.opencontainers.image.title")]
    title: Option<serde_json::Value>,
    #[serde(rename = "io.deis.oras.content.unpack")]
    unpack: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

impl RawDocument {
    /// The one media type on which header, descriptor, member and shape agree.
    fn media_type(&self, content_type: &str, expected: Option<&str>) -> Result<String> {
        let shape = self.shape()?;
        let member = self.media_type.as_deref().unwrap_or_default();
        let served = if media_type::is_generic(content_type) { "" } else { content_type };
        let mut agreed = "";
        for claim in [expected.unwrap_or_default(), served, member] {
            if !claim.is_empty() && !agreed.is_empty() && claim != agreed {
                return Err(malformed(format!("media types disagree: \"{agreed}\" and \"{claim}\"")));
            }
            agreed = if claim.is_empty() { agreed } else { claim };
        }
        match (media_type::document(agreed), shape) {
            (None, _) if !agreed.is_empty() => Ok(agreed.to_owned()),
            (None, DocumentKind::Manifest) => Ok(media_type::OCI_MANIFEST.to_owned()),
            (None, DocumentKind::Index) => Ok(media_type::OCI_INDEX.to_owned()),
            (Some(kind), shape) if kind == shape => Ok(agreed.to_owned()),
            _ => Err(malformed(format!("it calls itself \"{agreed}\" and has the members of something else"))),
        }
    }

    fn shape(&self) -> Result<DocumentKind> {
        match (self.schema_version, &self.fs_layers) {
            (Some(1), _) | (_, Some(_)) => return Err(unsupported("Docker image manifest schema 1")),
            (Some(2), None) => {}
            (Some(other), None) => return Err(unsupported(&format!("manifest schema {other}"))),
            (None, None) => return Err(malformed("it has no schemaVersion".to_owned())),
        }
        match (&self.manifests, &self.config, &self.layers) {
            (Some(_), None, None) => Ok(DocumentKind::Index),
            (Some(_), _, _) => Err(malformed("it has \"manifests\" together with \"config\" or \"layers\"".to_owned())),
            (None, Some(_), Some(_)) => Ok(DocumentKind::Manifest),
            (None, None, _) => Err(malformed("it has neither \"manifests\" nor \"config\"".to_owned())),
            (None, _, None) => Err(malformed("it has no \"layers\"".to_owned())),
        }
    }

    /// A manifest, of an image or of something else: only the config tells.
    fn manifest(self, limits: &Limits) -> Result<Document> {
        let (Some(config), Some(layers)) = (self.config, self.layers) else {
            return Err(malformed("it has no config or no layers".to_owned()));
        };
        if layers.len() > limits.layers {
            return Err(Limits::exceeded("layers", limits.layers));
        }
        if !media_type::is_config(&config.media_type) {
            let kind = self.artifact_type.unwrap_or_else(|| config.media_type.clone());
            config.check("config")?;
            let blobs: Vec<Titled> = layers.into_iter().map(RawDescriptor::titled).collect::<Result<_>>()?;
            total_size(0, blobs.iter().map(|titled| &titled.blob), limits)?;
            return Ok(Document::Artifact(ArtifactManifest { kind, blobs }));
        }
        let config = config.check("config")?;
        if config.size > limits.document as u64 {
            return Err(Limits::exceeded("bytes of config", limits.document));
        }
        let layers: Vec<LayerDescriptor> = layers.into_iter().map(RawDescriptor::layer).collect::<Result<_>>()?;
        total_size(config.size, layers.iter().map(|layer| &layer.blob), limits)?;
        agree_on_sizes(layers.iter().map(|layer| &layer.blob).chain([&config]))?;
        Ok(Document::Manifest(Manifest { config, layers }))
    }

    fn index(self) -> Result<Index> {
        let entries = self.manifests.unwrap_or_default().into_iter();
        // Artifacts beside the image may have types of their own; they are no candidates.
        let candidates = entries.filter(|raw| media_type::document(&raw.media_type).is_some());
        Ok(Index { entries: candidates.map(RawDescriptor::entry).collect::<Result<_>>()? })
    }
}

impl RawDescriptor {
    fn check(self, what: &str) -> Result<Descriptor> {
        let digest = self.digest.parse::<Digest>().map_err(|e| match e.kind() {
            ErrorKind::Unsupported => e.context(what),
            _ => malformed(format!("{what}: {e}")),
        })?;
        if i64::try_from(self.size).is_err() {
            return Err(malformed(format!("{what}: size {} is out of range", self.size)));
        }
        Ok(Descriptor { media_type: self.media_type, digest, size: self.size })
    }

    fn layer(mut self) -> Result<LayerDescriptor> {
        let Some(compression) = media_type::layer(&self.media_type) else {
            return Err(unsupported(&format!("a layer of media type \"{}\"", self.media_type)));
        };
        let urls = self.urls.take().unwrap_or_default();
        if urls.len() > URLS {
            return Err(Limits::exceeded("URLs of a foreign layer", URLS));
        }
        Ok(LayerDescriptor { blob: self.check("layer")?, compression, urls })
    }

    fn titled(self) -> Result<Titled> {
        self.expect_own()?;
        let annotations = self.annotations.as_ref();
        let title = match annotations.and_then(|annotations| annotations.title.as_ref()) {
            None => None,
            Some(serde_json::Value::String(title)) => Some(title.clone()),
            Some(_) => return Err(malformed("a title is no text".to_owned())),
        };
        let unpack = annotations.and_then(|annotations| annotations.unpack.as_ref()).and_then(|value| value.as_str());
        let is_packed = unpack == Some("true");
        Ok(Titled { blob: self.check("blob")?, title, is_packed })
    }

    /// A manifest's author would choose which servers are asked (CVE-2020-15157). Images may be allowed to.
    fn expect_own(&self) -> Result<()> {
        match self.urls.as_ref().is_some_and(|urls| !urls.is_empty()) {
            true => Err(foreign()),
            false => Ok(()),
        }
    }

    fn entry(self) -> Result<PlatformManifest> {
        // An entry without an operating system is for the client's, which is Linux here.
        let os = |p: &RawPlatform| if p.os.is_empty() { "linux".to_owned() } else { p.os.clone() };
        let platform = self.platform.as_ref().map(|p| Platform::new(&os(p), &p.architecture, &p.variant));
        Ok(PlatformManifest { descriptor: self.check("index entry")?, platform })
    }
}

/// The sizes together, within what a size may be and what is allowed.
fn total_size<'a>(first: u64, blobs: impl Iterator<Item = &'a Descriptor>, limits: &Limits) -> Result<u64> {
    let total = blobs.into_iter().try_fold(first, |sum, blob| sum.checked_add(blob.size));
    match total.filter(|&total| i64::try_from(total).is_ok()) {
        Some(total) if total > limits.unpacked => {
            Err(Limits::exceeded_adjustable(Limit::Unpacked, "bytes of blobs", limits.unpacked))
        }
        Some(total) => Ok(total),
        None => Err(malformed("the sizes of its layers overflow".to_owned())),
    }
}

/// A blob that comes twice cannot be of two sizes: one of them would never be whole.
fn agree_on_sizes<'a>(blobs: impl Iterator<Item = &'a Descriptor>) -> Result<()> {
    let mut sizes = HashMap::new();
    for blob in blobs {
        if sizes.insert(blob.digest, blob.size).is_some_and(|size| size != blob.size) {
            return Err(malformed(format!("blob {} has two sizes", blob.digest.short())));
        }
    }
    Ok(())
}

fn malformed(why: String) -> Error {
    Error::new(ErrorKind::Unsafe, format!("malformed manifest: {why}"))
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what} is not supported"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
    const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const C: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,{extra}"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{C}","size":2}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{D}","size":3}}]}}"#
        )
    }

    fn parse(text: &str, served: &str, expected: Option<&str>) -> std::result::Result<Document, ErrorKind> {
        let parsed = Document::parse(text.as_bytes(), served, expected, &Limits::default());
        parsed.map(|(document, _)| document).map_err(|e| e.kind())
    }

    #[track_caller]
    fn refused(text: &str, kind: ErrorKind) {
        assert_eq!(parse(text, "application/json", None).map(drop), Err(kind), "{text}");
    }

    #[test]
    fn media_types_must_agree() {
        let own = manifest(&format!(r#""mediaType":"{OCI}","#));
        assert!(parse(&own, OCI, None).is_ok());
        assert!(parse(&own, &format!("{OCI}; charset=utf-8"), Some(OCI)).is_ok());
        assert!(parse(&own, "text/plain", Some(OCI)).is_ok());
        assert!(parse(&manifest(""), "", None).is_ok());
        for (served, expected) in [(DOCKER, None), (INDEX, None), (OCI, Some(DOCKER)), (OCI, Some(INDEX))] {
            assert_eq!(parse(&own, served, expected).map(drop), Err(ErrorKind::Unsafe), "{served} {expected:?}");
        }
        assert_eq!(parse(&own, "text/html", None).map(drop), Err(ErrorKind::Unsupported));
    }

    #[test]
    fn refuses_the_malformed_and_the_ambiguous() {
        let good = manifest("");
        refused(&manifest(r#""manifests":[],"#), ErrorKind::Unsafe);
        refused(&manifest(r#""schemaVersion":2,"#), ErrorKind::Unsafe);
        refused(&good.replace("\"size\":3", "\"size\":-3"), ErrorKind::Unsafe);
        refused(&good.replace("\"size\":3", "\"size\":3.0"), ErrorKind::Unsafe);
        refused(&good.replace("\"size\":3", "\"size\":9223372036854775808"), ErrorKind::Unsafe);
        refused(&good.replace("\"size\":3", "\"size\":9223372036854775807"), ErrorKind::Unsafe);
        refused(&good.replace(D, "sha256:../../../etc/passwd"), ErrorKind::Unsafe);
        refused(&good.replace(D, "md5:d41d8cd98f00b204e9800998ecf8427e"), ErrorKind::Unsupported);
        refused(&good.replace(C, D), ErrorKind::Unsafe);
        refused(&format!("{good}x"), ErrorKind::Unsafe);
        refused(&format!("\u{feff}{good}"), ErrorKind::Unsafe);
        refused("", ErrorKind::Unsafe);
        refused("null", ErrorKind::Unsafe);
        refused(&"[".repeat(100_000), ErrorKind::Unsafe);
        refused(&good.replace("\"schemaVersion\":2", "\"schemaVersion\":1"), ErrorKind::Unsupported);
        refused(&good.replace("tar+gzip", "tar+xz"), ErrorKind::Unsupported);
        let urls = |count: usize| {
            let urls = vec!["\"https://x/\""; count].join(",");
            good.replace("\"size\":3", &format!("\"size\":3,\"urls\":[{urls}]"))
        };
        refused(&urls(17), ErrorKind::Unsafe);
        let foreign = Document::parse(urls(16).as_bytes(), OCI, None, &Limits::default());
        assert!(matches!(foreign, Ok((Document::Manifest(m), _)) if m.expect_no_foreign_layer().is_err()));
        refused(&good.replace("\"schemaVersion\":2,", ""), ErrorKind::Unsafe);
    }

    #[test]
    fn an_artifact_is_what_has_another_config() {
        let titled = |annotations: &str| {
            let text = manifest("").replace("image.config", "something");
            let text = text.replace("\"size\":3", &format!("\"size\":3,\"annotations\":{annotations}"));
            match parse(&text, OCI, None) {
                Ok(Document::Artifact(artifact)) => {
                    Ok(artifact.blobs.first().map(|blob| (blob.title.clone().unwrap_or_default(), blob.is_packed)))
                }
                Ok(_) => Ok(None),
                Err(kind) => Err(kind),
            }
        };
        let title = r#""org.opencontainers.image.title":"a""#;
        assert_eq!(titled("null"), Ok(Some((String::new(), false))));
        assert_eq!(titled(&format!("{{{title}}}")), Ok(Some(("a".to_owned(), false))));
        let unpack = r#""io.deis.oras.content.unpack":"true""#;
        assert_eq!(titled(&format!("{{{title},{unpack}}}")), Ok(Some(("a".to_owned(), true))));
        assert_eq!(titled(&format!("{{{title},{title}}}")), Err(ErrorKind::Unsafe));
        assert_eq!(titled(r#"{"org.opencontainers.image.title":7}"#), Err(ErrorKind::Unsafe));
    }

    #[test]
    fn a_docker_manifest_becomes_an_oci_one() {
        let docker = manifest(&format!(r#""mediaType":"{DOCKER}","#))
            .replace("vnd.oci.image.config.v1+json", "vnd.docker.container.image.v1+json")
            .replace("vnd.oci.image.layer.v1.tar+gzip", "vnd.docker.image.rootfs.diff.tar.gzip");
        let Ok(Document::Manifest(manifest)) = parse(&docker, DOCKER, None) else { panic!("no manifest") };
        let (descriptor, bytes) = manifest.to_oci();
        assert!(descriptor.digest.matches(&bytes) && descriptor.size == bytes.len() as u64);
        let Ok(Document::Manifest(oci)) = parse(&String::from_utf8_lossy(&bytes), OCI, Some(OCI)) else {
            panic!("no OCI")
        };
        assert_eq!((oci.config.digest, oci.size()), (manifest.config.digest, manifest.size()));
        assert_eq!(oci.layers[0].blob.media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
    }

    #[test]
    fn an_index_gives_the_best_platform_and_names_what_there_is() {
        let entry = |platform: &str, size: usize| {
            format!(r#"{{"mediaType":"{OCI}","digest":"{D}","size":{size},"platform":{platform}}}"#)
        };
        let entries = [
            entry(r#"{"os":"unknown","architecture":"unknown"}"#, 1),
            entry(r#"{"os":"linux","architecture":"arm","variant":"v6"}"#, 2),
            entry(r#"{"os":"linux","architecture":"arm","variant":"v7"}"#, 3),
            entry(r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#, 4),
        ];
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        let Ok(Document::Index(index)) = parse(&text, INDEX, None) else { panic!("no index") };
        for (platform, size) in [("linux/arm/v7", 3), ("linux/arm/v6", 2), ("linux/arm64", 4), ("linux/arm/v8", 3)] {
            let chosen = platform.parse().and_then(|platform| index.choose(&platform).map(|(d, _)| d.size));
            assert_eq!(chosen.ok(), Some(size), "{platform}");
        }
        let none = "linux/amd64".parse().and_then(|platform| index.choose(&platform));
        let offered = ["linux/arm/v6", "linux/arm/v7", "linux/arm64"].map(str::to_owned).to_vec();
        assert_eq!(none.err().and_then(|e| e.advice().cloned()), Some(Advice::ChoosePlatform(offered)));
    }
}
