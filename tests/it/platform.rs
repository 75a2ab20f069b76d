//! Choosing a platform in an index as containerd does: variants, fallbacks, nested indexes, attestations.

use serde_json::{Value, json};

use kit::archive::file;
use kit::bench::Bench;
use kit::image::{
    DOCKER_LIST, DOCKER_MANIFEST, Image, Layer, OCI_INDEX, OCI_MANIFEST, architecture, descriptor, index, push_index,
};

/// An image whose only file contains the name of its platform.
fn labelled(platform: &str) -> Image {
    Image::for_platform(vec![Layer::of(&[file("platform", platform)])], platform)
}

/// Pulls a platform from an index of these platforms and expects the image of `chosen`, or a failure.
#[track_caller]
fn check(offered: &[&str], requested: &str, chosen: Option<&str>) {
    let bench = Bench::new();
    let images: Vec<(&str, Image)> = offered.iter().map(|platform| (*platform, labelled(platform))).collect();
    let pairs: Vec<(&str, &Image)> = images.iter().map(|(platform, image)| (*platform, image)).collect();
    let name = push_index(&bench.registry, "app", "latest", &pairs);
    let case = format!("{requested} from {offered:?}");
    let outcome = bench.home.run(&["pull", "--platform", requested, &name]);
    match chosen {
        None => {
            let outcome = outcome.exits_in(&case, 10).fails_in_one_line();
            assert_eq!(bench.registry.log().len(), 1, "{case}: {}", bench.registry.log().join("\n"));
            assert!(bench.home.index().is_empty(), "{case}");
            offered.iter().for_each(|platform| assert!(outcome.stderr.contains(platform), "{case}\n{outcome}"));
        }
        Some(platform) => {
            outcome.exits_in(&case, 0);
            let digest = bench.home.index()[0]["digest"].as_str().unwrap().to_string();
            let pulled = images.iter().find(|(_, image)| image.digest() == digest).map(|(platform, _)| *platform);
            assert_eq!(pulled, Some(platform), "{case}");
        }
    }
}

