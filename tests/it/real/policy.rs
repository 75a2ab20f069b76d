//! Decisions of policies, compared with those of `skopeo copy --policy` for the same files and names.
//!
//! Debian has disabled `sigstoreSigned` in its skopeo 1.9.3. So that gets a policy with `signedBy` in its place, and OpenPGP
//! signatures for the same identities. Identities do not depend on the kind of the signature. Newer ones get the policy as it
//! is; by hand the tables were compared with skopeo 1.18.0 and 1.22.0.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::process::Command;

use kit::debian::{command, run};
use kit::digest::base64;
use kit::home::Home;
use kit::image::Image;
use kit::registry::Registry;
use kit::signature::{Signer, payload, push_simply, simple_layer, simple_manifest};
use serde_json::{Value, json};

/// The names of the table. `HOST` is the registry.
const NAMES: [&str; 8] = [
    "HOST/app:latest",
    "HOST/team/app:1",
    "HOST/team/app:2",
    "HOST/team/app@DIGEST",
    "HOST/team/other:1",
    "HOST/team/mirrored/app:1",
    "HOST/unsigned:1",
    "HOST/stranger:1",
];

/// The users of the OpenPGP keys.
const SIGNER: &str = "signer";
const STRANGER: &str = "stranger";

struct Scene {
    registry: Registry,
    home: Home,
    /// The digest of `team/app:1`.
    digest: String,
    signer: Signer,
    stranger: Signer,
    /// Whether skopeo evaluates `sigstoreSigned`.
    has_sigstore: bool,
}

/// A policy, and the names for which both programs must accept or refuse an image alike.
struct Case {
    policy: Value,
    names: Vec<&'static str>,
    /// Whether skopeo gets the same text.
    is_malformed: bool,
}

impl Scene {
    fn new() -> Scene {
        let (registry, home) = (Registry::plain(), Home::new());
        let (signer, stranger) = (Signer::new("p256"), Signer::new("p256"));
        let digest = Image::small("team/app:1").digest();
        let mut scene = Scene { registry, home, digest, signer, stranger, has_sigstore: true };
        fs::create_dir_all(scene.home.path("registries.d")).unwrap();
        let lookaside = format!("default-docker:\n  lookaside: file://{}\n", scene.home.arg("lookaside"));
        scene.home.write("registries.d/default.yaml", lookaside + "  use-sigstore-attachments: true\n");
        for user in [SIGNER, STRANGER] {
            let gpg = scene.gpg().args(["--passphrase", "", "--quick-generate-key", user, "rsa2048", "sign"]).output();
            assert!(gpg.unwrap().status.success());
            let key = scene.gpg_key(user);
            run(scene.gpg().args(["--output", &key, "--export", user])).expect(0);
        }
        // As cosign signs, and as podman signs.
        scene.publish("app", "latest", Some((&scene.signer, "HOST/app")));
        scene.publish("team/app", "1", Some((&scene.signer, "HOST/team/app:1")));
        scene.publish("team/app", "2", Some((&scene.signer, "HOST/team/app:1")));
        scene.publish("team/other", "1", Some((&scene.signer, "HOST/team/app:1")));
        scene.publish("team/mirrored/app", "1", Some((&scene.signer, "quay.io/up/app:1")));
        scene.publish("unsigned", "1", None);
        scene.publish("stranger", "1", Some((&scene.stranger, "HOST/stranger:1")));
        scene.has_sigstore = !scene.skopeo_says_disabled();
        scene
    }

    fn publish(&self, repository: &str, tag: &str, signed: Option<(&Signer, &str)>) {
        let image = Image::small(&format!("{repository}:{tag}"));
        image.push(&self.registry, repository, tag);
        let Some((signer, identity)) = signed else { return };
        let mut text = payload(&image.digest(), &self.fill(identity));
        let layer = simple_layer(&self.registry, repository, text.to_string().as_bytes(), signer);
        push_simply(&self.registry, repository, &image.digest(), &simple_manifest(&[layer]));
        text["critical"]["type"] = json!("atomic container signature");
        text["optional"] = json!({});
        let text = self.home.write("payload", text.to_string());
        let folder = format!("lookaside/{repository}@{}", image.digest().replace(':', "="));
        fs::create_dir_all(self.home.path(&folder)).unwrap();
        let signature = self.home.arg(&format!("{folder}/signature-1"));
        let user = if signer.key() == self.signer.key() { SIGNER } else { STRANGER };
        run(self.gpg().args(["--local-user", user, "--output", &signature, "--sign", &text])).expect(0);
    }

