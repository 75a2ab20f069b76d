//! The documents that a name can point to: image manifests, artifact manifests and indexes. Parses them strictly and
//! decides which of them a document is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::artifact::ArtifactManifest;
use super::descriptor::{RawDescriptor, malformed, unsupported};
use super::index::Index;
use super::json;
use super::manifest::Manifest;
use super::media_type::{self, DocumentKind};
use crate::error::Result;
use crate::limits::Limits;

/// A checked document.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
    Artifact(ArtifactManifest),
}

/// A document before its descriptors are checked, with the members of all kinds.
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
    annotations: Option<Value>,
}

impl Document {
    /// Parses a document; returns its media type too. `content_type` is the header of the response, `expected` the
    /// media type of the descriptor that led here. Both must agree with the document's own `mediaType`
    /// (CVE-2021-41190).
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
            Some(DocumentKind::Manifest) => raw.manifest(&media_type, limits)?,
            Some(DocumentKind::Index) => Self::Index(Index::parse(raw.manifests.unwrap_or_default())?),
            None => return Err(unsupported(&format!("media type \"{media_type}\" for a manifest"))),
        };
        Ok((document, media_type))
    }
}

impl RawDocument {
    /// The media type on which header, descriptor, `mediaType` member and the other members agree.
    fn media_type(&self, content_type: &str, expected: Option<&str>) -> Result<String> {
        let kind = self.kind()?;
        let member = self.media_type.as_deref().unwrap_or_default();
        let served = if media_type::is_generic(content_type) { "" } else { content_type };
        let mut agreed = "";
        for claim in [expected.unwrap_or_default(), served, member] {
            if !claim.is_empty() && !agreed.is_empty() && claim != agreed {
                return Err(malformed(format!("media types disagree: \"{agreed}\" and \"{claim}\"")));
            }
            agreed = if claim.is_empty() { agreed } else { claim };
        }
        if agreed.is_empty() {
            return Ok(media_type::oci_document(kind).to_owned());
        }
        // The caller rejects a media type that is unknown.
        if media_type::document(agreed).is_some_and(|claimed| claimed != kind) {
            return Err(malformed(format!("its media type is \"{agreed}\", but it has the members of another kind")));
        }
        Ok(agreed.to_owned())
    }

    /// The kind of document that has these members.
    fn kind(&self) -> Result<DocumentKind> {
        match (self.schema_version, &self.fs_layers) {
            (Some(1), _) | (_, Some(_)) => return Err(unsupported("Docker image manifest schema 1")),
            (Some(2), None) => {}
            (Some(other), None) => return Err(unsupported(&format!("manifest schema {other}"))),
            (None, None) => return Err(malformed("it has no schemaVersion")),
        }
        match (&self.manifests, &self.config, &self.layers) {
            (Some(_), None, None) => Ok(DocumentKind::Index),
            (Some(_), _, _) => Err(malformed("it has \"manifests\" together with \"config\" or \"layers\"")),
            (None, Some(_), Some(_)) => Ok(DocumentKind::Manifest),
            (None, None, _) => Err(malformed("it has neither \"manifests\" nor \"config\"")),
            (None, _, None) => Err(malformed("it has no \"layers\"")),
        }
    }

    /// An image manifest or an artifact manifest. Only the media type of the config distinguishes them.
    fn manifest(self, media_type: &str, limits: &Limits) -> Result<Document> {
        let (Some(config), Some(layers)) = (self.config, self.layers) else {
            return Err(malformed("it has no \"config\" or no \"layers\""));
        };
        if layers.len() > limits.layers {
            return Err(Limits::exceeded("layers", limits.layers));
        }
        let annotations = annotations(self.annotations.as_ref());
        if media_type::is_config(&config.media_type, media_type) {
            let manifest = Manifest::parse(config, layers, annotations, limits)?;
            return Ok(Document::Manifest(manifest));
        }
        Ok(Document::Artifact(ArtifactManifest::parse(self.artifact_type, config, layers, annotations, limits)?))
    }
}

