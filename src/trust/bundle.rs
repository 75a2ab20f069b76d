//! Sigstore bundles, version 0.3 (protobuf-specs, sigstore_bundle.proto), with a DSSE envelope (dsse, protocol.md 1.0.2)
//! around an in-toto statement. Log entries and timestamps are skipped: a key alone proves the signature, so nothing in them
//! may influence the result.

use serde_json::Value;

use super::encoding::decode_base64;
use super::members::{Members, list, object, string, strings};
use super::signed::{Refusal, Signed};
use crate::digest::Digest;
use crate::oci::strict::parse_object;

/// The most bytes of a bundle. Real ones have 2 to 15 KiB.
pub(crate) const BUNDLE_LIMIT: usize = 1 << 20;

/// The media types of version 0.3.
const MEDIA_TYPES: [&str; 2] =
    ["application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.dev.sigstore.bundle+json;version=0.3"];
/// The media types of all versions begin with this.
pub(super) const MEDIA_TYPE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The predicate of a signature. Every other predicate is an attestation, which does not approve an image.
pub(super) const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// The most subjects of a statement, and the most digests of one; the limits of sigstore-go.
const SUBJECTS: usize = 1024;
const DIGESTS: usize = 32;
/// The signed annotation that gives a bundle an identity. The format itself has none.
const IDENTITY: &str = "docker-reference";

/// The DSSE envelope of a bundle.
pub(super) struct Envelope {
    pub(super) signature: Vec<u8>,
    /// The bytes that are signed, the "pre-authentication encoding".
    pub(super) signed: Vec<u8>,
    /// Where the payload begins in `signed`.
    payload: usize,
}

impl Envelope {
    /// Parses the outline of a bundle, up to the payload, which is parsed only after the signature is proven.
    pub(super) fn parse(bundle: &[u8]) -> Result<Self, Refusal> {
        let members = parse_object(bundle).map_err(Refusal::Malformed)?;
        let media_type = string(&members, "mediaType").map_err(Refusal::Malformed)?;
        if !MEDIA_TYPES.contains(&media_type) {
            return Err(Refusal::Unsupported(format!("a bundle of type \"{media_type}\"")));
        }
        check_material(object(&members, "verificationMaterial").map_err(Refusal::Malformed)?)?;
        match (members.contains_key("dsseEnvelope"), members.contains_key("messageSignature")) {
            (true, false) => {}
            (false, true) => return Err(Refusal::Unsupported("a bundle with a message signature".to_owned())),
            _ => return Err(Refusal::Malformed("it has not exactly one content".to_owned())),
        }
        object(&members, "dsseEnvelope").and_then(Self::parse_dsse).map_err(Refusal::Malformed)
    }

    fn parse_dsse(envelope: &Members) -> Result<Self, String> {
        let payload_type = string(envelope, "payloadType")?;
        if payload_type != PAYLOAD_TYPE {
            return Err(format!("its payload is of type \"{payload_type}\""));
        }
        let [Value::Object(signature)] = list(envelope, "signatures")? else {
            return Err("it has not exactly one signature".to_owned());
        };
        let signature = decode_base64(string(signature, "sig")?).ok_or("the base64 of its signature is malformed")?;
        let payload = decode_base64(string(envelope, "payload")?).ok_or("the base64 of its payload is malformed")?;
        let mut signed = pre_authentication_header(PAYLOAD_TYPE, payload.len()).into_bytes();
        let begin = signed.len();
        signed.extend_from_slice(&payload);
        Ok(Self { signature, signed, payload: begin })
    }

    /// Parses the payload: a statement with the predicate of a signature, one of whose subjects is `subject`.
    pub(super) fn statement(&self, subject: &Digest) -> Result<Signed, Refusal> {
        let payload = self.signed.get(self.payload..).unwrap_or_default();
        parse_statement(payload, subject)
    }
}

/// The encoding of what is signed, without the body that follows (DSSE, "PAE").
fn pre_authentication_header(kind: &str, length: usize) -> String {
    format!("DSSEv1 {} {kind} {length} ", kind.len())
}

