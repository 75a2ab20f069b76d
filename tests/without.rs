//! pullet without features. Using a feature that is not compiled in fails with an error that names it, and never falls back
//! to something weaker. All other integration tests need features.
#![cfg(not(any(feature = "tls", feature = "manage", feature = "boot")))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "this crate is tests only"
)]

use kit::authority::Authority;
use kit::bench::Bench;
use kit::fault::on;
use kit::home::Home;
use kit::image::Image;
use kit::registry::Registry;

#[test]
fn refuses_https_before_it_connects() {
    let home = Home::new();
    let registry = Registry::plain();
    let listed = format!("--insecure-registry={}", registry.host());
    for (case, args) in [
        ("by its name", &["pull", "registry.invalid/app"] as &[&str]),
        ("with another registry listed", &["pull", &listed, "registry.invalid/app"]),
        ("unpack", &["unpack", "registry.invalid/app", &home.arg("root")]),
    ] {
        let outcome = home.run(args).exits_in(case, 10).fails_in_one_line();
        outcome
            .says("https://registry.invalid/: this pullet was built without TLS")
            .says("hint: use a build with the feature \"tls\"");
    }
    assert!(registry.log().is_empty());
}

#[test]
fn refuses_a_ca_file() {
    let bench = Bench::new();
    let name = Image::small("app").push(&bench.registry, "app", "latest");
    let ca = bench.home.write("ca.pem", Authority::new().pem());
    let outcome = bench.home.run(&["pull", "--ca-file", &ca, &name]).exits(10).fails_in_one_line();
    outcome.says("this pullet was built without TLS");
    assert!(bench.registry.log().is_empty());
}

#[test]
fn refuses_to_verify_signatures() {
    let bench = Bench::new();
    let name = Image::small("app").push(&bench.registry, "app", "latest");
    let key = bench.home.write("cosign.pub", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n");
    let target = bench.home.arg("root");
    bench.home.run(&["pull", &name]).exits(0);
    bench.registry.clear_log();
    for words in [
        &["pull", "--verify-key", &key, &name] as &[&str],
        &["pull", "--verify-count", "1", &name],
        &["pull", "--verify-annotation", "a=b", &name],
        &["unpack", "--verify-key", &key, &name, &target],
        &["unpack", "--pull", "never", "--verify-key", &key, &name, &target],
    ] {
        let outcome = bench.home.run(words).exits_in(&format!("{words:?}"), 10).fails_in_one_line();
        outcome.says("not compiled in: this build does not have the feature \"trust\"");
    }
    assert!(bench.registry.log().is_empty() && !bench.home.path("root").exists());
}

#[test]
fn refuses_a_redirect_to_https() {
    let authority = Authority::new();
    let elsewhere = Registry::tls(&authority);
    let bench = Bench::new();
    let image = Image::small("app");
    let name = image.push(&bench.registry, "app", "latest");
    let layer = image.layers[0].digest();
    let layer = format!("/v2/app/blobs/{layer}");
    bench.registry.fault(on(layer).redirect(307, elsewhere.url("/anywhere")));
    let outcome = bench.home.run(&["pull", &name]).exits(10).fails_in_one_line();
    outcome.says("this pullet was built without TLS").says("https://");
    assert!(elsewhere.log().is_empty());
}

#[test]
fn pulls_over_plain_http() {
    let bench = Bench::new();
    let image = Image::small("app");
    bench.pull(&image).exits(0);
    let name = image.push(&bench.registry, "app", "latest");
    bench.home.run(&["unpack", &name, &bench.home.arg("root")]).exits(0);
}

#[test]
fn refuses_a_toml_file_that_is_not_empty() {
    let bench = Bench::new();
    let name = Image::small("app").push(&bench.registry, "app", "latest");
    let write = |path: &str, text: &str| {
        let path = format!("home/.config/{path}");
        std::fs::create_dir_all(bench.home.path(&path).parent().unwrap()).unwrap();
        bench.home.write(&path, text);
    };
    write("containers/registries.conf", "# [[registry]]\nshort-name-mode = \"permissive\"\n");
    bench.home.run(&["pull", &name]).exits(0);
    bench.registry.clear_log();
    write("containers/registries.conf", "[[registry]]\nlocation = \"r.io\"\nblocked = true\n");
    let refused = |case: &str| {
        let outcome = bench.home.run(&["pull", &name]).exits_in(case, 10).fails_in_one_line();
        outcome.says(case).says("built without TOML").says("hint: use a build with the feature \"toml\"");
    };
    refused("registries.conf");
    write("containers/registries.conf", "");
    write(&format!("containerd/certs.d/{}/hosts.toml", bench.registry.host()), "");
    refused("hosts.toml");
    assert!(bench.registry.log().is_empty());
}

#[test]
fn refuses_a_policy_that_demands_something() {
    let bench = Bench::new();
    let name = Image::small("app").push(&bench.registry, "app", "latest");
    let accept = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
    let policy = bench.home.write("policy.json", format!("{accept}\n"));
    let pull = |options: &[&str], variable: &str| {
        let words = [&["pull"], options, &[&name]].concat();
        bench.home.pullet(&words).env("CONTAINERS_POLICY_JSON", variable).run()
    };
    pull(&[], &policy).exits_in("as distributions install it", 0);
    bench.registry.clear_log();
    let refused = |case: &str, outcome: kit::process::Finished| {
        outcome.exits_in(case, 10).fails_in_one_line().says("not compiled in").says("\"policy\"");
    };
    refused("a policy that is given", pull(&[&format!("--policy={policy}")], &policy));
    refused("a version", pull(&["--min-version", "1.0.0"], &policy));
    bench.home.write("policy.json", accept.replace("insecureAcceptAnything", "reject"));
    refused("another policy", pull(&[], &policy));
    assert_eq!(bench.registry.requests_to("/blobs/"), 0);
    bench.home.write("policy.json", accept);
    let outcome = bench
        .home
        .pullet(&["pull", &name])
        .envs(&[("CONTAINERS_POLICY_JSON", &*policy), ("DOCKER_CONTENT_TRUST", "1")]);
    outcome.run().exits(10).fails_in_one_line().says("verify signatures");
}

#[test]
fn names_the_feature_of_a_missing_command() {
    let home = Home::new();
    for (args, feature) in [
        (&["images"] as &[&str], "manage"),
        (&["verify"], "manage"),
        (&["tags", "localhost:1/app"], "manage"),
        (&["login", "-u", "u", "localhost:1"], "manage"),
        (&["boot", "/newroot"], "boot"),
        (&["confirm", "a"], "policy"),
    ] {
        let outcome = home.run(args).exits_in(args[0], 10).fails_in_one_line();
        outcome.says("built without this command").says(&format!("hint: use a build with the feature \"{feature}\""));
    }
    let help = home.run(&["--help"]).exits(0);
    assert!(
        help.stdout.contains("  unpack ") && !help.stdout.contains("  images ") && !help.stdout.contains("  boot "),
        "{help}"
    );
}
