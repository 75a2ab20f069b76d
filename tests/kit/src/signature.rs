//! Signatures of images in the formats that cosign, podman and skopeo publish, made with openssl.
//!
//! Everything is correct by default. To make it wrong, edit the JSON before it is signed or pushed.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::debian::{command, run};
use crate::digest::base64;
use crate::home::TempDir;
use crate::image::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, descriptor};
use crate::registry::Registry;

/// The media type of the payload of a simple signature.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The media type of a bundle, version 0.3.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The predicate of an image signature.
pub const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// The annotation with the base64 of a simple signature.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// A pair of keys, in files of a temporary folder.
pub struct Signer {
    folder: TempDir,
    kind: &'static str,
}

impl Signer {
    /// Makes a pair of keys: `p256`, `p384`, `p521`, `ed25519`, `rsa2048`, `rsa3072` or `rsa4096`.
    pub fn new(kind: &'static str) -> Signer {
        let signer = Signer { folder: TempDir::new(), kind };
        let options: Vec<String> = match kind {
            "ed25519" => vec!["-algorithm".into(), "ED25519".into()],
            _ if kind.starts_with("rsa") => {
                vec!["-algorithm".into(), "RSA".into(), "-pkeyopt".into(), format!("rsa_keygen_bits:{}", &kind[3..])]
            }
            _ => {
                let curve = format!("ec_paramgen_curve:P-{}", &kind[1..]);
                vec!["-algorithm".into(), "EC".into(), "-pkeyopt".into(), curve]
            }
        };
        run(command("openssl").arg("genpkey").args(options).arg("-out").arg(signer.path("key"))).expect(0);
        run(command("openssl").args(["pkey", "-pubout", "-in"]).arg(signer.path("key")).arg("-out").arg(signer.key()))
            .expect(0);
        signer
    }

    /// The path of the public key.
    pub fn key(&self) -> String {
        self.path("pub")
    }

    /// The path of the private key.
    pub fn private_key(&self) -> String {
        self.path("key")
    }

    /// The option with the public key.
    pub fn option(&self) -> String {
        format!("--verify-key={}", self.key())
    }

    /// The raw signature of some bytes.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let message = self.path(&format!("message-{}", COUNT.fetch_add(1, Ordering::SeqCst)));
        std::fs::write(&message, bytes).unwrap();
        let mut openssl = command("openssl");
        match self.kind {
            "ed25519" => {
                openssl.args(["pkeyutl", "-sign", "-rawin", "-inkey"]).arg(self.path("key")).args(["-in", &message])
            }
            _ => openssl.args(["dgst", self.hash(), "-sign"]).arg(self.path("key")).arg(&message),
        };
        let output = openssl.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "{openssl:?}");
        output.stdout
    }

    fn hash(&self) -> &'static str {
        match self.kind {
            "p384" => "-sha384",
            "p521" => "-sha512",
            _ => "-sha256",
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}

/// The payload of a simple signature, as cosign writes it.
pub fn payload(digest: &str, name: &str) -> Value {
    json!({
        "critical": {
            "identity": { "docker-reference": name },
            "image": { "docker-manifest-digest": digest },
            "type": "cosign container image signature",
        },
        "optional": null,
    })
}

/// The statement of a bundle, as cosign writes it.
pub fn statement(digest: &str) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "digest": { "sha256": digest.trim_start_matches("sha256:") } }],
        "predicateType": SIGN,
        "predicate": {},
    })
}

/// A layer with a simple signature of these bytes, whose blob is pushed.
pub fn simple_layer(registry: &Registry, repository: &str, payload: &[u8], signer: &Signer) -> Value {
    registry.put_blob(repository, payload);
    let mut layer = descriptor(SIMPLE_SIGNING, payload);
    layer["annotations"] = json!({ SIGNATURE: base64(&signer.sign(payload)) });
    layer
}

/// The manifest of simple signatures, as cosign writes it. The registry does not have its config, which nobody needs.
pub fn simple_manifest(layers: &[Value]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, b"{}"),
        "layers": layers,
    })
}

/// The tag for the signatures of a digest.
pub fn tag(digest: &str) -> String {
    format!("{}.sig", digest.replace(':', "-"))
}

