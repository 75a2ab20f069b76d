//! Policies of containers: which rule decides, what it demands, and what is refused because it cannot be checked. The table
//! in `real::policy` compares the decisions with skopeo's.

use std::fs;
use std::sync::OnceLock;

use kit::bench::Bench;
use kit::digest::base64;
use kit::image::Image;
use kit::process::Finished;
use kit::signature::{
    Signer, bundle, list, payload, push_bundle, push_simply, sign_simply, sign_with_bundles, simple_layer,
    simple_manifest, statement,
};
use serde_json::{Value, json};

fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| Signer::new("p256"))
}

fn stranger() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| Signer::new("p256"))
}

/// A registry with an image.
struct Scene {
    bench: Bench,
    image: Image,
    name: String,
}

fn accept() -> Value {
    json!({ "type": "insecureAcceptAnything" })
}

fn reject() -> Value {
    json!({ "type": "reject" })
}

/// A demand for a signature by this key, for the identity of this type.
fn signed_by(signer: &Signer, identity: &str) -> Value {
    json!({ "type": "sigstoreSigned", "keyPath": signer.key(), "signedIdentity": { "type": identity } })
}

impl Scene {
    fn new() -> Scene {
        let (bench, image) = (Bench::new(), Image::small("policy"));
        let name = image.push(&bench.registry, "app", "latest");
        Scene { bench, image, name }
    }

    /// Writes a policy with these requirements for the whole registry, and a default that rejects.
    fn policy(&self, requirements: Value) -> String {
        let scopes = json!({ self.bench.registry.host(): requirements });
        self.write(&json!({ "default": [reject()], "transports": { "docker": scopes } }).to_string())
    }

    fn write(&self, text: &str) -> String {
        format!("--policy={}", self.bench.home.write("policy.json", text))
    }

    fn pull(&self, options: &[&str]) -> Finished {
        self.bench.home.run(&[&["pull", "-v"], options, &[&self.name]].concat())
    }

    fn assert_nothing_fetched(&self, case: &str) {
        self.bench.assert_no_layer_requested(case, &self.image);
        assert_eq!(self.bench.registry.requests_to(&self.image.config_digest()), 0, "{case}: the config was requested");
    }
}

#[test]
fn accepts_and_rejects_as_the_rule_says() {
    let scene = Scene::new();
    let reject_all = scene.policy(json!([reject()]));
    let outcome = scene.pull(&[&reject_all]).exits(8).fails_in_one_line();
    outcome.says("policy.json").says(&format!("docker \"{}\": the policy rejects", scene.bench.registry.host()));
    let both = scene.policy(json!([accept(), reject()]));
    scene.pull(&[&both]).exits_in("all must hold", 8);
    scene.assert_nothing_fetched("rejected");
    let accept_all = scene.policy(json!([accept()]));
    scene.pull(&[&accept_all]).exits(0).says("insecureAcceptAnything: from");
}

#[test]
fn demands_a_signature_for_the_right_name() {
    let scene = Scene::new();
    let registry = &scene.bench.registry;
    let by_repository = scene.policy(json!([signed_by(signer(), "matchRepository")]));
    scene.pull(&[&by_repository]).exits(8).says("the image is not signed");
    // As cosign signs: for the name without a tag.
    sign_simply(registry, "app", &scene.image.digest(), &[signer()]);
    let exact = scene.policy(json!([signed_by(signer(), "matchRepoDigestOrExact")]));
    let outcome = scene.pull(&[&exact]).exits(8).fails_in_one_line();
    outcome.says("which has no tag").says("matchRepository accepts it");
    let by_other = scene.policy(json!([signed_by(stranger(), "matchRepository")]));
    scene.pull(&[&by_other]).exits(8).says("by no given key");
    let both = scene.policy(json!([signed_by(signer(), "matchRepository"), signed_by(stranger(), "matchRepository")]));
    scene.pull(&[&both]).exits_in("every requirement counts", 8);
    scene.assert_nothing_fetched("not signed for the policy");
    let by_repository = scene.policy(json!([signed_by(signer(), "matchRepository")]));
    scene.pull(&[&by_repository]).exits(0);
    // What proves the image is in the store.
    let (target, never) = (scene.bench.home.arg("target"), ["unpack", "--pull", "never"]);
    registry.clear_log();
    scene.bench.home.run(&[&never[..], &[&by_repository, &scene.name, &target]].concat()).exits(0);
    let by_other = scene.policy(json!([signed_by(stranger(), "matchRepository")]));
    scene.bench.home.run(&[&never[..], &[&by_other, &scene.name, &scene.bench.home.arg("other")]].concat()).exits(8);
    assert!(registry.log().is_empty());
}

