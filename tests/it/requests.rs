//! The requests of a pull: no needless round trip, nothing fetched twice, and one connection.

use kit::archive::file;
use kit::bench::Bench;
use kit::digest::short;
use kit::fault::{Fault, on};
use kit::home::Home;
use kit::image::{DOCKER_LIST, DOCKER_MANIFEST, Image, Layer, OCI_INDEX, OCI_MANIFEST, architecture, push_index};
use kit::listing::assert_same;
use kit::registry::Registry;

fn layers(count: usize) -> Vec<Layer> {
    (0..count).map(|n| Layer::of(&[file(format!("file-{n}"), format!("body {n}"))])).collect()
}

#[track_caller]
fn assert_log(case: &str, registry: &Registry, expected: &[String]) {
    assert_same(case, &expected.join("\n"), &registry.log().join("\n"));
    assert_eq!(registry.connections(), 1, "{case}: connections");
    assert!(registry.calls().iter().all(|call| call.connection == 1), "{case}: connections");
}

fn content(image: &Image) -> Vec<String> {
    let layers = image.layers.iter().map(Layer::digest);
    std::iter::once(image.config_digest())
        .chain(layers)
        .map(|digest| format!("GET /v2/app/blobs/{digest} 200"))
        .collect()
}

#[test]
fn a_first_pull_makes_two_requests_and_one_for_each_layer() {
    for count in [1, 3, 8] {
        let bench = Bench::new();
        let image = Image::new(layers(count));
        bench.pull(&image).exits(0);
        let expected = [vec!["GET /v2/app/manifests/latest 200".to_string()], content(&image)].concat();
        assert_eq!(expected.len(), 2 + count);
        assert_log(&format!("{count} layers"), &bench.registry, &expected);
    }
}

#[test]
fn a_bearer_challenge_adds_two_requests() {
    let bench = Bench::new();
    bench.registry.bearer("t0ken", None);
    let image = Image::new(layers(3));
    bench.pull(&image).exits(0);
    let token = "GET /token?service=test+registry&scope=repository%3Aapp%3Apull 200";
    let calls = bench.registry.calls();
    assert!(calls[1].request.target.starts_with("/token?"), "{}", bench.registry.log().join("\n"));
    let mut log = bench.registry.log();
    log[1] = token.to_string();
    let mut expected = vec![
        "GET /v2/app/manifests/latest 401".to_string(),
        token.to_string(),
        "GET /v2/app/manifests/latest 200".to_string(),
    ];
    expected.extend(content(&image));
    assert_eq!(expected.len(), 4 + 3);
    assert_same("a first pull with a challenge", &expected.join("\n"), &log.join("\n"));
    assert_eq!(bench.registry.connections(), 1);

    bench.registry.clear_log();
    bench.pull(&image).exits(0);
    assert_eq!(bench.registry.log().len(), 3, "a second pull with a challenge\n{}", bench.registry.log().join("\n"));
    assert_eq!(bench.registry.connections(), 1);
}

#[test]
fn reuses_the_connection_after_a_refusal_with_a_body() {
    type Edit = fn(Fault) -> Fault;
    let cases: [(&str, Edit); 4] = [
        ("no body", |fault| fault.body("")),
        ("a page of HTML", |fault| fault.body("<p>please log in</p>".repeat(200))),
        ("a page in chunks", |fault| fault.body("<p>please log in</p>".repeat(200)).chunked(100)),
        ("eight kilobytes", |fault| fault.body("x".repeat(8 << 10))),
    ];
    for (case, edit) in cases {
        let (bench, image) = (Bench::new(), Image::new(layers(2)));
        bench.registry.bearer("t0ken", None);
        bench.registry.fault(edit(on("/manifests/").nth(1)));
        bench.pull(&image).exits_in(case, 0);
        assert_eq!(bench.registry.log().len(), 4 + 2, "{case}: {}", bench.registry.log().join("\n"));
        assert_eq!(bench.registry.connections(), 1, "{case}: {:?}", bench.registry.calls());
    }
}

