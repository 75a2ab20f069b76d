//! Manifests of Docker's schema 1, plain and signed. They list fsLayers and v1 configs from the top layer down.

use serde_json::{Value, json};

use crate::digest::{base64, sha256};
use crate::image::{Layer, architecture};
use crate::registry::Registry;

/// The media type of an unsigned manifest.
pub const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// The media type of a signed manifest.
pub const SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// The digest of the empty layer, which Docker listed for steps without files.
pub const EMPTY: &str = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4";

/// A step of an image.
pub enum Step<'a> {
    /// A step with files.
    Layer(&'a Layer),
    /// A step without files, as Docker 1.10 and later wrote it: marked `throwaway`.
    Throwaway,
    /// A step without files, as older versions wrote it: only the digest of the layer shows it.
    Empty,
}

/// Returns a correct manifest of these steps, which are in the order from the base up.
pub fn manifest(steps: &[Step<'_>]) -> Value {
    let (mut layers, mut history) = (Vec::new(), Vec::new());
    for (index, step) in steps.iter().enumerate() {
        let mut v1 = json!({
            "id": id(index),
            "created": format!("2015-01-0{}T00:00:00Z", index % 9 + 1),
            "container_config": { "Cmd": ["/bin/sh", "-c", format!("step {index}")] },
        });
        if index > 0 {
            v1["parent"] = json!(id(index - 1));
        }
        if index + 1 == steps.len() {
            v1["architecture"] = json!(architecture());
            v1["os"] = json!("linux");
            v1["author"] = json!("somebody");
            v1["config"] = json!({ "Cmd": ["/bin/top"], "Env": ["A=b"] });
            v1["Size"] = json!(17);
        }
        let digest = match step {
            Step::Layer(layer) => layer.digest(),
            Step::Empty | Step::Throwaway => EMPTY.to_string(),
        };
        if matches!(step, Step::Throwaway) {
            v1["throwaway"] = json!(true);
        }
        layers.insert(0, json!({ "blobSum": digest }));
        history.insert(0, json!({ "v1Compatibility": v1.to_string() }));
    }
    json!({
        "schemaVersion": 1,
        "name": "somebody/else",
        "tag": "another",
        "architecture": architecture(),
        "fsLayers": layers,
        "history": history,
    })
}

/// Returns an ID for a step.
pub fn id(index: usize) -> String {
    sha256(format!("step {index}").as_bytes())["sha256:".len()..].to_string()
}

/// Edits a v1 config. Line 0 is that of the top layer.
pub fn edit_v1(manifest: &mut Value, line: usize, edit: impl FnOnce(&mut Value)) {
    let text = manifest["history"][line]["v1Compatibility"].as_str().unwrap();
    let mut v1: Value = serde_json::from_str(text).unwrap();
    edit(&mut v1);
    manifest["history"][line]["v1Compatibility"] = json!(v1.to_string());
}

/// Returns the bytes that are signed: JSON with an indentation of three spaces, as Docker wrote it.
pub fn payload(manifest: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indent);
    serde::Serialize::serialize(manifest, &mut serializer).unwrap();
    bytes
}

/// Returns the signed form of a payload, with one signature for each of these protected headers.
pub fn signed_as(payload: &[u8], protected: &[Value]) -> Vec<u8> {
    let header = json!({ "jwk": { "crv": "P-256", "kid": "X", "kty": "EC", "x": "x", "y": "y" }, "alg": "ES256" });
    let signature = |protected: &Value| json!({ "header": header, "signature": "c2ln", "protected": base64url(protected.to_string().as_bytes()) });
    let signatures: Vec<Value> = protected.iter().map(signature).collect();
    let head = &payload[..payload.len() - 2];
    [head, b",\n   \"signatures\": ", json!(signatures).to_string().as_bytes(), b"\n}"].concat()
}

/// Returns the signed form of a payload, with a correct protected header. The signature itself is not valid.
pub fn signed(payload: &[u8]) -> Vec<u8> {
    signed_as(payload, &[protected(payload.len() - 2, b"\n}")])
}

/// Returns a protected header: how long the payload is without its tail, and the tail.
pub fn protected(length: usize, tail: &[u8]) -> Value {
    json!({ "formatLength": length, "formatTail": base64url(tail), "time": "2015-01-01T00:00:00Z" })
}

/// Pushes the layers and a manifest. Returns the full name.
pub fn push(registry: &Registry, tag: &str, media_type: &str, bytes: &[u8], layers: &[&Layer]) -> String {
    layers.iter().for_each(|layer| drop(registry.put_blob("app", &layer.blob)));
    registry.put_manifest_as("app", tag, media_type, bytes);
    registry.name(&format!("app:{tag}"))
}

fn base64url(bytes: &[u8]) -> String {
    base64(bytes).replace('+', "-").replace('/', "_").trim_end_matches('=').to_string()
}
