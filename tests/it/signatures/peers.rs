//! Signatures that cosign and skopeo have made: `tests/data/signatures/README.md` has the commands.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kit::home::Home;
use kit::image::{OCI_INDEX, OCI_MANIFEST};
use kit::process::Finished;
use kit::registry::Registry;
use serde_json::{Value, json};

use super::stranger;

/// The documents of a file.
struct Documents {
    /// The public key; empty in the file of the image.
    key: String,
    /// By tag or digest.
    manifests: BTreeMap<String, String>,
    blobs: Vec<String>,
}

impl Documents {
    fn read(name: &str) -> Documents {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/signatures/peers").join(format!("{name}.json"));
        let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let manifests = file["manifests"].as_object().unwrap().iter();
        Documents {
            key: file["key"].as_str().unwrap_or_default().to_owned(),
            manifests: manifests.map(|(reference, value)| (reference.clone(), text(value))).collect(),
            blobs: file["blobs"].as_array().unwrap().iter().map(text).collect(),
        }
    }

    fn push(&self, registry: &Registry, repository: &str) {
        for blob in &self.blobs {
            registry.put_blob(repository, blob.as_bytes());
        }
        for (reference, text) in &self.manifests {
            let parsed: Value = serde_json::from_str(text).unwrap();
            let media_type = parsed["mediaType"].as_str().unwrap_or(OCI_MANIFEST);
            let tag = Some(reference.as_str()).filter(|reference| !reference.contains(':'));
            let digest = registry.put_manifest(repository, tag, media_type, text.as_bytes());
            assert!(tag.is_some() || digest == *reference, "{reference}");
        }
    }
}

/// A registry with the image and the signatures of one file, in the repository of their identity.
struct Peer {
    registry: Registry,
    home: Home,
    name: &'static str,
    /// The option with the public key.
    key: String,
    signatures: Documents,
}

impl Peer {
    fn new(name: &'static str) -> Peer {
        let (registry, home, signatures) = (Registry::plain(), Home::new(), Documents::read(name));
        Documents::read("image").push(&registry, name);
        registry.put_blob(name, &[0; 1024]);
        signatures.push(&registry, name);
        let key = format!("--verify-key={}", home.write("cosign.pub", &signatures.key));
        Peer { registry, home, name, key, signatures }
    }

    /// Pulls a tag or `@DIGEST` into an empty store.
    fn pull(&self, reference: &str, options: &[&str]) -> Finished {
        let _ = fs::remove_dir_all(self.home.store());
        self.registry.clear_log();
        let name = self.registry.name(&format!("{}{reference}", self.name));
        self.home.run(&[&["pull", "-q", "--platform=linux/amd64"], options, &[&name]].concat())
    }

    /// Pulls with a policy that demands the key and this identity.
    fn pull_by_policy(&self, identity: &Value) -> Finished {
        let key = self.home.arg("cosign.pub");
        let requirement = json!({ "type": "sigstoreSigned", "keyPath": key, "signedIdentity": identity });
        let policy = self.home.write("policy.json", json!({ "default": [requirement] }).to_string());
        self.pull(":1", &["--policy", &policy])
    }

    #[track_caller]
    fn refuses(&self, reference: &str, options: &[&str], text: &str) {
        self.pull(reference, options).exits_in(self.name, 8).fails_in_one_line().says(text);
        let fetched: Vec<String> =
            self.registry.log().into_iter().filter(|line| line.contains(&self.image_blob())).collect();
        assert!(fetched.is_empty(), "{}: {fetched:?}", self.name);
    }

    /// The layer of the image.
    fn image_blob(&self) -> String {
        kit::digest::sha256(&[0; 1024])
    }
}

/// The signers whose signature covers the index.
const SIGNERS: [&str; 9] = [
    "cosign-2.5.0",
    "cosign-2.5.0-ed25519",
    "cosign-3.1.1",
    "cosign-3.1.1-tag",
    "cosign-3.1.1-recursive",
    "cosign-3.1.1-p384",
    "cosign-3.1.1-rsa",
    "skopeo-1.18.0",
    "skopeo-1.22.0",
];

#[test]
fn accepts_what_cosign_and_skopeo_have_signed_and_no_other_key() {
    for name in SIGNERS {
        let peer = Peer::new(name);
        peer.pull(":1", &[&peer.key]).exits_in(name, 0);
        peer.refuses(":1", &[&stranger().option()], "signed, but by no given key");
        peer.refuses(":1", &[&peer.key, &stranger().option(), "--verify-count=2"], "1 of the given keys");
    }
}