#[test]
fn a_second_pull_makes_one_request() {
    let bench = Bench::new();
    let image = Image::new(layers(4));
    bench.pull(&image).exits(0);
    bench.registry.clear_log();
    let outcome = bench.pull(&image).exits(0);
    assert!(outcome.stdout.contains("Status: Image is up to date for"), "{outcome}");
    assert_log("second pull", &bench.registry, &["GET /v2/app/manifests/latest 200".to_string()]);
}

#[test]
fn an_index_adds_one_request() {
    let bench = Bench::new();
    let image = Image::new(layers(2));
    let other = Image::for_platform(layers(1), "linux/s390x");
    let host = format!("linux/{}", architecture());
    let name = push_index(&bench.registry, "app", "latest", &[("linux/s390x", &other), (&host, &image)]);
    bench.home.run(&["pull", &name]).exits(0);
    let mut expected =
        vec!["GET /v2/app/manifests/latest 200".to_string(), format!("GET /v2/app/manifests/{} 200", image.digest())];
    expected.extend(content(&image));
    assert_log("first pull of an index", &bench.registry, &expected);

    bench.registry.clear_log();
    let outcome = bench.home.run(&["pull", &name]).exits(0);
    assert!(outcome.stdout.contains("Status: Image is up to date for"), "{outcome}");
    assert_log("second pull of an index", &bench.registry, &["GET /v2/app/manifests/latest 200".to_string()]);
}

#[test]
fn makes_the_same_requests_over_tls() {
    let authority = kit::authority::Authority::new();
    let registry = Registry::tls(&authority);
    let home = Home::new();
    let ca = home.write("ca.pem", authority.pem());
    let image = Image::new(layers(3));
    let name = image.push(&registry, "app", "latest");
    home.run(&["pull", "--ca-file", &ca, &name]).exits(0);
    let expected = [vec!["GET /v2/app/manifests/latest 200".to_string()], content(&image)].concat();
    assert_log("over TLS", &registry, &expected);
}

#[test]
fn sends_only_get_and_never_pings() {
    let bench = Bench::new();
    bench.registry.bearer("t0ken", None);
    bench.pull(&Image::new(layers(2))).exits(0);
    for call in bench.registry.calls() {
        assert_eq!(call.request.method, "GET", "{call}");
        assert_ne!(call.request.path(), "/v2/", "{call}");
    }
}

#[test]
fn sends_accept_and_other_headers() {
    let bench = Bench::new();
    bench.pull(&Image::new(layers(1))).exits(0);
    let calls = bench.registry.calls();
    let accept = calls[0].request.header("accept").unwrap_or_default().to_string();
    for media_type in [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST] {
        assert!(accept.contains(media_type), "{media_type} is not in Accept: {accept}");
    }
    for call in calls {
        let encoding = call.request.header("accept-encoding").unwrap_or("identity");
        assert_eq!(encoding, "identity", "{call}: bodies must not be encoded");
        assert!(call.request.header("user-agent").is_some_and(|agent| agent.starts_with("pullet")), "{call}");
        assert_eq!(call.request.header("host"), Some(bench.registry.host().as_str()), "{call}");
        assert_eq!(call.request.header("authorization"), None, "{call}");
    }
}

#[test]
fn does_not_fetch_a_layer_that_another_image_has() {
    let bench = Bench::new();
    let shared = layers(2);
    bench.pull(&Image::new(shared.clone())).exits(0);
    bench.registry.clear_log();
    let more = Layer::of(&[file("more", "more")]);
    let image = Image::new([shared.clone(), vec![more.clone()]].concat());
    let name = image.push(&bench.registry, "app", "2");
    let outcome = bench.home.run(&["pull", &name]).exits(0);
    for layer in &shared {
        assert!(outcome.stderr.contains(&format!("{}: Already exists", short(&layer.digest()))), "{outcome}");
    }
    assert!(outcome.stderr.contains(&format!("{}: Pull complete", short(&more.digest()))), "{outcome}");
    let expected = [
        "GET /v2/app/manifests/2 200".to_string(),
        format!("GET /v2/app/blobs/{} 200", image.config_digest()),
        format!("GET /v2/app/blobs/{} 200", more.digest()),
    ];
    assert_log("shared layers", &bench.registry, &expected);
}

