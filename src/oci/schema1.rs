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
use super::strict::{Object, parse_object};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// The digest of a gzipped empty tar, which Docker used for every step that changed no file.
const EMPTY_LAYER: &str = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4";
/// Members of a v1 config that describe its place in the chain of images. They are not part of an image config.
const V1_ONLY: [&str; 6] = ["id", "parent", "parent_id", "layer_id", "throwaway", "Size"];
const SCHEMA_VERSION: &str = "schemaVersion";
const LAYERS: &str = "fsLayers";
const HISTORY: &str = "history";
/// The v1 config, as text in an entry of the history.
const V1_TEXT: &str = "v1Compatibility";
/// The header that a signature covers, with the length and the end of the payload.
const PROTECTED: &str = "protected";
const LENGTH: &str = "formatLength";
const TAIL: &str = "formatTail";
/// The platform of images that name none, because they are older than support for others.
const DEFAULT_OS: &str = "linux";
const DEFAULT_ARCHITECTURE: &str = "amd64";

/// The error is a text for people.
type Parsed<T> = std::result::Result<T, String>;

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
    let mut signed = Object::parse(bytes).map_err(malformed)?;
    let Some(signatures) = signed.take_list("signatures").map_err(malformed)? else { return Ok(bytes.to_vec()) };
    let mut agreed: Option<Format> = None;
    for signature in signatures {
        let format = Format::parse(signature).map_err(malformed)?;
        if agreed.as_ref().is_some_and(|agreed| *agreed != format) {
            return Err(malformed("its signatures are of different payloads"));
        }
        agreed = Some(format);
    }
    let Format { length, tail } = agreed.ok_or_else(|| malformed("its list of signatures is empty"))?;
    let tail = decode(&tail).ok_or_else(|| malformed("a formatTail is not base64"))?;
    // The tail replaces the signatures. It may only close the object; otherwise signatures could add content.
    let length = usize::try_from(length).ok();
    let head = length.and_then(|length| bytes.get(..length)).filter(|_| tail.trim_ascii() == b"}");
    let head = head.ok_or_else(|| malformed("its signatures are of an impossible payload"))?;
    Ok([head, &tail].concat())
}