    fn gpg(&self) -> Command {
        let mut gpg = command("gpg");
        let folder = self.home.path("gnupg");
        let _ = DirBuilder::new().mode(0o700).create(&folder);
        gpg.env("GNUPGHOME", folder).args(["--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback"]);
        gpg
    }

    fn gpg_key(&self, user: &str) -> String {
        self.home.arg(&format!("{user}.gpg"))
    }

    /// The policy for skopeo: OpenPGP keys in the place of the others.
    fn for_skopeo(&self, policy: &Value) -> Value {
        if self.has_sigstore {
            return policy.clone();
        }
        match policy {
            Value::Array(values) => values.iter().map(|value| self.for_skopeo(value)).collect(),
            Value::Object(members) => {
                let mut out: Value =
                    members.iter().map(|(name, value)| (name.clone(), self.for_skopeo(value))).collect();
                if members.get("type") == Some(&json!("sigstoreSigned")) {
                    let key = members.get("keyPath").or(members.get("keyPaths").and_then(|keys| keys.get(0)));
                    let user = if key == Some(&json!(self.stranger.key())) { STRANGER } else { SIGNER };
                    out["type"] = json!("signedBy");
                    out["keyType"] = json!("GPGKeys");
                    if members.contains_key("keyPath") || members.contains_key("keyData") {
                        out.as_object_mut().unwrap().remove("keyData");
                        out["keyPath"] = json!(self.gpg_key(user));
                    }
                }
                out
            }
            other => other.clone(),
        }
    }

    fn fill(&self, text: &str) -> String {
        text.replace("HOST", &self.registry.host()).replace("DIGEST", &self.digest)
    }

    /// Whether skopeo refuses a signed image because Debian has disabled `sigstoreSigned`.
    fn skopeo_says_disabled(&self) -> bool {
        let policy = json!({ "default": [{ "type": "sigstoreSigned", "keyPath": self.signer.key() }] });
        self.home.write("skopeo.json", policy.to_string());
        self.skopeo_accepts(&self.fill("HOST/team/app:1")).1.contains("sigstore disabled")
    }

    /// Whether skopeo copies the image.
    fn skopeo_accepts(&self, name: &str) -> (bool, String) {
        let copy = self.home.path("copy");
        let _ = fs::remove_dir_all(&copy);
        let mut skopeo = command("skopeo");
        skopeo.env("HOME", self.home.path("home")).arg("--policy").arg(self.home.path("skopeo.json"));
        skopeo.arg("--registries.d").arg(self.home.path("registries.d"));
        skopeo.args(["copy", "-q", "--src-tls-verify=false"]).arg(format!("docker://{name}"));
        let output = run(skopeo.arg(format!("dir:{}", copy.display())));
        (output.code == Some(0), output.stderr)
    }

    /// Compares the two programs, and returns the number of names that were accepted and refused.
    fn compare(&self, case: &Case) -> (usize, usize) {
        let text = self.fill(&case.policy.to_string());
        let policy = self.home.write("policy.json", &text);
        let translated =
            if case.is_malformed { text.clone() } else { self.fill(&self.for_skopeo(&case.policy).to_string()) };
        self.home.write("skopeo.json", translated);
        let (mut accepted, mut refused) = (0, 0);
        for name in &case.names {
            let name = self.fill(name);
            let (expected, why) = self.skopeo_accepts(&name);
            let outcome = self.home.run(&["pull", "-q", "--policy", &policy, &name]);
            let is_accepted = outcome.code == 0;
            assert!([0, 2, 8, 10].contains(&outcome.code), "{text}\n{name}\n{outcome}");
            assert_eq!(is_accepted, expected, "{text}\n{name}\n{outcome}\nskopeo: {why}");
            accepted += usize::from(expected);
            refused += usize::from(!expected);
        }
        (accepted, refused)
    }