#[test]
fn fetches_a_layer_listed_twice_once() {
    let bench = Bench::new();
    let two = layers(2);
    let (a, b) = (&two[0], &two[1]);
    let image = Image::new(vec![a.clone(), b.clone(), a.clone(), a.clone()]);
    bench.pull(&image).exits(0);
    assert_eq!(bench.registry.requests_to(&a.digest()), 1, "{}", bench.registry.log().join("\n"));
    assert_eq!(bench.registry.log().len(), 4);
    let (name, root) = (bench.registry.name("app"), bench.home.arg("root"));
    bench.home.run(&["unpack", &name, &root]).exits(0);
}

#[test]
fn another_tag_of_the_same_image_fetches_only_the_manifest() {
    let bench = Bench::new();
    let image = Image::new(layers(2));
    bench.pull(&image).exits(0);
    bench.registry.clear_log();
    let name = image.push(&bench.registry, "app", "other");
    bench.home.run(&["pull", &name]).exits(0);
    assert_log("another tag", &bench.registry, &["GET /v2/app/manifests/other 200".to_string()]);
    let mut names = bench.home.names();
    names.sort();
    assert_eq!(names, [bench.registry.name("app:latest"), name]);
}

#[test]
fn a_moved_tag_gives_the_new_image() {
    let bench = Bench::new();
    bench.pull(&Image::small("old")).exits(0);
    let new = Image::small("new");
    let outcome = bench.pull(&new).exits(0);
    assert!(outcome.stdout.contains("Status: Downloaded newer image for"), "{outcome}");
    assert_eq!(bench.home.names(), [bench.registry.name("app:latest")]);
    assert_eq!(bench.home.index()[0]["digest"], new.digest());
}

#[test]
fn unpack_requests_only_what_the_pull_policy_requires() {
    let bench = Bench::new();
    let image = Image::new(layers(2));
    let name = image.push(&bench.registry, "app", "latest");
    let unpack = |target: &str, options: &[&str]| {
        bench.registry.clear_log();
        let target = bench.home.arg(target);
        let args = [&["unpack"], options, &[&name, &target]].concat();
        let outcome = bench.home.run(&args);
        (outcome, bench.registry.log().len())
    };
    let (outcome, requests) = unpack("never", &["--pull", "never"]);
    outcome.exits(3).fails_in_one_line();
    assert_eq!((requests, bench.registry.connections()), (0, 0), "--pull never without the image");
    let (outcome, requests) = unpack("first", &[]);
    outcome.exits(0).prints("");
    assert_eq!(requests, 4, "the first unpack pulls");
    for (target, options, expected) in [
        ("second", &[][..], 0),
        ("third", &["--pull", "missing"][..], 0),
        ("fourth", &["--pull", "always"][..], 1),
        ("fifth", &["--pull", "never"][..], 0),
    ] {
        let (outcome, requests) = unpack(target, options);
        outcome.exits_in(target, 0).prints("");
        assert_eq!(requests, expected, "{target}: {options:?}");
        assert!(bench.home.path(target).join("file-1").exists(), "{target}");
    }
}

#[test]
fn pulls_all_tags_page_by_page() {
    let bench = Bench::new();
    bench.registry.page_size(2);
    let tags = ["1", "2", "3", "4", "latest"];
    for tag in tags {
        Image::small(tag).push(&bench.registry, "app", tag);
    }
    let outcome = bench.home.run(&["pull", "-a", &bench.registry.name("app")]).exits(0);
    let mut names = bench.home.names();
    names.sort();
    assert_eq!(names, tags.map(|tag| bench.registry.name(&format!("app:{tag}"))), "{outcome}");
    assert_eq!(bench.registry.requests_to("/tags/list"), 3, "{}", bench.registry.log().join("\n"));
    assert_eq!(bench.registry.connections(), 1);
    // A tag makes no sense together with -a.
    bench.home.run(&["pull", "-a", &bench.registry.name("app:1")]).exits(2).fails_in_one_line();
}