/// The annotations whose value is a string. Others are invalid (image-spec, annotations.md), but registries serve images
/// that have them, so they are dropped.
fn annotations(member: Option<&Value>) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    for (key, value) in member.and_then(Value::as_object).into_iter().flatten() {
        if let Some(text) = value.as_str() {
            annotations.insert(key.clone(), text.to_owned());
        }
    }
    annotations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

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
    fn rejects(text: &str, kind: ErrorKind) {
        assert_eq!(parse(text, "application/json", None).map(drop), Err(kind), "{text}");
    }

    #[test]
    fn rejects_media_types_that_disagree() {
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
    fn rejects_malformed_and_ambiguous_documents() {
        let good = manifest("");
        rejects(&manifest(r#""manifests":[],"#), ErrorKind::Unsafe);
        rejects(&manifest(r#""schemaVersion":2,"#), ErrorKind::Unsafe);
        rejects(&good.replace("\"size\":3", "\"size\":-3"), ErrorKind::Unsafe);
        rejects(&good.replace("\"size\":3", "\"size\":3.0"), ErrorKind::Unsafe);
        rejects(&good.replace("\"size\":3", "\"size\":9223372036854775808"), ErrorKind::Unsafe);
        rejects(&good.replace("\"size\":3", "\"size\":9223372036854775807"), ErrorKind::Unsafe);
        rejects(&good.replace(D, "sha256:../../../etc/passwd"), ErrorKind::Unsafe);
        rejects(&good.replace(D, "md5:d41d8cd98f00b204e9800998ecf8427e"), ErrorKind::Unsupported);
        rejects(&good.replace(C, D), ErrorKind::Unsafe);
        rejects(&format!("{good}x"), ErrorKind::Unsafe);
        rejects(&format!("\u{feff}{good}"), ErrorKind::Unsafe);
        rejects("", ErrorKind::Unsafe);
        rejects("null", ErrorKind::Unsafe);
        rejects(&"[".repeat(100_000), ErrorKind::Unsafe);
        rejects(&good.replace("\"schemaVersion\":2", "\"schemaVersion\":1"), ErrorKind::Unsupported);
        rejects(&good.replace("tar+gzip", "tar+xz"), ErrorKind::Unsupported);
        let urls = |count: usize| {
            let urls = vec!["\"https://x/\""; count].join(",");
            good.replace("\"size\":3", &format!("\"size\":3,\"urls\":[{urls}]"))
        };
        rejects(&urls(17), ErrorKind::Unsafe);
        let most = Document::parse(urls(16).as_bytes(), OCI, None, &Limits::default());
        assert!(matches!(most, Ok((Document::Manifest(m), _)) if m.layers[0].urls.len() == 16));
        rejects(&good.replace("\"schemaVersion\":2,", ""), ErrorKind::Unsafe);
    }

    #[test]
    fn a_manifest_with_another_config_is_an_artifact() {
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
    fn a_docker_manifest_with_a_generic_config_is_an_image() {
        let document = |manifest_type: &str, config_type: &str| {
            let text = manifest(&format!(r#""mediaType":"{manifest_type}","#));
            let text = text.replace("application/vnd.oci.image.config.v1+json", config_type);
            match parse(&text, manifest_type, None) {
                Ok(Document::Manifest(manifest)) => {
                    let (_, bytes) = manifest.to_oci();
                    let converted = Document::parse(&bytes, OCI, None, &Limits::default());
                    assert!(matches!(converted, Ok((Document::Manifest(_), _))), "{config_type}");
                    "image"
                }
                Ok(_) => "artifact",
                Err(_) => "malformed",
            }
        };
        for config_type in ["application/octet-stream", "application/json", "text/html", ""] {
            assert_eq!(document(DOCKER, config_type), "image", "{config_type}");
            // OCI artifacts may have such a config.
            assert_eq!(document(OCI, config_type), "artifact", "{config_type}");
        }
        for config_type in
            ["application/vnd.cncf.helm.config.v1+json", "application/vnd.docker.plugin.v1+json", "text/plain"]
        {
            assert_eq!(document(DOCKER, config_type), "artifact", "{config_type}");
        }
    }

    #[test]
    fn null_counts_as_missing_in_every_optional_member() {
        let text =
            manifest(r#""mediaType":null,"artifactType":null,"annotations":null,"manifests":null,"fsLayers":null,"#);
        assert!(matches!(parse(&text, OCI, None), Ok(Document::Manifest(_))));
        let text = manifest("").replace("\"size\":3", r#""size":3,"urls":null,"annotations":null,"platform":null"#);
        assert!(matches!(parse(&text, OCI, None), Ok(Document::Manifest(_))));
        let entry = |extra: &str| format!(r#"{{"mediaType":"{OCI}","digest":"{D}","size":3{extra}}}"#);
        for extra in [
            r#","platform":null"#,
            r#","platform":{"os":null,"architecture":null,"variant":null,"os.version":null,"os.features":null}"#,
            r#","artifactType":null,"urls":null,"annotations":null"#,
        ] {
            let text = format!(
                r#"{{"schemaVersion":2,"config":null,"layers":null,"manifests":[{},{}]}}"#,
                entry(extra),
                entry("")
            );
            assert!(matches!(parse(&text, INDEX, None), Ok(Document::Index(_))), "{text}");
        }
        // What a descriptor needs cannot be missing.
        for member in [r#""digest":null,"size":3"#, r#""size":null"#] {
            let text = manifest("").replace("\"size\":3", member);
            assert!(parse(&text, OCI, None).is_err(), "{member}");
        }
    }

    #[test]
    fn keeps_annotations_that_are_strings() {
        let annotated =
            |annotations: &str| match parse(&manifest(&format!(r#""annotations":{annotations},"#)), OCI, None) {
                Ok(Document::Manifest(manifest)) => manifest,
                other => panic!("{annotations}: {other:?}"),
            };
        let manifest = annotated(r#"{"a":"1","b":2,"c":null}"#);
        assert_eq!(manifest.annotations, BTreeMap::from([("a".to_owned(), "1".to_owned())]));
        let (_, bytes) = manifest.to_oci();
        let Ok((Document::Manifest(converted), _)) = Document::parse(&bytes, OCI, None, &Limits::default()) else {
            panic!("no manifest")
        };
        assert_eq!(converted.annotations, manifest.annotations);
        assert!(annotated("null").annotations.is_empty() && annotated("[]").annotations.is_empty());
    }

    #[test]
    fn converts_a_docker_manifest_to_an_oci_one() {
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
}
