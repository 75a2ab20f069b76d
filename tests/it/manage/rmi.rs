//! `pullet rmi`.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;

use super::{blobs, image, parts, pull, put};
use crate::lookup::{REF_NAME, named, native, other, unpack_stored, write_store};
use kit::bench::Bench;
use kit::home::Home;
use kit::image::{Image, architecture, push_index};

/// The lines that begin with a word, without it.
fn lines<'a>(output: &'a str, word: &str) -> Vec<&'a str> {
    output.lines().filter_map(|line| line.strip_prefix(word)).collect()
}

#[test]
fn removes_the_blobs_that_no_other_image_needs() {
    let bench = Bench::new();
    let (one, two) = (image("one"), image("two"));
    let names = [pull(&bench, &one, "app", "1"), pull(&bench, &two, "app", "2")];
    let outcome = bench.home.run(&["rmi", &names[0]]).exits(0);
    let pinned = format!("{}@{}", bench.registry.name("app"), one.digest());
    assert_eq!(lines(&outcome.stdout, "Untagged: "), [names[0].as_str(), &pinned], "{outcome}");
    let deleted = lines(&outcome.stdout, "Deleted: ");
    assert_eq!(deleted.first(), Some(&one.config_digest().as_str()), "the image ID comes first: {outcome}");
    let expected: BTreeSet<String> = parts(&one).difference(&parts(&two)).cloned().collect();
    assert_eq!(deleted.iter().map(|digest| digest.to_string()).collect::<BTreeSet<_>>(), expected, "{outcome}");
    assert_eq!(blobs(&bench.home), parts(&two));
    bench.home.run(&["verify", &names[1]]).exits(0);
    bench.home.run(&["rmi", "-q", &names[1]]).exits(0).prints("");
    assert!(blobs(&bench.home).is_empty() && bench.home.index().is_empty());
}

#[test]
fn takes_one_of_several_names() {
    let bench = Bench::new();
    let name = pull(&bench, &image("x"), "app", "1");
    bench.home.run(&["tag", &name, "copy:1"]).exits(0);
    bench.home.run(&["tag", &name, "copy:2"]).exits(0);
    let before = blobs(&bench.home);
    // The repository still has the digest, by its other tag.
    bench.home.run(&["rmi", "copy:2"]).exits(0).prints("Untagged: copy:2\n");
    let lines = format!("Untagged: copy:1\nUntagged: copy@{}\n", image("x").digest());
    bench.home.run(&["rmi", "copy:1"]).exits(0).prints(&lines);
    assert_eq!(blobs(&bench.home), before);
    assert_eq!(bench.home.names(), [name]);
}

#[test]
fn an_id_removes_an_image_with_one_name_or_all_by_force() {
    let bench = Bench::new();
    let (one, two) = (image("one"), image("two"));
    let id = |image: &Image| image.config_digest()["sha256:".len()..][..12].to_string();
    let names = [pull(&bench, &one, "app", "1"), pull(&bench, &two, "app", "2")];
    bench.home.run(&["rmi", &id(&two)]).exits(0);
    assert_eq!(blobs(&bench.home), parts(&one));
    bench.home.run(&["tag", &names[0], "copy:1"]).exits(0);
    let outcome = bench.home.run(&["rmi", &id(&one)]).exits(2).fails_in_one_line();
    assert!(outcome.stderr.contains("copy:1") && outcome.stderr.contains("hint: -f"), "{outcome}");
    assert_eq!(bench.home.index().len(), 2);
    let outcome = bench.home.run(&["rmi", "-f", &one.config_digest()]).exits(0);
    assert!(lines(&outcome.stdout, "Untagged: ").contains(&"copy:1"), "{outcome}");
    assert!(blobs(&bench.home).is_empty() && bench.home.index().is_empty());
}

#[test]
fn the_beginning_of_several_ids_is_refused() {
    let bench = Bench::new();
    // Of 17 IDs, two have the same first digit.
    let mut ids: Vec<String> = Vec::new();
    for seed in 0..17 {
        let image = image(&seed.to_string());
        pull(&bench, &image, "app", &seed.to_string());
        ids.push(image.config_digest()["sha256:".len()..][..1].to_string());
    }
    let first = ids.iter().find(|digit| ids.iter().filter(|other| other == digit).count() > 1).unwrap();
    let outcome = bench.home.run(&["rmi", "-f", first]).exits(2).fails_in_one_line();
    assert!(outcome.stderr.contains("several images"), "{outcome}");
    assert_eq!(bench.home.index().len(), 17);
}