/// Checks that the bundle is for a key that its owner manages. The key itself is not in the bundle, and the hint is not
/// signed, so it decides nothing.
fn check_material(material: &Members) -> Result<(), Refusal> {
    let has = |name| material.contains_key(name);
    match (has("publicKey"), has("certificate") || has("x509CertificateChain")) {
        (true, false) => object(material, "publicKey").map(drop).map_err(Refusal::Malformed),
        (false, true) => Err(Refusal::Certificate),
        _ => Err(Refusal::Malformed("it has not exactly one of a public key and a certificate".to_owned())),
    }
}

pub(super) fn parse_statement(payload: &[u8], subject: &Digest) -> Result<Signed, Refusal> {
    let statement = parse_object(payload).map_err(Refusal::Malformed)?;
    let kind = string(&statement, "predicateType").map_err(Refusal::Malformed)?;
    if kind != SIGN {
        return Err(Refusal::Attestation(kind.to_owned()));
    }
    let found = find_subject(&statement, subject).map_err(Refusal::Malformed)?;
    let mut signed = Signed::default();
    if found.contains_key("annotations") {
        signed.annotations = strings(object(found, "annotations").map_err(Refusal::Malformed)?);
    }
    signed.identity = signed.annotations.get(IDENTITY).cloned();
    Ok(signed)
}