#[test]
fn a_manifest_that_proves_two_requirements_is_kept_once() {
    let scene = Scene::new();
    sign_simply(&scene.bench.registry, "app", &scene.image.digest(), &[signer(), stranger()]);
    let both = scene.policy(json!([signed_by(signer(), "matchRepository"), signed_by(stranger(), "matchRepository")]));
    scene.pull(&[&both]).exits(0);
    let index = fs::read_to_string(scene.bench.home.store().join("index.json")).unwrap();
    assert_eq!(index.matches("pullet.subject").count(), 1, "{index}");
    let target = scene.bench.home.arg("target");
    scene.bench.home.run(&["unpack", "--pull", "never", &both, &scene.name, &target]).exits(0);
}

#[test]
fn a_signature_of_another_name_or_with_a_tag_is_told_apart() {
    let scene = Scene::new();
    let registry = &scene.bench.registry;
    let sign_for = |name: &str| {
        let text = payload(&scene.image.digest(), name).to_string();
        let layer = simple_layer(registry, "app", text.as_bytes(), signer());
        push_simply(registry, "app", &scene.image.digest(), &simple_manifest(&[layer]));
    };
    let host = registry.host();
    let exact = scene.policy(json!([signed_by(signer(), "matchExact")]));
    sign_for(&format!("{host}/other:latest"));
    scene.pull(&[&exact]).exits(8).says("/other:latest, which matchExact of the policy does not accept");
    let default = scene.policy(json!([{ "type": "sigstoreSigned", "keyPath": signer().key() }]));
    sign_for(&format!("{host}/app:1"));
    scene.pull(&[&default]).exits(8).says("/app:1, which matchRepoDigestOrExact of the policy does not accept");
    sign_for(&format!("{host}/app:latest"));
    let exact = scene.policy(json!([signed_by(signer(), "matchExact")]));
    scene.pull(&[&exact]).exits(0);
    let name = json!({ "type": "exactReference", "dockerReference": "quay.io/team/app:1" });
    let mirrored = json!({ "type": "sigstoreSigned", "keyPath": signer().key(), "signedIdentity": name });
    let mirrored = scene.policy(json!([mirrored]));
    scene.pull(&[&mirrored]).exits(8);
    sign_for("quay.io/team/app:1");
    scene.pull(&[&mirrored]).exits(0);
}

#[test]
fn a_bundle_needs_a_signed_identity() {
    let scene = Scene::new();
    let registry = &scene.bench.registry;
    sign_with_bundles(registry, "app", &scene.image.digest(), &[signer()]);
    let by_repository = scene.policy(json!([signed_by(signer(), "matchRepository")]));
    scene.pull(&[&by_repository]).exits(8).says("no identity").says("docker-reference");
    scene.pull(&[&signer().option(), &scene.policy(json!([accept()]))]).exits_in("a key alone needs none", 0);
    let mut text = statement(&scene.image.digest());
    text["subject"][0]["annotations"] = json!({ "docker-reference": registry.name("app") });
    let text = bundle(text.to_string().as_bytes(), signer()).to_string();
    let entry = push_bundle(registry, "app", &scene.image.digest(), text.as_bytes());
    registry.put_referrers("app", &scene.image.digest(), &[list(&[entry])]);
    fs::remove_dir_all(scene.bench.home.store()).unwrap();
    let by_repository = scene.policy(json!([signed_by(signer(), "matchRepository")]));
    scene.pull(&[&by_repository]).exits(0);
}