#[test]
fn follows_only_links_with_the_relation_next() {
    let next = "/v2/app/tags/list?last=next&n=next";
    let cases: &[(&str, String, bool)] = &[
        ("the page before, called next", format!("<{next}>; rel=\"prev\""), false),
        ("the first page, with a title", format!("<{next}>; rel=first; title=\"next\""), false),
        ("no relation", format!("<{next}>"), false),
        ("no brackets", format!("{next}; rel=\"next\""), false),
        ("a token", format!("<{next}>; rel=next"), true),
        ("another parameter before it", format!("<{next}>; title=\"more\"; rel=\"next\""), true),
        ("a link before it", format!("</v2/app/tags/list>; rel=\"prev\", <{next}>; rel=\"next\""), true),
    ];
    for (case, link, is_followed) in cases {
        let bench = Bench::new();
        for tag in ["a", "next"] {
            Image::small(tag).push(&bench.registry, "app", tag);
        }
        Image::small("z").push(&bench.registry, "app", "z");
        bench.registry.fault(on("/tags/list?n=").header("Link", link.as_str()));
        bench.home.run(&["pull", "-q", "-a", &bench.registry.name("app")]).exits_in(case, 0);
        let followed = bench.registry.requests_to("last=next");
        assert_eq!(followed, usize::from(*is_followed), "{case}: {}", bench.registry.log().join("\n"));
    }
}

