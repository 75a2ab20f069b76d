//! Which sigstore signatures a policy accepts, compared with `skopeo copy --policy`.
//!
//! Debian has disabled sigstore in its skopeo 1.9.3. So the decisions are written down here, and a skopeo in which sigstore works
//! must make the same ones; 1.18.0 and 1.22.0 do.

use std::fs;

use kit::debian::{command, run};
use kit::digest::{base64, sha256};
use kit::home::Home;
use kit::image::{Image, OCI_MANIFEST};
use kit::registry::Registry;
use kit::signature::{SIGNATURE, Signer, payload, push_simply, simple_layer, simple_manifest, tag};
use serde_json::{Value, json};

/// What a table expects of both programs.
const ACCEPT: bool = true;
const REFUSE: bool = false;

struct Scene {
    registry: Registry,
    home: Home,
    signer: Signer,
    stranger: Signer,
    /// Whether skopeo evaluates `sigstoreSigned`.
    has_sigstore: bool,
}

impl Scene {
    fn new() -> Scene {
        let mut scene = Scene {
            registry: Registry::plain(),
            home: Home::new(),
            signer: Signer::new("p256"),
            stranger: Signer::new("p256"),
            has_sigstore: true,
        };
        fs::create_dir_all(scene.home.path("registries.d")).unwrap();
        scene.home.write("registries.d/default.yaml", "default-docker:\n  use-sigstore-attachments: true\n");
        scene.publish("probe", |_| {});
        let policy = scene.write_policy(&json!([{ "type": "sigstoreSigned", "keyPath": scene.signer.key() }]));
        let (_, why) = scene.skopeo_accepts(&policy, &scene.registry.name("probe:1"));
        scene.has_sigstore = !why.contains("sigstore disabled");
        scene
    }

    /// Pushes `repository:1`, and returns the payload that podman and skopeo sign for it.
    fn push(&self, repository: &str) -> Value {
        let image = Image::small(repository);
        image.push(&self.registry, repository, "1");
        let mut payload = payload(&image.digest(), &self.registry.name(&format!("{repository}:1")));
        payload["optional"] = json!({ "creator": "pullet", "timestamp": 1_700_000_000 });
        payload
    }

    /// Pushes `repository:1` with a signature of a payload that is edited before it is signed.
    fn publish(&self, repository: &str, edit: impl FnOnce(&mut Value)) {
        let mut payload = self.push(repository);
        edit(&mut payload);
        self.publish_text(repository, &payload.to_string());
    }

    fn publish_text(&self, repository: &str, payload: &str) {
        let layer = simple_layer(&self.registry, repository, payload.as_bytes(), &self.signer);
        self.attach(repository, &[layer]);
    }

    fn attach(&self, repository: &str, layers: &[Value]) {
        // containers/image reads the config of the manifest too.
        self.registry.put_blob(repository, b"{}");
        push_simply(&self.registry, repository, &Image::small(repository).digest(), &simple_manifest(layers));
    }

    /// Asserts that both programs decide like this.
    fn check(&self, case: &str, requirements: &Value, name: &str, expected: bool) {
        let (policy, name) = (self.write_policy(requirements), self.registry.name(name));
        let outcome = self.home.run(&["pull", "-q", "--policy", &policy, &name]);
        assert_eq!(outcome.code, if expected { 0 } else { 8 }, "{case}\n{outcome}");
        if self.has_sigstore {
            let (is_accepted, why) = self.skopeo_accepts(&policy, &name);
            assert_eq!(is_accepted, expected, "{case}\nskopeo: {why}");
        }
    }

    fn write_policy(&self, requirements: &Value) -> String {
        let policy = json!({ "default": [{ "type": "reject" }], "transports": { "docker": { "": requirements } } });
        self.home.write("policy.json", policy.to_string())
    }

    /// Whether skopeo copies the image.
    fn skopeo_accepts(&self, policy: &str, name: &str) -> (bool, String) {
        let copy = self.home.path("copy");
        let _ = fs::remove_dir_all(&copy);
        let mut skopeo = command("skopeo");
        skopeo.env("HOME", self.home.path("home")).args(["--policy", policy]);
        skopeo.arg("--registries.d").arg(self.home.path("registries.d"));
        skopeo.args(["copy", "-q", "--src-tls-verify=false"]).arg(format!("docker://{name}"));
        let output = run(skopeo.arg(format!("dir:{}", copy.display())));
        (output.code == Some(0), output.stderr)
    }