impl Schema1 {
    /// Parses a [`payload`].
    pub(crate) fn parse(payload: &[u8], limits: &Limits) -> Result<Self> {
        let mut raw = Raw::parse(payload).map_err(malformed)?;
        raw.check(limits)?;
        let mut steps = Vec::new();
        for (layer, history) in std::mem::take(&mut raw.layers).into_iter().zip(std::mem::take(&mut raw.history)) {
            steps.push(Step::parse(layer, history)?);
        }
        let steps = without_repeated(steps)?;
        let top = steps.first().ok_or_else(|| malformed("it has no fsLayers"))?;
        let mut config = parse_object(top.text.as_bytes()).map_err(malformed)?;
        config.retain(|key, _| !V1_ONLY.contains(&key.as_str()));
        let given = [&top.v1.architecture, &raw.architecture].into_iter().find(|text| !text.is_empty());
        let architecture = given.map_or(DEFAULT_ARCHITECTURE, String::as_str).to_owned();
        let os = if top.v1.os.is_empty() { DEFAULT_OS.to_owned() } else { top.v1.os.clone() };
        let platform = Platform::new(&os, &architecture, &top.v1.variant);
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

/// The length of the signed part of the document, and the end of the payload in base64.
#[derive(PartialEq)]
struct Format {
    length: u64,
    tail: String,
}

impl Format {
    /// Parses the protected header of a signature.
    fn parse(signature: Value) -> Parsed<Self> {
        let protected = required(Object::of(signature)?.take_text(PROTECTED)?, PROTECTED)?;
        let protected = decode(&protected).ok_or("a protected header is not base64")?;
        let mut header = Object::parse(&protected)?;
        Ok(Self {
            length: required(header.take_number(LENGTH)?, LENGTH)?,
            tail: required(header.take_text(TAIL)?, TAIL)?,
        })
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// A manifest before its layers are checked.
struct Raw {
    schema_version: u64,
    media_type: Option<String>,
    architecture: String,
    layers: Vec<Value>,
    history: Vec<Value>,
    has_other_members: bool,
}

impl Raw {
    fn parse(payload: &[u8]) -> Parsed<Self> {
        let mut members = Object::parse(payload)?;
        Ok(Self {
            schema_version: required(members.take_number(SCHEMA_VERSION)?, SCHEMA_VERSION)?,
            media_type: members.take_text("mediaType")?,
            architecture: members.take_text("architecture")?.unwrap_or_default(),
            layers: required(members.take_list(LAYERS)?, LAYERS)?,
            history: required(members.take_list(HISTORY)?, HISTORY)?,
            has_other_members: ["config", "layers", "manifests"].iter().any(|name| members.has(name)),
        })
    }

    fn check(&self, limits: &Limits) -> Result<()> {
        let (layers, history) = (self.layers.len(), self.history.len());
        if self.schema_version != 1 {
            return Err(malformed(format!("its schemaVersion is {}, not 1", self.schema_version)));
        }
        if self.media_type.as_deref().is_some_and(|own| !media_type::is_schema_1(own)) {
            return Err(malformed("its mediaType is not one of schema 1"));
        }
        // Two readers could take such a document for two different images (CVE-2021-41190).
        if self.has_other_members {
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

/// The members of a v1 config that matter. A missing one is empty.
struct V1 {
    id: String,
    parent: String,
    created: String,
    author: String,
    comment: String,
    command: String,
    is_throwaway: bool,
    os: String,
    architecture: String,
    variant: String,
}

impl V1 {
    fn parse(text: &str) -> Parsed<Self> {
        let mut members = Object::parse(text.as_bytes())?;
        let container = members.take_object("container_config")?;
        let mut text = |name| members.take_text(name).map(Option::unwrap_or_default);
        Ok(Self {
            id: text("id")?,
            parent: text("parent")?,
            created: text("created")?,
            author: text("author")?,
            comment: text("comment")?,
            command: container.map_or(Ok(String::new()), command)?,
            os: text("os")?,
            architecture: text("architecture")?,
            variant: text("variant")?,
            is_throwaway: members.take_flag("throwaway")?,
        })
    }
}

/// The command of a container config, a line or a list of words.
fn command(mut container: Object) -> Parsed<String> {
    match container.take("Cmd") {
        None => Ok(String::new()),
        Some(Value::String(line)) => Ok(line),
        Some(Value::Array(words)) => {
            let words: Option<Vec<&str>> = words.iter().map(Value::as_str).collect();
            words.map(|words| words.join(" ")).ok_or_else(|| "a word of \"Cmd\" is not a string".to_owned())
        }
        Some(_) => Err("\"Cmd\" is neither a string nor a list".to_owned()),
    }
}

impl Step {
    fn parse(layer: Value, history: Value) -> Result<Self> {
        let text = |value, name| -> Parsed<String> { required(Object::of(value)?.take_text(name)?, name) };
        let digest = text(layer, "blobSum").map_err(malformed)?;
        let blob = digest.parse::<Digest>().map_err(|e| match e.kind() {
            ErrorKind::Unsupported => e.context("layer"),
            _ => malformed(format!("layer: {e}")),
        })?;
        let text = text(history, V1_TEXT).map_err(malformed)?;
        let v1 = V1::parse(&text).map_err(|e| malformed(format!("{V1_TEXT}: {e}")))?;
        let is_id = v1.id.len() == 64 && v1.id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_id {
            return Err(malformed(format!("the image ID \"{}\" is invalid", v1.id)));
        }
        let is_empty = v1.is_throwaway || digest == EMPTY_LAYER;
        Ok(Self { blob, is_empty, text, v1 })
    }

    /// The entry in the history of an image config (image-spec, config.md).
    fn history(&self) -> Value {
        let V1 { created, author, comment, command, .. } = &self.v1;
        let members = [("created", created), ("created_by", command), ("author", author), ("comment", comment)];
        let mut history = Map::new();
        for (key, text) in members.into_iter().filter(|(_, text)| !text.is_empty()) {
            history.insert(key.to_owned(), text.as_str().into());
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
    if steps.last().is_some_and(|base| !base.v1.parent.is_empty()) {
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
    let is_chained = |pair: &[Step]| matches!(pair, [above, below] if above.v1.parent == below.v1.id);
    if !kept.windows(2).all(is_chained) {
        return Err(malformed("its chain of parents is broken"));
    }
    Ok(kept)
}

fn required<T>(member: Option<T>, name: &str) -> Parsed<T> {
    member.ok_or_else(|| format!("it has no \"{name}\""))
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
