//! Registries that need a request of `/v2/`, the ping, before they send a challenge, and servers that are not registries.
//! An ordinary registry is never pinged.

use kit::bench::Bench;
use kit::fault::{Fault, on};
use kit::image::Image;
use kit::listing::assert_same;

/// The requests, without the parameters of the token request.
fn log(bench: &Bench) -> String {
    let without_query = |line: String| match line.split_once('?') {
        Some((path, rest)) => format!("{path} {}", rest.rsplit(' ').next().unwrap_or_default()),
        None => line,
    };
    bench.registry.log().into_iter().map(without_query).collect::<Vec<_>>().join("\n")
}

fn log_of(image: &Image, first: &[&str]) -> String {
    let blobs =
        [image.config_digest(), image.layers[0].digest()].map(|digest| format!("GET /v2/app/blobs/{digest} 200"));
    [first.iter().map(|line| line.to_string()).collect(), blobs.to_vec()].concat().join("\n")
}

#[test]
fn pings_after_a_refusal_without_a_challenge() {
    let cases: [(&str, u16, Fault); 4] = [
        ("no challenge", 401, on("/manifests/").nth(1).without("WWW-Authenticate")),
        (
            "a challenge of an unsupported scheme",
            401,
            on("/manifests/").nth(1).without("WWW-Authenticate").header("WWW-Authenticate", "Negotiate"),
        ),
        ("hidden", 404, on("/manifests/").nth(1).status(404).without("WWW-Authenticate").body("page not found")),
        ("hidden behind JSON", 404, on("/manifests/").nth(1).status(404).without("WWW-Authenticate").body("{}")),
    ];
    for (case, status, fault) in cases {
        let (bench, image) = (Bench::new(), Image::small("a"));
        bench.registry.bearer("t0ken", None);
        bench.registry.fault(fault);
        bench.pull(&image).exits_in(case, 0);
        let refused = format!("GET /v2/app/manifests/latest {status}");
        let first = [&refused, "GET /v2/ 401", "GET /token 200", "GET /v2/app/manifests/latest 200"];
        assert_same(case, &log_of(&image, &first), &log(&bench));
        assert_eq!(bench.registry.connections(), 1, "{case}");
    }
}

/// The registry hides what it has, without a challenge, from clients that show no credentials.
fn hidden(status: u16, body: &str) -> (Bench, Image) {
    let (bench, image) = (Bench::new(), Image::small("a"));
    image.push(&bench.registry, "app", "latest");
    bench.registry.require("Basic dXNlcjpwYXNz", &["Basic realm=\"x\""]);
    bench.registry.fault(on("/app/").nth(1).status(status).without("WWW-Authenticate").body(body));
    (bench, image)
}

