//! The configuration files that name mirrors, the order of the mirrors, their capabilities, and blocked registries.

use std::fs;

use super::Scene;
use kit::fault::on;
use kit::home::Home;
use kit::image::Image;
use kit::registry::Registry;

#[test]
fn obeys_and_reports_every_configuration_file() {
    let scene = Scene::new(1);
    let mirror = scene.mirrors[0].url("");
    let host = scene.mirrors[0].host();
    let hosts = scene.hosts(&[(&mirror, "")]);
    scene.run(&["pull", "-v", &scene.name]).exits(0).says(&hosts).says(&mirror);
    scene.assert_requests("hosts.toml", &[0, 4]);
    scene.assert_stored("hosts.toml");
    let namespace = format!("?ns={}", scene.origin.host());
    assert_eq!(scene.mirrors[0].requests_to(&namespace), 4, "{}", scene.mirrors[0].log().join("\n"));

    // registries.conf takes precedence, because only it can block a registry.
    scene.clear_log();
    let registries = scene.registries("", &[&format!("location = \"{host}/ns\"")]);
    let text =
        fs::read_to_string(&registries).unwrap().replace(&scene.origin.host(), &format!("{}/ns", scene.origin.host()));
    fs::write(&registries, text).unwrap();
    scene.run(&["pull", "-v", &scene.name]).exits(0).says(&registries);
    scene.assert_requests("registries.conf", &[0, 4]);
    assert_eq!(scene.mirrors[0].requests_to("ns="), 0, "mirrors of registries.conf get no ns parameter");

    scene.clear_log();
    fs::remove_file(&registries).unwrap();
    fs::remove_file(&hosts).unwrap();
    scene.run(&["pull", "-v", &scene.options()[0], &scene.name]).exits(0).says("given explicitly");
    scene.assert_requests("option", &[0, 4]);
    assert_eq!(scene.mirrors[0].requests_to(&namespace), 4);

    scene.clear_log();
    scene.pull().exits(0);
    scene.assert_requests("no mirror", &[4, 0]);
}