/// Signs a digest in `repository` with a simple signature under its tag.
pub fn sign_simply(registry: &Registry, repository: &str, digest: &str, signers: &[&Signer]) {
    let text = payload(digest, &registry.name(repository)).to_string();
    let layers: Vec<Value> =
        signers.iter().map(|signer| simple_layer(registry, repository, text.as_bytes(), signer)).collect();
    push_simply(registry, repository, digest, &simple_manifest(&layers));
}

/// Pushes a manifest of simple signatures under the tag for a digest.
pub fn push_simply(registry: &Registry, repository: &str, digest: &str, manifest: &Value) {
    registry.put_manifest(repository, Some(&tag(digest)), OCI_MANIFEST, manifest.to_string().as_bytes());
}

/// The bytes that DSSE signs.
pub fn pre_authentication(kind: &str, payload: &[u8]) -> Vec<u8> {
    [format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).as_bytes(), payload].concat()
}

/// A bundle around a statement, as cosign writes it.
pub fn bundle(statement: &[u8], signer: &Signer) -> Value {
    let kind = "application/vnd.in-toto+json";
    let signature = signer.sign(&pre_authentication(kind, statement));
    json!({
        "mediaType": BUNDLE,
        "verificationMaterial": {
            "publicKey": { "hint": "aGludA==" },
            "tlogEntries": [{ "logIndex": "1", "kindVersion": { "kind": "dsse", "version": "0.0.1" } }],
        },
        "dsseEnvelope": {
            "payload": base64(statement),
            "payloadType": kind,
            "signatures": [{ "sig": base64(&signature) }],
        },
    })
}

/// The manifest with a bundle that is a referrer of a digest, as cosign writes it.
pub fn referrer(digest: &str, bundle: &[u8]) -> Value {
    let mut config = descriptor("application/vnd.oci.empty.v1+json", b"{}");
    config["artifactType"] = json!(BUNDLE);
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config,
        "layers": [descriptor(BUNDLE, bundle)],
        "annotations": {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": SIGN,
        },
        "subject": { "mediaType": OCI_INDEX, "digest": digest, "size": 856 },
        "artifactType": BUNDLE,
    })
}

/// Pushes a bundle and its manifest. Returns the entry of the manifest in a list of referrers.
pub fn push_bundle(registry: &Registry, repository: &str, digest: &str, bundle: &[u8]) -> Value {
    registry.put_blob(repository, bundle);
    push_referrer(registry, repository, &referrer(digest, bundle))
}

/// Pushes a manifest. Returns its entry in a list of referrers.
pub fn push_referrer(registry: &Registry, repository: &str, manifest: &Value) -> Value {
    let bytes = manifest.to_string();
    registry.put_manifest(repository, None, OCI_MANIFEST, bytes.as_bytes());
    let mut entry = descriptor(OCI_MANIFEST, bytes.as_bytes());
    entry["artifactType"] = manifest["artifactType"].clone();
    entry["annotations"] = manifest["annotations"].clone();
    entry
}

/// A list of referrers.
pub fn list(entries: &[Value]) -> String {
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries }).to_string()
}

/// Signs a digest with bundles that the API for referrers lists.
pub fn sign_with_bundles(registry: &Registry, repository: &str, digest: &str, signers: &[&Signer]) {
    let text = statement(digest).to_string();
    let push = |signer: &&Signer| {
        push_bundle(registry, repository, digest, bundle(text.as_bytes(), signer).to_string().as_bytes())
    };
    let entries: Vec<Value> = signers.iter().map(push).collect();
    registry.put_referrers(repository, digest, &[list(&entries)]);
}

/// Signs a digest with bundles that are listed under a tag, because the registry has no API for referrers.
pub fn sign_with_tagged_bundles(registry: &Registry, repository: &str, digest: &str, signers: &[&Signer]) {
    let text = statement(digest).to_string();
    let push = |signer: &&Signer| {
        push_bundle(registry, repository, digest, bundle(text.as_bytes(), signer).to_string().as_bytes())
    };
    let entries: Vec<Value> = signers.iter().map(push).collect();
    push_list(registry, repository, digest, &list(&entries));
}

/// Pushes a list of referrers under the tag for a digest.
pub fn push_list(registry: &Registry, repository: &str, digest: &str, list: &str) {
    registry.put_manifest(repository, Some(&digest.replace(':', "-")), OCI_INDEX, list.as_bytes());
}