    fn requirement(&self, identity: &Value) -> Value {
        json!([{ "type": "sigstoreSigned", "keyPath": self.signer.key(), "signedIdentity": identity }])
    }

    fn by_repository(&self) -> Value {
        self.requirement(&json!({ "type": "matchRepository" }))
    }
}

#[test]
fn accepts_the_payloads_that_skopeo_accepts() {
    let scene = Scene::new();
    type Edit = fn(&mut Value);
    let table: [(&str, Edit, bool); 24] = [
        ("unchanged", |_| {}, ACCEPT),
        ("without-optional-values", |p| p["optional"] = json!({}), ACCEPT),
        ("optional-null", |p| p["optional"] = json!(null), ACCEPT),
        ("more-in-optional", |p| p["optional"]["x"] = json!({ "y": [1] }), ACCEPT),
        ("optional-list", |p| p["optional"] = json!([]), REFUSE),
        ("without-optional", |p| remove(p, "optional"), REFUSE),
        ("timestamp-text", |p| p["optional"]["timestamp"] = json!("1"), REFUSE),
        ("timestamp-fraction", |p| p["optional"]["timestamp"] = json!(1.5), REFUSE),
        ("timestamp-negative", |p| p["optional"]["timestamp"] = json!(-1), ACCEPT),
        ("timestamp-null", |p| p["optional"]["timestamp"] = json!(null), ACCEPT),
        ("creator-number", |p| p["optional"]["creator"] = json!(1), REFUSE),
        ("creator-null", |p| p["optional"]["creator"] = json!(null), ACCEPT),
        ("more-at-the-top", |p| p["x"] = json!(1), REFUSE),
        ("more-in-critical", |p| p["critical"]["x"] = json!(1), REFUSE),
        ("more-in-image", |p| p["critical"]["image"]["x"] = json!(1), REFUSE),
        ("more-in-identity", |p| p["critical"]["identity"]["x"] = json!(1), REFUSE),
        ("without-type", |p| remove(&mut p["critical"], "type"), REFUSE),
        ("type-of-openpgp", |p| p["critical"]["type"] = json!("atomic container signature"), REFUSE),
        ("without-identity", |p| remove(&mut p["critical"], "identity"), REFUSE),
        ("identity-null", |p| p["critical"]["identity"] = json!(null), REFUSE),
        ("identity-empty", |p| p["critical"]["identity"]["docker-reference"] = json!(""), REFUSE),
        ("digest-null", |p| p["critical"]["image"]["docker-manifest-digest"] = json!(null), REFUSE),
        ("digest-empty", |p| p["critical"]["image"]["docker-manifest-digest"] = json!(""), REFUSE),
        ("digest-of-another", |p| p["critical"]["image"]["docker-manifest-digest"] = json!(sha256(b"x")), REFUSE),
    ];
    for (case, edit, expected) in table {
        scene.publish(case, edit);
        scene.check(case, &scene.by_repository(), &format!("{case}:1"), expected);
    }
    for (case, from, to, expected) in [
        ("space", "{\"critical\"", " {\n\"critical\"", ACCEPT),
        ("repeated", "\"type\":", "\"type\":\"x\",\"type\":", REFUSE),
        ("repeated-in-optional", "\"creator\":", "\"creator\":\"x\",\"creator\":", REFUSE),
        ("repeated-at-the-top", "\"critical\":", "\"critical\":{},\"critical\":", REFUSE),
        ("other-case", "\"critical\"", "\"Critical\"", REFUSE),
        ("text-after-the-end", "}}", "}}x", REFUSE),
        ("upper-case-digest", "sha256:", "SHA256:", REFUSE),
    ] {
        let text = scene.push(case).to_string();
        let changed = match case {
            "text-after-the-end" => text.clone() + "x",
            _ => text.replacen(from, to, 1),
        };
        assert_ne!(text, changed, "{case}");
        scene.publish_text(case, &changed);
        scene.check(case, &scene.by_repository(), &format!("{case}:1"), expected);
    }
}

fn remove(value: &mut Value, member: &str) {
    value.as_object_mut().unwrap().remove(member);
}

