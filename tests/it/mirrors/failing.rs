//! Mirrors that fail: pullet fails over to the next endpoint and keeps the content that it already has.

use super::{Scene, ranges};
use kit::fault::{Fault, on};
use kit::image::push_index;
use kit::registry::Registry;

#[test]
fn fails_over_from_a_failing_mirror() {
    type Break = fn(&Registry);

    // The fault, and the number of requests to the origin and to the mirror for four documents and blobs.
    let cases: [(&str, Break, [usize; 2]); 9] = [
        ("a missing manifest", |r| r.fault(on("/manifests/").status(404).body(r#"{"errors":[{"code":"X"}]}"#)), [1, 4]),
        ("missing blobs", |r| r.fault(on("/blobs/").status(404).body(r#"{"errors":[{"code":"X"}]}"#)), [3, 4]),
        ("a server that is down", |r| r.fault(on("/v2/").status(503).body("")), [4, 1]),
        ("a bad gateway", |r| r.fault(on("/blobs/").status(502).body("")), [3, 2]),
        ("too many requests", |r| r.fault(on("/v2/").status(429).header("Retry-After", "50").body("")), [4, 1]),
        ("access denied", |r| r.fault(on("/v2/").status(403).body("")), [4, 1]),
        ("a password is required", |r| r.require("Basic x", &["Basic realm=\"m\""]), [4, 1]),
        ("garbage", |r| r.fault(on("/v2/").raw("HELO\r\n")), [4, 1]),
        ("an unsafe redirect", |r| r.fault(on("/blobs/").redirect(307, "file:///etc/passwd")), [3, 2]),
    ];

    for (case, break_it, [origin, mirror]) in cases {
        let scene = Scene::new(1);
        break_it(&scene.mirrors[0]);
        scene.pull_with_options().exits_in(case, 0);
        scene.assert_requests(case, &[origin, mirror]);
        scene.assert_stored(case);
    }
}

#[test]
fn an_unreachable_mirror_uses_no_retries() {
    let scene = Scene::new(0);
    let gone = Registry::plain();
    let option = format!("--registry-mirror={}={}", scene.origin.host(), gone.url(""));
    drop(gone);
    let outcome = scene.run(&["pull", "--retries", "5", &option, &scene.name]).exits(0).says("connection refused");
    assert_eq!(outcome.stderr.matches("connection refused").count(), 1, "{outcome}");
    assert!(!outcome.stderr.contains("again in"), "{outcome}");
    scene.assert_requests("gone", &[4]);
}

#[test]
fn resumes_a_cut_body_at_the_next_endpoint() {
    let scene = Scene::new(2);
    let (layer, size) = (scene.layer(1), scene.size(1));
    scene.mirrors[0].fault(on(&layer).cut(200_000));
    scene.mirrors[1].fault(on(&layer).cut(150_000));
    scene.pull_with_options().exits(0);
    scene.assert_stored("cut twice");
    assert_eq!(ranges(&scene.mirrors[0], &layer), [(200, None)]);
    let rest = |from: usize| Some(format!("bytes={from}-{}", size - 1));
    assert_eq!(ranges(&scene.mirrors[1], &layer), [(206, rest(200_000))]);
    assert_eq!(ranges(&scene.origin, &layer), [(206, rest(350_000))]);
    assert_eq!(scene.origin.log().len(), 1, "everything else came from the first mirror");
}

#[test]
fn resumes_a_partial_file_of_an_earlier_run_at_a_mirror() {
    let scene = Scene::new(1);
    let (layer, size) = (scene.layer(1), scene.size(1));
    scene.origin.fault(on(&layer).cut(200_000));
    scene.pull().exits(5);
    scene.pull_with_options().exits(0);
    scene.assert_stored("resumed");
    assert_eq!(ranges(&scene.mirrors[0], &layer), [(206, Some(format!("bytes=200000-{}", size - 1)))]);
}

#[test]
fn fails_over_after_a_wrong_blob_of_a_mirror() {
    for (case, fault) in [
        ("flipped", (|layer| on(layer).flip(1000)) as fn(&str) -> Fault),
        ("too long", |layer| on(layer).longer(b"x")),
        ("another", |layer| on(layer).body("something else")),
    ] {
        let scene = Scene::new(1);
        let layer = scene.layer(0);
        scene.mirrors[0].fault(fault(&layer));
        scene.pull_with_options().exits_in(case, 0).says("skipping mirror");
        scene.assert_stored(case);
        assert_eq!(ranges(&scene.origin, &layer), [(200, None)], "{case}");
        scene.assert_requests(case, &[1, 4]);
    }
    // Half of a good blob and half of a bad one: the culprit is unknown, so the whole blob is fetched again.
    let scene = Scene::new(2);
    let layer = scene.layer(0);
    scene.mirrors[0].fault(on(&layer).cut(200_000));
    scene.mirrors[1].fault(on(&layer).flip(1000));
    scene.pull_with_options().exits(0);
    scene.assert_stored("half and half");
    assert_eq!(ranges(&scene.origin, &layer), [(200, None)]);
    // A wrong blob of the registry itself is an error.
    let scene = Scene::new(1);
    scene.origin.fault(on(scene.layer(0)).flip(1000));
    scene.mirrors[0].fault(on(scene.layer(0)).flip(1001));
    scene.pull_with_options().exits(8).fails_in_one_line();
}

#[test]
fn fails_over_after_a_wrong_manifest_of_a_mirror() {
    let scene = Scene::new(1);
    let digest = scene.image.digest();
    let pinned = format!("{}@{digest}", scene.origin.name("ns/app"));
    scene.mirrors[0].put_manifest_as("ns/app", &digest, &scene.image.media_type, b"{}");
    let args = [vec!["pull".to_string()], scene.options(), vec![pinned]].concat();
    scene.home.run(&args).exits(0).says("digest mismatch");
    scene.assert_requests("pinned", &[1, 4]);

    // A manifest in an index.
    let scene = Scene::new(1);
    let name = push_index(&scene.origin, "ns/app", "multi", &[("linux/amd64", &scene.image)]);
    push_index(&scene.mirrors[0], "ns/app", "multi", &[("linux/amd64", &scene.image)]);
    scene.mirrors[0].put_manifest_as("ns/app", &scene.image.digest(), &scene.image.media_type, b"{}");
    let args = [vec!["pull".to_string(), "--platform=linux/amd64".to_string()], scene.options(), vec![name]].concat();
    scene.home.run(&args).exits(0);
    scene.assert_requests("index", &[1, 5]);
}

#[test]
fn reports_the_error_of_the_registry_when_all_endpoints_fail() {
    let scene = Scene::new(2);
    for registry in scene.mirrors.iter().chain([&scene.origin]) {
        registry.fault(on("/v2/").status(503).body(""));
    }
    let args =
        [vec!["pull".into(), "--retries".into(), "2".into()], scene.options(), vec![scene.name.clone()]].concat();
    let outcome = scene.home.run(&args).exits(5).fails_in_one_line();
    let last = outcome.stderr.lines().rfind(|line| line.starts_with("pullet: ")).unwrap();
    assert!(last.contains(&scene.origin.url("/v2/ns/app/manifests/latest")), "{outcome}");
    scene.assert_requests("down", &[3, 1, 1]);
    // Not found at every endpoint is exit code 3.
    let scene = Scene::new(1);
    let args = [vec!["pull".into()], scene.options(), vec![scene.origin.name("ns/app:gone")]].concat();
    scene.home.run(&args).exits(3).fails_in_one_line();
    scene.assert_requests("gone", &[1, 1]);
}

/// In a network without access to the registry, the mirrors decide what exists.
#[test]
fn not_found_at_every_endpoint_that_responds_is_not_found() {
    type Break = fn(&Registry);
    let lacks: Break = |r| r.fault(on("/v2/").status(404).body(r#"{"errors":[{"code":"X"}]}"#));
    let is_down: Break = |r| r.fault(on("/v2/").raw(""));
    let has_error: Break = |r| r.fault(on("/v2/").status(503).body(""));
    let denies: Break = |r| r.fault(on("/v2/").status(403).body(""));
    for (case, first, second, origin, code) in [
        ("no endpoint has it", lacks, lacks, lacks, 3),
        ("the registry is down", lacks, lacks, is_down, 3),
        ("a mirror and the registry are down", is_down, lacks, is_down, 3),
        ("the mirrors are down", is_down, is_down, lacks, 3),
        ("a mirror has an error", has_error, lacks, is_down, 5),
        ("a mirror denies access", denies, lacks, is_down, 5),
        ("the registry has an error", lacks, lacks, has_error, 5),
        ("the registry denies access", lacks, lacks, denies, 4),
        ("all are down", is_down, is_down, is_down, 5),
    ] {
        let scene = Scene::new(2);
        first(&scene.mirrors[0]);
        second(&scene.mirrors[1]);
        origin(&scene.origin);
        let outcome = scene.pull_with_options().exits_in(case, code).fails_in_one_line();
        if code == 3 {
            // The error contains the response of each endpoint.
            let line = outcome.stderr.lines().rfind(|line| line.starts_with("pullet: ")).unwrap();
            for registry in scene.mirrors.iter().chain([&scene.origin]) {
                assert!(line.contains(&registry.url("/v2/ns/app/manifests/latest")), "{case}\n{outcome}");
            }
        }
    }
    // The same for a layer, after an earlier failover from a mirror.
    let scene = Scene::new(2);
    is_down(&scene.mirrors[0]);
    scene.mirrors[1].fault(on(scene.layer(0)).status(404).body(""));
    scene.origin.fault(on(scene.layer(0)).raw(""));
    let outcome = scene.pull_with_options().exits(3).fails_in_one_line();
    outcome.says(&scene.origin.url(&format!("/v2/ns/app/blobs/{}", scene.layer(0))));
    // A registry that cuts the body does have the layer.
    let scene = Scene::new(1);
    scene.mirrors[0].fault(on(scene.layer(0)).status(404).body(""));
    scene.origin.fault(on(scene.layer(0)).nth(1).cut(200_000));
    scene.pull_with_options().exits(5).fails_in_one_line();
}