#[test]
fn keys_are_files_or_data_and_all_must_be_good() {
    let scene = Scene::new();
    sign_simply(&scene.bench.registry, "app", &scene.image.digest(), &[signer()]);
    let pem = |signer: &Signer| base64(&fs::read(signer.key()).unwrap());
    let with = |key: &str, value: Value| {
        let mut requirement = json!({ "type": "sigstoreSigned", "signedIdentity": { "type": "matchRepository" } });
        requirement[key] = value;
        scene.policy(json!([requirement]))
    };
    for (key, value) in [
        ("keyPath", json!(signer().key())),
        ("keyPaths", json!([stranger().key(), signer().key()])),
        ("keyData", json!(pem(signer()))),
        ("keyDatas", json!([pem(stranger()), pem(signer())])),
    ] {
        scene.pull(&[&with(key, value)]).exits_in(key, 0);
    }
    for (key, value, code, text) in [
        ("keyPath", json!("/missing"), 2, "read /missing"),
        ("keyPaths", json!([signer().key(), "/missing"]), 2, "read /missing"),
        ("keyPath", json!(signer().private_key()), 2, "private key"),
        ("keyData", json!(base64(b"no key")), 2, "PEM"),
        ("keyDatas", json!([pem(signer()), base64(b"no key")]), 2, "PEM"),
        ("keyPath", json!("/"), 9, "/"),
    ] {
        scene.pull(&[&with(key, value)]).exits_in(key, code).fails_in_one_line().says(text);
    }
}

#[test]
fn a_requirement_that_cannot_be_checked_refuses_by_name() {
    let scene = Scene::new();
    sign_simply(&scene.bench.registry, "app", &scene.image.digest(), &[signer()]);
    let key = signer().key();
    for (requirement, what) in [
        (json!({ "type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k.gpg" }), "signedBy"),
        (json!({ "type": "signedBaseLayer", "baseLayerIdentity": { "type": "matchExact" } }), "signedBaseLayer"),
        (json!({ "type": "sigstoreSigned", "fulcio": {}, "rekorPublicKeyPath": "/r.pub" }), "fulcio"),
        (json!({ "type": "sigstoreSigned", "pki": {} }), "pki"),
        (json!({ "type": "sigstoreSigned", "keyPath": key, "rekorPublicKeyPath": "/r.pub" }), "rekorPublicKey"),
    ] {
        let policy = scene.policy(json!([requirement]));
        scene.pull(&[&policy]).exits_in(what, 10).fails_in_one_line().says(what).says("not supported");
        scene.assert_nothing_fetched(what);
    }
    // It matters only for the names that it is for.
    let gpg = json!([{ "type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k.gpg" }]);
    let text = json!({ "default": [accept()], "transports": { "docker": { "quay.io": gpg } } });
    scene.pull(&[&scene.write(&text.to_string())]).exits(0);
}

#[test]
fn a_malformed_policy_refuses_everything() {
    let scene = Scene::new();
    for text in ["", "{}", r#"{"default":[]}"#, r#"{"default":[{"type":"reject"}],"x":1}"#] {
        let outcome = scene.pull(&[&scene.write(text)]).exits_in(text, 2).fails_in_one_line();
        outcome.says("policy.json: ");
    }
    scene.pull(&["--policy=/missing.json"]).exits(2).fails_in_one_line().says("read /missing.json");
    scene.pull(&["--policy=/"]).exits(9).fails_in_one_line();
    scene.assert_nothing_fetched("malformed");
}

