//! TLS: the trusted roots, client certificates, and what `--insecure-registry` allows.

use kit::authority::{Authority, Clients, Leaf};
use kit::digest::base64;
use kit::fault::on;
use kit::home::Home;
use kit::image::Image;
use kit::process::Finished;
use kit::registry::Registry;

const LOOPBACK: [&str; 2] = ["localhost", "127.0.0.1"];

/// A registry with an image, whose certificate comes from an authority that the machine does not trust.
struct Scene {
    authority: Authority,
    registry: Registry,
    image: Image,
    home: Home,
    name: String,
}

impl Scene {
    fn new() -> Scene {
        Scene::of(|authority| authority.issue(&LOOPBACK), |_| None)
    }

    fn of(
        issue: impl FnOnce(&Authority) -> Leaf,
        clients: impl for<'a> FnOnce(&'a Authority) -> Option<Clients<'a>>,
    ) -> Scene {
        let authority = Authority::new();
        let registry = Registry::tls_with(issue(&authority).server(clients(&authority)));
        let image = Image::small("tls");
        let name = image.push(&registry, "app", "latest");
        Scene { authority, registry, image, home: Home::new(), name }
    }

    /// A registry that requires a client certificate of its authority.
    fn with_clients() -> Scene {
        Scene::of(|authority| authority.issue(&LOOPBACK), |authority| Some(Clients::Required(authority)))
    }

    fn ca(&self) -> String {
        self.home.write("ca.pem", self.authority.pem())
    }

    fn pull(&self, options: &[&str]) -> Finished {
        self.home.run(&[&["pull"], options, &[&self.name]].concat())
    }

    fn pull_env(&self, variables: &[(&str, &str)]) -> Finished {
        self.home.pullet(&["pull", "-v", &self.name]).envs(variables).run()
    }

    /// Pulls on a machine with these files in `/etc`.
    fn pull_etc(&self, files: &[(&str, &str)], variables: &[(&str, &str)]) -> Finished {
        self.home.pullet(&["pull", "-v", &self.name]).with_etc(&self.home.etc(files)).envs(variables).run()
    }

    /// `certs.d/127.0.0.1:PORT/FILE` below `base`.
    fn certs_d(&self, base: &str, file: &str) -> String {
        format!("{base}/certs.d/{}/{file}", self.registry.host())
    }
}

#[test]
fn agrees_on_a_key_in_each_group_with_each_kind_of_certificate() {
    for group in ["X25519", "secp256r1", "secp384r1"] {
        for algorithm in ["P-256", "P-384", "Ed25519"] {
            let authority = Authority::new();
            let server = authority.issue_with(algorithm, &LOOPBACK).server_with_group(group);
            let registry = Registry::tls_with(server);
            let name = Image::small("groups").push(&registry, "app", "latest");
            let home = Home::new();
            let ca = home.write("ca.pem", authority.pem());
            let case = format!("{group}, {algorithm}");
            home.run(&["pull", "--ca-file", &ca, &name]).exits_in(&case, 0);
        }
    }
}

#[test]
fn reports_why_a_certificate_is_invalid() {
    type Issue = fn(&Authority) -> Leaf;
    let cases: [(&str, Issue, &[&str]); 5] = [
        ("expired", |ca| ca.issue_for(&LOOPBACK, 2001, 2002), &["expired at 2002-01-01T00:00:00Z", "clock", "hint: "]),
        ("too early", |ca| ca.issue_for(&LOOPBACK, 3001, 3002), &["not valid before 3001-01-01", "clock", "hint: "]),
        ("other names", |ca| ca.issue(&["a.example", "*.b.example"]), &["a.example, *.b.example", "not for 127.0.0.1"]),
        ("an address", |ca| ca.issue(&["10.0.0.1"]), &["for 10.0.0.1, but not for 127.0.0.1"]),
        ("another authority", |_| Authority::new().issue(&LOOPBACK), &["hint: ", "--ca-file"]),
    ];
    for (case, issue, texts) in cases {
        let scene = Scene::of(issue, |_| None);
        let outcome = scene.pull(&["--ca-file", &scene.ca()]).exits_in(case, 7).fails_in_one_line();
        texts.iter().fold(outcome, |outcome, text| outcome.says(text));
        assert!(scene.registry.log().is_empty(), "{case}: a request was sent");
    }
}