#[test]
fn arm_falls_back_to_older_arm() {
    let all = ["linux/amd64", "linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm64"];
    check(&all, "linux/arm/v7", Some("linux/arm/v7"));
    check(&all, "linux/arm", Some("linux/arm/v7"));
    check(&all, "linux/arm/v6", Some("linux/arm/v6"));
    check(&all, "linux/arm/v5", Some("linux/arm/v5"));
    check(&all, "linux/arm/v8", Some("linux/arm/v7"));
    check(&["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", Some("linux/arm/v6"));
    check(&["linux/arm/v6", "linux/arm/v5"], "linux/arm/v7", Some("linux/arm/v6"));
    check(&["linux/arm/v5"], "linux/arm/v7", Some("linux/arm/v5"));
    check(&["linux/arm/v7"], "linux/arm/v6", None);
    check(&["linux/arm/v6", "linux/arm/v7"], "linux/arm/v5", None);
    check(&["linux/arm64"], "linux/arm/v7", None);
}

#[test]
fn arm64_falls_back_to_arm() {
    let all = ["linux/arm/v7", "linux/arm/v8", "linux/arm64", "linux/amd64"];
    check(&all, "linux/arm64", Some("linux/arm64"));
    check(&all, "linux/arm64/v8", Some("linux/arm64"));
    check(&["linux/arm/v6", "linux/arm64/v8"], "linux/arm64", Some("linux/arm64/v8"));
    check(&["linux/arm/v6", "linux/arm/v7", "linux/arm/v8"], "linux/arm64", Some("linux/arm/v8"));
    check(&["linux/arm/v6", "linux/arm/v7"], "linux/arm64", Some("linux/arm/v7"));
    check(&["linux/arm/v5", "linux/arm/v6"], "linux/arm64", Some("linux/arm/v6"));
    check(&["linux/arm/v5"], "linux/arm64/v8", Some("linux/arm/v5"));
    check(&["linux/amd64", "linux/riscv64"], "linux/arm64", None);
}

#[test]
fn amd64_falls_back_to_older_variants_and_386() {
    check(&["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"], "linux/amd64", Some("linux/amd64"));
    check(&["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"], "linux/amd64/v3", Some("linux/amd64/v3"));
    check(&["linux/amd64", "linux/amd64/v2"], "linux/amd64/v3", Some("linux/amd64/v2"));
    check(&["linux/amd64"], "linux/amd64/v4", Some("linux/amd64"));
    check(&["linux/386", "linux/arm64"], "linux/amd64", Some("linux/386"));
    check(&["linux/amd64/v2"], "linux/amd64", None);
    check(&["linux/amd64"], "linux/386", None);
}

#[test]
fn accepts_aliases_of_platforms() {
    let all = ["linux/386", "linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64"];
    check(&all, "linux/x86_64", Some("linux/amd64"));
    check(&all, "linux/x86-64", Some("linux/amd64"));
    check(&all, "linux/aarch64", Some("linux/arm64"));
    check(&all, "linux/armhf", Some("linux/arm/v7"));
    check(&all, "linux/armel", Some("linux/arm/v6"));
    check(&all, "linux/i386", Some("linux/386"));
    check(&all, "linux/arm/6", Some("linux/arm/v6"));
    check(&all, "Linux/ARM64", Some("linux/arm64"));
    check(&["windows/amd64", "linux/amd64"], "windows/amd64", Some("windows/amd64"));
    check(&["windows/amd64"], "linux/amd64", None);
    let host = format!("linux/{}", architecture());
    check(&["linux/s390x", "linux/ppc64le", &host], "linux", Some(&host));
}

#[test]
fn refuses_malformed_platforms_as_usage_errors() {
    let bench = Bench::new();
    let name = Image::small("x").push(&bench.registry, "app", "latest");
    for platform in
        ["", "/", "linux/", "/amd64", "linux//v7", "a/b/c/d", "linux/amd 64", "linux/amd64/v8/", "l\u{1b}nux/amd64"]
    {
        bench.home.run(&["pull", "--platform", platform, &name]).exits_in(platform, 2).fails_in_one_line();
    }
    assert_eq!(bench.registry.connections(), 0);
}

#[test]
fn uses_the_platform_of_the_machine_by_default() {
    let bench = Bench::new();
    let host = format!("linux/{}", architecture());
    let (ours, other) = (labelled(&host), labelled("linux/s390x"));
    let name = push_index(&bench.registry, "app", "latest", &[("linux/s390x", &other), (&host, &ours)]);
    bench.home.run(&["unpack", &name, &bench.home.arg("root")]).exits(0);
    assert_eq!(std::fs::read_to_string(bench.home.path("root/platform")).unwrap(), host);
    // Another platform of the same name is another image, so the stored one must not be used for it.
    bench.home.run(&["unpack", "--platform", "linux/s390x", &name, &bench.home.arg("other")]).exits(0);
    assert_eq!(std::fs::read_to_string(bench.home.path("other/platform")).unwrap(), "linux/s390x");
}

#[test]
fn takes_the_first_of_equal_entries() {
    let bench = Bench::new();
    let images: Vec<Image> = ["one", "two"].iter().map(|seed| Image::small(seed)).collect();
    let host = format!("linux/{}", architecture());
    let name = push_index(&bench.registry, "app", "latest", &[(&host, &images[0]), (&host, &images[1])]);
    bench.home.run(&["pull", &name]).exits(0);
    assert_eq!(bench.home.index()[0]["digest"], images[0].digest());
}

#[test]
fn ignores_attestations() {
    let host = format!("linux/{}", architecture());
    let (ours, attestation) = (labelled(&host), labelled("unknown/unknown"));
    for order in
        [[("unknown/unknown", &attestation), (&host, &ours)], [(&host, &ours), ("unknown/unknown", &attestation)]]
    {
        let bench = Bench::new();
        let name = push_index(&bench.registry, "app", "latest", &order);
        bench.home.run(&["pull", &name]).exits(0);
        assert_eq!(bench.home.index()[0]["digest"], ours.digest());
    }
    let bench = Bench::new();
    let name = push_index(
        &bench.registry,
        "app",
        "latest",
        &[("unknown/unknown", &attestation), ("linux/s390x", &labelled("linux/s390x"))],
    );
    let outcome = bench.home.run(&["pull", "--platform", "linux/arm64", &name]).exits(10);
    outcome.says("linux/s390x").hides("unknown");
}

#[test]
fn uses_an_entry_without_a_platform_only_as_a_last_resort() {
    let host = format!("linux/{}", architecture());
    let (bare, ours) = (Image::small("bare"), labelled(&host));
    let entry = |image: &Image| descriptor(OCI_MANIFEST, &image.manifest_bytes());
    for (entries, expected) in [(vec![entry(&bare)], &bare), (vec![entry(&bare), ours.entry(&host)], &ours)] {
        let bench = Bench::new();
        for image in [&bare, &ours] {
            image.push(&bench.registry, "app", "unused");
        }
        bench.registry.put_manifest("app", Some("latest"), OCI_INDEX, index(&entries).to_string().as_bytes());
        bench.home.run(&["pull", &bench.registry.name("app")]).exits(0);
        assert_eq!(bench.home.index()[0]["digest"], expected.digest());
    }
}

#[test]
fn checks_the_config_of_an_entry_without_a_platform() {
    let other = if architecture() == "s390x" { "linux/riscv64" } else { "linux/s390x" };
    let host = format!("linux/{}", architecture());
    for entry in [json!({}), json!({ "platform": null })] {
        let (bench, image) = (Bench::new(), labelled(other));
        image.push(&bench.registry, "app", "unused");
        let mut bare = descriptor(OCI_MANIFEST, &image.manifest_bytes());
        bare.as_object_mut().unwrap().extend(entry.as_object().unwrap().clone());
        bench.registry.put_manifest("app", Some("latest"), OCI_INDEX, index(&[bare]).to_string().as_bytes());
        let name = bench.registry.name("app");
        let outcome = bench.home.run(&["pull", "--platform", &host, &name]).exits(10).fails_in_one_line();
        outcome.says(other);
        bench.assert_no_layer_requested("a config for another platform", &image);
        bench.home.run(&["pull", "--platform", other, &name]).exits(0).hides(&host);
        // Without --platform the image is accepted, and its platform is reported.
        let fresh = kit::home::Home::new();
        let outcome = fresh.run(&["pull", &name]).exits(0).says(other);
        assert_eq!(fresh.index()[0]["digest"], image.digest(), "{outcome}");
        assert!(!outcome.stderr.lines().any(|line| line.starts_with("pullet: ")), "{outcome}");
    }
}

#[test]
fn refuses_a_single_manifest_of_another_platform() {
    let bench = Bench::new();
    let image = labelled("linux/s390x");
    let name = image.push(&bench.registry, "app", "latest");
    let outcome = bench.home.run(&["pull", "--platform", "linux/riscv64", &name]).exits(10).fails_in_one_line();
    outcome.says("linux/s390x");
    bench.assert_no_layer_requested("another platform", &image);
    bench.home.run(&["pull", "--platform", "linux/s390x", &name]).exits(0);
}

/// Wraps an index entry in `depth` indexes and serves the outermost as `latest`.
fn nest(bench: &Bench, entry: Value, depth: usize) -> String {
    let mut entry = entry;
    for level in 1..=depth {
        let bytes = index(&[entry]).to_string().into_bytes();
        let tag = if level == depth { Some("latest") } else { None };
        bench.registry.put_manifest("app", tag, OCI_INDEX, &bytes);
        entry = descriptor(OCI_INDEX, &bytes);
    }
    bench.registry.name("app")
}

#[test]
fn accepts_indexes_nested_three_deep_and_no_deeper() {
    let host = format!("linux/{}", architecture());
    let image = labelled(&host);
    for (depth, code) in [(1, 0), (2, 0), (3, 0), (4, 11), (10, 11)] {
        let bench = Bench::new();
        image.push(&bench.registry, "app", "unused");
        let name = nest(&bench, image.entry(&host), depth);
        bench.home.run(&["pull", &name]).exits_in(&format!("{depth} deep"), code);
        if code == 0 {
            assert_eq!(bench.home.index()[0]["digest"], image.digest(), "{depth} deep");
            assert_eq!(bench.registry.requests_to("/manifests/"), depth + 1, "{depth} deep");
        } else {
            bench.assert_no_layer_requested(&format!("{depth} deep"), &image);
        }
    }
}

#[test]
fn chooses_from_docker_manifest_lists() {
    let bench = Bench::new();
    let mut entries = Vec::new();
    let images: Vec<Image> =
        ["linux/amd64", "linux/arm/v7"].iter().map(|platform| labelled(platform).docker()).collect();
    for (image, platform) in images.iter().zip(["linux/amd64", "linux/arm/v7"]) {
        image.push_blobs(&bench.registry, "app");
        bench.registry.put_manifest("app", None, DOCKER_MANIFEST, &image.manifest_bytes());
        entries.push(image.entry(platform));
    }
    let list = json!({ "schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": entries });
    bench.registry.put_manifest("app", Some("latest"), DOCKER_LIST, list.to_string().as_bytes());
    let name = bench.registry.name("app");
    for (platform, image) in [("linux/arm/v7", &images[1]), ("linux/amd64", &images[0])] {
        bench.home.run(&["pull", "--platform", platform, &name]).exits_in(platform, 0);
        let annotations = &bench.home.index()[0]["annotations"];
        assert_eq!(annotations["pullet.source.digest"], image.digest(), "{platform}");
        bench.registry.clear_log();
        bench.home.run(&["pull", "--platform", platform, &name]).exits_in(platform, 0);
        assert_eq!(bench.registry.log().len(), 1, "{platform}: the second pull must not fetch the manifest again");
    }
    bench.home.run(&["pull", "--platform", "linux/riscv64", &name]).exits(10).says("linux/arm/v7");
}

#[test]
fn refuses_an_empty_index() {
    let bench = Bench::new();
    bench.registry.put_manifest("app", Some("latest"), OCI_INDEX, index(&[]).to_string().as_bytes());
    bench.home.run(&["pull", &bench.registry.name("app")]).exits_among("an empty index", &[10, 11]).fails_in_one_line();
}

/// An index entry without a platform.
fn bare(image: &Image) -> Value {
    descriptor(OCI_MANIFEST, &image.manifest_bytes())
}

/// Pushes the images without tags, and an index of these entries as `latest`.
fn push_entries(bench: &Bench, images: &[&Image], entries: &[Value]) -> String {
    for image in images {
        image.push_blobs(&bench.registry, "app");
        bench.registry.put_manifest("app", None, &image.media_type, &image.manifest_bytes());
    }
    bench.registry.put_manifest("app", Some("latest"), OCI_INDEX, index(entries).to_string().as_bytes());
    bench.registry.name("app")
}

/// An artifact. Its index entry may or may not declare its type.
fn sbom() -> Image {
    Image::small("sbom").edited(|manifest| {
        manifest["artifactType"] = json!("application/vnd.example.sbom");
        manifest["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json");
    })
}

#[test]
fn entries_without_platforms_are_chosen_by_their_configs() {
    let host = format!("linux/{}", architecture());
    let (first, ours, last) = (labelled("linux/s390x"), labelled(&host), labelled("linux/riscv64"));
    let images = [&first, &ours, &last];
    for options in [&[][..], &["--platform", &host]] {
        let bench = Bench::new();
        let name = push_entries(&bench, &images, &images.map(bare));
        bench.home.run(&[&["pull", &name][..], options].concat()).exits_in(&format!("{options:?}"), 0);
        assert_eq!(bench.home.index()[0]["digest"], ours.digest());
    }
    // Also below a nested index.
    let bench = Bench::new();
    let nested = index(&images.map(bare)).to_string().into_bytes();
    bench.registry.put_manifest("app", None, OCI_INDEX, &nested);
    let name = push_entries(&bench, &images, &[bare(&first), descriptor(OCI_INDEX, &nested)]);
    bench.home.run(&["pull", &name]).exits(0);
    assert_eq!(bench.home.index()[0]["digest"], ours.digest());
    // A partial copy of the index has enough if it has the one that fits.
    let bench = Bench::new();
    let name = push_entries(&bench, &[&ours], &images.map(bare));
    bench.home.run(&["pull", &name]).exits(0);
    // No layer is requested if none fits.
    let bench = Bench::new();
    let name = push_entries(&bench, &[&first, &last], &[bare(&first), bare(&last)]);
    let outcome = bench.home.run(&["pull", &name]).exits(10).fails_in_one_line();
    outcome.says("no image for platform").says("linux/s390x, linux/riscv64");
    bench.assert_no_layer_requested("no config fits", &first);
}

#[test]
fn the_number_of_configs_to_choose_from_is_limited() {
    let (bench, image) = (Bench::new(), labelled("linux/s390x"));
    let entries = vec![bare(&image); 1000];
    let name = push_entries(&bench, &[&image], &entries);
    bench.home.run(&["pull", &name]).exits(11).fails_in_one_line().says("limit exceeded");
    assert!(bench.registry.calls().len() < 200, "{}", bench.registry.calls().len());
}

#[test]
fn an_artifact_is_never_chosen_in_place_of_an_image() {
    let host = format!("linux/{}", architecture());
    let (ours, sbom) = (labelled(&host), sbom());
    let declared = |entry: Value| {
        let mut entry = entry;
        entry["artifactType"] = json!("application/vnd.example.sbom");
        entry
    };
    for (case, entries) in [
        ("declared, before the image", vec![declared(sbom.entry(&host)), ours.entry(&host)]),
        ("declared, without a platform", vec![declared(bare(&sbom)), bare(&ours)]),
        ("not declared, before the image", vec![sbom.entry(&host), ours.entry(&host)]),
        ("not declared, without a platform", vec![bare(&sbom), bare(&ours)]),
        ("after the image", vec![ours.entry(&host), sbom.entry(&host)]),
    ] {
        let bench = Bench::new();
        let name = push_entries(&bench, &[&ours, &sbom], &entries);
        bench.home.run(&["pull", &name]).exits_in(case, 0);
        assert_eq!(bench.home.index()[0]["digest"], ours.digest(), "{case}");
    }
    let other = labelled("linux/s390x");
    for artifact in [declared(bare(&sbom)), bare(&sbom)] {
        let bench = Bench::new();
        let name = push_entries(&bench, &[&other, &sbom], &[other.entry("linux/s390x"), artifact]);
        let outcome = bench.home.run(&["pull", "--platform", &host, &name]).exits(10).fails_in_one_line();
        outcome.says("no image for platform").says("linux/s390x");
    }
}

#[test]
fn entries_with_unknown_features_are_skipped() {
    let host = format!("linux/{}", architecture());
    let (ours, erofs) = (labelled(&host), Image::small("erofs"));
    let mut entry = erofs.entry(&host);
    entry["platform"]["os.features"] = json!(["erofs"]);
    let bench = Bench::new();
    let name = push_entries(&bench, &[&ours, &erofs], &[entry.clone(), ours.entry(&host)]);
    bench.home.run(&["pull", &name]).exits(0);
    assert_eq!(bench.home.index()[0]["digest"], ours.digest());
    let bench = Bench::new();
    let name = push_entries(&bench, &[&erofs], &[entry]);
    bench.home.run(&["pull", &name]).exits(10).fails_in_one_line().says("no image for platform");
}

#[test]
fn refuses_layers_that_are_filesystem_images_and_names_their_kind() {
    for (media_type, kind) in [
        ("application/vnd.erofs.layer.v1", "EROFS"),
        ("application/vnd.oci.image.layer.v1.erofs+zstd", "EROFS"),
        ("application/vnd.stacker.image.layer.squashfs+zstd+verity", "squashfs"),
    ] {
        let bench = Bench::new();
        let image = Image::small("x").edited(|manifest| manifest["layers"][0]["mediaType"] = json!(media_type));
        let name = image.push(&bench.registry, "app", "latest");
        for command in [&["pull", &name][..], &["unpack", "--stream", &name, &bench.home.arg("root")]] {
            let outcome = bench.home.run(command).exits_in(media_type, 10).fails_in_one_line();
            outcome.says(&format!("{kind} layer")).says(media_type);
        }
        bench.assert_no_layer_requested(media_type, &image);
    }
}

#[test]
fn null_counts_as_missing_in_indexes_and_configs() {
    let host = format!("linux/{}", architecture());
    let mut entries = Vec::new();
    let (ours, other) = (labelled(&host), labelled("linux/s390x"));
    for image in [(&other, "linux/s390x"), (&ours, host.as_str())] {
        let mut entry = image.0.entry(image.1);
        for member in ["os.version", "os.features"] {
            entry["platform"][member] = Value::Null;
        }
        if entry["platform"].get("variant").is_none() {
            entry["platform"]["variant"] = Value::Null;
        }
        for member in ["artifactType", "annotations", "urls"] {
            entry[member] = Value::Null;
        }
        entries.push(entry);
    }
    let bench = Bench::new();
    let name = push_entries(&bench, &[&ours, &other], &entries);
    bench.home.run(&["pull", &name]).exits(0);
    assert_eq!(bench.home.index()[0]["digest"], ours.digest());
    for member in ["os", "architecture", "variant", "created", "history", "author", "config"] {
        let layers = vec![Layer::of(&[file("f", member)])];
        let image = Image::with_config(layers, |config| config[member] = Value::Null);
        let bench = Bench::new();
        bench.pull(&image).exits_in(member, 0);
        bench.home.run(&["images"]).exits_in(member, 0);
    }
}

#[test]
fn a_docker_manifest_with_a_generic_config_is_an_image() {
    for config_type in ["application/octet-stream", "application/json", "text/html", ""] {
        let image = Image::small("old").docker();
        let image = image.edited(|manifest| manifest["config"]["mediaType"] = json!(config_type));
        let bench = Bench::new();
        let name = image.push(&bench.registry, "app", "latest");
        bench.home.run(&["pull", &name]).exits_in(config_type, 0);
        bench.home.run(&["unpack", "--pull", "never", &name, &bench.home.arg("root")]).exits_in(config_type, 0);
        let oci = Image::small("old").edited(|manifest| manifest["config"]["mediaType"] = json!(config_type));
        Bench::new().pull(&oci).exits_in(config_type, 10).says("artifact");
    }
}

#[test]
fn the_variable_of_docker_sets_the_default_platform() {
    let bench = Bench::new();
    let host = format!("linux/{}", architecture());
    let (ours, other) = (labelled(&host), labelled("linux/s390x"));
    let name = push_index(&bench.registry, "app", "latest", &[(&host, &ours), ("linux/s390x", &other)]);
    let run = |args: &[&str], platform: &str| bench.home.pullet(args).env("DOCKER_DEFAULT_PLATFORM", platform).run();
    run(&["pull", &name], "linux/s390x").exits(0);
    assert_eq!(bench.home.index()[0]["digest"], other.digest());
    run(&["unpack", &name, &bench.home.arg("other")], "linux/s390x").exits(0);
    assert_eq!(std::fs::read_to_string(bench.home.path("other/platform")).unwrap(), "linux/s390x");
    // The option comes first. An empty variable is none.
    run(&["pull", "--platform", &host, &name], "linux/s390x").exits(0);
    assert_eq!(bench.home.index()[0]["digest"], ours.digest());
    run(&["pull", &name], "").exits(0);
    run(&["pull", &name], "a/b/c/d").exits(2).fails_in_one_line().says("$DOCKER_DEFAULT_PLATFORM").says("a/b/c/d");
    // The digest of a name does not depend on it.
    let plain = bench.home.run(&["digest", &name]).exits(0).stdout;
    run(&["digest", &name], "linux/s390x").exits(0).prints(&plain);
    run(&["images"], "a/b/c/d").exits(0);
}