#[test]
fn the_annotations_of_cosign_count() {
    for name in ["cosign-2.5.0", "cosign-3.1.1", "cosign-3.1.1-tag"] {
        let peer = Peer::new(name);
        peer.pull(":1", &[&peer.key, "--verify-annotation=version=1.2"]).exits_in(name, 0);
        peer.refuses(":1", &[&peer.key, "--verify-annotation=version=1.3"], "is \"1.2\" and not \"1.3\"");
        peer.refuses(":1", &[&peer.key, "--verify-annotation=channel=stable"], "no annotation channel");
    }
}

#[test]
fn a_policy_accepts_the_identities_that_cosign_and_skopeo_write() {
    let repository =
        |name: &str| json!({ "type": "exactRepository", "dockerRepository": format!("localhost:5000/{name}") });
    let reference =
        |name: &str| json!({ "type": "exactReference", "dockerReference": format!("localhost:5000/{name}:1") });
    // The registry of the test stands for the one where they were signed.
    let remap = |peer: &Peer| json!({ "type": "remapIdentity", "prefix": peer.registry.host(), "signedPrefix": "localhost:5000" });
    for name in ["cosign-2.5.0", "cosign-2.5.0-ed25519", "cosign-3.1.1-tag"] {
        let peer = Peer::new(name);
        peer.pull_by_policy(&repository(name)).exits_in(name, 0);
        peer.pull_by_policy(&repository("another")).exits_in(name, 8);
        peer.pull_by_policy(&reference(name)).exits_in(name, 8);
        peer.pull_by_policy(&remap(&peer)).exits_in(name, 8).says("has no tag").says("matchRepository accepts it");
    }
    for name in ["skopeo-1.18.0", "skopeo-1.22.0", "cosign-3.1.1"] {
        let peer = Peer::new(name);
        peer.pull_by_policy(&repository(name)).exits_in(name, 0);
        peer.pull_by_policy(&reference(name)).exits_in(name, 0);
        peer.pull_by_policy(&remap(&peer)).exits_in(name, 0);
        peer.pull_by_policy(&reference("another")).exits_in(name, 8).says("does not accept");
    }
    let peer = Peer::new("cosign-3.1.1-rsa");
    peer.pull_by_policy(&repository(peer.name)).exits(8).says("no identity");
}

#[test]
fn signatures_of_the_images_in_the_index_count_for_them_alone() {
    let image: Value = serde_json::from_str(&Documents::read("image").manifests["1"]).unwrap();
    let digest = |at: usize| format!("@{}", image["manifests"][at]["digest"].as_str().unwrap());
    for name in ["cosign-3.1.1-recursive", "skopeo-1.22.0"] {
        let peer = Peer::new(name);
        peer.pull(&digest(0), &[&peer.key]).exits_in(name, 0);
        peer.pull(&digest(1), &[&peer.key, "--platform=linux/s390x"]).exits_in(name, 0);
    }
    let peer = Peer::new("cosign-2.5.0");
    peer.refuses(&digest(0), &[&peer.key], "the image is not signed");
    let peer = Peer::new("cosign-2.5.0-sibling");
    peer.refuses(":1", &[&peer.key], "the image is not signed");
    peer.pull(":1", &[&peer.key, "--platform=linux/s390x"]).exits(0);
}

#[test]
fn an_attestation_of_cosign_is_no_signature() {
    for name in ["cosign-2.5.0-attestation", "cosign-3.1.1-attestation"] {
        let peer = Peer::new(name);
        peer.refuses(":1", &[&peer.key], "the image is not signed; it has 1 attestation");
    }
}

/// cosign writes the list under a tag with a wrong `artifactType`. A registry with the API returns the right one.
#[test]
fn a_bundle_of_cosign_is_found_by_the_api_too() {
    let peer = Peer::new("cosign-3.1.1");
    let (tag, list) = peer.signatures.manifests.iter().find(|(_, text)| text.contains(OCI_INDEX)).unwrap();
    let right = list.replace("vnd.oci.empty.v1+json", "vnd.dev.sigstore.bundle.v0.3+json");
    assert_ne!(*list, right);
    for page in [list, &right] {
        peer.registry.put_referrers(peer.name, &tag.replace('-', ":"), std::slice::from_ref(page));
        peer.pull(":1", &[&peer.key]).exits(0);
        assert_eq!(peer.registry.requests_to(&format!("/manifests/{tag} ")), 0, "{:?}", peer.registry.log());
    }
}