#[test]
fn shortens_the_names_of_a_certificate_with_many() {
    let names: Vec<String> = (0..500).map(|n| format!("{n}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::of(|ca| ca.issue(&names), |_| None);
    let outcome = scene.pull(&["--ca-file", &scene.ca()]).exits(7).says("and 492 more names");
    assert!(outcome.stderr.len() < 1000, "{outcome}");
}

#[test]
fn reads_roots_from_the_environment() {
    let scene = Scene::new();
    let (ca, other) = (scene.ca(), scene.home.write("other.pem", Authority::new().pem()));
    std::fs::create_dir(scene.home.path("roots")).unwrap();
    scene.home.write("roots/ours.pem", scene.authority.pem());
    scene.home.write("roots/other.pem", Authority::new().pem());
    scene.home.write("roots/README", "not a certificate");
    let (folder, nowhere) = (scene.home.arg("roots"), scene.home.arg("nowhere"));
    let list = format!("{nowhere}:{folder}");
    scene.pull_env(&[("SSL_CERT_FILE", &ca)]).exits(0).says("TLS roots: from $SSL_CERT_FILE");
    scene.pull_env(&[("SSL_CERT_DIR", &folder)]).exits(0).says("TLS roots: from $SSL_CERT_DIR");
    scene.pull_env(&[("SSL_CERT_DIR", &list)]).exits(0);
    scene.pull_env(&[("SSL_CERT_FILE", &other), ("SSL_CERT_DIR", &folder)]).exits(0);
    scene.pull_env(&[("SSL_CERT_FILE", &other)]).exits(7).fails_in_one_line();
    scene.pull_env(&[("SSL_CERT_FILE", &nowhere)]).exits(7).fails_in_one_line().says(&nowhere);
}

#[test]
fn finds_the_certificate_bundle_of_the_machine() {
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n!!\n";
    for path in [
        "ssl/certs/ca-certificates.crt",
        "pki/tls/certs/ca-bundle.crt",
        "ssl/ca-bundle.pem",
        "pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "ssl/cert.pem",
        "ssl/certs/00a1b2c3.0",
    ] {
        let scene = Scene::new();
        let bundle = format!("# a comment\n{bad}{}{}{bad}", Authority::new().pem(), scene.authority.pem());
        let outcome = scene.pull_etc(&[(path, &bundle)], &[]).exits_in(path, 0);
        outcome.says("TLS roots: from /etc/").hides("no valid certificate");
    }
    let scene = Scene::new();
    let ours = scene.authority.pem();
    // A bundle without a valid certificate is skipped with a note, and the next bundle is used.
    let files = [("ssl/certs/ca-certificates.crt", bad), ("ssl/cert.pem", &*ours)];
    scene.pull_etc(&files, &[]).exits(0).says("there is no valid certificate in /etc/ssl/certs/ca-certificates.crt");
    let files = [("ssl/certs/ca-certificates.crt", &*Authority::new().pem()), ("ssl/cert.pem", &ours)];
    scene.pull_etc(&files, &[]).exits_in("the first bundle decides", 7);
    let nowhere = scene.home.arg("nowhere");
    let outcome = scene.pull_etc(&[("ssl/cert.pem", &ours)], &[("SSL_CERT_FILE", &nowhere)]);
    outcome.exits(0).says(&format!("read certificates in {nowhere}"));
    let outcome = scene.pull_etc(&[], &[]).exits_in("no roots at all", 7);
    outcome.says(if cfg!(feature = "webpki-roots") { "this machine has none" } else { "no root certificates" });
}

#[test]
fn certs_d_configures_one_registry() {
    for base in ["docker", "containers"] {
        let scene = Scene::new();
        let (ours, other) = (scene.authority.pem(), Authority::new().pem());
        let ca = scene.certs_d(base, "ca.crt");
        let files = [(&*ca, &*ours), ("ssl/cert.pem", &other)];
        scene.pull_etc(&files, &[]).exits_in(base, 0).says(&format!(": from /etc/{base}/certs.d/"));
        // The port belongs to the name.
        for host in ["127.0.0.1", "127.0.0.1:1", "localhost"] {
            let elsewhere = format!("{base}/certs.d/{host}/ca.crt");
            scene.pull_etc(&[(&elsewhere, &ours)], &[]).exits_in(host, 7);
        }
    }
    let scene = Scene::new();
    let (ours, other) = (scene.authority.pem(), Authority::new().pem());
    let user = scene.home.path("config/containers/certs.d").join(scene.registry.host());
    std::fs::create_dir_all(&user).unwrap();
    std::fs::write(user.join("ca.crt"), &ours).unwrap();
    scene.pull_env(&[("XDG_CONFIG_HOME", &scene.home.arg("config"))]).exits(0);
    let (docker, containers) = (scene.certs_d("docker", "ca.crt"), scene.certs_d("containers", "ca.crt"));
    scene.pull_etc(&[(&docker, &ours), (&containers, &other)], &[]).exits_in("the first folder decides", 7);
    let outcome = scene.pull_etc(&[(&docker, "not a certificate")], &[]).exits(7).fails_in_one_line();
    outcome.says(&format!("/etc/{docker}"));
}

#[test]
fn sends_a_client_certificate_on_request() {
    let scene = Scene::with_clients();
    let client = scene.authority.issue(&["robot"]);
    let (ca, cert) = (scene.ca(), scene.home.write("client.pem", &client.certificate));
    let key = scene.home.write("client.key", &client.key);
    let both = scene.home.write("both.pem", format!("{}{}", client.key, client.certificate));
    scene.pull(&["--ca-file", &ca, "--client-cert", &cert, "--client-key", &key]).exits(0);
    scene.pull(&["--ca-file", &ca, "--client-cert", &both]).exits(0);
    scene.pull(&["--ca-file", &ca]).exits(7).fails_in_one_line().says("client certificate").says("--client-cert");
    // nginx reports it with a page.
    let nginx = "<html><body><center>No required SSL certificate was sent</center></body></html>";
    let nginx_scene = Scene::new();
    nginx_scene.registry.fault(on("/v2/").status(400).body(nginx));
    nginx_scene.pull(&["--ca-file", &nginx_scene.ca()]).exits(7).fails_in_one_line().says("--client-cert");
    let stranger = Authority::new().issue(&["robot"]);
    let other = scene.home.write("other.pem", format!("{}{}", stranger.certificate, stranger.key));
    scene.pull(&["--ca-file", &ca, "--client-cert", &other]).exits_in("of another authority", 7).fails_in_one_line();
    let expired = scene.authority.issue_for(&["robot"], 2001, 2002);
    let expired = scene.home.write("expired.pem", format!("{}{}", expired.certificate, expired.key));
    scene.pull(&["--ca-file", &ca, "--client-cert", &expired]).exits_in("expired", 7).fails_in_one_line();
}

#[test]
fn refuses_malformed_client_certificates_as_usage_errors() {
    let scene = Scene::with_clients();
    let (client, other) = (scene.authority.issue(&["robot"]), scene.authority.issue(&["other"]));
    let cert = scene.home.write("client.pem", &client.certificate);
    let key = scene.home.write("client.key", &client.key);
    let other = scene.home.write("other.key", &other.key);
    let text = scene.home.write("text", "not PEM");
    let locked = client.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let locked = scene.home.write("locked.key", locked);
    let missing = scene.home.arg("missing");
    for options in [
        &["--client-cert", &cert][..],
        &["--client-key", &key],
        &["--client-cert", &cert, "--client-key", &other],
        &["--client-cert", &cert, "--client-key", &text],
        &["--client-cert", &cert, "--client-key", &locked],
        &["--client-cert", &cert, "--client-key", &missing],
        &["--client-cert", &text, "--client-key", &key],
        &["--client-cert", &missing, "--client-key", &key],
        &["--client-cert", "/dev/zero", "--client-key", &key],
        &["--client-cert", &cert, "--client-key", &key, "ghcr.io/owner/app"],
    ] {
        scene.pull(options).exits_in(&format!("{options:?}"), 2).fails_in_one_line();
    }
    for (options, path) in [
        (&["--client-cert", &cert, "--client-key", &other][..], &other),
        (&["--client-cert", &cert, "--client-key", &text], &text),
        (&["--client-cert", &cert], &cert),
        (&["--client-cert", &text, "--client-key", &key], &text),
        (&["--client-cert", &cert, "--client-key", &missing], &missing),
        (&["--client-cert", &cert, "--client-key", &key, "--ca-file", &text], &text),
        (&["--ca-file", &missing], &missing),
    ] {
        let outcome = scene.pull(options).exits_in(&format!("{options:?}"), 2).fails_in_one_line();
        outcome.says(&format!("pullet: {}", if *path == missing { "read " } else { "" })).says(path);
    }
    assert_eq!(scene.registry.connections(), 0);
}

#[test]
fn a_client_certificate_in_certs_d_needs_its_key() {
    let scene = Scene::with_clients();
    let client = scene.authority.issue(&["robot"]);
    let path = |file: &str| scene.certs_d("docker", file);
    let (ca, cert, key) = (path("ca.crt"), path("client.cert"), path("client.key"));
    let authority = scene.authority.pem();
    let files = [(&*ca, &*authority), (&*cert, &*client.certificate), (&*key, &*client.key)];
    scene.pull_etc(&files, &[]).exits(0);
    assert_eq!(scene.registry.calls_with_certificate(), scene.registry.calls().len());
    scene.pull_etc(&files[..1], &[]).exits_in("not a certificate", 7).says("client certificate");
    scene.pull_etc(&files[..2], &[]).exits(7).fails_in_one_line().says(&format!("/etc/{cert} has no .key"));
    scene.pull_etc(&[files[0], files[2]], &[]).exits(7).fails_in_one_line().says(&format!("/etc/{key} has no .cert"));
    let wrong = [files[0], files[1], (&*key, &*scene.authority.issue(&["x"]).key)];
    scene.pull_etc(&wrong, &[]).exits(7).fails_in_one_line().says("do not match");
}

#[test]
fn sends_a_client_certificate_to_no_other_origin() {
    let scene = Scene::with_clients();
    let asking = || {
        let leaf = scene.authority.issue(&LOOPBACK);
        Registry::tls_with(leaf.server(Some(Clients::Asked(&scene.authority))))
    };
    let (cdn, realm) = (asking(), asking());
    let layer = &scene.image.layers[0];
    cdn.serve("/cdn/layer", &layer.blob);
    scene.registry.fault(on(layer.digest()).redirect(307, cdn.url("/cdn/layer")));
    realm.tokens(None, r#"{"token":"t0ken"}"#);
    scene.registry.require("Bearer t0ken", &[&format!(r#"Bearer realm="{}""#, realm.url("/token"))]);
    let client = scene.authority.issue(&["robot"]);
    let both = scene.home.write("both.pem", format!("{}{}", client.certificate, client.key));
    scene.pull(&["--ca-file", &scene.ca(), "--client-cert", &both]).exits(0);
    let count = |registry: &Registry| (registry.calls().len(), registry.calls_with_certificate());
    assert_eq!((count(&cdn), count(&realm)), ((1, 0), (1, 0)), "the certificate was sent to another origin");
    assert_eq!(scene.registry.calls_with_certificate(), scene.registry.calls().len());
    // The same with certs.d. The configured authority is also trusted for hosts that the registry redirects to.
    let path = |file: &str| scene.certs_d("docker", file);
    let (ca, cert, key) = (path("ca.crt"), path("client.cert"), path("client.key"));
    let files = [(&*ca, &*scene.authority.pem()), (&*cert, &*client.certificate), (&*key, &*client.key)];
    std::fs::remove_dir_all(scene.home.store()).unwrap();
    scene.pull_etc(&files, &[]).exits(0);
    assert_eq!((count(&cdn), count(&realm)), ((2, 0), (2, 0)), "the certificate was sent to another origin");
}

#[test]
fn does_not_verify_insecure_registries_and_verifies_all_others() {
    type Issue = fn(&Authority) -> Leaf;
    let cases: [(&str, Issue); 3] = [
        ("unknown", |ca| ca.issue(&LOOPBACK)),
        ("expired", |ca| ca.issue_for(&LOOPBACK, 2001, 2002)),
        ("another name", |ca| ca.issue(&["registry.example"])),
    ];
    for (case, issue) in cases {
        let scene = Scene::of(issue, |_| None);
        let host = scene.registry.host();
        scene.pull(&["--insecure-registry", "other.example", "--insecure-registry", &host]).exits_in(case, 0);
        assert_eq!(scene.registry.connections(), 1, "{case}: the first attempt was not HTTPS");
        for other in ["127.0.0.1", "127.0.0.1:1", "localhost", "example"] {
            scene.pull(&["--insecure-registry", other]).exits_in(&format!("{case}, listed: {other}"), 7);
        }
    }
    // A host that is not listed is verified, even after a redirect from a listed one.
    let (scene, cdn) = (Scene::new(), Registry::tls(&Authority::new()));
    let (host, layer) = (scene.registry.host(), &scene.image.layers[0]);
    cdn.serve("/cdn/layer", &layer.blob);
    scene.registry.fault(on(layer.digest()).redirect(307, cdn.url("/cdn/layer")));
    scene.pull(&["--insecure-registry", &host]).exits(7).fails_in_one_line();
    assert!(cdn.log().is_empty());
    scene.pull(&["--insecure-registry", &host, "--insecure-registry", &cdn.host()]).exits(0);
    for malformed in ["", "http://r.io", "r.io/app", "r.io:x", "u@r.io", "r io", "10.0.0.0/8"] {
        let outcome = scene.pull(&["--insecure-registry", malformed]).exits_in(malformed, 2).fails_in_one_line();
        outcome.says("insecure registry").says("hint: ");
    }
}

#[test]
fn uses_plain_http_beyond_loopback_for_insecure_registries_only() {
    let (registry, home) = (Registry::plain(), Home::new());
    Image::small("tls").push(&registry, "app", "latest");
    let login = format!("Basic {}", base64(b"robot:hunter2"));
    registry.require(&login, &[r#"Basic realm="registry""#]);
    let host = format!("registry.example:{}", registry.port());
    let name = format!("{host}/app");
    let etc = home.etc(&[]);
    let pull = |options: &[&str]| {
        home.pullet(&[&["pull", "--creds", "robot:hunter2"], options, &[&name]].concat()).with_etc(&etc).run()
    };
    for options in [&[][..], &["--insecure-registry", "registry.example"], &["--insecure-registry", "127.0.0.1"]] {
        let connections = registry.connections();
        let options = [&["--retries", "2"], options].concat();
        let outcome = pull(&options).exits_in(&format!("{options:?}"), 7).fails_in_one_line();
        let outcome = outcome.says("plain HTTP").says(&format!("use --insecure-registry {host}, ")).says("daemon.json");
        assert!(registry.log().is_empty(), "{options:?}: a request was sent");
        assert_eq!(registry.connections(), connections + 1, "{options:?}: it was tried again\n{outcome}");
        // A value that has no effect is reported.
        for listed in options.iter().skip_while(|option| **option != "--insecure-registry").skip(1) {
            assert!(outcome.stderr.contains(&format!("insecure registry {listed} is no endpoint of")), "{outcome}");
        }
    }
    pull(&["--insecure-registry", &host]).exits(0).hides("is no endpoint");
    assert_eq!(registry.calls().iter().filter(|call| call.request.header("authorization").is_some()).count(), 3);
}

#[test]
fn does_not_fall_back_to_http_when_an_insecure_registry_uses_tls() {
    // The registry requires a client certificate, so TLS fails after the handshake has started.
    let scene = Scene::with_clients();
    let outcome = scene.pull(&["--insecure-registry", &scene.registry.host()]).exits(7).fails_in_one_line();
    outcome.says("client certificate");
    assert_eq!(scene.registry.connections(), 1, "it was contacted again without TLS");
}

#[test]
fn ignores_broken_certificates_with_plain_http() {
    let (registry, home) = (Registry::plain(), Home::new());
    let name = Image::small("tls").push(&registry, "app", "latest");
    // All of these files are broken, and plain HTTP needs none of them.
    let folder = format!("docker/certs.d/{}", registry.host());
    let files = [
        (&*format!("{folder}/client.cert"), "not a certificate"),
        ("ssl/certs/ca-certificates.crt", "not a certificate"),
    ];
    let variables = [("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_DIR", "/nowhere")];
    let outcome = home.pullet(&["pull", "-v", &name]).with_etc(&home.etc(&files)).envs(&variables).run().exits(0);
    outcome.hides("certificate").hides("nowhere").hides("TLS");
}

#[test]
fn resumes_tls_sessions() {
    let scene = Scene::new();
    // The server closes the connection after each response.
    scene.registry.fault(on("/v2/").closed());
    scene.pull(&["--ca-file", &scene.ca()]).exits(0);
    let (calls, connections) = (scene.registry.calls().len(), scene.registry.connections());
    assert_eq!((calls, connections, scene.registry.calls_resumed()), (3, 3, 2));
}

/// A server with this certificate, a home with `ca.pem`, and the name of an image.
fn serve_with(leaf: &Leaf, ca: &str) -> (Registry, Home, String) {
    let (registry, home) = (Registry::tls_with(leaf.server(None)), Home::new());
    let name = Image::small("tls").push(&registry, "app", "latest");
    home.write("ca.pem", ca);
    (registry, home, name)
}

/// `openssl req -x509` marks a certificate as that of an authority, and many registries use one as their server certificate.
#[test]
fn accepts_a_server_certificate_that_is_itself_trusted() {
    let self_signed = Authority::self_signed(&LOOPBACK);
    // A leaf whose authority is not trusted.
    let pinned = Authority::new().issue(&LOOPBACK);
    for (case, leaf) in [("self-signed", self_signed), ("the leaf alone", pinned)] {
        let bundle = format!("{}{}", Authority::new().pem(), leaf.certificate);
        let (registry, home, name) = serve_with(&leaf, &bundle);
        let ca = home.arg("ca.pem");
        home.run(&["pull", "--ca-file", &ca, &name]).exits_in(case, 0);
        home.pullet(&["pull", &name]).env("SSL_CERT_FILE", &ca).run().exits_in(case, 0);
        for file in [format!("docker/certs.d/{}/ca.crt", registry.host()), "ssl/cert.pem".to_owned()] {
            let etc = home.etc(&[(&file, &bundle)]);
            home.pullet(&["pull", &name]).with_etc(&etc).run().exits_in(&format!("{case}: {file}"), 0);
        }
    }
}

#[test]
fn name_and_period_of_a_trusted_server_certificate_are_verified() {
    let key = Authority::self_signed(&[]).key;
    let issue = |names: &[&str], from, to| Authority::self_signed_with(&key, names, from, to);
    for (case, leaf, text) in [
        ("another name", issue(&["registry.example"], 2000, 4000), "not for 127.0.0.1"),
        ("no name", issue(&[], 2000, 4000), "not for 127.0.0.1"),
        ("expired", issue(&LOOPBACK, 2001, 2002), "expired at 2002-01-01"),
        ("too early", issue(&LOOPBACK, 3001, 3002), "not valid before 3001-01-01"),
    ] {
        let (registry, home, name) = serve_with(&leaf, &leaf.certificate);
        home.run(&["pull", "--ca-file", &home.arg("ca.pem"), &name]).exits_in(case, 7).fails_in_one_line().says(text);
        assert!(registry.log().is_empty(), "{case}: a request was sent");
    }
}

#[test]
fn another_certificate_of_a_trusted_key_is_refused() {
    let trusted = Authority::self_signed(&LOOPBACK);
    let other = Authority::self_signed_with(&trusted.key, &LOOPBACK, 2000, 3999);
    let (registry, home, name) = serve_with(&other, &trusted.certificate);
    let outcome = home.run(&["pull", "--ca-file", &home.arg("ca.pem"), &name]).exits(7).fails_in_one_line();
    outcome.says("certificate of an authority").says("--ca-file");
    assert!(registry.log().is_empty(), "a request was sent");
}

/// A certificate is public, so a server must also prove that it has the key.
#[test]
fn a_server_without_the_key_of_a_trusted_certificate_is_refused() {
    let trusted = Authority::self_signed(&LOOPBACK);
    let thief = Leaf { certificate: trusted.certificate, key: Authority::self_signed(&LOOPBACK).key };
    let (registry, home, name) = serve_with(&thief, &thief.certificate);
    home.run(&["pull", "--ca-file", &home.arg("ca.pem"), &name]).exits(7).fails_in_one_line();
    assert!(registry.log().is_empty(), "a request was sent");
}

/// A URL says whether its server uses TLS, so listing the server would not help.
#[test]
fn a_redirect_to_https_where_plain_http_is_used_fails_without_a_hint_to_list_it() {
    let (registry, cdn, home) = (Registry::plain(), Registry::plain(), Home::new());
    let image = Image::small("tls");
    let name = image.push(&registry, "app", "latest");
    registry.fault(on(image.layers[0].digest()).redirect(307, cdn.url("/cdn/layer").replace("http:", "https:")));
    let outcome = home.run(&["pull", "--retries", "2", &name]).exits(7).fails_in_one_line().says("plain HTTP");
    outcome.hides("--insecure-registry");
    assert_eq!(cdn.connections(), 1);
}
