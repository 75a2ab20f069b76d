//! The payload of a simple signature (containers-signature(5), and cosign's SIGNATURE_SPEC.md): which manifest is signed,
//! and under which name. Parsed only after the signature over its bytes is proven.

use serde_json::Value;

use super::members::{exactly, object, string, strings};
use super::signed::Signed;
use crate::digest::Digest;
use crate::oci::strict::parse_object;

/// The most bytes of a payload. Real ones have 250.
pub(crate) const PAYLOAD_LIMIT: usize = 64 << 10;

/// What cosign, podman and skopeo write for sigstore signatures. OpenPGP signatures have another type.
const TYPE: &str = "cosign container image signature";

/// Parses a payload as strictly as containers/image: unknown members are accepted in `optional` only. Fails if it does not
/// sign `subject`.
pub(super) fn parse(payload: &[u8], subject: &Digest) -> Result<Signed, String> {
    let members = parse_object(payload)?;
    exactly(&members, &["critical", "optional"])?;
    let critical = object(&members, "critical")?;
    exactly(critical, &["identity", "image", "type"])?;
    let kind = string(critical, "type")?;
    if kind != TYPE {
        return Err(format!("its type is \"{kind}\""));
    }
    let identity = object(critical, "identity")?;
    exactly(identity, &["docker-reference"])?;
    let name = string(identity, "docker-reference")?;
    let image = object(critical, "image")?;
    exactly(image, &["docker-manifest-digest"])?;
    // Parsed before it is used, because it may be anything (CVE-2024-3727).
    let digest = string(image, "docker-manifest-digest")?.parse::<Digest>().map_err(|e| e.to_string())?;
    if digest != *subject {
        return Err(format!("it signs {digest}"));
    }
    let mut signed = Signed { identity: Some(name.to_owned()), ..Signed::default() };
    if members.get("optional").is_some_and(Value::is_null) {
        return Ok(signed);
    }
    let optional = object(&members, "optional")?;
    // containers/image takes null for a missing member here.
    let given = |name| optional.get(name).filter(|value| !value.is_null());
    if given("timestamp").is_some_and(|timestamp| !timestamp.is_i64()) {
        return Err("member \"timestamp\" is not an integer".to_owned());
    }
    if given("creator").is_some_and(|creator| !creator.is_string()) {
        return Err("member \"creator\" is not a string".to_owned());
    }
    signed.annotations = strings(optional);
    Ok(signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::sha256(b"manifest")
    }

    fn payload(critical: &str, optional: &str) -> String {
        let critical = critical.replace("DIGEST", &digest().to_string());
        format!("{{\"critical\":{critical},\"optional\":{optional}}}")
    }

    const CRITICAL: &str = r#"{"identity":{"docker-reference":"r.io/a"},"image":{"docker-manifest-digest":"DIGEST"},
        "type":"cosign container image signature"}"#;

    #[test]
    fn returns_the_identity_and_the_annotations_that_are_text() {
        let signed = parse(payload(CRITICAL, "null").as_bytes(), &digest()).unwrap();
        assert_eq!((signed.identity.as_deref(), signed.annotations.len()), (Some("r.io/a"), 0));
        assert!(parse(payload(CRITICAL, r#"{"timestamp":null,"creator":null}"#).as_bytes(), &digest()).is_ok());
        let optional = r#"{"creator":"skopeo","timestamp":1700000000,"version":"1.2","deep":{"x":1}}"#;
        let signed = parse(payload(CRITICAL, optional).as_bytes(), &digest()).unwrap();
        let annotations: Vec<(&str, &str)> = signed.annotations.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(annotations, [("creator", "skopeo"), ("version", "1.2")]);
    }

    #[test]
    fn refuses_missing_unknown_repeated_and_wrong_members() {
        for (from, to) in [
            ("r.io/a\"}", "r.io/a\",\"x\":1}"),
            ("\"DIGEST\"}", "\"DIGEST\",\"x\":1}"),
            ("signature\"}", "signature\",\"x\":1}"),
            ("signature\"}", "signature\",\"type\":\"cosign container image signature\"}"),
            ("cosign container", "atomic container"),
            ("\"docker-reference\":\"r.io/a\"", ""),
            ("\"r.io/a\"", "null"),
            ("\"DIGEST\"", "null"),
            ("DIGEST", "../../etc/passwd"),
            ("DIGEST", "sha256:0000000000000000000000000000000000000000000000000000000000000000"),
            ("{\"docker-manifest-digest\":\"DIGEST\"}", "null"),
            ("{\"docker-reference\":\"r.io/a\"}", "null"),
            ("\"type\":\"cosign container image signature\"", "\"kind\":\"cosign container image signature\""),
        ] {
            let changed = CRITICAL.replacen(from, to, 1);
            assert_ne!(changed, CRITICAL, "{from}");
            assert!(parse(payload(&changed, "null").as_bytes(), &digest()).is_err(), "{from} -> {to}");
        }
        let upper = CRITICAL.replace("DIGEST", &digest().to_string().to_uppercase().replace("SHA256", "sha256"));
        assert!(parse(payload(&upper, "null").as_bytes(), &digest()).is_err());
        for optional in ["1", "[]", r#"{"timestamp":"1"}"#, r#"{"timestamp":1.5}"#, r#"{"creator":1}"#] {
            assert!(parse(payload(CRITICAL, optional).as_bytes(), &digest()).is_err(), "{optional}");
        }
        let text = payload(CRITICAL, "null");
        for changed in [
            text.replace(",\"optional\":null", ""),
            text.replace("\"optional\"", "\"Optional\""),
            text.replace("\"optional\":null", "\"optional\":null,\"more\":1"),
            text.replace("\"optional\":null", "\"optional\":null,\"optional\":null"),
            format!("{text}x"),
            format!("[{text}]"),
            "null".to_owned(),
        ] {
            assert!(parse(changed.as_bytes(), &digest()).is_err(), "{changed}");
        }
    }
}