    fn signed_by(&self, signer: &Signer, identity: Value) -> Value {
        json!({ "type": "sigstoreSigned", "keyPath": signer.key(), "signedIdentity": identity })
    }
}

fn accept() -> Value {
    json!([{ "type": "insecureAcceptAnything" }])
}

fn reject() -> Value {
    json!([{ "type": "reject" }])
}

fn docker(default: Value, scopes: Value) -> Value {
    json!({ "default": default, "transports": { "docker": scopes } })
}

#[test]
fn decides_on_scopes_as_skopeo_does() {
    let scene = Scene::new();
    let names = vec!["HOST/team/app:1", "HOST/team/app@DIGEST", "HOST/app:latest"];
    let mut counts = (0, 0);
    let mut compare = |policy: Value| {
        let (accepted, refused) = scene.compare(&Case { policy, names: names.clone(), is_malformed: false });
        counts = (counts.0 + accepted, counts.1 + refused);
    };
    for scope in [
        "HOST",
        "HOST/team",
        "HOST/team/app",
        "HOST/team/app:1",
        "HOST/team/app:2",
        "HOST/team/app@DIGEST",
        "HOST/te",
        "HOST/team/",
        "127.0.0.1",
        "*.0.0.1",
        "*.0.1",
        "*.1",
        "*",
        "",
        "docker.io",
    ] {
        compare(docker(reject(), json!({ (scene.fill(scope)): accept() })));
    }
    for (one, other) in [("HOST/team", "HOST/team/app"), ("HOST", "*.1"), ("*.0.1", "*.0.0.1"), ("", "*.1")] {
        compare(docker(accept(), json!({ (scene.fill(one)): accept(), (scene.fill(other)): reject() })));
    }
    compare(json!({ "default": accept() }));
    compare(json!({ "default": reject() }));
    compare(json!({ "default": reject(), "transports": { "dir": { "": accept() }, "unknown": { "x": accept() } } }));
    assert!(counts.0 >= 20 && counts.1 >= 30, "{counts:?}");
}

#[test]
fn decides_on_signatures_and_identities_as_skopeo_does() {
    let scene = Scene::new();
    let mut counts = (0, 0);
    let mut compare = |requirements: Value, names: &[&'static str]| {
        let policy = docker(reject(), json!({ (scene.fill("HOST")): requirements }));
        let (accepted, refused) = scene.compare(&Case { policy, names: names.to_vec(), is_malformed: false });
        counts = (counts.0 + accepted, counts.1 + refused);
    };
    let host = scene.registry.host();
    for identity in [
        json!({ "type": "matchExact" }),
        json!({ "type": "matchRepoDigestOrExact" }),
        json!({ "type": "matchRepository" }),
        json!({ "type": "exactReference", "dockerReference": format!("{host}/team/app:1") }),
        json!({ "type": "exactRepository", "dockerRepository": format!("{host}/team/app") }),
        json!({ "type": "remapIdentity", "prefix": format!("{host}/team/mirrored"), "signedPrefix": "quay.io/up" }),
        json!({ "type": "remapIdentity", "prefix": host, "signedPrefix": format!("{host}/team") }),
    ] {
        compare(json!([scene.signed_by(&scene.signer, identity)]), &NAMES);
    }
    let few = &["HOST/app:latest", "HOST/team/app@DIGEST", "HOST/stranger:1"];
    let by_repository = |signer| scene.signed_by(signer, json!({ "type": "matchRepository" }));
    let pem = base64(&fs::read(scene.signer.key()).unwrap());
    compare(
        json!([{ "type": "sigstoreSigned", "keyData": pem, "signedIdentity": { "type": "matchRepository" } }]),
        few,
    );
    compare(json!([{ "type": "sigstoreSigned", "keyPath": scene.signer.key() }]), few);
    compare(json!([by_repository(&scene.stranger)]), few);
    compare(json!([by_repository(&scene.signer), by_repository(&scene.stranger)]), few);
    compare(json!([by_repository(&scene.signer), { "type": "insecureAcceptAnything" }]), few);
    compare(json!([by_repository(&scene.signer), { "type": "reject" }]), few);
    assert!(counts.0 >= 15 && counts.1 >= 50, "{counts:?}");
}

