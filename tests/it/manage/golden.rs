//! The output of `images`, `inspect` and `history`, with Docker's documented examples, held by files in `tests/it/golden`.
//! With `GOLDEN=write` in the environment, the tests write the files.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::lookup::{CONTAINERD_NAME, REF_NAME, named, write_store};
use kit::archive::{archive, file};
use kit::home::Home;
use kit::image::{Image, Layer};
use kit::listing::assert_same;

/// Runs commands, and compares their output with a file.
#[track_caller]
fn check(name: &str, home: &Home, commands: &[&[&str]]) {
    let mut text = String::new();
    for args in commands {
        let outcome = home.run(args);
        text.push_str(&format!("$ pullet {}\n{}", args.join(" "), outcome.stdout));
        text.push_str(&outcome.stderr);
        if outcome.code != 0 {
            text.push_str(&format!("exit code {}\n", outcome.code));
        }
        text.push('\n');
    }
    // The digests in the output are those of the files in the test, but the folder is another one in each run.
    let text = text.replace(&home.arg("store"), "STORE");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(name);
    if std::env::var_os("GOLDEN").is_some_and(|word| word == "write") {
        fs::write(&path, &text).unwrap();
    }
    assert_same(name, &fs::read_to_string(&path).unwrap_or_default(), &text);
}

/// An image with uncompressed layers, whose digests depend on no compressor.
fn image(seed: &str, platform: &str, edit: impl FnOnce(&mut Value)) -> Image {
    let layer = |name: &str, size: usize| Layer::plain(&archive(&[file(name, vec![b'x'; size])]));
    let words: Vec<&str> = platform.split('/').collect();
    Image::with_config(vec![layer("base", 1_200_000), layer(seed, 20_000)], |config| {
        config.as_object_mut().unwrap().remove("variant");
        config["os"] = json!(words[0]);
        config["architecture"] = json!(words[1]);
        if let Some(variant) = words.get(2) {
            config["variant"] = json!(variant);
        }
        edit(config);
    })
}

fn java(tag: &str) -> Image {
    image(&format!("java {tag}"), "linux/amd64", |config| {
        config["created"] = json!("0001-01-01T00:00:00Z");
        config["config"]["Labels"] = json!({ "com.example.version": tag, "maintainer": "a\u{1b}[31m" });
    })
}

fn full() -> Image {
    image("full", "linux/arm/v7", |config| {
        config["created"] = json!("2015-04-16T20:26:52.5+02:00");
        config["author"] = json!("Somebody <somebody@example.com>");
        config["config"] = json!({
            "WorkingDir": "/srv",
            "Cmd": ["serve", "--port", "80"],
            "Entrypoint": ["/bin/app"],
            "Env": ["PATH=/bin", "LANG=C"],
            "ExposedPorts": { "80/tcp": {} },
            "User": "app",
            "Labels": { "z": "last", "a": "first" },
            "Volumes": { "/data": {} },
            "StopSignal": "SIGQUIT",
            "OfTomorrow": true,
        });
        config["history"] = json!([
            { "created": "0001-01-01T00:00:00Z", "created_by": "/bin/sh -c #(nop) ADD file:5a8d\tin /", "comment": "base" },
            { "created_by": "ENV LANG=C", "empty_layer": true },
            {
                "created_by": "RUN /bin/sh -c echo a long command that no table of eighty columns could show as a whole",
                "author": "somebody",
            },
            { "created_by": "CMD [\"serve\" \"--port\" \"80\"] \u{1b}[2J", "empty_layer": true, "comment": "buildkit.dockerfile.v0" },
        ]);
    })
}

fn store() -> Home {
    let home = Home::new();
    let images = [java("8"), java("7"), full(), image("dangling", "linux/amd64", |_| {})];
    let name = |image: &Image, platform: &str, name: &str| named(image.entry(platform), json!({ REF_NAME: name }));
    let [java8, java7, full, dangling] = &images;
    let arm64 = image("full arm64", "linux/arm64", |_| {});
    let dated = image("dated", "linux/amd64", |config| {
        config["created"] = json!("2014-01-01T00:00:00Z");
        config["history"] = json!([
            { "created": "2013-12-31T23:00:00-02:00", "created_by": "one", "comment": null },
            { "created": "2014-01-01T00:00:00.25Z", "created_by": "two", "empty_layer": null },
        ]);
    });
    let entries = [
        name(java8, "linux/amd64", "docker.io/library/java:8"),
        name(java8, "linux/amd64", "docker.io/library/java:latest"),
        name(java7, "linux/amd64", "java:7"),
        name(java7, "linux/amd64", "registry.example:5000/team/jdk:7"),
        name(full, "linux/arm/v7", "ghcr.io/owner/app:1.2"),
        name(&arm64, "linux/arm64", "ghcr.io/owner/app:1.2"),
        name(&dated, "linux/amd64", "docker.io/library/dated:latest"),
        named(full.entry("linux/arm/v7"), json!({ REF_NAME: "1", CONTAINERD_NAME: "quay.io/x/app:1" })),
        dangling.entry("linux/amd64"),
        name(java8, "linux/amd64", &format!("docker.io/library/java:{}.sig", java8.digest().replace(':', "-"))),
        name(java7, "linux/amd64", "not a name\u{1b}[2J"),
    ];
    let mut all = images.to_vec();
    all.extend([arm64.clone(), dated.clone()]);
    write_store(&home, &all.iter().collect::<Vec<_>>(), &[], &entries);
    home
}

