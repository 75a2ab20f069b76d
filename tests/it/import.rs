//! `import`: a tar of a root filesystem becomes an image, with the changes of a Dockerfile.

use std::fs;

use kit::archive::{archive, dir, file, hardlink};
use kit::digest::sha256;
use kit::home::Home;
use kit::image::{architecture, gzip, zstd};
use kit::listing::{assert_same, listing};
use serde_json::{Value, json};

fn rootfs() -> Vec<u8> {
    archive(&[dir("d"), file("d/a", "1"), hardlink("d/b", "d/a")])
}

fn config(home: &Home, id: &str) -> Value {
    serde_json::from_slice(&fs::read(home.blob(id)).unwrap()).unwrap()
}

#[test]
fn a_tar_becomes_a_layer_as_it_is() {
    let plain = rootfs();
    for (tar, media_type) in [
        (plain.clone(), "application/vnd.oci.image.layer.v1.tar"),
        (gzip(&plain), "application/vnd.oci.image.layer.v1.tar+gzip"),
        (zstd(&plain), "application/vnd.oci.image.layer.v1.tar+zstd"),
    ] {
        let home = Home::new();
        let path = home.write("rootfs", &tar);
        let id = home.run(&["import", &path, "app:1"]).exits(0).stdout;
        assert_eq!(home.pullet(&["import", "-"]).stdin(&tar).run().exits(0).stdout, id, "{media_type}");
        let id = id.trim_end();
        assert_eq!(
            config(&home, id),
            json!({
                "architecture": architecture().split('/').next(), "os": "linux", "config": {},
                "rootfs": { "type": "layers", "diff_ids": [sha256(&plain)] },
                "history": [{ "comment": "Imported from -" }],
            }),
        );
        let [named, unnamed] = &home.index()[..] else { panic!("{:?}", home.index()) };
        assert_eq!(named["digest"], unnamed["digest"]);
        let manifest: Value =
            serde_json::from_slice(&fs::read(home.blob(named["digest"].as_str().unwrap())).unwrap()).unwrap();
        assert_eq!(manifest["layers"], json!([{ "mediaType": media_type, "digest": sha256(&tar), "size": tar.len() }]));
        home.run(&["unpack", "--pull", "never", "app:1", &home.arg("root")]).exits(0);
        assert_same(media_type, "d 0755 d\nf 0644 d/a \"1\"\nh d/b = d/a", &listing(&home.path("root")));
        home.run(&["verify"]).exits(0);
    }
}

#[test]
fn changes_message_platform_and_time_are_in_the_config() {
    let home = Home::new();
    let words = [
        "import",
        "-c",
        "CMD [\"/d/a\"]",
        "--change",
        "ENV A=1 B=2",
        "-c",
        "LABEL k=v",
        "-m",
        "from scratch",
        "--platform",
        "linux/arm/v6",
        "-",
        "app:1",
    ];
    let import = home.pullet(&words).stdin(rootfs()).env("SOURCE_DATE_EPOCH", "1700000000").run().exits(0).stdout;
    let created = "2023-11-14T22:13:20Z";
    let config = config(&home, import.trim_end());
    assert_eq!(config["config"], json!({ "Cmd": ["/d/a"], "Env": ["A=1", "B=2"], "Labels": { "k": "v" } }));
    assert_eq!((config["architecture"].as_str(), config["variant"].as_str()), (Some("arm"), Some("v6")));
    assert_eq!(config["history"], json!([{ "comment": "from scratch", "created": created }]));
    assert_eq!(config["created"], created);
}

#[test]
fn refuses_bad_words_and_archives_that_cannot_be_unpacked() {
    let home = Home::new();
    for words in [
        &["import"][..],
        &["import", "-", "a", "b"],
        &["import", "-", "A"],
        &["import", "-c", "RUN true", "-"],
        &["import", "-c", "ENV A=$B", "-"],
        &["import", "-", &format!("a@{}", sha256(b""))],
    ] {
        home.pullet(words).stdin(rootfs()).run().exits(2).fails_in_one_line().prints("");
    }
    home.pullet(&["import", "-"]).stdin(rootfs()).env("SOURCE_DATE_EPOCH", "x").run().exits(2).fails_in_one_line();
    home.run(&["import", &home.arg("missing")]).exits(3).fails_in_one_line();
    let good = rootfs();
    for (case, tar) in [
        ("nothing", Vec::new()),
        ("not a tar", b"hello ".repeat(300)),
        ("a name above the root", archive(&[file("../x", "")])),
        ("a link above the root", archive(&[hardlink("x", "../y")])),
        ("a whiteout of nothing", archive(&[file(".wh.", "")])),
        ("truncated", good[..1000].to_vec()),
        ("truncated gzip", gzip(&good)[..100].to_vec()),
    ] {
        home.pullet(&["import", "-", "app:1"]).stdin(&tar).run().exits_in(case, 11).fails_in_one_line().prints("");
    }
    home.pullet(&["import", "--max-entries", "2", "-"]).stdin(&good).run().exits(11).says("--max-entries");
    home.pullet(&["import", "--max-depth", "1", "-"]).stdin(&good).run().exits(11).says("--max-depth");
    home.pullet(&["import", "--max-unpacked", "1k", "-"]).stdin(gzip(&good)).run().exits(11).says("--max-unpacked");
    assert!(home.index().is_empty());
    assert_eq!(fs::read_dir(home.store().join("ingest")).map(Iterator::count).unwrap_or(0), 0);
    assert_eq!(fs::read_dir(home.store().join("blobs")).map(Iterator::count).unwrap_or(0), 0);
}
