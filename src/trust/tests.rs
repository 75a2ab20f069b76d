//! Signatures that other programs made: published test vectors, and openssl's. tests/data/signatures/README.md says where
//! they are from.

use serde_json::Value;

use super::encoding::decode_base64;
use super::key::PublicKey;
use super::signature::{Candidate, ProvenSignature, prove};
use super::signed::Refusal;
use crate::digest::Digest;
use crate::error::ErrorKind;

fn data(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/signatures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn text(name: &str) -> String {
    String::from_utf8(data(name)).unwrap()
}

fn key(name: &str) -> PublicKey {
    PublicKey::from_pem(&data(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn verifies_signatures_of_openssl_with_each_kind_of_key() {
    for (file, signature) in [
        ("p256.pub", "p256.sig"),
        ("p384.pub", "p384.sig"),
        ("p384.pub", "p384-384.sig"),
        ("ed25519.pub", "ed25519.sig"),
        ("rsa2048.pub", "rsa2048.sig"),
        ("rsa2048.pkcs1", "rsa2048.sig"),
        ("rsa4096.pub", "rsa4096.sig"),
    ] {
        let key = key(&format!("keys/{file}"));
        let signature = decode_base64(&text(&format!("keys/{signature}"))).unwrap();
        assert!(key.verify(b"hello", &signature), "{file}");
        assert!(!key.verify(b"hellp", &signature) && !key.verify(b"", &signature), "{file}");
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1 << (at % 8);
            assert!(!key.verify(b"hello", &changed), "{file}: byte {at}");
            assert!(!key.verify(b"hello", &signature[..at]), "{file}: {at} bytes");
        }
        assert!(!key.verify(b"hello", &[&signature[..], &[0]].concat()), "{file}");
    }
}

#[test]
fn a_key_never_verifies_the_signature_of_another_kind_of_key() {
    let names = ["p256", "p384", "ed25519", "rsa2048", "rsa4096"];
    for one in names {
        for other in names.iter().filter(|other| **other != one) {
            let signature = decode_base64(&text(&format!("keys/{other}.sig"))).unwrap();
            assert!(!key(&format!("keys/{one}.pub")).verify(b"hello", &signature), "{one} {other}");
        }
    }
}

#[test]
fn refuses_other_keys_by_name() {
    for (file, kind, expected) in [
        ("p521.pub", ErrorKind::Unsupported, "P-521"),
        ("k256.pub", ErrorKind::Unsupported, "1.3.132.0.10"),
        ("ed448.pub", ErrorKind::Unsupported, "Ed448"),
        ("pss.pub", ErrorKind::Unsupported, "RSA-PSS"),
        ("rsa1024.pub", ErrorKind::Unsupported, "RSA key of 1024 bits"),
        ("rsa8192.pub", ErrorKind::Unsupported, "RSA key of 8192 bits"),
        ("p256c.pub", ErrorKind::Unsupported, "compressed point"),
        ("cert.pem", ErrorKind::Usage, "it is a certificate"),
        ("p256.sig", ErrorKind::Usage, "not a PEM file"),
    ] {
        let error = PublicKey::from_pem(&data(&format!("keys/{file}"))).unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(expected), "{file}: {error}");
    }
    for label in
        ["PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY", "X509 CRL"]
    {
        let file = format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        let error = PublicKey::from_pem(file.as_bytes()).unwrap_err();
        assert!(error.kind() == ErrorKind::Usage && error.to_string().contains(label), "{label}: {error}");
    }
}

#[test]
fn a_key_has_one_encoding_only() {
    for file in ["p256.pub", "p384.pub", "ed25519.pub", "rsa2048.pub"] {
        let pem = text(&format!("keys/{file}"));
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let spki = decode_base64(&base64).unwrap();
        let parse = |der: &[u8]| {
            use base64::Engine as _;
            let base64 = base64::engine::general_purpose::STANDARD.encode(der);
            PublicKey::from_pem(format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n").as_bytes())
        };
        assert!(parse(&spki).is_ok(), "{file}");
        assert!(parse(&[&spki[..], &[0]].concat()).is_err(), "{file}");
        for shorter in 0..spki.len() {
            assert!(parse(&spki[..shorter]).is_err(), "{file}: {shorter} bytes");
        }
        // No other text of the structure is the same key, and the fingerprint covers all of it.
        for at in 0..spki.len() {
            let mut changed = spki.clone();
            changed[at] ^= 1;
            if let Ok(other) = parse(&changed) {
                assert_ne!(other.fingerprint(), key(&format!("keys/{file}")).fingerprint(), "{file}: byte {at}");
            }
        }
    }
}

#[test]
fn keys_of_both_forms_have_one_fingerprint() {
    let spki = key("keys/rsa2048.pub");
    assert_eq!(spki, key("keys/rsa2048.pkcs1"));
    // The hint of a published bundle is the fingerprint of its key.
    let bundle: Value =
        serde_json::from_slice(&data("sigstore-conformance/managed-key-happy-path/bundle.sigstore.json")).unwrap();
    let hint = decode_base64(bundle["verificationMaterial"]["publicKey"]["hint"].as_str().unwrap()).unwrap();
    let fingerprint = key("sigstore-conformance/managed-key-happy-path/key.pub").fingerprint().hex();
    assert_eq!(hint.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), fingerprint);
}

#[test]
fn verifies_the_example_of_the_dsse_protocol() {
    let key = key("keys/dsse-protocol.pub");
    let signed = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
    let signature = |name: &str| decode_base64(&text(name)).unwrap();
    assert!(key.verify(signed, &signature("keys/dsse-protocol.sig")));
    // The encoding without structure, r and s alone, is not accepted.
    assert!(!key.verify(signed, &signature("keys/dsse-protocol.raw.sig")));
}

/// The attached signature of containers/image in a file of its fixtures: after a line, JSON with the layer.
fn attached(name: &str, keys: &[PublicKey], subject: &Digest) -> Result<ProvenSignature, Refusal> {
    let file = data(&format!("container-libs/{name}"));
    let layer: Value = serde_json::from_slice(file.strip_prefix(b"\0sigstore-json\n".as_slice()).unwrap()).unwrap();
    let payload = decode_base64(layer["payload"].as_str().unwrap()).unwrap();
    let signature = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().unwrap();
    prove(Candidate::Simple { payload: &payload, signature }, keys, subject)
}

#[test]
fn proves_the_signatures_of_containers_image() {
    let keys = [key("container-libs/cosign.pub"), key("container-libs/cosign2.pub")];
    let subject = |folder: &str| Digest::sha256(&data(&format!("container-libs/{folder}/manifest.json")));
    for (folder, signature, signer) in [
        ("valid", "signature-1", 0),
        ("valid-2", "signature-1", 0),
        ("valid-2", "signature-2", 0),
        ("valid-with-tag", "signature-1", 0),
        ("key-rekor-valid", "signature-1", 1),
    ] {
        let proven = attached(&format!("{folder}/{signature}"), &keys, &subject(folder));
        let proven = proven.unwrap_or_else(|e| panic!("{folder}/{signature}: {e:?}"));
        assert_eq!(proven.key(), keys[signer].fingerprint(), "{folder}/{signature}");
    }
    let proven = attached("valid/signature-1", &keys, &subject("valid")).unwrap();
    assert_eq!(proven.identity(), Some("192.168.64.2:5000/cosign-signed-single-sample"));
    let tagged = attached("valid-with-tag/signature-1", &keys, &subject("valid-with-tag")).unwrap();
    assert!(tagged.identity().is_some_and(|name| name.contains(':') && name.ends_with("tag")), "{tagged:?}");
}

#[test]
fn refuses_the_bad_signatures_of_containers_image() {
    let keys = [key("container-libs/cosign.pub"), key("container-libs/cosign2.pub")];
    let subject = |folder: &str| Digest::sha256(&data(&format!("container-libs/{folder}/manifest.json")));
    let proven = attached("modified-manifest/signature-1", &keys, &subject("modified-manifest"));
    assert!(matches!(proven, Err(Refusal::Malformed(why)) if why.contains("it signs sha256:")));
    let refused = |name: &str, keys: &[PublicKey]| attached(name, keys, &subject("valid")).err();
    assert_eq!(refused("unknown-cosign-key.signature", &keys), Some(Refusal::OtherKey));
    assert_eq!(refused("other-attachment/signature-1", &keys), Some(Refusal::OtherKey));
    assert_eq!(refused("fulcio-rekor-valid/signature-1", &keys), Some(Refusal::OtherKey));
    assert_eq!(refused("valid/signature-1", &keys[1..]), Some(Refusal::OtherKey));
    assert_eq!(refused("valid/signature-1", &[]), Some(Refusal::OtherKey));
}

/// A published bundle with a certificate, as if the key in it had been given.
fn with_key(name: &str) -> String {
    let mut bundle: Value = serde_json::from_slice(&data(name)).unwrap();
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.3+json".into();
    let material = bundle["verificationMaterial"].as_object_mut().unwrap();
    material.remove("certificate");
    material.remove("x509CertificateChain");
    material.insert("publicKey".into(), serde_json::json!({ "hint": "x" }));
    bundle.to_string()
}

#[test]
fn verifies_published_envelopes_and_finds_attestations_in_them() {
    let subject = Digest::sha256(b"");
    for (bundle, leaf) in [
        ("sigstore-conformance/happy-path-intoto-in-dsse-v3/bundle.sigstore.json", "bundle.leaf.pub"),
        ("sigstore-go/dsse.sigstore.json", "dsse.leaf.pub"),
        ("cosign/oci-attestation.sigstore.json", "oci-attestation.leaf.pub"),
    ] {
        let folder = bundle.rsplit_once('/').unwrap().0;
        let keys = [key(&format!("{folder}/{leaf}"))];
        let certified = prove(Candidate::Bundle(&data(bundle)), &keys, &subject).unwrap_err();
        assert!(matches!(certified, Refusal::Certificate | Refusal::Unsupported(_)), "{bundle}: {certified:?}");
        let refusal = prove(Candidate::Bundle(with_key(bundle).as_bytes()), &keys, &subject).unwrap_err();
        assert!(matches!(refusal, Refusal::Attestation(_)), "{bundle}: {refusal:?}");
    }
    let folder = "sigstore-conformance/dsse-invalid-sig_fail";
    let keys = [key(&format!("{folder}/bundle.leaf.pub"))];
    let bundle = with_key(&format!("{folder}/bundle.sigstore.json"));
    assert_eq!(prove(Candidate::Bundle(bundle.as_bytes()), &keys, &subject).err(), Some(Refusal::OtherKey));
    let two = with_key("sigstore-go/dsse-2sigs.sigstore.json");
    let refusal = prove(Candidate::Bundle(two.as_bytes()), &[key("sigstore-go/dsse-2sigs.leaf.pub")], &subject);
    assert!(matches!(refusal, Err(Refusal::Malformed(why)) if why.contains("exactly one signature")));
}

#[test]
fn no_published_bundle_is_an_image_signature() {
    let keys = [key("sigstore-conformance/managed-key-happy-path/key.pub")];
    for folder in [
        "managed-key-happy-path",
        "managed-key-wrong-key_fail",
        "happy-path-intoto-in-dsse-v3",
        "dsse-invalid-sig_fail",
        "dsse-mismatch-envelope_fail",
        "dsse-mismatch-sig_fail",
        "bundle-invalid-base64-signature_fail",
        "bundle-malformed-json_fail",
        "bundle-unknown-version_fail",
    ] {
        let bundle = data(&format!("sigstore-conformance/{folder}/bundle.sigstore.json"));
        assert!(prove(Candidate::Bundle(&bundle), &keys, &Digest::sha256(b"")).is_err(), "{folder}");
    }
    let bundle = data("sigstore-conformance/managed-key-happy-path/bundle.sigstore.json");
    let refusal = prove(Candidate::Bundle(&bundle), &keys, &Digest::sha256(b"")).unwrap_err();
    assert!(matches!(refusal, Refusal::Unsupported(what) if what.contains("message signature")));
}
