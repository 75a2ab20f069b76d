//! Credentials, headers and certificates of a registry are not sent to its mirrors, nor those of a mirror to the registry.

use std::fs;

use super::Scene;
use kit::authority::{Authority, Clients};
use kit::digest::base64;
use kit::fault::on;
use kit::registry::Registry;

#[test]
fn sends_credentials_only_to_their_host() {
    let basic = |login: &str| format!("Basic {}", base64(login.as_bytes()));
    let scene = Scene::new(1);
    let (origin, mirror) = (&scene.origin, &scene.mirrors[0]);
    let auths = serde_json::json!({ "auths": {
        origin.host(): { "auth": base64(b"origin:o-s3cret") },
        mirror.host(): { "auth": base64(b"mirror:m-s3cret") },
    }});
    let authfile = scene.home.write("auth.json", auths.to_string());
    let (of_origin, of_mirror) = (basic("origin:o-s3cret"), basic("mirror:m-s3cret"));
    origin.require(&of_origin, &["Basic realm=\"r\""]);
    mirror.require(&of_mirror, &["Basic realm=\"r\""]);
    mirror.fault(on(scene.layer(1)).status(404).body(r#"{"errors":[{"code":"X"}]}"#));
    let pull = |more: &[&str]| {
        let options = scene.options();
        let args = [&["pull", "-v"], more, &[&options[0], &scene.name]].concat();
        scene.home.run(&args).hides("s3cret")
    };
    let sent = |registry: &Registry| -> Vec<String> {
        let calls = registry.calls();
        calls.iter().filter_map(|call| call.request.header("authorization")).map(str::to_string).collect()
    };
    pull(&["--authfile", &authfile]).exits(0);
    assert!(sent(origin).iter().all(|header| *header == of_origin) && !sent(origin).is_empty());
    assert!(sent(mirror).iter().all(|header| *header == of_mirror) && !sent(mirror).is_empty());

    // Credentials of options are for the registry only, so the mirror, which requires a login, is skipped.
    scene.clear_log();
    pull(&["--creds", "origin:o-s3cret"]).exits(0);
    assert!(sent(mirror).is_empty(), "{:?}", sent(mirror));
    assert_eq!(mirror.log().len(), 1);
    scene.assert_stored("credentials of options");

    // A mirror whose token endpoint is at the registry does not get the credentials of the registry, and vice versa.
    scene.clear_log();
    mirror.clear_faults();
    let challenge = format!(r#"Bearer realm="{}",service="s",scope="x""#, origin.url("/token"));
    mirror.require("Bearer t0ken", &[&challenge]);
    origin.tokens(None, r#"{"token":"t0ken"}"#);
    pull(&["--authfile", &authfile]).exits(0);
    assert_eq!(origin.requests_to("/token"), 0, "{}", origin.log().join("\n"));
    scene.clear_log();
    pull(&["--creds", "origin:o-s3cret"]).exits(0);
    let tokens = origin.calls().into_iter().filter(|call| call.request.path() == "/token");
    assert!(tokens.into_iter().all(|call| call.request.header("authorization").is_none()), "{:?}", origin.log());
}

#[test]
fn sends_headers_of_hosts_toml_only_to_their_host() {
    let scene = Scene::new(2);
    let (mirror, storage) = (&scene.mirrors[0], &scene.mirrors[1]);
    scene.hosts(&[(&mirror.url(""), &format!("[host.\"{}\".header]\nX-Node = [\"a\", \"b c\"]", mirror.url("")))]);
    storage.serve("/blob", &scene.image.layers[0].blob);
    mirror.fault(on(scene.layer(0)).redirect(307, storage.url("/blob")));
    mirror.fault(on(scene.layer(1)).status(404).body(r#"{"errors":[{"code":"X"}]}"#));
    scene.pull().exits(0);
    let header = |registry: &Registry| -> Vec<bool> {
        registry.calls().iter().map(|call| call.request.header("x-node").is_some()).collect()
    };
    assert_eq!((header(mirror), header(storage), header(&scene.origin)), (vec![true; 4], vec![false], vec![false]));
}

#[test]
fn tls_settings_apply_to_one_endpoint_only() {
    let (authority, untrusted) = (Authority::new(), Authority::new());
    let loopback = ["localhost", "127.0.0.1"];
    let clients = Registry::tls_with(authority.issue(&loopback).server(Some(Clients::Required(&authority))));
    let scene = Scene::of(vec![Registry::tls(&authority), Registry::tls(&untrusted), clients]);
    let folder = format!("home/.config/containerd/certs.d/{}", scene.origin.host());
    fs::create_dir_all(scene.home.path(&folder)).unwrap();
    scene.home.write(&format!("{folder}/ca.crt"), authority.pem());
    let leaf = authority.issue(&["client"]);
    scene.home.write(&format!("{folder}/client.pem"), &leaf.certificate);
    scene.home.write(&format!("{folder}/client.key"), &leaf.key);
    scene.home.write(&format!("{folder}/both.pem"), format!("{}{}", leaf.certificate, leaf.key));
    let ca = "ca = \"ca.crt\"";
    // The mirror, its settings, and whether it is used.
    for (mirror, settings, is_used) in [
        (0, ca, true),
        (0, "ca = [\"ca.crt\"]", true),
        (0, "", false),
        (1, ca, false),
        (1, "skip_verify = true", true),
        (2, ca, false),
        (2, "ca = \"ca.crt\"\nclient = [[\"client.pem\", \"client.key\"]]", true),
        (2, "ca = \"ca.crt\"\nclient = \"both.pem\"", true),
    ] {
        let case = format!("{mirror}: {settings}");
        scene.clear_log();
        scene.hosts(&[(&scene.mirrors[mirror].url(""), settings)]);
        scene.pull().exits_in(&case, 0);
        let requests = scene.mirrors[mirror].log().len();
        assert_eq!((scene.origin.log().len(), requests), if is_used { (0, 4) } else { (4, 0) }, "{case}");
    }
    // The settings of one host do not apply to another.
    scene.clear_log();
    scene.hosts(&[(&scene.mirrors[0].url(""), "skip_verify = true"), (&scene.mirrors[1].url(""), "")]);
    scene.mirrors[0].fault(on("/v2/").redirect(307, scene.mirrors[1].url("/v2/")));
    scene.pull().exits(0);
    scene.assert_requests("redirected", &[4, 1, 0, 0]);
    scene.mirrors[0].clear_faults();
    // A client certificate of options is for the registry and not for its mirrors.
    scene.clear_log();
    let (certificate, key) =
        (scene.home.arg(&format!("{folder}/client.pem")), scene.home.arg(&format!("{folder}/client.key")));
    scene.hosts(&[(&scene.mirrors[2].url(""), ca)]);
    scene.run(&["pull", "--client-cert", &certificate, "--client-key", &key, &scene.name]).exits(0);
    assert_eq!(scene.mirrors[2].calls_with_certificate(), 8, "only the requests of the two cases above");
}

#[test]
fn does_not_verify_insecure_locations_and_networks() {
    let stranger = Authority::new();
    let scene = Scene::of(vec![Registry::tls(&stranger)]);
    let location = format!("location = \"{}\"", scene.mirrors[0].host());
    scene.registries("", &[&location]);
    scene.pull().exits(0);
    scene.assert_requests("verified", &[4, 0]);
    scene.clear_log();
    scene.registries("", &[&format!("{location}\ninsecure = true")]);
    scene.pull().exits(0);
    scene.assert_requests("insecure", &[0, 4]);
    scene.clear_log();
    scene.registries("", &[&location]);
    for list in ["127.0.0.0/8".to_string(), scene.mirrors[0].host()] {
        let daemon = scene.config("docker/daemon.json", &format!(r#"{{"insecure-registries":["{list}"]}}"#));
        scene.run(&["pull", "-v", &scene.name]).exits(0).says(&daemon);
        scene.assert_requests(&list, &[0, 4]);
        scene.clear_log();
    }
    scene.config("docker/daemon.json", r#"{"insecure-registries":["10.0.0.0/8"]}"#);
    scene.pull().exits(0);
    scene.assert_requests("another network", &[4, 0]);
}
