//! Authentication: all forms of `WWW-Authenticate`, valid and invalid tokens, and where credentials must not be sent.

use kit::archive::file;
use kit::authority::Authority;
use kit::bench::Bench;
use kit::digest::base64;
use kit::fault::on;
use kit::home::Home;
use kit::image::{Image, Layer};
use kit::process::Finished;
use kit::registry::Registry;

const USER: &str = "robot:hunter2-s3cret";

fn basic(login: &str) -> String {
    format!("Basic {}", base64(login.as_bytes()))
}

/// A registry that requires the token `t0ken` and sends these challenges. `@` becomes the URL of its token endpoint.
fn challenged(challenges: &[&str]) -> Bench {
    let bench = Bench::new();
    let realm = bench.registry.url("/token");
    let challenges: Vec<String> = challenges.iter().map(|text| text.replace('@', &realm)).collect();
    let challenges: Vec<&str> = challenges.iter().map(String::as_str).collect();
    bench.registry.require("Bearer t0ken", &challenges);
    bench.registry.tokens(None, r#"{"token":"t0ken"}"#);
    bench
}

fn pull(bench: &Bench, options: &[&str]) -> Finished {
    let name = Image::small("auth").push(&bench.registry, "app", "latest");
    bench.home.run(&[&["pull"], options, &[&name]].concat())
}

#[test]
fn parses_challenges_as_rfc_9110_specifies() {
    // The challenges, and what the query of the token request must contain.
    let cases: &[(&[&str], &[&str])] = &[
        (
            &[r#"Bearer realm="@",service="reg",scope="repository:app:pull""#],
            &["service=reg", "scope=repository:app:pull"],
        ),
        (
            &[r#"bearer REALM="@",Service="reg",SCOPE="repository:app:pull""#],
            &["service=reg", "scope=repository:app:pull"],
        ),
        (
            &[r#"BEARER scope="repository:app:pull",service="reg",realm="@""#],
            &["service=reg", "scope=repository:app:pull"],
        ),
        (&[r#"Bearer   realm="@"  ,  service="reg"  "#], &["service=reg"]),
        (&["Bearer realm=\"@\",\tservice=\"reg\""], &["service=reg"]),
        (&[r#"Bearer realm = "@", service = "reg""#], &["service=reg"]),
        (&[r#"Bearer realm="@",service=reg"#], &["service=reg"]),
        (&[r#"Bearer realm="@",scope="repository:app:pull,push""#], &["scope=repository:app:pull"]),
        (&[r#"Bearer realm="@",service="a\"b\\c""#], &["service=a%22b%5Cc"]),
        (&[r#"Bearer realm="@",service="a, Basic realm=x""#], &["service=a"]),
        (&[r#"Bearer realm="@""#], &[]),
        (&[r#", ,Bearer realm="@",,service="reg","#], &["service=reg"]),
        (
            &[r#"Bearer realm="@",service="reg",error="invalid_token",error_description="no, \"really\"""#],
            &["service=reg"],
        ),
        (&[r#"Basic realm="basic", Bearer realm="@",service="reg""#], &["service=reg"]),
        (&[r#"Bearer realm="@",service="reg", Basic realm="basic""#], &["service=reg"]),
        (&[r#"Basic realm="basic""#, r#"Bearer realm="@",service="reg""#], &["service=reg"]),
        (&[r#"Bearer realm="@",service="reg""#, r#"Basic realm="basic""#], &["service=reg"]),
        (&[r#"Negotiate"#, r#"Bearer realm="@",service="reg""#], &["service=reg"]),
        (&[r#"Negotiate YWJjZA==, Bearer realm="@",service="reg""#], &["service=reg"]),
        (&[r#"Digest realm="d", qop="auth,auth-int", nonce="n", Bearer realm="@",service="reg""#], &["service=reg"]),
        (&[r#"Bearer realm="@?account=1",service="reg""#], &["account=1", "service=reg"]),
    ];
    for (challenges, query) in cases {
        let bench = challenged(challenges);
        let outcome = pull(&bench, &[]).exits_in(&format!("{challenges:?}"), 0);
        let token = bench.registry.calls().into_iter().find(|call| call.request.path() == "/token").unwrap();
        // `:` and `,` may be escaped in a query, but need not be.
        let target = token.request.target.replace("%3A", ":").replace("%2C", ",");
        for part in *query {
            assert!(target.contains(part), "{challenges:?}: {part} is not in {target}");
        }
        assert_eq!(target.matches('?').count(), 1, "{target}");
        assert_eq!(token.request.header("authorization"), None, "{outcome}");
    }
}

#[test]
fn unusable_challenges_are_authorization_errors() {
    let long = format!("Bearer realm=\"@\",x=\"{}\"", "y".repeat(60_000));
    let cases: &[&[&str]] = &[
        &[],
        &[""],
        &["Bearer"],
        &["Bearer service=\"reg\""],
        &["Bearer realm=\"@"],
        &["Bearer realm="],
        &["Bearer realm=\"\""],
        &["Bearer realm=\"not a url\""],
        &["Bearer realm=\"file:///etc/passwd\""],
        &["Bearer realm=\"ftp://localhost/token\""],
        &["Bearer realm=\"http://[::1\""],
        &["Negotiate"],
        &["Basic realm=\"only with credentials\""],
        &["Digest realm=\"d\", nonce=\"n\""],
        &["=,;\"\\"],
        &[&long],
    ];
    for challenges in cases {
        let bench = challenged(challenges);
        let case = format!("{:.80?}", challenges);
        // The very long challenge may be answered, ignored, or rejected as a header; other exit codes are wrong.
        let codes: &[i32] =
            if challenges.first().is_some_and(|text| text.len() > 1000) { &[0, 4, 5, 11] } else { &[4, 11] };
        let outcome = pull(&bench, &[]).exits_among(&case, codes);
        assert!(outcome.code == 0 || bench.registry.requests_to("/blobs/") == 0, "{case}");
        assert!(bench.registry.log().len() < 10, "{case}: {}", bench.registry.log().join("\n"));
    }
}

#[test]
fn accepts_token_and_access_token() {
    for body in [
        r#"{"token":"t0ken"}"#,
        r#"{"access_token":"t0ken"}"#,
        r#"{"token":"t0ken","access_token":"t0ken","expires_in":300,"issued_at":"2026-01-01T00:00:00Z"}"#,
        r#"{"token":"t0ken","access_token":"another"}"#,
        r#"{"token":"","access_token":"t0ken"}"#,
        r#"{"token":"t0ken","refresh_token":null,"unknown":[1,{}]}"#,
        r#"{"token":"t0ken","expires_in":0}"#,
    ] {
        let bench = challenged(&[r#"Bearer realm="@""#]);
        bench.registry.tokens(None, body);
        pull(&bench, &[]).exits_in(body, 0);
    }
}

#[test]
fn does_not_send_invalid_tokens() {
    let huge = format!(r#"{{"token":"{}"}}"#, "a".repeat(100_000));
    let many = format!("{}{}", r#"{"token":"t0ken"}"#, " ".repeat(100_000));
    for body in [
        "",
        "{}",
        "[]",
        "null",
        "<html>please log in</html>",
        r#"{"token":7}"#,
        r#"{"token":""}"#,
        r#"{"token":"a\r\nX-Evil: 1"}"#,
        r#"{"token":"a b"}"#,
        r#"{"token":"a\u0000b"}"#,
        r#"{"token":"\u001b[31m"}"#,
        r#"{"token":"t\u00f6ken"}"#,
        r#"{"token":"a"#,
        &huge,
        &many,
    ] {
        let bench = challenged(&[r#"Bearer realm="@""#]);
        bench.registry.tokens(None, body);
        let case = format!("{body:.60}");
        pull(&bench, &[]).exits_among(&case, &[4, 5, 11]).fails_in_one_line();
        let sent = bench.registry.calls().iter().filter(|call| call.request.header("authorization").is_some()).count();
        assert_eq!(sent, 0, "{case}: {}", bench.registry.log().join("\n"));
    }
}

#[test]
fn failures_of_the_token_endpoint_have_distinct_exit_codes() {
    for (status, code) in [(400, 4), (401, 4), (403, 4), (404, 4), (429, 6), (500, 5), (503, 5)] {
        let bench = challenged(&[r#"Bearer realm="@""#]);
        bench.registry.fault(on("/token").status(status).header("Retry-After", "0").body("no"));
        // No specification says what a 400 or 404 from a token endpoint means, so any of these exit codes will do.
        let codes = if matches!(status, 400 | 404) { vec![3, 4, 5, 10] } else { vec![code] };
        pull(&bench, &[]).exits_among(&format!("token endpoint: {status}"), &codes).fails_in_one_line();
    }
}

#[test]
fn follows_redirects_of_the_token_endpoint_within_its_origin() {
    for status in [301, 302, 303, 307, 308] {
        let bench = challenged(&[r#"Bearer realm="@/old""#]);
        bench.registry.tokens(Some(&basic(USER)), r#"{"token":"t0ken"}"#);
        bench.registry.fault(on("/token/old").redirect(status, "/token/new?scope=x"));
        bench.registry.fault(on("/token/new").redirect(status, bench.registry.url("/token?service=x")));
        pull(&bench, &["--creds", USER]).exits_in(&status.to_string(), 0);
        assert_eq!(bench.registry.requests_to("/token"), 3);
    }
    // A circle ends.
    let bench = challenged(&[r#"Bearer realm="@""#]);
    bench.registry.fault(on("/token").redirect(307, "/token"));
    pull(&bench, &[]).exits(11).fails_in_one_line();
    assert_eq!(bench.registry.requests_to("/token"), 11);
}

#[test]
fn shows_nothing_to_another_origin_to_which_the_token_endpoint_redirects() {
    for through_own_origin in [false, true] {
        for options in [&[][..], &["--creds", USER]] {
            let (bench, other) = (challenged(&[r#"Bearer realm="@""#]), Registry::plain());
            other.tokens(None, r#"{"token":"t0ken"}"#);
            let path = if through_own_origin { "/token?again" } else { "/token" };
            bench.registry.fault(on(path).redirect(307, other.url("/token")));
            if through_own_origin {
                bench.registry.fault(on("/token?scope").redirect(307, "/token?again"));
            }
            assert_ne!(pull(&bench, options).code, 0);
            assert_eq!(other.connections(), 0);
        }
    }
}

#[test]
fn a_redirect_of_the_token_endpoint_gets_no_credentials() {
    let (bench, other) = (challenged(&[r#"Bearer realm="@""#]), Registry::plain());
    other.tokens(None, r#"{"token":"t0ken"}"#);
    bench.registry.fault(on("/token").redirect(307, other.url("/token")));
    let outcome = pull(&bench, &["--creds", USER]);
    assert_ne!(outcome.code, 0, "{outcome}");
    assert!(other.calls().iter().all(|call| call.request.header("authorization").is_none()), "the credentials leaked");
}

#[test]
fn status_codes_of_the_registry_have_distinct_exit_codes() {
    for (status, code) in [(401, 4), (403, 4), (404, 3), (429, 6), (500, 5), (502, 5), (503, 5), (504, 5)] {
        for path in ["/manifests/", "/blobs/"] {
            let bench = Bench::new();
            bench.registry.fault(on(path).status(status).header("Retry-After", "0").body("{}"));
            let outcome = pull(&bench, &[]).exits_in(&format!("{status} for {path}"), code).fails_in_one_line();
            assert!(bench.home.index().is_empty(), "{outcome}");
        }
    }
}

#[test]
fn sends_basic_credentials_when_challenged() {
    let cases = [
        ("robot:hunter2-s3cret", "robot:hunter2-s3cret"),
        ("a:b:c", "a:b:c"),
        ("a:", "a:"),
        ("u\u{fc}ser:p\u{e4}ss", "u\u{fc}ser:p\u{e4}ss"),
    ];
    for (given, expected) in cases {
        let bench = Bench::new();
        bench.registry.require(&basic(expected), &[r#"Basic realm="registry", charset="UTF-8""#]);
        pull(&bench, &["--creds", given]).exits_in(given, 0);
        assert_eq!(bench.registry.log().len(), 4, "{given}: {}", bench.registry.log().join("\n"));
        assert_eq!(bench.registry.connections(), 1);
    }
}

#[test]
fn reads_credentials_from_standard_input() {
    for stdin in ["robot:hunter2-s3cret", "robot:hunter2-s3cret\n", "robot:hunter2-s3cret\r\n"] {
        let bench = Bench::new();
        bench.registry.require(&basic(USER), &[r#"Basic realm="registry""#]);
        let name = Image::small("auth").push(&bench.registry, "app", "latest");
        bench.home.pullet(&["pull", "--creds", "-", &name]).stdin(stdin.as_bytes()).run().exits_in(stdin, 0);
    }
    let bench = Bench::new();
    let name = Image::small("auth").push(&bench.registry, "app", "latest");
    bench.home.pullet(&["pull", "--creds", "-", &name]).run().exits_in("nothing on standard input", 2);
    bench.home.run(&["pull", "--creds", "", &name]).exits_in("empty credentials", 2);
    assert_eq!(bench.registry.connections(), 0);
}

#[test]
fn rejects_credentials_for_several_registries() {
    let (one, two) = (Bench::new(), Registry::plain());
    one.registry.require(&basic(USER), &[r#"Basic realm="registry""#]);
    let name = |registry: &Registry, repository: &str| Image::small("auth").push(registry, repository, "latest");
    let (a, b, elsewhere) = (name(&one.registry, "a"), name(&one.registry, "b"), name(&two, "a"));
    let by_name = a.replace("127.0.0.1", "localhost");
    for names in
        [&[&a, &elsewhere][..], &[&a, &b, &elsewhere], &[&elsewhere, &a, &b], &[&a, &elsewhere, &b], &[&a, &by_name]]
    {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        for creds in [USER, "-"] {
            let args = [&["pull", "--creds", creds], &names[..]].concat();
            let outcome = one.home.pullet(&args).stdin(USER.as_bytes()).run();
            outcome.exits_in(&format!("{names:?}"), 2).fails_in_one_line().prints("").hides("hunter2");
        }
        assert_eq!((one.registry.connections(), two.connections()), (0, 0), "{names:?}");
    }
    assert!(!one.home.store().exists());
    one.home.run(&["pull", "--creds", USER, &a, &b]).exits_in("two names of one registry", 0);
    Home::new().run(&["pull", &elsewhere, &by_name]).exits_in("two registries, no credentials", 4);
}

#[test]
fn wrong_or_missing_credentials_exit_with_four_without_retries() {
    for (challenge, options) in [
        (r#"Basic realm="registry""#, &["--creds", "robot:wrong"][..]),
        (r#"Basic realm="registry""#, &[][..]),
        (r#"Bearer realm="@""#, &["--creds", "robot:wrong"][..]),
        (r#"Bearer realm="@""#, &[][..]),
    ] {
        let bench = challenged(&[challenge]);
        bench.registry.tokens(Some(&basic(USER)), r#"{"token":"t0ken"}"#);
        let case = format!("{challenge} with {options:?}");
        pull(&bench, options).exits_in(&case, 4).fails_in_one_line();
        // Repeated attempts can lock an account.
        assert!(bench.registry.log().len() <= 3, "{case}: {}", bench.registry.log().join("\n"));
    }
}

#[test]
fn sends_credentials_to_the_token_endpoint_only() {
    let bench = Bench::new();
    bench.registry.bearer("t0ken", Some(&basic(USER)));
    pull(&bench, &["--creds", USER]).exits(0);
    for call in bench.registry.calls() {
        let expected = match (call.request.path(), call.status) {
            ("/token", _) => Some(basic(USER)),
            (_, 401) => None,
            _ => Some("Bearer t0ken".to_string()),
        };
        assert_eq!(call.request.header("authorization"), expected.as_deref(), "{call}");
    }
}

#[test]
fn a_realm_of_another_origin_gets_no_credentials() {
    let (bench, other) = (Bench::new(), Registry::plain());
    other.tokens(None, r#"{"token":"t0ken"}"#);
    let challenge = format!(r#"Bearer realm="{}",service="reg""#, other.url("/token"));
    bench.registry.require("Bearer t0ken", &[&challenge]);
    pull(&bench, &["--creds", USER]).exits(4).fails_in_one_line();
    for call in other.calls() {
        assert_eq!(call.request.header("authorization"), None, "the credentials leaked: {call}");
    }
    // Another name for the same host is another origin.
    let same = bench.registry.url("/token").replace("127.0.0.1", "localhost");
    bench.registry.tokens(None, r#"{"token":"t0ken"}"#);
    bench.registry.require("Bearer t0ken", &[&format!(r#"Bearer realm="{same}""#)]);
    bench.registry.clear_log();
    pull(&bench, &["--creds", USER]).exits(4);
    assert!(bench.registry.calls().iter().all(|call| call.request.header("authorization").is_none()));
    // Without credentials such a realm is allowed: docker.io's tokens come from another host.
    let anonymous = Bench::new();
    anonymous.registry.require("Bearer t0ken", &[&challenge]);
    pull(&anonymous, &[]).exits(0);
}

#[test]
fn refuses_a_plain_http_realm_of_a_registry_with_tls() {
    let authority = Authority::new();
    let (registry, plain) = (Registry::tls(&authority), Registry::plain());
    plain.tokens(None, r#"{"token":"t0ken"}"#);
    registry.require("Bearer t0ken", &[&format!(r#"Bearer realm="{}""#, plain.url("/token"))]);
    let home = Home::new();
    let ca = home.write("ca.pem", authority.pem());
    let name = Image::small("auth").push(&registry, "app", "latest");
    for options in [&["--creds", USER][..], &[]] {
        let args = [&["pull", "--ca-file", &ca], options, &[&name]].concat();
        home.run(&args).exits_in(&format!("{options:?}"), 4).fails_in_one_line();
        assert_eq!(plain.connections(), 0, "{options:?}: the realm was contacted over plain HTTP");
    }
}

#[test]
fn renews_an_expired_token_once() {
    let bench = Bench::new();
    bench.registry.bearer("t0ken", None);
    let challenge = format!(r#"Bearer realm="{}",service="reg""#, bench.registry.url("/token"));
    let layers: Vec<Layer> = (0..3).map(|n| Layer::of(&[file("f", format!("{n}"))])).collect();
    let image = Image::new(layers);
    // The config is the first blob, so the third one is the middle layer.
    bench.registry.fault(on("/blobs/").nth(3).challenge(&[&challenge]));
    bench.pull(&image).exits(0);
    assert_eq!((bench.registry.requests_to("/token"), bench.registry.requests_to(&image.layers[1].digest())), (2, 2));

    let bench = Bench::new();
    bench.registry.bearer("t0ken", None);
    bench
        .registry
        .fault(on("/blobs/").challenge(&[&challenge.replace("service=\"reg\"", "error=\"insufficient_scope\"")]));
    bench.pull(&image).exits(4);
    assert!(bench.registry.log().len() <= 8, "too many requests: {}", bench.registry.log().join("\n"));
}

#[test]
fn prints_no_secrets() {
    let encoded = basic(USER).replace("Basic ", "");
    for (login, code) in [(USER, 0), ("robot:other-s3cret", 4)] {
        let bench = Bench::new();
        bench.registry.bearer("t0ken-s3cret", Some(&basic(login)));
        for options in [&["-v"][..], &["--progress", "json"], &["-v", "--progress", "plain"], &[]] {
            let outcome = pull(&bench, &[options, &["--creds", USER]].concat());
            outcome.exits(code).hides("hunter2").hides(&encoded).hides("s3cret");
        }
    }
    // Secrets in a redirect URL are not printed either.
    let bench = Bench::new();
    let signed = bench.registry.url("/cdn/blob?X-Signature=sign3d-s3cret").replace("http://", "http://who:s3cret@");
    bench.registry.fault(on("/blobs/").redirect(307, signed));
    bench.registry.fault(on("/cdn/").status(500).body("no"));
    pull(&bench, &["-v"]).exits(5).hides("s3cret");
}