#[test]
fn finds_the_policy_of_the_machine() {
    let scene = Scene::new();
    let (yes, no) = (json!({ "default": [accept()] }).to_string(), json!({ "default": [reject()] }).to_string());
    let pull = |files: &[(&str, &str)], variables: &[(&str, &str)]| {
        let etc = scene.bench.home.etc(files);
        scene.bench.home.pullet(&["pull", &scene.name]).with_etc(&etc).envs(variables).run()
    };
    let (ours, theirs) = ("pullet/policy.json", "containers/policy.json");
    pull(&[], &[]).exits_in("none", 0);
    pull(&[(theirs, &no)], &[]).exits(8).says("/etc/containers/policy.json");
    pull(&[(theirs, &yes)], &[]).exits(0);
    pull(&[(theirs, &no), (ours, &yes)], &[]).exits_in("pullet's own comes first", 0);
    pull(&[(theirs, &yes), (ours, &no)], &[]).exits(8).says("/etc/pullet/policy.json");
    let config = scene.bench.home.path("config/containers");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("policy.json"), &yes).unwrap();
    let user = [("XDG_CONFIG_HOME", &*scene.bench.home.arg("config"))];
    pull(&[(theirs, &no)], &user).exits_in("the user's", 0);
    let named = scene.bench.home.write("named.json", &no);
    let variable = [("CONTAINERS_POLICY_JSON", &*named), user[0]];
    pull(&[(theirs, &yes)], &variable).exits_in("the variable", 8);
    pull(&[(ours, &yes)], &variable).exits_in("pullet's own comes before the variable", 0);
    pull(&[], &[("CONTAINERS_POLICY_JSON", "/missing.json")]).exits(2).says("/missing.json");
}

#[test]
fn nothing_gets_around_the_policy() {
    let scene = Scene::new();
    scene.bench.home.run(&["pull", &scene.name]).exits(0);
    let no = scene.policy(json!([reject()]));
    let target = scene.bench.home.arg("target");
    scene.bench.registry.clear_log();
    for words in [
        &["pull"][..],
        &["unpack", "--pull", "never"],
        &["unpack"],
        &["unpack", "--stream"],
        &["unpack", "--stream", "--pull", "always"],
    ] {
        let mut words = words.to_vec();
        words.extend([&*no, &*scene.name]);
        if words[0] == "unpack" {
            words.push(&target);
        }
        scene.bench.home.run(&words).exits_in(&words.join(" "), 8).says("the policy rejects");
    }
    scene.bench.home.run(&["artifact", &no, &scene.name, &target]).exits(8);
    assert!(!scene.bench.home.path("target").exists());
    assert_eq!(scene.bench.registry.requests_to("/blobs/"), 0, "{:?}", scene.bench.registry.log());
}

#[test]
fn archives_have_their_own_rules() {
    let scene = Scene::new();
    let home = &scene.bench.home;
    sign_simply(&scene.bench.registry, "app", &scene.image.digest(), &[signer()]);
    home.run(&["pull", &scene.policy(json!([signed_by(signer(), "matchRepository")])), &scene.name]).exits(0);
    let (docker, oci) = (home.arg("docker.tar"), home.arg("oci.tar"));
    home.run(&["save", "--format", "docker-archive", "-o", &docker, &scene.name]).exits(0);
    home.run(&["save", "--format", "oci-archive", "-o", &oci, &scene.name]).exits(0);
    let other_store = home.arg("other");
    let load = |scopes: Value, file: &str| {
        let policy = scene.write(&json!({ "default": [reject()], "transports": scopes }).to_string());
        let _ = fs::remove_dir_all(&other_store);
        home.run(&["load", "--store", &other_store, "-i", file, &policy])
    };
    let folder = home.path("").canonicalize().unwrap().display().to_string();
    for (case, scopes, file, code) in [
        ("no rule", json!({ "docker": { "": [accept()] } }), &docker, 8),
        ("docker-archive", json!({ "docker-archive": { "": [accept()] } }), &docker, 0),
        ("docker-archive for a layout", json!({ "docker-archive": { "": [accept()] } }), &oci, 8),
        ("oci-archive", json!({ "oci-archive": { "": [accept()] } }), &oci, 0),
        ("a path", json!({ "oci-archive": { (folder.trim_end_matches('/')): [accept()] } }), &oci, 0),
        (
            "another path",
            json!({ "oci-archive": { "": [accept()], (folder.trim_end_matches('/')): [reject()] } }),
            &oci,
            8,
        ),
        ("signed", json!({ "oci-archive": { "": [signed_by(signer(), "matchRepository")] } }), &oci, 8),
        ("unsupported", json!({ "oci-archive": { "": [{ "type": "sigstoreSigned", "pki": {} }] } }), &oci, 10),
    ] {
        load(scopes, file).exits_in(case, code);
        let count = if code == 0 { "latest" } else { "" };
        let listed = home.run(&["images", "--store", &other_store]).exits(0);
        assert_eq!(listed.stdout.contains("latest"), count == "latest", "{case}: {listed}");
    }
    let repository = scene.bench.registry.name("app");
    let identity = json!({ "type": "exactRepository", "dockerRepository": repository });
    let exact = json!({ "type": "sigstoreSigned", "keyPath": signer().key(), "signedIdentity": identity });
    load(json!({ "oci-archive": { "": [exact] } }), &oci).exits_in("the archive has the signature", 0);
}