#[test]
fn invalid_tags_are_skipped_and_named_in_a_note() {
    let long = "t".repeat(129);
    let huge = "t".repeat(4_000_000);
    let blanks = " ".repeat(4_000_000);
    for tag in [
        "",
        " ",
        "a b",
        "a/b",
        "a:b",
        ".a",
        "-a",
        "../../app",
        "a\nb",
        "a\u{1b}[31m",
        "t\u{e4}g",
        &long,
        &huge,
        &blanks,
    ] {
        for tags in [vec![tag], vec!["latest", tag], vec![tag, "latest"]] {
            let (bench, image) = (Bench::new(), Image::small("tags"));
            image.push(&bench.registry, "app", "latest");
            let body = serde_json::json!({ "name": "app", "tags": tags }).to_string();
            bench.registry.fault(on("/tags/list").body(body));
            let case = format!("{tag:.20?} among {}", tags.len());
            let valid = tags.len() - 1;
            let outcome = bench.home.run(&["pull", "-a", &bench.registry.name("app")]).exits_in(&case, 0);
            let outcome = outcome.says("skipping invalid tags of the list: \"").hides("\u{1b}");
            let length = outcome.stdout.len() + outcome.stderr.len();
            assert!(length < 10_000, "{case}: {length} bytes of output");
            assert_eq!(bench.home.names().len(), valid, "{case}");
            assert_eq!(bench.registry.requests_to("/manifests/"), valid, "{case}: {}", bench.registry.log().join("\n"));
        }
    }
    let bench = Bench::new();
    bench.registry.fault(on("/tags/list").status(200).body(r#"{"tags":["1","a b","2","../c","3"]}"#));
    let outcome = bench.home.run(&["tags", &bench.registry.name("app")]).exits(0).prints("1\n2\n3\n");
    outcome.says("\"a b\", \"../c\"");
}

#[test]
fn a_next_page_of_another_host_or_scheme_is_requested_at_the_registry() {
    let other = Registry::plain();
    for link in [
        other.url("/v2/app/tags/list?last=1"),
        "https://registry.example/v2/app/tags/list?last=1".to_owned(),
        "//registry.example:5000/v2/app/tags/list?last=1".to_owned(),
        "list?last=1".to_owned(),
        "?last=1".to_owned(),
    ] {
        let bench = Bench::new();
        for tag in ["1", "2"] {
            Image::small(tag).push(&bench.registry, "app", tag);
        }
        bench.registry.bearer("t0ken", None);
        let first = on("/tags/list?n=").body(r#"{"tags":["1"]}"#);
        bench.registry.fault(first.header("Link", format!("<{link}>; rel=\"next\"")));
        bench.home.run(&["tags", &bench.registry.name("app")]).exits_in(&link, 0).prints("1\n2\n");
        assert_eq!(bench.registry.requests_to("/v2/app/tags/list?last=1"), 1, "{link}");
    }
    assert_eq!(other.connections(), 0);
}

#[test]
fn the_next_page_is_found_among_links_and_parameters_of_any_form() {
    for headers in [
        &[r#"</v2/app/tags/list?last=1&x=a,b;c>; rel="next""#][..],
        &[r#"</v2/app/tags/list?last=1>; REL="Next""#],
        &[r#"</v2/app/tags/list?last=1>; rel="last next""#],
        &[r#"</x>; rel="prev"; title="a, </y>; rel=next", </v2/app/tags/list?last=1>; rel=next"#],
        &[r#"</x>; rel="first""#, r#"</v2/app/tags/list?last=1>; rel="next""#],
        &["</v2/app/tags/list?last=1&x=a b\u{b5}>; rel=next"],
    ] {
        let bench = Bench::new();
        for tag in ["1", "2"] {
            Image::small(tag).push(&bench.registry, "app", tag);
        }
        let first = on("/tags/list?n=").body(r#"{"tags":["1"]}"#);
        bench.registry.fault(headers.iter().fold(first, |fault, link| fault.header("Link", *link)));
        bench.home.run(&["tags", &bench.registry.name("app")]).exits_in(headers[0], 0).prints("1\n2\n");
    }
}

#[test]
fn pages_without_a_new_tag_do_not_end_the_list() {
    let bench = Bench::new();
    let image = Image::new(layers(1));
    image.push(&bench.registry, "app", "latest");
    for page in 1..9 {
        let link = format!("</v2/app/tags/list?n=1&last={page}>; rel=\"next\"");
        let body = ["{\"tags\":[\"1\"]}", "{\"tags\":[]}", "{\"tags\":null}", "{}"][page % 4];
        bench.registry.fault(on("tags/list").nth(page).body(body).header("Link", link));
    }
    bench.home.run(&["tags", &bench.registry.name("app")]).exits(0).prints("1\nlatest\n");
    assert_eq!(bench.registry.requests_to("tags/list"), 9);
}

#[test]
fn refuses_tag_lists_whose_pages_loop() {
    // Each page leads to itself.
    let bench = Bench::new();
    Image::small("a").push(&bench.registry, "app", "latest");
    bench.registry.fault(on("/tags/list").header("Link", "</v2/app/tags/list>; rel=\"next\""));
    bench.home.run(&["tags", &bench.registry.name("app")]).exits(11).fails_in_one_line().prints("");
    assert_eq!(bench.registry.requests_to("/tags/list"), 2);
    // An empty page that leads to itself is the end, because it would stay empty.
    bench.registry.clear_faults();
    let link = "</v2/app/tags/list?last=z>; rel=\"next\"";
    bench.registry.fault(on("/tags/list").header("Link", link));
    bench.home.run(&["tags", &bench.registry.name("app")]).exits(0).prints("latest\n");
    // Two pages lead to each other.
    bench.registry.clear_faults();
    bench.registry.clear_log();
    for (page, next) in [("?n=1000", "?page=a"), ("?page=a", "?page=b"), ("?page=b", "?page=a")] {
        let link = format!("</v2/app/tags/list{next}>; rel=\"next\"");
        bench.registry.fault(on(format!("/tags/list{page}")).header("Link", link));
    }
    bench.home.run(&["tags", &bench.registry.name("app")]).exits(11).fails_in_one_line().prints("");
    assert!(bench.registry.requests_to("/tags/list") <= 102);
    // A next page that no request can reach.
    bench.registry.clear_faults();
    bench.registry.fault(on("/tags/list").header("Link", "<ftp://registry.example/list>; rel=next"));
    bench.home.run(&["tags", &bench.registry.name("app")]).exits(11).fails_in_one_line().prints("");
}

#[test]
fn a_page_of_short_strings_is_parsed_in_little_memory() {
    let bench = Bench::new();
    // With a String for each of them, the million strings of a page take 80 MB.
    let page = format!("{{\"tags\":[{}\"b\"]}}", "\"a\",".repeat(1_000_000));
    for number in 1..4 {
        let link = format!("</v2/app/tags/list?page={number}>; rel=\"next\"");
        bench.registry.fault(on("/tags/list").nth(number).status(200).body(page.as_str()).header("Link", link));
    }
    bench.registry.fault(on("/tags/list").nth(4).status(200).body(page));
    let name = bench.registry.name("app");
    let outcome = bench.home.pullet(&["tags", &name]).through_shell("ulimit -v 65536 && exec \"$@\"").run();
    outcome.exits(0).prints("a\nb\n");
}