#[test]
fn docker_hub_uses_the_mirrors_of_daemon_json() {
    let (mirror, home, image) = (Registry::plain(), Home::new(), Image::small("hub"));
    image.push(&mirror, "library/alpine", "3");
    let daemon = format!(r#"{{"log-driver":"none","registry-mirrors":["{}/"]}}"#, mirror.url(""));
    let etc = home.etc(&[("docker/daemon.json", &daemon)]);
    home.pullet(&["pull", "-v", "alpine:3"]).with_etc(&etc).run().exits(0).says("/etc/docker/daemon.json");
    assert_eq!(mirror.log().len(), 3, "{}", mirror.log().join("\n"));
    assert_eq!(mirror.requests_to("ns="), 0, "mirrors of daemon.json get no ns parameter");
    assert_eq!(home.names(), ["docker.io/library/alpine:3"]);

    // The option does the same. Other registries do not use these mirrors.
    mirror.clear_log();
    let option = format!("--registry-mirror={}", mirror.url(""));
    let _ = fs::remove_dir_all(home.store());
    home.run(&["pull", &option, "alpine:3"]).exits(0);
    assert_eq!(mirror.log().len(), 3);
    mirror.clear_log();
    let origin = Registry::plain();
    let name = image.push(&origin, "library/alpine", "3");
    home.pullet(&["pull", &option, &name]).with_etc(&etc).run().exits(0);
    assert!(mirror.log().is_empty(), "{}", mirror.log().join("\n"));
}

#[test]
fn reads_the_configuration_in_etc() {
    let scene = Scene::new(1);
    let host = scene.origin.host().replace("127.0.0.1:", "127.0.0.1_") + "_";
    let hosts = format!("[host.\"{}\"]\n", scene.mirrors[0].url(""));
    let location = format!("[[registry]]\nlocation = \"{}\"\n", scene.origin.host());
    let mirror = format!("[[registry.mirror]]\nlocation = \"{}\"\n", scene.mirrors[0].host());
    for (path, text) in [
        (format!("containerd/certs.d/{host}/hosts.toml"), &hosts),
        ("containerd/certs.d/_default/hosts.toml".to_string(), &hosts),
        ("containers/registries.conf".to_string(), &format!("{location}{mirror}")),
        ("containers/registries.conf.d/x.conf".to_string(), &format!("{location}{mirror}")),
    ] {
        scene.clear_log();
        let etc = scene.home.etc(&[(&path, text)]);
        scene.home.pullet(&["pull", "-v", &scene.name]).with_etc(&etc).run().exits_in(&path, 0).says(&path);
        scene.assert_requests(&path, &[0, 4]);
    }
}

#[test]
fn contacts_mirrors_of_options_first_and_the_registry_last() {
    let scene = Scene::new(3);
    for mirror in &scene.mirrors {
        mirror.fault(on("/manifests/").status(404).body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#));
    }
    let url = |n: usize| scene.mirrors[n].url("");
    scene.hosts(&[(&url(2), ""), (&url(0), "")]);
    let option = format!("--registry-mirror={}={}", scene.origin.host(), url(1));
    let outcome = scene.run(&["pull", "-v", &option, &scene.name]).exits(0);
    let requests: Vec<&str> = outcome.stderr.lines().filter(|line| line.contains("/manifests/latest")).collect();
    let order = [&scene.mirrors[1], &scene.mirrors[2], &scene.mirrors[0], &scene.origin];
    assert_eq!(requests.len(), order.len(), "{outcome}");
    for (line, registry) in requests.iter().zip(order) {
        assert!(line.contains(&registry.host()), "{line}\n{outcome}");
    }
    // A mirror that lacks the manifest is still used for blobs.
    assert_eq!(scene.mirrors[1].log().len(), 4, "{}", scene.mirrors[1].log().join("\n"));
}

#[test]
fn only_mirrors_that_may_resolve_are_asked_for_tags() {
    let new = Image::small("new");
    // The settings of the mirror, and whether its stale tag is used.
    for (kind, settings, is_believed) in [
        ("hosts", "", true),
        ("hosts", "capabilities = [\"pull\", \"resolve\"]", true),
        ("hosts", "capabilities = [\"pull\"]", false),
        ("hosts", "capabilities = [\"push\"]", false),
        ("registries", "", true),
        ("registries", "pull-from-mirror = \"all\"", true),
        ("registries", "pull-from-mirror = \"tag-only\"", true),
        ("registries", "pull-from-mirror = \"digest-only\"", false),
    ] {
        let case = format!("{kind}: {settings}");
        let scene = Scene::new(1);
        // The mirror has the old image under the tag, and the blobs of both.
        new.push(&scene.mirrors[0], "ns/app", "new");
        new.push(&scene.origin, "ns/app", "latest");
        match kind {
            "hosts" => scene.hosts(&[(&scene.mirrors[0].url(""), settings)]),
            _ => scene.registries("", &[&format!("location = \"{}\"\n{settings}", scene.mirrors[0].host())]),
        };
        scene.pull().exits_in(&case, 0);
        let expected = if is_believed { scene.image.digest() } else { new.digest() };
        assert_eq!(scene.home.index()[0]["digest"], expected, "{case}");
        let blobs = if is_believed { 3 } else { 2 };
        let tag = usize::from(is_believed);
        if settings.contains("push") {
            scene.assert_requests(&case, &[3, 0]);
        } else {
            scene.assert_requests(&case, &[1 - tag, tag + blobs]);
        }
        // Tags are listed by the same endpoint that resolves them.
        scene.clear_log();
        scene.run(&["tags", &scene.origin.name("ns/app")]).exits_in(&case, 0);
        scene.assert_requests(&case, &[1 - tag, tag]);
    }
}

#[test]
fn pulls_by_digest_from_mirrors_for_digests() {
    for (settings, of_mirror) in
        [("", 4), ("pull-from-mirror = \"digest-only\"", 4), ("pull-from-mirror = \"tag-only\"", 0)]
    {
        let scene = Scene::new(1);
        scene.registries("", &[&format!("location = \"{}\"\n{settings}", scene.mirrors[0].host())]);
        scene
            .run(&["pull", &format!("{}@{}", scene.origin.name("ns/app"), scene.image.digest())])
            .exits_in(settings, 0);
        scene.assert_requests(settings, &[4 - of_mirror, of_mirror]);
    }
    let scene = Scene::new(1);
    let mirror = format!("location = \"{}\"", scene.mirrors[0].host());
    scene.registries("mirror-by-digest-only = true", &[&mirror]);
    scene.pull().exits(0);
    scene.assert_requests("mirror-by-digest-only", &[1, 3]);
}

#[test]
fn fails_when_no_endpoint_may_resolve_tags() {
    let scene = Scene::new(1);
    let text = format!("capabilities = [\"pull\"]\n[host.\"{}\"]\ncapabilities = [\"pull\"]", scene.mirrors[0].url(""));
    scene.config(&format!("containerd/certs.d/{}/hosts.toml", scene.origin.host()), &text);
    scene.pull().exits(4).fails_in_one_line().says("hint: give the name with a digest");
    scene.assert_requests("no endpoint may resolve", &[0, 0]);
    scene.run(&["pull", &format!("{}@{}", scene.origin.name("ns/app"), scene.image.digest())]).exits(0);
    scene.assert_requests("by digest", &[0, 4]);
}

#[test]
fn makes_no_request_to_a_blocked_registry() {
    let scene = Scene::new(1);
    let file = scene.registries("blocked = true", &[]);
    scene.hosts(&[(&scene.mirrors[0].url(""), "")]);
    for args in [
        &["pull", &scene.name][..],
        &["pull", &scene.options()[0], &scene.name],
        &["tags", &scene.origin.name("ns/app")],
        &["digest", &scene.name],
        &["config", &scene.name],
    ] {
        scene.run(args).exits_in(&args.join(" "), 4).fails_in_one_line().says("is blocked by").says(&file);
    }
    let login = ["login", "-u", "u", "--password-stdin", &scene.origin.host()];
    scene.home.pullet(&login).stdin(b"p").run().exits(4).says("is blocked by");
    scene.assert_requests("blocked", &[0, 0]);
    // Only one namespace is blocked.
    let text = format!("[[registry]]\nlocation = \"{}/ns\"\nblocked = true\n", scene.origin.host());
    fs::write(&file, text).unwrap();
    scene.pull().exits(4);
    let other = Image::small("other").push(&scene.origin, "other/app", "latest");
    scene.run(&["pull", &other]).exits(0);
}

#[test]
fn a_location_moves_a_repository() {
    let scene = Scene::new(1);
    let text = format!(
        "[[registry]]\nprefix = \"moved.example/team\"\nlocation = \"{}/ns\"\n[[registry.mirror]]\nlocation = \"{}/ns\"\n",
        scene.origin.host(),
        scene.mirrors[0].host()
    );
    scene.config("containers/registries.conf", &text);
    scene.run(&["pull", "moved.example/team/app"]).exits(0);
    scene.assert_requests("moved", &[0, 4]);
    assert_eq!(scene.home.names(), ["moved.example/team/app:latest"]);
    let wildcard = text.replace("moved.example/team", "*.moved.example");
    scene.config("containers/registries.conf", &wildcard);
    scene.mirrors[0].fault(on("/v2/").status(500).body(""));
    scene.clear_log();
    scene.run(&["pull", "x.moved.example/app"]).exits(0);
    scene.assert_requests("wildcard", &[4, 1]);
}

#[test]
fn accepts_mirrors_below_a_path() {
    for (path, settings, api) in [
        ("/cache/hub", "", "/cache/hub/v2"),
        ("/cache/hub/v2", "", "/cache/hub/v2"),
        ("/cache/hub", "override_path = true", "/cache/hub"),
        ("", "override_path = true", ""),
    ] {
        let scene = Scene::new(1);
        let mirror = &scene.mirrors[0];
        let (image, case) = (&scene.image, format!("{path} {settings}"));
        for layer in &image.layers {
            mirror.serve(&format!("{api}/ns/app/blobs/{}", layer.digest()), &layer.blob);
        }
        mirror.serve(&format!("{api}/ns/app/manifests/latest"), &image.manifest_bytes());
        mirror.serve(&format!("{api}/ns/app/blobs/{}", image.config_digest()), &image.config_bytes);
        scene.hosts(&[(&mirror.url(path), settings)]);
        scene.pull().exits_in(&case, 0);
        scene.assert_requests(&case, &[0, 4]);
        let namespace = format!("?ns={}", scene.origin.host());
        assert!(mirror.log().iter().all(|line| line.contains(api) && line.contains(&namespace)), "{:?}", mirror.log());
    }
}

#[test]
fn the_server_of_hosts_toml_replaces_the_registry() {
    let scene = Scene::new(2);
    let text = format!("server = \"{}\"\n[host.\"{}\"]\n", scene.mirrors[1].url(""), scene.mirrors[0].url(""));
    scene.config(&format!("containerd/certs.d/{}/hosts.toml", scene.origin.host()), &text);
    scene.mirrors[0].fault(on(scene.layer(0)).status(404).body(r#"{"errors":[{"code":"X"}]}"#));
    scene.pull().exits(0);
    scene.assert_requests("server", &[0, 4, 1]);
    scene.mirrors[0].fault(on("/v2/").status(500).body(""));
    scene.mirrors[1].fault(on("/v2/").status(500).body(""));
    scene.clear_log();
    scene.pull().exits(5).fails_in_one_line();
    scene.assert_requests("both down", &[0, 1, 1]);
}

#[test]
fn completes_short_names_with_the_only_search_registry() {
    let (registry, home, image) = (Registry::plain(), Home::new(), Image::small("short"));
    image.push(&registry, "tool", "latest");
    fs::create_dir_all(home.path("home/.config/containers/registries.conf.d")).unwrap();
    let search = |list: &str| {
        home.write("home/.config/containers/registries.conf", format!("unqualified-search-registries = [{list}]\n"));
    };
    search(&format!("\"{}\"", registry.host()));
    home.run(&["pull", "-q", "tool"]).exits(0).prints(&format!("{}\n", registry.name("tool:latest")));
    let root = home.arg("root");
    home.run(&["unpack", "--pull", "never", "tool", &root]).exits(0);
    home.run(&["verify", "tool"]).exits(0);
    home.run(&["tags", "tool"]).exits(0).prints("latest\n");
    for list in ["", "\"docker.io\"", &format!("\"{}\", \"docker.io\"", registry.host())] {
        search(list);
        let outcome = home.run(&["config", "tool"]).exits_in(list, 0);
        assert!(outcome.stdout.contains("name: docker.io/library/tool:latest"), "{outcome}");
    }
    for list in ["\"no registry\"", "\"plain\"", "7"] {
        search(list);
        home.run(&["config", "tool"]).exits_in(list, 2).fails_in_one_line();
        let whole = registry.name("tool");
        let code = if list == "7" { 2 } else { 0 };
        home.run(&["config", &whole]).exits_in(list, code);
    }
}

#[test]
fn reports_a_malformed_file_and_makes_no_request() {
    let deep = format!("a = {}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let huge = "#".repeat(2 << 20);
    let hosts = |scene: &Scene| format!("containerd/certs.d/{}/hosts.toml", scene.origin.host());
    for (text, message) in [
        ("\n[[registry]]\nlocation = \n", "line 3"),
        ("[[registry]]\nlocation = \"a\u{1b}[31m\"", "line 2"),
        ("[[registry]]\nlocation = \"https://a\"", "not HOST"),
        ("[registries.search]\nregistries = []", "version 1"),
        (&deep, "line 1"),
        (&huge, "more than"),
        ("\u{0}", "line 1"),
    ] {
        let scene = Scene::new(0);
        let path = scene.config("containers/registries.conf", text);
        let outcome = scene.pull().exits_in(message, 2).fails_in_one_line().says(&path).says(message).hides("\u{1b}");
        assert!(outcome.stderr.len() < 1000, "{outcome}");
        scene.assert_requests(message, &[0]);
    }
    for (text, message) in [
        ("server = [", "line 1"),
        ("[host.\"ftp://x\"]", "neither http nor https"),
        ("[host.\"https://u:s3cret@x\"]", "more than a host"),
        ("[host.\"https://x/?sig=s3cret\"]", "more than a host"),
        ("[host.\"https://x/\\u001b[2J\"]", "malformed URL"),
        ("[host.\"https://x\"]\ncapabilities = [\"fly\"]", "unknown capability"),
        ("[host.\"https://x\".header]\nHost = \"y\"", "cannot be set"),
        (&deep, "line 1"),
    ] {
        let scene = Scene::new(0);
        let path = scene.config(&hosts(&scene), text);
        scene.pull().exits_in(text, 2).fails_in_one_line().says(&path).says(message).hides("s3cret").hides("\u{1b}");
        scene.assert_requests(message, &[0]);
    }
    for (text, message) in [("{\n\"registry-mirrors\": 7}", "line 2"), ("[", "line 1"), (&"[".repeat(100_000), "limit")]
    {
        let scene = Scene::new(0);
        let path = scene.config("docker/daemon.json", text);
        scene.pull().exits_in(message, 2).fails_in_one_line().says(&path).says(message);
    }
    for bad in ["x", "=http://m", "http://m?x", "https://u:s3cret@m", "ftp://m", "a b=http://m"] {
        let scene = Scene::new(0);
        let option = format!("--registry-mirror={bad}");
        let outcome = scene.run(&["pull", &option, &scene.name]).exits_in(bad, 2).fails_in_one_line();
        outcome.says("malformed registry mirror").hides("s3cret");
        scene.assert_requests(bad, &[0]);
    }
}

#[test]
fn with_mirrors_only_the_registry_itself_is_not_contacted() {
    let scene = Scene::new(1);
    let options = scene.options();
    scene.run(&["pull", "--mirrors-only", &options[0], &scene.name]).exits(0);
    scene.assert_requests("a mirror has it", &[0, 4]);
    scene.assert_stored("a mirror has it");

    scene.clear_log();
    scene.mirrors[0].fault(on("/v2/").status(503).body("").header("Retry-After", "0"));
    scene.run(&["pull", "--mirrors-only", "--retries", "2", &options[0], &scene.name]).exits(5);
    scene.assert_requests("the only mirror fails", &[0, 3]);

    // Without a mirror nothing is left to contact. The registry is not a mirror of itself.
    let itself = format!("location = \"{}\"", scene.origin.host());
    for mirrors in [&[][..], &[itself.as_str()]] {
        scene.registries("", mirrors);
        for command in ["pull", "digest", "tags", "config"] {
            let name = scene.name.trim_end_matches(":latest");
            let outcome = scene.run(&[command, "--mirrors-only", name]).exits_in(command, 2).fails_in_one_line();
            outcome.says("no mirror of").says("hint: ").says("--registry-mirror");
        }
    }
    assert!(scene.origin.log().is_empty(), "{:?}", scene.origin.log());

    // A mirror that may not resolve tags gets no request for a tag.
    scene.clear_log();
    scene.mirrors[0].clear_faults();
    let location = format!("location = \"{}\"\npull-from-mirror = \"digest-only\"", scene.mirrors[0].host());
    scene.registries("", &[&location]);
    scene.run(&["pull", "--mirrors-only", &scene.name]).exits(4).says("no endpoint to resolve tags");
    scene.assert_requests("a tag", &[0, 0]);
}