#[test]
fn images_are_listed_as_docker_lists_them() {
    let id = &full().config_digest()["sha256:".len()..][..12];
    check(
        "images.txt",
        &store(),
        &[
            &["images", "--format", "table {{.Repository}}\\t{{.Tag}}\\t{{.ID}}\\t{{.CreatedAt}}\\t{{.Size}}"],
            &["images", "-a", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"],
            &["images", "java"],
            &["images", "java:8"],
            &["images", "java:0"],
            &["images", "j*:[78]"],
            &["images", "--digests", "java"],
            &["images", "--no-trunc", "java"],
            &["images", "-q", "java"],
            &["images", "-q", "--no-trunc", "java:7"],
            &["images", "--filter", "dangling=true"],
            &["images", "-q", "-f", "dangling=false"],
            &["images", "--filter=reference=ja*:*test", "--filter=reference=*/team/*"],
            &["images", "--filter", "label=com.example.version"],
            &["images", "--filter", "label=com.example.version=8", "--format", "{{.Repository}}:{{.Tag}}"],
            &["images", "--filter", "label!=com.example.version", "--format", "{{.Repository}}:{{.Tag}}"],
            &["images", "--filter", "until=2016-01-01", "--format", "{{.ID}} {{.Platform}}"],
            &["images", "--filter", "since=quay.io/x/app:1", "-q"],
            &["images", "--filter", &format!("before={id}"), "-q"],
            &["images", "--format", "{{.ID}}: {{.Repository}}"],
            &["images", "--format", "table {{.ID}}\\t{{.Repository}}\\t{{.Tag}}"],
            &["images", "--format", "json", "java:7"],
            &["images", "--format", "{{json .}}", "java:7"],
            &["images", "--format", "{{upper .Tag}} {{truncate .ID 4}}{{if eq .Tag \"7\"}} seven{{end}}", "java"],
            &["images", "--format", "table {{.ID}} {{.Nope}}"],
            &["images", "--format", "{{nope .ID}}"],
            &["images", "--format", "{{.ID"],
            &["images", "--filter", "nope=1"],
            &["images", "--filter", "dangling"],
            &["images", "--filter", "dangling=perhaps"],
            &["images", "--filter", "before=nobody"],
            &["images", "--filter", "until=soon"],
            &["images", "--digests", "-q"],
            &["images", "one", "two"],
        ],
    );
}

#[test]
fn ages_are_in_words() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let years = |created: u64| format!("{} years ago", (now - created) / 86400 / 365);
    let outcome = store().run(&["images", "--format", "{{.CreatedSince}}", "dated"]).exits(0);
    assert_eq!(outcome.stdout.trim_end(), years(1_388_534_400), "{outcome}");
    let outcome = store().run(&["history", "--format", "{{.CreatedSince}}", "dated"]).exits(0);
    assert_eq!(outcome.stdout.lines().next(), Some(years(1_388_534_400).as_str()), "{outcome}");
}

#[test]
fn inspect_prints_docker_s_json() {
    let id = &java("7").config_digest()["sha256:".len()..][..12];
    check(
        "inspect.txt",
        &store(),
        &[
            &["inspect", "quay.io/x/app:1", id],
            &["inspect", "--format", "json", "java:8"],
            &["inspect", "--format", "{{.Id}} {{.Architecture}}/{{.Variant}} {{.Os}}", "quay.io/x/app:1"],
            &["inspect", "-f", "{{json .Config.Cmd}} {{json .RepoTags}}", "quay.io/x/app:1"],
            &["inspect", "-f", "{{range .Config.Env}}{{println .}}{{end}}", "quay.io/x/app:1"],
            &["inspect", "-f", "{{index .Config.Labels \"com.example.version\"}}", "java:8", "java:7"],
            &["inspect", "-f", "{{.Config.Labels.maintainer}}", "java:8"],
            &["inspect", "-f", "{{join .RepoTags \", \"}} {{len .RootFS.Layers}}", "java:8"],
            &["inspect", "-f", "{{.Config.Entrypoint}} {{.Config.StopSignal}} {{.Config.Labels.none}}", "java:8"],
            &["inspect", "-f", "{{.Os}} {{.Nope}}", "java:8"],
            &["inspect", "-f", "{{.Os}}", "nobody", "java:8", "nobody:2"],
            &["inspect", "nobody"],
            &["inspect"],
        ],
    );
}

#[test]
fn history_prints_the_steps_of_an_image() {
    check(
        "history.txt",
        &store(),
        &[
            &["history", "quay.io/x/app:1"],
            &["history", "--no-trunc", "quay.io/x/app:1"],
            &["history", "--human", "false", "quay.io/x/app:1"],
            &["history", "-q", "quay.io/x/app:1"],
            &["history", "-q", "--no-trunc", "java:8"],
            &["history", "java:8"],
            &["history", "--human", "false", "--format", "{{.CreatedSince}} {{.Size}} {{.CreatedBy}}", "dated"],
            &["history", "--format", "{{.CreatedAt}}", "dated"],
            &["history", "--format", "{{.ID}}: {{.CreatedSince}}", "quay.io/x/app:1"],
            &["history", "--format", "json", "quay.io/x/app:1"],
            &["history", "--format", "table {{.Size}}\\t{{.Comment}}", "quay.io/x/app:1"],
            &["history", "--format", "{{.Nope}}", "java:8"],
            &["history", "nobody"],
        ],
    );
}