/// Finds the one subject with this digest. Two would make it ambiguous whose annotations count.
fn find_subject<'a>(statement: &'a Members, subject: &Digest) -> Result<&'a Members, String> {
    let kind = string(statement, "_type")?;
    if kind != STATEMENT {
        return Err(format!("its statement is of type \"{kind}\""));
    }
    let subjects = list(statement, "subject")?;
    if subjects.len() > SUBJECTS {
        return Err(format!("limit exceeded: more than {SUBJECTS} subjects"));
    }
    let mut found = None;
    for one in subjects {
        let one = one.as_object().ok_or("a subject is not an object")?;
        let digests = object(one, "digest")?;
        if digests.len() > DIGESTS {
            return Err(format!("limit exceeded: more than {DIGESTS} digests of a subject"));
        }
        let hex = digests.get(subject.algorithm()).and_then(Value::as_str);
        if hex == Some(subject.hex().as_str()) && found.replace(one).is_some() {
            return Err("two of its subjects are the same".to_owned());
        }
    }
    found.ok_or_else(|| "it signs something else".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_what_dsse_signs_as_in_its_protocol() {
        // The example of dsse/protocol.md.
        assert_eq!(
            pre_authentication_header("http://example.com/HelloWorld", 11) + "hello world",
            "DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    fn digest() -> Digest {
        Digest::sha256(b"manifest")
    }

    fn bundle() -> String {
        r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial":{"publicKey":{"hint":"aGludA=="},"tlogEntries":[{"logIndex":"1"}]},
            "dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json",
                            "signatures":[{"sig":"AQI="}]}}"#
            .to_owned()
    }

    #[test]
    fn parses_the_outline_of_a_bundle() {
        let envelope = Envelope::parse(bundle().as_bytes()).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(envelope.signature, [1, 2]);
        assert_eq!(envelope.signed, b"DSSEv1 28 application/vnd.in-toto+json 2 {}");
        let other = bundle().replace("bundle.v0.3+json", "bundle+json;version=0.3");
        assert!(Envelope::parse(other.as_bytes()).is_ok());
    }

    #[test]
    fn refuses_bundles_of_other_forms() {
        for (from, to) in [
            ("v0.3", "v0.4"),
            ("v0.3", "v0.2"),
            (".v0.3+json", "+json;version=0.1"),
            ("\"publicKey\":{\"hint\":\"aGludA==\"},", ""),
            ("\"publicKey\":{\"hint\":\"aGludA==\"}", "\"publicKey\":null"),
            ("\"publicKey\":{\"hint\":\"aGludA==\"}", "\"certificate\":{\"rawBytes\":\"AA==\"}"),
            ("\"publicKey\":{\"hint\":\"aGludA==\"}", "\"publicKey\":{},\"certificate\":{}"),
            ("\"publicKey\"", "\"public_key\""),
            ("\"dsseEnvelope\"", "\"messageSignature\""),
            ("\"dsseEnvelope\"", "\"messageSignature\":{},\"dsseEnvelope\""),
            ("\"dsseEnvelope\"", "\"dsse_envelope\""),
            ("vnd.in-toto+json", "vnd.in-toto"),
            ("[{\"sig\":\"AQI=\"}]", "[]"),
            ("[{\"sig\":\"AQI=\"}]", "[{\"sig\":\"AQI=\"},{\"sig\":\"AQI=\"}]"),
            ("[{\"sig\":\"AQI=\"}]", "null"),
            ("AQI=", "AQI"),
            ("AQI=", "AQJ="),
            ("AQI=", "A_I="),
            ("e30=", "e30"),
            ("e30=", "e3\\n0="),
            ("\"payload\":\"e30=\"", "\"payload\":\"e30=\",\"payload\":\"e30=\""),
        ] {
            let changed = bundle().replacen(from, to, 1);
            assert_ne!(changed, bundle(), "{from}");
            assert!(Envelope::parse(changed.as_bytes()).is_err(), "{from} -> {to}");
        }
        let certificate = bundle().replace("publicKey", "certificate");
        assert!(matches!(Envelope::parse(certificate.as_bytes()), Err(Refusal::Certificate)));
    }

    fn statement() -> String {
        let hex = digest().hex();
        format!(
            r#"{{"_type":"{STATEMENT}","subject":[{{"digest":{{"sha256":"{}"}}}},
               {{"digest":{{"sha256":"{hex}","sha512":"x"}},"annotations":{{"k":"v","n":1}}}}],
               "predicateType":"{SIGN}","predicate":{{}}}}"#,
            Digest::sha256(b"other").hex()
        )
    }

    #[test]
    fn returns_the_annotations_of_the_subject() {
        let signed = parse_statement(statement().as_bytes(), &digest()).unwrap_or_else(|e| panic!("{e:?}"));
        let annotations: Vec<(&str, &str)> = signed.annotations.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!((annotations, signed.identity), (vec![("k", "v")], None));
        // cosign before 3.0.5 may leave the predicate out.
        let old = statement().replace(",\"predicate\":{}", "");
        assert!(parse_statement(old.as_bytes(), &digest()).is_ok());
        let named = statement().replace("\"k\":\"v\"", "\"docker-reference\":\"r.io/a\"");
        let signed = parse_statement(named.as_bytes(), &digest()).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(signed.identity.as_deref(), Some("r.io/a"));
    }

    #[test]
    fn refuses_statements_about_something_else() {
        let hex = digest().hex();
        for (from, to) in [
            (hex.as_str(), Digest::sha256(b"x").hex().as_str()),
            (hex.as_str(), hex.to_uppercase().as_str()),
            ("Statement/v1", "Statement/v0.1"),
            ("\"_type\"", "\"type\""),
            ("\"subject\":[", "\"subject\":[null,"),
            ("\"subject\":[", "\"subjects\":["),
            ("\"digest\":{", "\"digests\":{"),
            (",\"annotations\":{\"k\":\"v\",\"n\":1}", ",\"annotations\":[]"),
            (Digest::sha256(b"other").hex().as_str(), hex.as_str()),
        ] {
            let changed = statement().replacen(from, to, 1);
            assert_ne!(changed, statement(), "{from}");
            assert!(parse_statement(changed.as_bytes(), &digest()).is_err(), "{from} -> {to}");
        }
        let attestation = statement().replace(SIGN, "https://slsa.dev/provenance/v1");
        let refusal = parse_statement(attestation.as_bytes(), &digest()).err();
        assert!(matches!(refusal, Some(Refusal::Attestation(kind)) if kind.contains("slsa")));
    }
}
