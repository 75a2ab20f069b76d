//! Redirects of blobs: followed without credentials, up to a limit, and never to an unsafe location.

use kit::authority::Authority;
use kit::bench::Bench;
use kit::digest::base64;
use kit::fault::{Fault, on};
use kit::home::Home;
use kit::image::Image;
use kit::process::Finished;
use kit::registry::Registry;

const LOGIN: &str = "robot:hunter2";

/// A registry that requires a login, an image in it, and a storage backend that has the image's layer at `/cdn/layer`.
struct Scene {
    bench: Bench,
    cdn: Registry,
    image: Image,
}

impl Scene {
    fn new() -> Scene {
        let scene = Scene { bench: Bench::new(), cdn: Registry::plain(), image: Image::small("redirect") };
        let login = format!("Basic {}", base64(LOGIN.as_bytes()));
        scene.bench.registry.require(&login, &[r#"Basic realm="registry""#]);
        scene.cdn.serve("/cdn/layer", &scene.image.layers[0].blob);
        scene
    }

    /// Redirects the layer's blob to this location and pulls.
    fn pull_via(&self, status: u16, location: &str) -> Finished {
        self.redirect(status, location);
        self.pull()
    }

    fn redirect(&self, status: u16, location: &str) {
        let layer = format!("/v2/app/blobs/{}", self.image.layers[0].digest());
        self.bench.registry.fault(on(layer).redirect(status, location));
    }

    fn pull(&self) -> Finished {
        let name = self.image.push(&self.bench.registry, "app", "latest");
        self.bench.home.run(&["pull", "--creds", LOGIN, &name])
    }

    #[track_caller]
    fn assert_layer_stored(&self, case: &str) {
        let layer = &self.image.layers[0];
        let stored = std::fs::read(self.bench.home.blob(&layer.digest())).unwrap_or_default();
        assert!(stored == layer.blob, "{case}: the layer did not arrive");
    }

    #[track_caller]
    fn assert_refused(&self, case: &str, outcome: Finished) {
        outcome.exits_among(case, &[5, 10, 11]).fails_in_one_line();
        assert!(self.bench.home.index().is_empty(), "{case}: the index has the image");
        assert_eq!(self.cdn.requests_to("/cdn/layer"), 0, "{case}: the target was requested");
    }
}

#[test]
fn follows_redirects_without_the_credentials() {
    for status in [301, 302, 303, 307, 308] {
        let scene = Scene::new();
        let case = status.to_string();
        scene.pull_via(status, &scene.cdn.url("/cdn/layer")).exits_in(&case, 0);
        scene.assert_layer_stored(&case);
        let calls = scene.cdn.calls();
        assert_eq!(calls.len(), 1, "{case}");
        assert_eq!(calls[0].request.method, "GET", "{case}");
        assert_eq!(calls[0].request.header("authorization"), None, "{case}: the credentials leaked to another port");
        assert_eq!(calls[0].request.header("host"), Some(scene.cdn.host().as_str()), "{case}");
    }
}

#[test]
fn does_not_follow_other_3xx_statuses() {
    for status in [300, 304, 305, 306] {
        let scene = Scene::new();
        let outcome = scene.pull_via(status, &scene.cdn.url("/cdn/layer"));
        scene.assert_refused(&status.to_string(), outcome);
    }
}

#[test]
fn resolves_relative_locations() {
    for (location, path) in [
        ("/cdn/layer", "/cdn/layer"),
        ("/cdn/layer#fragment", "/cdn/layer"),
        ("//@/cdn/layer", "/cdn/layer"),
        ("HTTP://@/cdn/layer", "/cdn/layer"),
        ("../../../../cdn/layer", "/cdn/layer"),
        ("/x/../cdn/./layer", "/cdn/layer"),
        ("layer?x=1", "/v2/app/blobs/layer?x=1"),
    ] {
        let scene = Scene::new();
        let bytes = &scene.image.layers[0].blob;
        scene.bench.registry.serve("/cdn/layer", bytes);
        scene.bench.registry.serve("/v2/app/blobs/layer", bytes);
        let location = location.replace('@', &scene.bench.registry.host());
        scene.pull_via(307, &location).exits_in(&location, 0);
        scene.assert_layer_stored(&location);
        assert_eq!(scene.bench.registry.requests_to(path), 1, "{location}: {}", scene.bench.registry.log().join("\n"));
    }
}

#[test]
fn a_403_from_the_target_asks_the_registry_once_for_another_redirect() {
    for (refusals, code, asked) in [(1, 0, 2), (2, 4, 2)] {
        let scene = Scene::new();
        for nth in 1..=refusals {
            scene.cdn.fault(on("/cdn/layer").nth(nth).status(403).body("<Code>AccessDenied</Code>"));
        }
        let outcome = scene.pull_via(307, &scene.cdn.url("/cdn/layer?signature=x")).exits(code);
        let layer = format!("/blobs/{}", scene.image.layers[0].digest());
        assert_eq!(scene.bench.registry.requests_to(&layer), asked, "{outcome}");
        assert_eq!(scene.cdn.requests_to("/cdn/layer"), asked, "{outcome}");
        assert!(scene.cdn.calls().iter().all(|call| call.request.header("authorization").is_none()));
    }
    // A 403 from the registry itself is final.
    let scene = Scene::new();
    let layer = format!("/blobs/{}", scene.image.layers[0].digest());
    scene.bench.registry.fault(on(&layer).status(403).body("{}"));
    scene.pull().exits(4);
    assert_eq!(scene.bench.registry.requests_to(&layer), 1);
}

#[test]
fn spaces_and_characters_beyond_ascii_in_a_location_are_escaped() {
    for (location, path) in [
        ("http://@/cdn/lay er", "/cdn/lay%20er"),
        ("http://@/cdn/lay er?name=a b%20c", "/cdn/lay%20er"),
        ("http://@/cdn/layer\u{b5}", "/cdn/layer%C2%B5"),
        ("//@/cdn/\u{1f40b}?x=\u{1f40b}", "/cdn/%F0%9F%90%8B"),
    ] {
        let scene = Scene::new();
        scene.cdn.serve(path, &scene.image.layers[0].blob);
        scene.pull_via(307, &location.replace('@', &scene.cdn.host())).exits_in(location, 0);
        scene.assert_layer_stored(location);
        assert_eq!(scene.cdn.requests_to(path), 1, "{location}: {}", scene.cdn.log().join("\n"));
    }
}

#[test]
fn the_same_origin_gets_the_credentials_and_a_redirect_back_does_not() {
    let scene = Scene::new();
    let digest = scene.bench.registry.put_blob("elsewhere", &scene.image.layers[0].blob);
    scene.pull_via(307, &format!("/v2/elsewhere/blobs/{digest}")).exits(0);
    scene.assert_layer_stored("the same origin, behind the same login");

    let scene = Scene::new();
    scene.bench.registry.serve("/back/layer", &scene.image.layers[0].blob);
    scene.cdn.fault(on("/cdn/away").redirect(307, scene.bench.registry.url("/back/layer")));
    scene.pull_via(307, &scene.cdn.url("/cdn/away")).exits(0);
    let calls = scene.bench.registry.calls();
    let back = calls.iter().find(|call| call.request.path() == "/back/layer").unwrap();
    assert_eq!(
        back.request.header("authorization"),
        None,
        "the credentials came back with the redirect to the first origin"
    );
}

#[test]
fn does_not_send_userinfo_of_a_location_as_credentials() {
    let scene = Scene::new();
    let location = scene.cdn.url("/cdn/layer").replace("http://", "http://someone:else@");
    let outcome = scene.pull_via(307, &location);
    if outcome.code == 0 {
        scene.assert_layer_stored("userinfo in the URL");
    }
    for call in scene.cdn.calls() {
        assert_eq!(call.request.header("authorization"), None, "{call}\n{outcome}");
    }
}

#[test]
fn follows_ten_hops_and_no_more() {
    for (hops, allowed) in [(10, true), (11, false), (30, false)] {
        let scene = Scene::new();
        for hop in 1..hops {
            let next = if hop + 1 == hops { "/cdn/layer".to_string() } else { format!("/hop/{:02}", hop + 1) };
            scene.cdn.fault(on(format!("/hop/{hop:02}")).redirect(302, scene.cdn.url(&next)));
        }
        let outcome = scene.pull_via(302, &scene.cdn.url("/hop/01"));
        let case = format!("{hops} hops");
        if allowed {
            outcome.exits_in(&case, 0);
            scene.assert_layer_stored(&case);
        } else {
            scene.assert_refused(&case, outcome);
        }
    }
}

#[test]
fn redirect_loops_end() {
    let scene = Scene::new();
    scene.cdn.fault(on("/cdn/loop").redirect(307, scene.cdn.url("/cdn/loop")));
    let outcome = scene.pull_via(307, &scene.cdn.url("/cdn/loop"));
    scene.assert_refused("a loop of one", outcome);
    assert!(scene.cdn.calls().len() <= 10, "{}", scene.cdn.log().join("\n"));
    let scene = Scene::new();
    let own = scene.bench.registry.url(&format!("/v2/app/blobs/{}", scene.image.layers[0].digest()));
    let outcome = scene.pull_via(307, &own);
    scene.assert_refused("to itself", outcome);
}

#[test]
fn refuses_malformed_and_unsupported_locations() {
    for location in [
        "file:///etc/passwd",
        "ftp://@/cdn/layer",
        "data:text/plain,hello",
        "gopher://@/cdn/layer",
        "javascript:alert(1)",
        "http://",
        "http:///cdn/layer",
        "http://[::1/cdn/layer",
        "http://@:99999/cdn/layer",
        "http://@ /cdn/layer",
        "",
    ] {
        let scene = Scene::new();
        let location = location.replace('@', &scene.cdn.host());
        let outcome = scene.pull_via(307, &location);
        scene.assert_refused(&format!("{location:?}"), outcome);
        assert_eq!(scene.cdn.connections(), 0, "{location:?}");
    }
    let scene = Scene::new();
    let layer = scene.image.layers[0].digest();
    scene.bench.registry.fault(on(format!("/v2/app/blobs/{layer}")).status(307).body(""));
    let outcome = scene.pull();
    scene.assert_refused("no Location", outcome);

    let scene = Scene::new();
    let (one, two) = (scene.cdn.url("/cdn/layer"), scene.cdn.url("/cdn/other"));
    scene.bench.registry.fault(on(format!("/v2/app/blobs/{layer}")).redirect(307, one).header("Location", two));
    let outcome = scene.pull();
    scene.assert_refused("two Locations", outcome);
}

#[test]
fn ignores_the_body_of_a_redirect() {
    let page = "<a href=\"elsewhere\">Temporary Redirect</a>".repeat(20);
    type Edit = fn(Fault) -> Fault;
    let cases: [(&str, Edit); 6] = [
        ("whole", |fault| fault),
        ("cut at its start", |fault| fault.cut(0)),
        ("cut", |fault| fault.cut(30)),
        ("cut in its chunks", |fault| fault.chunked(10).cut(30)),
        ("malformed chunks", |fault| fault.chunks(b"zz\r\n")),
        ("longer than pullet reads", |fault| fault.body("x".repeat(1 << 20))),
    ];
    for (case, edit) in cases {
        for is_elsewhere in [false, true] {
            let scene = Scene::new();
            let layer = &scene.image.layers[0];
            scene.bench.registry.serve("/cdn/layer", &layer.blob);
            let location = if is_elsewhere { scene.cdn.url("/cdn/layer") } else { "/cdn/layer".to_string() };
            let on_layer = on(format!("/v2/app/blobs/{}", layer.digest()));
            scene.bench.registry.fault(edit(on_layer.redirect(307, &location).body(page.as_str())));
            let case = format!("{case}, to {location}");
            scene.pull().exits_in(&case, 0);
            scene.assert_layer_stored(&case);
        }
    }
}

#[test]
fn refuses_locations_with_illegal_characters_or_too_long() {
    let long = format!("http://@/cdn/layer?signature={}", "s".repeat(20_000));
    let cases = [
        "http://@/cdn/layer<",
        "http://@/cdn/layer?x=<script>",
        "http://@/cdn/`layer`",
        "http://<@>/cdn/layer",
        "http://{host}/cdn/layer",
        "http://ho^st/cdn/layer",
        "http://ho|st/cdn/layer",
        "http://ho%zzst/cdn/layer",
        "/cdn/<layer>",
        "layer`",
        &long,
        &long["http://@".len()..],
    ];
    for location in cases {
        let scene = Scene::new();
        let location = location.replace('@', &scene.cdn.host());
        scene.bench.registry.serve("/cdn/layer", &scene.image.layers[0].blob);
        let outcome = scene.pull_via(307, &location);
        let case = format!("{location:.60?}");
        outcome.exits_in(&case, 11).fails_in_one_line();
        assert!(scene.bench.home.index().is_empty(), "{case}: the index has the image");
        assert_eq!(scene.cdn.connections(), 0, "{case}: the target was requested");
        assert_eq!(scene.bench.registry.requests_to("layer"), 0, "{case}: the target was requested");
    }
}

#[test]
fn never_follows_a_redirect_from_https_to_http() {
    let authority = Authority::new();
    let image = Image::small("redirect");
    let layer = &image.layers[0];
    let (registry, plain, secure) = (Registry::tls(&authority), Registry::plain(), Registry::tls(&authority));
    for cdn in [&plain, &secure] {
        cdn.serve("/cdn/layer", &layer.blob);
    }
    let name = image.push(&registry, "app", "latest");
    let home = Home::new();
    let ca = home.write("ca.pem", authority.pem());
    registry.fault(on(layer.digest()).redirect(307, plain.url("/cdn/layer")));
    home.run(&["pull", "--ca-file", &ca, &name]).exits_among("https to http", &[5, 7, 11]).fails_in_one_line();
    assert_eq!(plain.connections(), 0, "it was downgraded to http");
    assert!(home.index().is_empty());
    // A redirect through another https origin must not change that.
    registry.clear_faults();
    registry.fault(on(layer.digest()).redirect(307, secure.url("/cdn/down")));
    secure.fault(on("/cdn/down").redirect(307, plain.url("/cdn/layer")));
    home.run(&["pull", "--ca-file", &ca, &name]).exits_among("https to https to http", &[5, 7, 11]);
    assert_eq!(plain.connections(), 0, "it was downgraded to http");
    // A redirect from https to https is allowed.
    registry.clear_faults();
    registry.fault(on(layer.digest()).redirect(307, secure.url("/cdn/layer")));
    home.run(&["pull", "--ca-file", &ca, &name]).exits(0);
}

#[test]
fn does_not_answer_a_challenge_of_the_target() {
    let scene = Scene::new();
    let challenges = [format!(r#"Bearer realm="{}""#, scene.cdn.url("/token")), r#"Basic realm="cdn""#.to_string()];
    scene.cdn.tokens(None, r#"{"token":"t0ken"}"#);
    scene.cdn.fault(on("/cdn/ask").challenge(&[&challenges[0], &challenges[1]]));
    let outcome = scene.pull_via(307, &scene.cdn.url("/cdn/ask"));
    outcome.exits_among("a challenge from the target", &[4, 5]).fails_in_one_line();
    assert_eq!(scene.cdn.requests_to("/token"), 0, "{}", scene.cdn.log().join("\n"));
    for call in scene.cdn.calls() {
        assert_eq!(call.request.header("authorization"), None, "{call}");
    }
}

#[test]
fn verifies_the_content_of_the_target() {
    for fault in [on("/cdn/layer").flip(9), on("/cdn/layer").longer(b"x"), on("/cdn/layer").shorter(20)] {
        let scene = Scene::new();
        scene.cdn.fault(fault);
        scene.pull_via(307, &scene.cdn.url("/cdn/layer")).exits(8).fails_in_one_line();
        assert!(!scene.bench.home.blob(&scene.image.layers[0].digest()).exists());
    }
    let scene = Scene::new();
    scene.cdn.fault(on("/cdn/layer").status(404).body("<xml>gone</xml>"));
    scene.pull_via(307, &scene.cdn.url("/cdn/layer")).exits_among("404 from the target", &[3, 5]);
}
