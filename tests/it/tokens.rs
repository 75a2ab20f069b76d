//! Tokens: identity tokens, registry tokens, token realms, and renewal during a pull.

use crate::credentials::{PASSWORD, auths, basic, bench_for, helper, helper_output, hides, write};
use kit::archive::file;
use kit::bench::Bench;
use kit::digest::base64;
use kit::fault::on;
use kit::image::{Image, Layer};
use kit::registry::Registry;

#[test]
fn sends_an_identity_token_to_the_token_endpoint_only() {
    let form = "grant_type=refresh_token&service=test%20registry&client_id=pullet&scope=repository:app:pull\
                &refresh_token=id-s3cret%2B1";
    for body in [r#"{"access_token":"t0ken","expires_in":300,"refresh_token":"x"}"#, r#"{"token":"t0ken"}"#] {
        let bench = Bench::new();
        bench.registry.bearer("t0ken", None);
        bench.registry.oauth2(form, body);
        let name = Image::small("identity").push(&bench.registry, "app", "latest");
        let host = bench.registry.host();
        let user = base64(b"00000000-0000-0000-0000-000000000000:");
        let entry = format!(r#"{{"auths":{{"{host}":{{"auth":"{user}","identitytoken":"id-s3cret+1"}}}}}}"#);
        let file = bench.home.write("auth.json", entry);
        let outcome = bench.home.run(&["pull", "-v", "--authfile", &file, &name]).exits_in(body, 0);
        hides(outcome).says("POST ").hides("t0ken");
        let calls = bench.registry.calls();
        assert_eq!(calls[1].to_string(), "POST /token 200");
        assert_eq!(calls[1].request.header("content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!((calls[1].request.header("authorization"), calls.len()), (None, 5), "{:?}", bench.registry.log());
        assert_eq!(bench.registry.connections(), 1);
        for call in calls.iter().filter(|call| call.request.path() != "/token") {
            assert!(!format!("{:?}", call.request).contains("id-s3cret"), "{call}");
        }
    }
    // A helper returns an identity token with the user name <token>.
    let bench = Bench::new();
    bench.registry.bearer("t0ken", None);
    bench.registry.oauth2(form, r#"{"access_token":"t0ken"}"#);
    let name = Image::small("identity").push(&bench.registry, "app", "latest");
    let path = helper(&bench.home, "id", &helper_output("<token>", "id-s3cret+1"));
    write(&bench.home, "home/.docker/config.json", r#"{"credsStore":"id"}"#);
    hides(bench.home.pullet(&["pull", "-v", &name]).env("PATH", &path).run().exits(0));
}

#[test]
fn does_not_send_an_identity_token_to_another_origin_or_as_basic() {
    let identity = |host: &str| format!(r#"{{"auths":{{"{host}":{{"identitytoken":"id-s3cret"}}}}}}"#);
    let other = Registry::plain();
    other.tokens(None, r#"{"token":"t0ken"}"#);
    let elsewhere = format!(r#"Bearer realm="{}",service="reg""#, other.url("/token"));
    for challenge in [elsewhere.as_str(), r#"Basic realm="registry""#, r#"Bearer realm="ftp://x/""#, "Negotiate"] {
        let bench = Bench::new();
        bench.registry.require("Bearer t0ken", &[challenge]);
        let name = Image::small("identity").push(&bench.registry, "app", "latest");
        let file = bench.home.write("auth.json", identity(&bench.registry.host()));
        let outcome = bench.home.run(&["pull", "-v", "--authfile", &file, &name]);
        hides(outcome.exits_among(challenge, &[4, 11])).fails_in_one_line();
        // After a challenge with an unsupported scheme pullet requests /v2/, which may send another one.
        let requests = if challenge == "Negotiate" { 2 } else { 1 };
        assert_eq!((other.connections(), bench.registry.log().len()), (0, requests), "{challenge}");
    }
    // A redirect of the token endpoint is not followed, because the form contains the token.
    let bench = Bench::new();
    bench.registry.bearer("t0ken", None);
    bench.registry.fault(on("/token").redirect(307, other.url("/token")));
    let name = Image::small("identity").push(&bench.registry, "app", "latest");
    let file = bench.home.write("auth.json", identity(&bench.registry.host()));
    let outcome = bench.home.run(&["pull", "-v", "--authfile", &file, &name]);
    assert_ne!(outcome.code, 0, "{outcome}");
    hides(outcome).fails_in_one_line();
    assert_eq!(other.connections(), 0);
}

#[test]
fn token_realm_allows_a_realm_of_another_origin() {
    let (bench, other, third) = (Bench::new(), Registry::plain(), Registry::plain());
    other.tokens(Some(&basic("robot")), r#"{"token":"t0ken"}"#);
    bench.registry.require("Bearer t0ken", &[&format!(r#"Bearer realm="{}",service="reg""#, other.url("/token"))]);
    let name = Image::small("realm").push(&bench.registry, "app", "latest");
    let creds = format!("robot:{PASSWORD}");
    bench.home.run(&["pull", "--creds", &creds, &name]).exits(4).says(&format!("--token-realm {}", other.host()));
    bench.home.run(&["pull", "--creds", &creds, "--token-realm", &third.host(), &name]).exits(4);
    assert_eq!(other.connections(), 0);
    let realms = ["--token-realm", &third.host(), "--token-realm", &other.host()];
    let args = [&["pull", "-v", "--creds", &creds], &realms[..], &[&name]].concat();
    hides(bench.home.run(&args).exits(0));
    for bad in ["", "https://x.io", "x.io/token", "u@x.io", "x.io:y"] {
        bench.home.run(&["pull", "--token-realm", bad, &name]).exits_in(bad, 2).fails_in_one_line();
    }
    // The registry gets the token only, and a redirect of the realm is not followed.
    assert!(bench.registry.calls().iter().all(|call| call.request.header("authorization") != Some(&basic("robot"))));
    other.fault(on("/token").redirect(307, third.url("/token")));
    assert_ne!(bench.home.run(&args).code, 0);
    assert_eq!(third.connections(), 0);
}

#[test]
fn sends_a_registry_token_without_requesting_another() {
    let bench = Bench::new();
    bench.registry.require("Bearer reg.s3cret", &[r#"Bearer realm="http://127.0.0.1:1/token",service="x""#]);
    let name = Image::small("registry-token").push(&bench.registry, "app", "latest");
    let entry = |token: &str| format!(r#"{{"auths":{{"{}":{{"registrytoken":"{token}"}}}}}}"#, bench.registry.host());
    let file = bench.home.write("auth.json", entry("reg.s3cret"));
    hides(bench.home.run(&["pull", "-v", "--authfile", &file, &name]).exits(0));
    assert_eq!(bench.registry.log().len(), 4, "{:?}", bench.registry.log());
    // A wrong token is sent only once.
    bench.registry.clear_log();
    let file = bench.home.write("auth.json", entry("wrong.s3cret"));
    hides(bench.home.run(&["pull", "-v", "--authfile", &file, &name]).exits(4)).fails_in_one_line();
    assert_eq!(bench.registry.log().len(), 2, "{:?}", bench.registry.log());
}

#[test]
fn renews_a_token_that_a_400_reports_as_expired() {
    let expired = r#"{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}"#;
    let layers = (0..3).map(|n| Layer::of(&[file("f", format!("{n}"))])).collect();
    let image = Image::new(layers);
    let bench = Bench::new();
    bench.registry.bearer("t0ken", None);
    bench.registry.fault(on("/blobs/").nth(3).status(400).body(expired));
    bench.pull(&image).exits(0);
    assert_eq!((bench.registry.requests_to("/token"), bench.registry.requests_to(&image.layers[1].digest())), (2, 2));
    // A token that expires while a layer is resumed is renewed, too. The range stays the same.
    let long = Image::new(vec![Layer::plain(&vec![7; 300_000])]);
    let bench = Bench::new();
    bench.registry.bearer("t0ken", None);
    let layer = long.layers[0].digest();
    bench.registry.fault(on(layer.clone()).nth(1).cut(100_000));
    bench.registry.fault(on(layer.clone()).nth(2).status(400).body(expired));
    let name = long.push(&bench.registry, "app", "latest");
    bench.home.run(&["pull", "--retries", "1", &name]).exits(0);
    let ranges: Vec<bool> = bench
        .registry
        .calls()
        .iter()
        .filter(|call| call.request.target.contains(&layer))
        .map(|call| call.request.header("range").is_some())
        .collect();
    assert_eq!((bench.registry.requests_to("/token"), ranges), (2, vec![false, true, true]));
    // The token is renewed only once.
    let bench = Bench::new();
    bench.registry.bearer("t0ken", None);
    bench.registry.fault(on("/blobs/").after(1).status(400).body(expired));
    let outcome = bench.pull(&image);
    assert_ne!(outcome.code, 0, "{outcome}");
    outcome.fails_in_one_line();
    assert_eq!((bench.registry.requests_to("/token"), bench.registry.requests_to(&image.layers[0].digest())), (2, 2));
    // Any other 400 is an error, and so is this one if no token was sent.
    let bench = Bench::new();
    bench.registry.bearer("t0ken", None);
    bench.registry.fault(on("/blobs/").nth(3).status(400).body(r#"{"errors":[{"code":"DENIED","message":"no"}]}"#));
    assert_ne!(bench.pull(&image).code, 0);
    assert_eq!(bench.registry.requests_to("/token"), 1);
    let bench = Bench::new();
    bench.registry.fault(on("/blobs/").nth(3).status(400).body(expired));
    assert_ne!(bench.pull(&image).code, 0);
    assert_eq!(bench.registry.requests_to(&image.layers[1].digest()), 1);
    // The target of a redirect cannot cause a renewal.
    let (bench, storage) = (Bench::new(), Registry::plain());
    bench.registry.bearer("t0ken", None);
    storage.fault(on("/").status(400).body(expired));
    bench.registry.fault(on("/blobs/").nth(3).redirect(307, storage.url("/x")));
    assert_ne!(bench.pull(&image).code, 0);
    assert_eq!((bench.registry.requests_to("/token"), storage.log().len()), (1, 1));
}

#[test]
fn does_not_resend_basic_credentials_that_were_refused_during_a_pull() {
    let (bench, name) = bench_for("robot");
    bench.registry.fault(on("/blobs/").after(1).challenge(&[r#"Basic realm="registry""#]));
    let file = bench.home.write("auth.json", auths(&bench.registry.host(), "robot"));
    bench.home.run(&["pull", "--authfile", &file, &name]).exits(4).fails_in_one_line();
    assert_eq!(bench.registry.requests_to("/blobs/"), 2, "{:?}", bench.registry.log());
}

#[test]
fn requests_one_token_for_all_tags_of_a_repository() {
    let bench = Bench::new();
    bench.registry.bearer("t0ken", None);
    for tag in ["a", "b", "c"] {
        Image::small(tag).push(&bench.registry, "app", tag);
    }
    bench.home.run(&["pull", "-a", &bench.registry.name("app")]).exits(0);
    assert_eq!(bench.registry.requests_to("/token"), 1, "{:?}", bench.registry.log());
    // Another repository is another scope.
    Image::small("d").push(&bench.registry, "other", "latest");
    let (one, other) = (bench.registry.name("app:a"), bench.registry.name("other"));
    bench.registry.clear_log();
    bench.home.run(&["pull", &one, &other, &one]).exits(0);
    assert_eq!(bench.registry.requests_to("/token"), 2, "{:?}", bench.registry.log());
}

#[test]
fn errors_quote_nothing_of_a_token_response() {
    for body in [r#""s3cret""#, r#"{"token":["s3cret"]}"#, r#"{"token":"s3cret","token":"s3cret"}"#, "s3cret"] {
        let bench = Bench::new();
        bench.registry.bearer("t0ken", None);
        bench.registry.tokens(None, body);
        hides(bench.pull(&Image::small("x")).exits_in(body, 5)).fails_in_one_line();
    }
}
