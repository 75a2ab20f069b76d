//! Docker's image manifest schema 1 (distribution, `manifest-v2-1.md`), signed and unsigned. Parses it and makes an
//! image config from it.
//!
//! The digest of such a manifest is that of its signed payload. The signatures are not verified, because any key would
//! be accepted; Docker no longer verifies them either. `name` and `tag` are not compared with the requested name, as in
//! Docker, because they are wrong for every image that was copied or tagged again.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::json;
use super::media_type;
use super::platform::Platform;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// The digest of a gzipped empty tar, which Docker used for every step that changed no file.
const EMPTY_LAYER: &str = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4";
/// Members of a v1 config that describe its place in the chain of images. They are not part of an image config.
const V1_ONLY: [&str; 6] = ["id", "parent", "parent_id", "layer_id", "throwaway", "Size"];
/// The platform of images that name none, because they are older than support for others.
const DEFAULT_OS: &str = "linux";
const DEFAULT_ARCHITECTURE: &str = "amd64";

/// A checked schema 1 manifest.
#[derive(Clone, Debug)]
pub(crate) struct Schema1 {
    /// The blobs of the layers from the base up, without the empty ones.
    pub(crate) layers: Vec<Digest>,
    pub(crate) platform: Platform,
    config: Map<String, Value>,
    history: Vec<Value>,
}

/// Returns true if a document is of this schema: by its content type or, if that is generic, by its members.
pub(crate) fn is_schema_1(bytes: &[u8], content_type: &str) -> bool {
    let content_type = media_type::essence(content_type);
    if media_type::is_generic(&content_type) {
        let members = json::parse::<Members>(bytes);
        return members.is_ok_and(|it| it.schema_version == Some(1) && it.fs_layers.is_some());
    }
    media_type::is_schema_1(&content_type)
}

/// The signed payload, which the digest covers: the bytes without the signatures (libtrust, `ParsePrettySignature`).
/// Each signature contains the length of the payload. Without signatures the payload is all bytes.
pub(crate) fn payload(bytes: &[u8]) -> Result<Vec<u8>> {
    let signed: Signed = json::parse(bytes).map_err(malformed)?;
    let Some(signatures) = signed.signatures else { return Ok(bytes.to_vec()) };
    let mut agreed: Option<Format> = None;
    for signature in signatures {
        let format = signature.format()?;
        if agreed.as_ref().is_some_and(|agreed| *agreed != format) {
            return Err(malformed("its signatures are of different payloads"));
        }
        agreed = Some(format);
    }
    let Format { length, tail } = agreed.ok_or_else(|| malformed("its list of signatures is empty"))?;
    let tail = decode(&tail).ok_or_else(|| malformed("a formatTail is not base64"))?;
    // The tail replaces the signatures. It may only close the object; otherwise signatures could add content.
    let head = bytes.get(..length).filter(|_| tail.trim_ascii() == b"}");
    let head = head.ok_or_else(|| malformed("its signatures are of an impossible payload"))?;
    Ok([head, &tail].concat())
}

impl Schema1 {
    /// Parses a [`payload`].
    pub(crate) fn parse(payload: &[u8], limits: &Limits) -> Result<Self> {
        let raw: Raw = json::parse(payload).map_err(malformed)?;
        raw.check(limits)?;
        let mut steps = Vec::new();
        for (layer, history) in raw.fs_layers.into_iter().zip(raw.history) {
            steps.push(Step::parse(&layer, history)?);
        }
        let steps = without_repeated(steps)?;
        let top = steps.first().ok_or_else(|| malformed("it has no fsLayers"))?;
        let mut config: Map<String, Value> = json::parse(top.text.as_bytes()).map_err(malformed)?;
        config.retain(|key, _| !V1_ONLY.contains(&key.as_str()));
        let given = [&top.v1.architecture, &raw.architecture].into_iter().flatten().find(|text| !text.is_empty());
        let architecture = given.map_or(DEFAULT_ARCHITECTURE, String::as_str).to_owned();
        let os = top.v1.os.clone().filter(|os| !os.is_empty()).unwrap_or_else(|| DEFAULT_OS.to_owned());
        let platform = Platform::new(&os, &architecture, top.v1.variant.as_deref().unwrap_or_default());
        config.insert("os".to_owned(), os.into());
        config.insert("architecture".to_owned(), architecture.into());
        let (mut layers, mut history) = (Vec::new(), Vec::new());
        // The manifest lists the top first.
        for step in steps.iter().rev() {
            history.push(step.history());
            if !step.is_empty {
                layers.push(step.blob);
            }
        }
        Ok(Self { layers, platform, history, config })
    }