#[test]
fn credentials_are_shown_to_a_registry_that_hides_content_without_a_challenge() {
    for status in [403, 404] {
        for body in [r#"{"errors":[{"code":"DENIED"}]}"#, "page not found", ""] {
            for command in ["pull", "tags", "digest", "manifest"] {
                let (bench, _) = hidden(status, body);
                let name = bench.registry.name("app");
                let case = format!("{command} after {status} {body}");
                bench.home.run(&[command, "--creds", "user:pass", &name]).exits_in(&case, 0);
                assert_eq!(bench.registry.log()[1], "GET /v2/ 401", "{case}");
            }
        }
    }
    // A mirror is asked in the same way, with its own credentials.
    let (mirror, image) = hidden(404, "");
    let upstream = Bench::new();
    let name = image.push(&upstream.registry, "app", "latest");
    let auths = format!(r#"{{"auths":{{"{}":{{"auth":"dXNlcjpwYXNz"}}}}}}"#, mirror.registry.host());
    let file = upstream.home.write("auth.json", auths);
    let option = format!("{}=http://{}", upstream.registry.host(), mirror.registry.host());
    upstream.home.run(&["pull", "--authfile", &file, "--registry-mirror", &option, &name]).exits(0);
    assert!(upstream.registry.log().is_empty(), "{}", log(&upstream));
    assert!(upstream.registry.calls().iter().all(|call| call.request.header("authorization").is_none()));
}

#[test]
fn a_refusal_is_final_if_the_credentials_were_shown_or_are_not_required() {
    // A registry without authentication is pinged once.
    for (status, code) in [(403, 4), (404, 3)] {
        let bench = Bench::new();
        bench.registry.fault(on("/manifests/").status(status).body("no"));
        let name = bench.registry.name("app");
        bench.home.run(&["pull", "--creds", "user:pass", &name]).exits(code).fails_in_one_line();
        let expected = format!("GET /v2/app/manifests/latest {status}\nGET /v2/ 200");
        assert_same("no authentication", &expected, &log(&bench));
        assert!(bench.registry.calls().iter().all(|call| call.request.header("authorization").is_none()));
    }
    // The credentials do not help.
    let (bench, _) = hidden(404, "");
    bench.registry.fault(on("/app/").status(404).body("{}"));
    bench.home.run(&["pull", "--creds", "user:pass", &bench.registry.name("app")]).exits(3).fails_in_one_line();
    assert_eq!(bench.registry.log().len(), 3, "{}", log(&bench));
    // Without credentials there is nothing to show.
    let (bench, image) = hidden(403, "");
    bench.pull(&image).exits(4).fails_in_one_line();
    assert_eq!(bench.registry.log().len(), 1, "{}", log(&bench));
    // A server that is not a registry.
    let bench = Bench::new();
    bench.registry.fault(on("/v2/").status(404).body("<html>404</html>"));
    let outcome = bench.home.run(&["pull", "--creds", "user:pass", &bench.registry.name("app")]).exits(10);
    outcome.says("the server is not a v2 registry");
}

#[test]
fn sends_credentials_for_a_challenge_of_the_ping() {
    let (bench, image) = (Bench::new(), Image::small("a"));
    let name = image.push(&bench.registry, "app", "latest");
    bench.registry.require("Basic dXNlcjpwYXNz", &["Basic realm=\"x\""]);
    bench.registry.fault(on("/manifests/").nth(1).without("WWW-Authenticate"));
    bench.home.run(&["pull", "--creds", "user:pass", &name]).exits(0);
    assert_eq!(bench.registry.requests_to("/v2/app"), 4);
}

#[test]
fn a_ping_that_does_not_help_ends_the_pull() {
    // No challenge anywhere: one ping, then an error.
    let bench = Bench::new();
    bench.registry.require("Bearer never", &[]);
    bench.pull(&Image::small("a")).exits(4).fails_in_one_line();
    assert_same("no challenge", "GET /v2/app/manifests/latest 401\nGET /v2/ 401", &log(&bench));
    // A challenge that leads to a token that the registry does not accept.
    let bench = Bench::new();
    bench.registry.bearer("t0ken", None);
    bench.registry.tokens(None, r#"{"token":"another"}"#);
    bench.registry.fault(on("/manifests/").without("WWW-Authenticate"));
    bench.pull(&Image::small("a")).exits(4).fails_in_one_line();
    assert!(bench.registry.log().len() <= 8, "{}", log(&bench));
    // Credentials go only to the origin of the registry, so a realm elsewhere does not get them because of the ping.
    let (bench, elsewhere) = (Bench::new(), kit::registry::Registry::plain());
    elsewhere.tokens(None, r#"{"token":"t0ken"}"#);
    let realm = format!("Bearer realm=\"{}\"", elsewhere.url("/token"));
    bench.registry.require("Bearer t0ken", &[&realm]);
    bench.registry.fault(on("/manifests/").nth(1).without("WWW-Authenticate"));
    let name = Image::small("a").push(&bench.registry, "app", "latest");
    bench.home.run(&["pull", "--creds", "user:pass", &name]).exits(4).fails_in_one_line();
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn reports_a_server_that_is_not_a_registry() {
    for (case, body) in
        [("a v1 registry", "\"docker-registry server\""), ("a web server", "<html>404</html>"), ("nothing", "")]
    {
        let bench = Bench::new();
        bench.registry.fault(on("/v2/").status(404).body(body));
        let outcome = bench.pull(&Image::small("a")).exits_in(case, 10).fails_in_one_line();
        outcome.says("the server is not a v2 registry").says("v1 protocol");
        assert_same(case, "GET /v2/app/manifests/latest 404\nGET /v2/ 404", &log(&bench));
    }
    let bench = Bench::new();
    bench.registry.fault(on("/v2/").status(404).body("gone"));
    bench.home.run(&["tags", &bench.registry.name("app")]).exits(10).says("the server is not a v2 registry");
}

#[test]
fn does_not_ping_after_a_registrys_not_found() {
    let bench = Bench::new();
    bench.home.run(&["pull", &bench.registry.name("app")]).exits(3).fails_in_one_line();
    assert_same("an error document of a registry", "GET /v2/app/manifests/latest 404", &log(&bench));
    // No error document, but the header of a registry.
    let bench = Bench::new();
    bench.registry.fault(on("/v2/").header("Docker-Distribution-API-Version", "registry/2.0"));
    bench.registry.fault(on("/manifests/").status(404).body("page not found"));
    bench.home.run(&["pull", &bench.registry.name("app")]).exits(3).fails_in_one_line();
    assert_same("the header of a registry", "GET /v2/app/manifests/latest 404", &log(&bench));
    // Neither, but the ping succeeds.
    let bench = Bench::new();
    bench.registry.fault(on("/manifests/").status(404).body("page not found"));
    bench.home.run(&["pull", &bench.registry.name("app")]).exits(3).fails_in_one_line();
    assert_same("a ping that succeeds", "GET /v2/app/manifests/latest 404\nGET /v2/ 200", &log(&bench));
    // A server that already sent a manifest is a registry.
    let (bench, image) = (Bench::new(), Image::small("a"));
    bench.registry.fault(on("/blobs/").status(404).body("gone"));
    bench.pull(&image).exits(3).fails_in_one_line();
    assert_eq!(bench.registry.log().len(), 2, "{}", log(&bench));
}