#[test]
fn accepts_the_manifests_of_signatures_that_skopeo_accepts() {
    let scene = Scene::new();
    let layer = |repository: &str, signer: &Signer| {
        let payload = scene.push(repository).to_string();
        simple_layer(&scene.registry, repository, payload.as_bytes(), signer)
    };
    let check = |repository: &str, layers: &[Value], expected: bool| {
        scene.attach(repository, layers);
        scene.check(repository, &scene.by_repository(), &format!("{repository}:1"), expected);
    };
    // The store keeps the signature of an image that was accepted, so each case has its own image.
    type Choose = fn(good: Value, bad: Value, other: Value, flipped: Value) -> Vec<Value>;
    let table: [(&str, Choose, bool); 8] = [
        ("good-last", |good, bad, _, _| vec![bad, good], ACCEPT),
        ("good-first", |good, bad, _, _| vec![good, bad], ACCEPT),
        ("bad", |_, bad, _, _| vec![bad], REFUSE),
        ("none", |_, _, _, _| vec![], REFUSE),
        ("after-another-type", |good, _, other, _| vec![other, good], ACCEPT),
        ("another-type", |_, _, other, _| vec![other], REFUSE),
        ("of-other-bytes", |_, _, _, flipped| vec![flipped], REFUSE),
        ("good-after-other-bytes", |good, _, _, flipped| vec![flipped, good], ACCEPT),
    ];
    for (case, choose, expected) in table {
        let (good, bad) = (layer(case, &scene.signer), layer(case, &scene.stranger));
        let (mut other, mut flipped) = (good.clone(), good.clone());
        other["mediaType"] = json!("application/vnd.dsse.envelope.v1+json");
        flipped["annotations"][SIGNATURE] = json!(base64(&scene.signer.sign(b"something else")));
        check(case, &choose(good, bad, other, flipped), expected);
    }
    // The signature of another image, under the tag for this one.
    let payload = scene.push("another").to_string();
    scene.push("copied");
    check("copied", &[simple_layer(&scene.registry, "copied", payload.as_bytes(), &scene.signer)], REFUSE);
    // A manifest of Docker's type under the tag.
    let layer = layer("docker", &scene.signer);
    let mut manifest = simple_manifest(&[layer]);
    let docker = OCI_MANIFEST.replace("oci.image.manifest.v1", "docker.distribution.manifest.v2");
    manifest["mediaType"] = json!(docker);
    let tag = tag(&Image::small("docker").digest());
    scene.registry.put_blob("docker", b"{}");
    scene.registry.put_manifest("docker", Some(&tag), &docker, manifest.to_string().as_bytes());
    scene.check("docker", &scene.by_repository(), "docker:1", REFUSE);
}

#[test]
fn uses_the_keys_of_a_policy_as_skopeo_does() {
    let scene = Scene::new();
    let (own, other) = (scene.signer.key(), scene.stranger.key());
    let read = |path: &str| fs::read_to_string(path).unwrap();
    let (own_pem, other_pem) = (read(&own), read(&other));
    let file = |name: &str, text: &str| scene.home.write(name, text);
    let before = file("before.pub", &format!("some text\n{own_pem}"));
    let first = file("first.pub", &format!("{own_pem}{other_pem}"));
    let second = file("second.pub", &format!("{other_pem}{own_pem}"));
    let windows = file("windows.pub", &own_pem.replace('\n', "\r\n"));
    let data = |text: &str| base64(text.as_bytes());
    for (case, keys, expected) in [
        ("one", json!({ "keyPath": own }), ACCEPT),
        ("another", json!({ "keyPath": other }), REFUSE),
        ("two", json!({ "keyPaths": [other, own] }), ACCEPT),
        ("one-in-data", json!({ "keyData": data(&own_pem) }), ACCEPT),
        ("two-in-data", json!({ "keyDatas": [data(&other_pem), data(&own_pem)] }), ACCEPT),
        ("others-in-data", json!({ "keyDatas": [data(&other_pem)] }), REFUSE),
        ("text-before", json!({ "keyPath": before }), ACCEPT),
        ("line-ends-of-windows", json!({ "keyPath": windows }), ACCEPT),
        ("the-first-of-two", json!({ "keyPath": first }), ACCEPT),
        ("the-second-of-two", json!({ "keyPath": second }), REFUSE),
    ] {
        let mut requirement = json!({ "type": "sigstoreSigned", "signedIdentity": { "type": "matchRepository" } });
        requirement.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        scene.publish(case, |_| {});
        scene.check(case, &json!([requirement]), &format!("{case}:1"), expected);
    }
    // Each requirement needs a signature.
    let by = |key: &str| json!({ "type": "sigstoreSigned", "keyPath": key });
    scene.publish("app", |_| {});
    scene.check("both", &json!([by(&own), by(&other)]), "app:1", REFUSE);
    scene.check("the same twice", &json!([by(&own), by(&own)]), "app:1", ACCEPT);
}