    /// An image config for layers with these diff_ids.
    pub(crate) fn config(&self, diff_ids: &[Digest]) -> Vec<u8> {
        let diff_ids: Vec<String> = diff_ids.iter().map(Digest::to_string).collect();
        let mut config = self.config.clone();
        config.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": diff_ids }));
        config.insert("history".to_owned(), Value::Array(self.history.clone()));
        Value::Object(config).to_string().into_bytes()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members {
    schema_version: Option<u64>,
    fs_layers: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Signed {
    signatures: Option<Vec<Signature>>,
}

#[derive(Deserialize)]
struct Signature {
    protected: String,
}

/// The length of the signed part of the document, and the end of the payload in base64.
#[derive(Deserialize, PartialEq)]
struct Format {
    #[serde(rename = "formatLength")]
    length: usize,
    #[serde(rename = "formatTail")]
    tail: String,
}

impl Signature {
    fn format(&self) -> Result<Format> {
        let protected = decode(&self.protected).ok_or_else(|| malformed("a protected header is not base64"))?;
        json::parse(&protected).map_err(malformed)
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u64,
    media_type: Option<String>,
    architecture: Option<String>,
    fs_layers: Vec<RawLayer>,
    history: Vec<RawHistory>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct RawLayer {
    #[serde(rename = "blobSum")]
    blob_sum: String,
}

#[derive(Deserialize)]
struct RawHistory {
    #[serde(rename = "v1Compatibility")]
    v1: String,
}

impl Raw {
    fn check(&self, limits: &Limits) -> Result<()> {
        let (layers, history) = (self.fs_layers.len(), self.history.len());
        if self.schema_version != 1 {
            return Err(malformed(format!("its schemaVersion is {}, not 1", self.schema_version)));
        }
        if self.media_type.as_deref().is_some_and(|own| !media_type::is_schema_1(own)) {
            return Err(malformed("its mediaType is not one of schema 1"));
        }
        // Two readers could take such a document for two different images (CVE-2021-41190).
        if self.config.is_some() || self.layers.is_some() || self.manifests.is_some() {
            return Err(malformed("it has the members of another schema"));
        }
        if layers != history {
            return Err(malformed(format!("it has {layers} fsLayers but {history} history entries")));
        }
        if layers > limits.layers {
            return Err(Limits::exceeded("layers", limits.layers));
        }
        Ok(())
    }
}

/// One build step: a layer, and the v1 config of the image up to this layer.
struct Step {
    blob: Digest,
    is_empty: bool,
    text: String,
    v1: V1,
}

#[derive(Deserialize)]
struct V1 {
    id: String,
    parent: Option<String>,
    created: Option<String>,
    author: Option<String>,
    comment: Option<String>,
    container_config: Option<ContainerConfig>,
    throwaway: Option<bool>,
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

#[derive(Deserialize)]
struct ContainerConfig {
    #[serde(rename = "Cmd")]
    command: Option<Command>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Command {
    Words(Vec<String>),
    Line(String),
}

impl Step {
    fn parse(layer: &RawLayer, history: RawHistory) -> Result<Self> {
        let blob = layer.blob_sum.parse::<Digest>().map_err(|e| match e.kind() {
            ErrorKind::Unsupported => e.context("layer"),
            _ => malformed(format!("layer: {e}")),
        })?;
        let v1: V1 = json::parse(history.v1.as_bytes()).map_err(|e| malformed(format!("v1Compatibility: {e}")))?;
        let is_id = v1.id.len() == 64 && v1.id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_id {
            return Err(malformed(format!("the image ID \"{}\" is invalid", v1.id)));
        }
        let is_empty = v1.throwaway == Some(true) || layer.blob_sum == EMPTY_LAYER;
        Ok(Self { blob, is_empty, text: history.v1, v1 })
    }

    fn parent(&self) -> &str {
        self.v1.parent.as_deref().unwrap_or_default()
    }

    /// The entry in the history of an image config (image-spec, config.md).
    fn history(&self) -> Value {
        let command = match self.v1.container_config.as_ref().and_then(|config| config.command.as_ref()) {
            Some(Command::Words(words)) => Some(words.join(" ")),
            Some(Command::Line(line)) => Some(line.clone()),
            None => None,
        };
        let V1 { created, author, comment, .. } = &self.v1;
        let members = [
            ("created", created.clone()),
            ("created_by", command),
            ("author", author.clone()),
            ("comment", comment.clone()),
        ];
        let mut history = Map::new();
        for (key, text) in members {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                history.insert(key.to_owned(), text.into());
            }
        }
        if self.is_empty {
            history.insert("empty_layer".to_owned(), true.into());
        }
        Value::Object(history)
    }
}

/// Removes repeated steps: of adjacent steps with the same ID, only the lowest counts (moby, `fixManifestLayers`).
/// Fails if the parents do not form one chain from the top to a base without a parent.
fn without_repeated(steps: Vec<Step>) -> Result<Vec<Step>> {
    if steps.last().is_some_and(|base| !base.parent().is_empty()) {
        return Err(malformed("its base layer has a parent"));
    }
    let mut kept: Vec<Step> = Vec::new();
    let mut known = HashSet::new();
    for step in steps {
        if kept.last().is_some_and(|above| above.v1.id == step.v1.id) {
            kept.pop();
        } else if !known.insert(step.v1.id.clone()) {
            return Err(malformed(format!("the image ID {} occurs twice", step.v1.id)));
        }
        kept.push(step);
    }
    let is_chained = |pair: &[Step]| matches!(pair, [above, below] if above.parent() == below.v1.id);
    if !kept.windows(2).all(is_chained) {
        return Err(malformed("its chain of parents is broken"));
    }
    Ok(kept)
}

fn malformed(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unsafe, format!("malformed schema 1 manifest: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// A manifest of these steps, top first: blob, ID, parent, and further members of the v1 config.
    fn document(steps: &[(&str, u8, u8, &str)]) -> String {
        let id = |n: u8| if n == 0 { String::new() } else { format!("{n:064x}") };
        let layers: Vec<Value> = steps.iter().map(|(blob, ..)| json!({ "blobSum": blob })).collect();
        let v1 = |(_, own, parent, more): &(&str, u8, u8, &str)| json!({ "v1Compatibility": format!(r#"{{"id":"{}","parent":"{}"{more}}}"#, id(*own), id(*parent)) });
        let history: Vec<Value> = steps.iter().map(v1).collect();
        json!({ "schemaVersion": 1, "fsLayers": layers, "history": history }).to_string()
    }

    fn parse(text: &str) -> std::result::Result<Schema1, ErrorKind> {
        Schema1::parse(text.as_bytes(), &Limits::default()).map_err(|e| e.kind())
    }

    #[test]
    fn lists_layers_from_the_base_up_without_empty_ones() {
        let other = LAYER.replace("e3", "d3");
        let top = r#","os":"linux","architecture":"arm","variant":"v6","Size":1,"config":{"Cmd":["x"]}"#;
        let command = r#","container_config":{"Cmd":["a","b"]},"comment":"","author":"me""#;
        let steps = [
            (EMPTY_LAYER, 4, 3, top),
            (&other, 3, 2, ""),
            (LAYER, 2, 1, r#","throwaway":true"#),
            (LAYER, 1, 0, command),
        ];
        let Ok(schema1) = parse(&document(&steps)) else { panic!("refused") };
        assert_eq!(schema1.layers.iter().map(Digest::to_string).collect::<Vec<_>>(), [LAYER, &other]);
        assert_eq!(schema1.platform.to_string(), "linux/arm/v6");
        let config: Value = serde_json::from_slice(&schema1.config(&schema1.layers)).unwrap_or_default();
        let expected = json!({
            "architecture": "arm", "config": { "Cmd": ["x"] }, "os": "linux", "variant": "v6",
            "history": [{ "author": "me", "created_by": "a b" }, { "empty_layer": true }, {}, { "empty_layer": true }],
            "rootfs": { "type": "layers", "diff_ids": [LAYER, other] },
        });
        assert_eq!(config, expected);
    }

    #[test]
    fn requires_one_chain_of_parents() {
        let check = |steps: &[(u8, u8)], layers: Option<usize>| {
            let steps: Vec<_> = steps.iter().map(|(own, parent)| (LAYER, *own, *parent, "")).collect();
            let parsed = parse(&document(&steps)).map(|schema1| schema1.layers.len());
            assert_eq!(parsed, layers.ok_or(ErrorKind::Unsafe), "{steps:?}");
        };
        check(&[(1, 0)], Some(1));
        check(&[(3, 2), (2, 1), (1, 0)], Some(3));
        check(&[(2, 1), (2, 1), (1, 0)], Some(2));
        check(&[(2, 9), (2, 1), (1, 0)], Some(2));
        check(&[], None);
        check(&[(1, 2)], None);
        check(&[(3, 1), (2, 1), (1, 0)], None);
        check(&[(1, 2), (2, 1), (1, 0)], None);
    }

    #[test]
    fn restores_the_signed_payload() {
        let bytes = |protected: &str| {
            let protected = URL_SAFE_NO_PAD.encode(protected);
            format!("{{\"a\": 1, \"signatures\": [{{\"protected\": \"{protected}\"}}]}}").into_bytes()
        };
        let check = |protected: &str, expected: Option<&str>| {
            let payload = payload(&bytes(protected)).ok();
            assert_eq!(payload.as_deref(), expected.map(str::as_bytes), "{protected}");
        };
        check(r#"{"formatLength":7,"formatTail":"Cn0"}"#, Some("{\"a\": 1\n}"));
        check(r#"{"formatLength":7,"formatTail":"Cn0=","time":"x"}"#, Some("{\"a\": 1\n}"));
        check(r#"{"formatLength":7000,"formatTail":"Cn0"}"#, None);
        check(r#"{"formatLength":7,"formatTail":"LCJiIjoyfQ"}"#, None);
        check(r#"{"formatLength":7}"#, None);
        assert_eq!(payload(b"{\"a\": 1}").ok().as_deref(), Some(&b"{\"a\": 1}"[..]));
    }

    #[test]
    fn is_recognised_by_content_type_or_members() {
        let text = document(&[(LAYER, 1, 0, "")]);
        let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        for (content_type, expected) in
            [(signed, true), ("", true), ("application/json; charset=utf-8", true), ("text/html", false)]
        {
            assert_eq!(is_schema_1(text.as_bytes(), content_type), expected, "{content_type}");
        }
        assert!(is_schema_1(b"", signed) && !is_schema_1(br#"{"schemaVersion":2,"fsLayers":[]}"#, ""));
    }
}