#[test]
fn refuses_malformed_policies_as_skopeo_does() {
    let scene = Scene::new();
    let key = scene.signer.key();
    let requirement = |text: Value| json!({ "default": [text] });
    let in_transport =
        |transport: &str, scope: &str| json!({ "default": accept(), "transports": { transport: { scope: accept() } } });
    let signed =
        |identity: Value| requirement(json!({ "type": "sigstoreSigned", "keyPath": key, "signedIdentity": identity }));
    for policy in [
        json!({}),
        json!([]),
        json!(null),
        json!({ "default": [] }),
        json!({ "default": null }),
        json!({ "default": accept(), "x": 1 }),
        json!({ "default": accept(), "transports": null }),
        json!({ "default": accept(), "transports": { "docker": null } }),
        json!({ "default": accept(), "transports": { "docker": { "a.io": [] } } }),
        json!({ "default": accept(), "transports": { "unknown": { "a.io": [] } } }),
        json!({ "transports": { "docker": { "": accept() } } }),
        in_transport("docker-archive", "x"),
        in_transport("oci", "relative"),
        in_transport("oci", "/a/../b"),
        in_transport("oci", "/"),
        in_transport("oci-archive", "/a//b"),
        in_transport("dir", "/a/"),
        in_transport("dir", "/a"),
        in_transport("docker", "any text at all"),
        requirement(json!({})),
        requirement(json!({ "type": "accept" })),
        requirement(json!({ "type": "reject", "x": 1 })),
        requirement(json!({ "type": "insecureAcceptAnything", "keyPath": key })),
        requirement(json!({ "type": "signedBy", "keyPath": key })),
        requirement(json!({ "type": "signedBy", "keyType": "GPGKeys", "keyPath": key })),
        requirement(json!({ "type": "signedBy", "keyType": "other", "keyPath": key })),
        requirement(json!({ "type": "signedBaseLayer", "baseLayerIdentity": { "type": "matchExact" } })),
        requirement(json!({ "type": "sigstoreSigned" })),
        requirement(json!({ "type": "sigstoreSigned", "keyPath": "" })),
        requirement(json!({ "type": "sigstoreSigned", "keyPath": "/missing" })),
        requirement(json!({ "type": "sigstoreSigned", "keyData": "LS0" })),
        requirement(json!({ "type": "sigstoreSigned", "keyPath": key, "keyData": "LS0t" })),
        requirement(json!({ "type": "sigstoreSigned", "keyPath": key, "signedIdentity": null })),
        signed(json!({ "type": "matchAnything" })),
        signed(json!({ "type": "matchExact", "x": 1 })),
        signed(json!({ "type": "exactReference", "dockerReference": "a.io/b" })),
        signed(json!({ "type": "exactRepository", "dockerRepository": "UP" })),
        signed(json!({ "type": "remapIdentity", "prefix": "a.io/", "signedPrefix": "b.io" })),
        signed(json!({ "type": "remapIdentity", "prefix": "a.io/b:1", "signedPrefix": "b.io" })),
    ] {
        scene.compare(&Case { policy, names: vec!["HOST/team/app:1"], is_malformed: true });
    }
    // JSON that serde does not write.
    for text in [
        r#"{"default":[{"type":"insecureAcceptAnything"}]} x"#,
        r#"{"default":[{"type":"insecureAcceptAnything"}],"default":[{"type":"insecureAcceptAnything"}]}"#,
        r#"{"default":[{"type":"insecureAcceptAnything","type":"insecureAcceptAnything"}]}"#,
        "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]/**/}",
        "\u{feff}{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}",
        " {\"default\" : [\n{\"type\":\"insecureAcceptAnything\"} ] }\n",
    ] {
        let policy = scene.home.write("policy.json", text);
        scene.home.write("skopeo.json", text);
        let name = scene.fill("HOST/team/app:1");
        let (expected, why) = scene.skopeo_accepts(&name);
        let outcome = scene.home.run(&["pull", "-q", "--policy", &policy, &name]);
        assert_eq!(outcome.code == 0, expected, "{text}\n{outcome}\nskopeo: {why}");
    }
}