#[test]
fn continues_after_an_image_that_is_missing() {
    let bench = Bench::new();
    let name = pull(&bench, &image("x"), "app", "1");
    bench.home.run(&["rmi", "nobody:1", &name, "nobody:2"]).exits(3).says("nobody:1").says("nobody:2");
    assert!(bench.home.index().is_empty());
    bench.home.run(&["rmi", "-f", "nobody:1"]).exits(0).says("nobody:1").prints("");
    bench.home.run(&["rmi"]).exits(2).fails_in_one_line();
    let empty = Home::new();
    empty.run(&["rmi", "nobody"]).exits(3).fails_in_one_line().hides("hint");
    assert!(!empty.store().exists());
}

#[test]
fn a_digest_removes_the_name_that_leads_to_it() {
    let bench = Bench::new();
    let platform = format!("linux/{}", architecture());
    push_index(&bench.registry, "app", "latest", &[("linux/s390x", &other()), (&platform, &native("x"))]);
    bench.home.run(&["pull", "-q", &bench.registry.name("app")]).exits(0);
    let resolved = bench.home.index()[0]["annotations"]["pullet.resolved.digest"].as_str().unwrap().to_string();
    let name = bench.registry.name("app");
    bench.home.run(&["rmi", &format!("{name}@sha256:{}", "0".repeat(64))]).exits(3);
    let outcome = bench.home.run(&["rmi", &format!("{name}@{resolved}")]).exits(0);
    assert_eq!(lines(&outcome.stdout, "Untagged: "), [format!("{name}:latest"), format!("{name}@{resolved}")]);
    assert!(blobs(&bench.home).is_empty(), "{:?}", blobs(&bench.home));
}

#[test]
fn an_image_of_an_index_goes_with_the_whole_name_only() {
    let home = Home::new();
    let (here, other) = (native("here"), other());
    let platform = format!("linux/{}", architecture());
    let document = kit::image::index(&[other.entry("linux/s390x"), here.entry(&platform)]).to_string().into_bytes();
    let entry =
        json!({ "mediaType": kit::image::OCI_INDEX, "digest": kit::digest::sha256(&document), "size": document.len() });
    let entry = named(entry, json!({ REF_NAME: "r.example/app:1" }));
    write_store(&home, &[&here, &other], std::slice::from_ref(&document), &[entry]);
    home.run(&["rmi", &here.config_digest()]).exits(2).fails_in_one_line().says("other platforms");
    assert_eq!(unpack_stored(&home, &[], "r.example/app:1"), Ok(vec!["here".to_string()]));
    home.run(&["rmi", "r.example/app:1"]).exits(0);
    assert!(blobs(&home).is_empty());
}

#[test]
fn a_name_without_its_manifest_can_be_removed() {
    let bench = Bench::new();
    let names = [pull(&bench, &image("one"), "app", "1"), pull(&bench, &image("two"), "app", "2")];
    fs::write(bench.home.blob(&image("one").digest()), "damaged").unwrap();
    // What it named is unknown now, and goes with the next prune.
    let lines = format!("Untagged: {}\nDeleted: {}\n", names[0], image("one").digest());
    bench.home.run(&["rmi", &names[0]]).exits(0).prints(&lines);
    assert!(bench.home.blob(&image("one").layers[1].digest()).exists());
    bench.home.run(&["prune", "-f"]).exits(0);
    assert_eq!(blobs(&bench.home), parts(&image("two")));
    assert_eq!(bench.home.names(), [names[1].clone()]);
    bench.home.run(&["verify", &names[1]]).exits(0);
}

#[test]
fn leaves_blobs_alone_that_it_never_named() {
    let bench = Bench::new();
    let name = pull(&bench, &image("x"), "app", "1");
    let other = put(&bench.home, b"of another tool");
    bench.home.run(&["rmi", &name]).exits(0);
    assert_eq!(blobs(&bench.home), BTreeSet::from([other]));
}
