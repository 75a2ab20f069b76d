//! `pullet tag`.

use serde_json::json;

use super::{blobs, image, pull};
use crate::lookup::{REF_NAME, named, native, other, unpack_stored, write_store};
use kit::bench::Bench;
use kit::home::Home;
use kit::image::{Image, architecture};

#[test]
fn gives_an_image_another_name() {
    let bench = Bench::new();
    let name = pull(&bench, &image("x"), "app", "1");
    bench.registry.clear_log();
    let before = blobs(&bench.home);
    bench.home.run(&["tag", &name, "copy:2"]).exits(0).prints("");
    bench.home.run(&["tag", "copy:2", "r.example/copy"]).exits(0);
    let id = image("x").config_digest();
    bench.home.run(&["tag", &id, "by-id"]).exits(0);
    bench.home.run(&["tag", &id["sha256:".len()..][..12], "by-short-id"]).exits(0);
    let expected =
        ["docker.io/library/copy:2", "r.example/copy:latest", "docker.io/library/by-id:latest"].map(str::to_string);
    let names = bench.home.names();
    assert!(names[0] == name && names[1..4] == expected && names[4].contains("by-short-id:latest"), "{names:?}");
    for name in &names {
        assert_eq!(unpack_stored(&bench.home, &[], name), Ok(vec!["shared".to_string(), "x".to_string()]), "{name}");
    }
    assert!(bench.registry.log().is_empty(), "{:?}", bench.registry.log());
    assert_eq!(blobs(&bench.home), before);
}

#[test]
fn moves_a_name_from_another_image() {
    let bench = Bench::new();
    let (one, two) = (pull(&bench, &image("one"), "app", "1"), pull(&bench, &image("two"), "app", "2"));
    bench.home.run(&["tag", &two, &one]).exits(0);
    // The name that was given last is the last one.
    assert_eq!(bench.home.names(), [two, one.clone()]);
    assert_eq!(unpack_stored(&bench.home, &[], &one), Ok(vec!["shared".to_string(), "two".to_string()]));
}

#[test]
fn keeps_the_digest_to_which_the_image_resolved() {
    let bench = Bench::new();
    let docker = native("x").docker();
    let name = pull(&bench, &docker, "app", "1");
    bench.home.run(&["tag", &name, "copy:2"]).exits(0);
    let pinned = format!("copy@{}", docker.digest());
    assert_eq!(unpack_stored(&bench.home, &[], &pinned), Ok(vec!["x".to_string()]));
}

#[test]
fn a_name_is_given_for_every_platform() {
    let home = Home::new();
    let images = [native("here"), other()];
    let platform = format!("linux/{}", architecture());
    let entries = [images[1].entry("linux/s390x"), images[0].entry(&platform)];
    let entries = entries.map(|entry| named(entry, json!({ REF_NAME: "r.example/app:1" })));
    write_store(&home, &images.iter().collect::<Vec<&Image>>(), &[], &entries);
    home.run(&["tag", "r.example/app:1", "r.example/app:2"]).exits(0);
    assert_eq!(unpack_stored(&home, &[], "r.example/app:2"), Ok(vec!["here".to_string()]));
    let options = ["--platform", "linux/s390x"];
    assert_eq!(unpack_stored(&home, &options, "r.example/app:2"), Ok(vec!["other".to_string()]));
    // An ID means one of them.
    home.run(&["tag", &images[1].config_digest(), "r.example/app:3"]).exits(0);
    assert_eq!(unpack_stored(&home, &["--platform", "linux/s390x"], "r.example/app:3"), Ok(vec!["other".to_string()]));
    assert_eq!(home.index().len(), 5);
}

#[test]
fn rejects_what_it_cannot_name() {
    let bench = Bench::new();
    bench.home.run(&["tag", "app:1", "app:2"]).exits(3).fails_in_one_line().says("app:1");
    assert!(!bench.home.store().exists(), "a store was created");
    let name = pull(&bench, &image("x"), "app", "1");
    let pinned = format!("app@{}", image("x").digest());
    for (case, args, code) in [
        ("a digest", &["tag", &name, &pinned][..], 2),
        ("a malformed name", &["tag", &name, "App:1"], 2),
        ("no such image", &["tag", "nobody:1", "app:2"], 3),
        ("no such ID", &["tag", "sha256:00", "app:2"], 3),
        ("one name", &["tag", &name], 2),
        ("three names", &["tag", &name, "a", "b"], 2),
    ] {
        bench.home.run(args).exits_in(case, code).fails_in_one_line();
    }
    assert_eq!(bench.home.names(), [name]);
}