#[test]
fn config_shows_which_rule_decides() {
    let scene = Scene::new();
    let policy = scene.policy(json!([signed_by(signer(), "matchRepository"), accept()]));
    let outcome = scene.bench.home.run(&["config", &policy, &scene.name]).exits(0);
    let host = scene.bench.registry.host();
    let expected = format!(
        "policy: {}\n  rule: docker \"{host}\"\n  requirement: sigstoreSigned (matchRepository)\n  requirement: \
         insecureAcceptAnything\n",
        scene.bench.home.arg("policy.json")
    );
    assert!(outcome.stdout.contains(&expected), "{outcome}");
    let other = scene.bench.home.run(&["config", &policy, "quay.io/a/b"]).exits(0);
    assert!(other.stdout.contains("  rule: default\n  requirement: reject\n"), "{other}");
    let etc = scene.bench.home.etc(&[]);
    let none = scene.bench.home.pullet(&["config", &scene.name]).with_etc(&etc).run().exits(0);
    assert!(none.stdout.contains("policy: none\n"), "{none}");
    scene.bench.home.run(&["config", &scene.write("{}"), &scene.name]).exits(2);
}

#[test]
fn docker_content_trust_needs_a_key_or_a_policy_with_one() {
    let scene = Scene::new();
    sign_simply(&scene.bench.registry, "app", &scene.image.digest(), &[signer()]);
    let pull = |value: &str, options: &[&str]| {
        let words = [&["pull"], options, &[&scene.name]].concat();
        scene.bench.home.pullet(&words).env("DOCKER_CONTENT_TRUST", value).run()
    };
    let accept_all = scene.policy(json!([accept()]));
    for value in ["1", "true", "T", "yes", "on"] {
        pull(value, &[&accept_all])
            .exits_in(value, 8)
            .fails_in_one_line()
            .says("neither a key nor a policy")
            .says("--verify-key");
    }
    scene.assert_nothing_fetched("no key");
    pull("1", &["--verify-key", &signer().key(), &accept_all]).exits(0);
    pull("1", &[&accept_all, "--disable-content-trust"]).exits(0);
    for value in ["", "0", "false", "F"] {
        pull(value, &[&accept_all]).exits_in(value, 0);
    }
    let by_repository = scene.policy(json!([signed_by(signer(), "matchRepository")]));
    pull("1", &[&by_repository]).exits(0);
    let no = scene.policy(json!([reject()]));
    pull("1", &[&no, "--disable-content-trust"]).exits_in("a policy always counts", 8);
    let outcome = pull("", &["--disable-content-trust", "--verify-key", &signer().key()]).exits(2);
    outcome.says("--disable-content-trust contradicts --verify-key");
}
