//! `pullet prune`: what goes, what stays, and what it does next to a pull.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{blobs, image, parts, pull, put};
use crate::lookup::{REF_NAME, named, native, other, unpack_stored, write_store};
use crate::signals::until;
use kit::archive::{archive, file};
use kit::bench::Bench;
use kit::debian;
use kit::fault::on;
use kit::home::Home;
use kit::http::Latch;
use kit::image::{Image, Layer, OCI_MANIFEST, architecture, descriptor, index, push_index};
use kit::noise::noise;
use kit::process::{Running, program};
use kit::schema1;

#[test]
fn removes_what_a_moved_name_left_behind() {
    let bench = Bench::new();
    let (old, new) = (image("old"), image("new"));
    pull(&bench, &old, "app", "1");
    let name = pull(&bench, &new, "app", "1");
    let both: BTreeSet<String> = parts(&old).union(&parts(&new)).cloned().collect();
    assert_eq!(blobs(&bench.home), both);
    let gone: BTreeSet<String> = parts(&old).difference(&parts(&new)).cloned().collect();
    let bytes: u64 = gone.iter().map(|digest| fs::metadata(bench.home.blob(digest)).unwrap().len()).sum();
    let outcome = bench.home.run(&["prune", "-f"]).exits(0);
    let deleted: BTreeSet<String> =
        outcome.stdout.lines().filter_map(|line| line.strip_prefix("deleted: ")).map(str::to_string).collect();
    assert_eq!(deleted, gone, "{outcome}");
    assert!(outcome.stdout.starts_with("Deleted Images:\n"), "{outcome}");
    assert!(outcome.stdout.ends_with(&format!("\n\nTotal reclaimed space: {bytes}B\n")), "{outcome}");
    assert_eq!(blobs(&bench.home), parts(&new));
    bench.home.run(&["verify", &name]).exits(0);
    bench.home.run(&["prune", "-f"]).exits(0).prints("Total reclaimed space: 0B\n");
}

#[test]
fn asks_first_and_needs_a_terminal_for_that() {
    let bench = Bench::new();
    pull(&bench, &image("x"), "app", "1");
    let outcome = bench.home.pullet(&["prune", "-a"]).stdin("y\n").run().exits(2).fails_in_one_line();
    assert!(outcome.stderr.contains("hint: -f"), "{outcome}");
    assert_eq!(blobs(&bench.home), parts(&image("x")));
    Home::new().run(&["prune", "-f"]).exits(0).prints("Total reclaimed space: 0B\n");
}

#[test]
fn a_terminal_is_asked() {
    let bench = Bench::new();
    pull(&bench, &image("x"), "app", "1");
    for (options, question, answer, is_removed) in [
        ("", "remove all dangling images", "y", false),
        ("-a", "remove all images.", "", false),
        ("-a", "remove all images.", "yes", false),
        ("-a --keep 1", "except the last 1 of each repository", "n", false),
        ("-a", "remove all images.", "y", true),
    ] {
        let command = format!("{} prune {options}", program().display());
        let mut script = debian::command("script");
        script.args(["-qec", &command, "/dev/null"]).env_clear();
        script.env("HOME", bench.home.path("home")).env("PULLET_STORE", bench.home.store()).env("SHELL", "/bin/sh");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut screen = String::new();
        while !screen.ends_with("[y/N] ") {
            let mut byte = [0];
            assert_eq!(output.read(&mut byte).unwrap(), 1, "prune ended before the question: {screen}");
            screen.push(char::from(byte[0]));
        }
        assert!(screen.contains(question), "{screen}");
        input.write_all(format!("{answer}\n").as_bytes()).unwrap();
        output.read_to_string(&mut screen).unwrap();
        assert!(child.wait().unwrap().success(), "{screen}");
        assert_eq!(blobs(&bench.home).is_empty(), is_removed, "{options} {answer}: {screen}");
        assert_eq!(screen.contains("Total reclaimed space"), answer == "y", "{screen}");
    }
}

#[test]
fn all_images_go_except_the_last_of_each_repository() {
    let bench = Bench::new();
    let base = pull(&bench, &image("b"), "base", "1");
    let names = ["1", "2", "3", "4"].map(|tag| pull(&bench, &image(tag), "app", tag));
    // A second name of an image is no second image, and a name that moves is new.
    bench.home.run(&["tag", &names[2], &bench.registry.name("app:stable")]).exits(0);
    bench.home.run(&["tag", &names[0], &bench.registry.name("app:1")]).exits(0);
    let outcome = bench.home.run(&["prune", "-f", "--keep", "2"]).exits(0);
    assert!(outcome.stdout.contains(&format!("untagged: {}\n", names[3])), "{outcome}");
    let left = [&base, &names[2], &bench.registry.name("app:stable"), &names[0]];
    assert_eq!(bench.home.names().iter().collect::<Vec<_>>(), left);
    let needed = ["1", "3", "b"].iter().flat_map(|seed| parts(&image(seed))).collect();
    assert_eq!(blobs(&bench.home), needed);
    bench.home.run(&["prune", "--keep", "0", "-f"]).exits(2).fails_in_one_line().says("expected a number, at least 1");
    bench.home.run(&["prune", "-a", "-f"]).exits(0);
    assert!(blobs(&bench.home).is_empty() && bench.home.index().is_empty());
}

#[test]
fn images_without_a_name_go_and_their_layers_stay_for_others() {
    let home = Home::new();
    let (dangling, kept) = (image("dangling"), image("kept"));
    let platform = format!("linux/{}", architecture());
    let entries = [dangling.entry(&platform), named(kept.entry(&platform), json!({ REF_NAME: "app:1" }))];
    write_store(&home, &[&dangling, &kept], &[], &entries);
    home.run(&["prune", "-f"]).exits(0);
    assert_eq!(blobs(&home), parts(&kept));
    assert_eq!(home.names(), ["app:1"]);
}

#[test]
fn filters_limit_what_goes() {
    let home = Home::new();
    let made = |seed: &str, created: &str, label: &str| {
        Image::with_config(vec![Layer::of(&[file(seed, seed)])], |config| {
            config["created"] = json!(created);
            config["config"]["Labels"] = json!({ label: "1" });
        })
    };
    let images = [
        made("old", "2014-01-01T00:00:00Z", "a"),
        made("older", "2013-01-01T00:00:00Z", "b"),
        made("unknown", "0001-01-01T00:00:00Z", "a"),
        made("future", "2999-01-01T00:00:00Z", "b"),
    ];
    let platform = format!("linux/{}", architecture());
    let names = ["old", "older", "unknown", "future"];
    let prune = |filters: &[&str]| {
        let named = images.iter().zip(names);
        let named = named.map(|(image, name)| named_entry(image, &platform, name)).collect::<Vec<_>>();
        let artifact = entry(&home, "x/y", b"{\"blobs\":[]}", json!({ REF_NAME: "artifact" }));
        write_store(&home, &images.iter().collect::<Vec<_>>(), &[], &[named, vec![artifact]].concat());
        home.run(&[&["prune", "-a", "-f"], filters].concat()).exits(0);
        home.names().join(" ")
    };
    let _ = fs::create_dir_all(home.store().join("blobs/sha256"));
    assert_eq!(prune(&["--filter", "until=2013-06-01"]), "old unknown future artifact");
    assert_eq!(prune(&["--filter", "until=24h"]), "unknown future artifact");
    assert_eq!(prune(&["--filter", "label=a"]), "older future artifact");
    assert_eq!(prune(&["--filter", "label=a=2"]), "old older unknown future artifact");
    assert_eq!(prune(&["--filter", "label!=a"]), "old unknown artifact");
    assert_eq!(
        prune(&["--filter", "label=a", "--filter", "until=2020-01-01T00:00:00Z"]),
        "older unknown future artifact"
    );
    assert_eq!(prune(&[]), "");
    home.run(&["prune", "-f", "--filter", "dangling=true"]).exits(2).fails_in_one_line().says("until, label");
}

fn named_entry(image: &Image, platform: &str, name: &str) -> Value {
    named(image.entry(platform), json!({ REF_NAME: name }))
}

#[test]
fn partial_downloads_stay_until_all_goes() {
    let bench = Bench::new();
    let name = image("x").push(&bench.registry, "app", "1");
    bench.registry.fault(on(image("x").layers[1].digest()).nth(1).cut(50));
    bench.home.run(&["pull", &name]).exits(5);
    let partial = || fs::read_dir(bench.home.store().join("ingest")).unwrap().count();
    assert_eq!(partial(), 1);
    // The blobs that a failed pull has verified have no name yet.
    bench.home.run(&["prune", "-f"]).exits(0);
    assert_eq!((partial(), blobs(&bench.home).len()), (1, 0));
    bench.home.run(&["prune", "-a", "-f"]).exits(0).prints("Total reclaimed space: 50B\n");
    assert_eq!(partial(), 0);
    bench.home.run(&["pull", &name]).exits(0);
    bench.home.run(&["verify", &name]).exits(0);
}

#[test]
fn what_a_killed_load_left_goes_and_counts() {
    let home = Home::new();
    let fifo = home.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    let loading = home.pullet(&["load", "-i", &home.arg("fifo")]).start();
    let mut writer = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    // A member of 5000 bytes, and the beginning of another one.
    let tar = archive(&[file("one", noise(5000)), file("two", noise(5000))]);
    writer.write_all(&tar[..512 + 5120 + 512]).unwrap();
    let arrived = || fs::read_dir(home.store().join("ingest")).is_ok_and(|folder| folder.count() == 2);
    until("the second blob arrives", arrived);
    loading.signal(Signal::KILL);
    loading.wait();
    assert!(arrived());
    home.run(&["prune", "-f"]).exits(0).prints("Total reclaimed space: 5kB\n");
    assert_eq!(fs::read_dir(home.store().join("ingest")).unwrap().count(), 0);
}

/// Waits until a run has the lock file open.
fn until_at_the_lock(running: &Running) {
    let folder = format!("/proc/{}/fd", running.id());
    let is_lock = |path: fs::DirEntry| fs::read_link(path.path()).is_ok_and(|link| link.ends_with("prune.lock"));
    until("prune is at the lock", || fs::read_dir(&folder).is_ok_and(|fds| fds.flatten().any(is_lock)));
}

#[test]
fn a_pull_at_the_same_time_keeps_its_blobs() {
    for args in [&["prune", "-a", "-f"][..], &["rmi", "-f", "old:1"]] {
        let (bench, latch) = (Bench::new(), Latch::default());
        let layers = [Layer::of(&[file("a", noise(5000))]), Layer::of(&[file("b", noise(6000))])];
        let old = pull(&bench, &Image::new(vec![layers[0].clone()]), "old", "1");
        bench.home.run(&["tag", &old, "old:1"]).exits(0);
        bench.home.run(&["rmi", &old]).exits(0);
        let name = Image::new(layers.to_vec()).push(&bench.registry, "app", "1");
        bench.registry.fault(on(layers[1].digest()).held(&latch));
        bench.registry.clear_log();
        let pulling = bench.home.pullet(&["pull", &name]).start();
        bench.registry.wait_for(&layers[1].digest());
        let removing = bench.home.pullet(args).start();
        until_at_the_lock(&removing);
        // The pull relies on the layer of the image that goes.
        assert!(bench.home.blob(&layers[0].digest()).exists());
        latch.open();
        pulling.wait().exits(0);
        removing.wait().exits(0);
        assert_eq!(bench.registry.requests_to(&layers[0].digest()), 0, "{:?}", bench.registry.log());
        if args[0] == "rmi" {
            bench.home.run(&["verify", &name]).exits(0);
            assert_eq!(bench.home.names(), [name]);
        } else {
            assert!(blobs(&bench.home).is_empty());
        }
    }
}

/// Its temporary files, and blobs without a name, are those of a process that works.
#[test]
fn a_load_at_the_same_time_keeps_what_it_has_received() {
    let bench = Bench::new();
    let home = &bench.home;
    let name = pull(&bench, &image("x"), "app", "1");
    let saved = home.arg("saved.tar");
    home.run(&["save", "-o", &saved, &name]).exits(0);
    home.run(&["rmi", &name]).exits(0);
    let tar = fs::read(&saved).unwrap();
    let fifo = home.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    let loading = home.pullet(&["load", "-i", &home.arg("fifo")]).start();
    let mut writer = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    // The first member and the header of the second.
    let (begin, end) = tar.split_at(tar.windows(4).skip(512).position(|bytes| bytes == b".tar").unwrap() + 1024);
    writer.write_all(begin).unwrap();
    until("a blob has arrived", || fs::read_dir(home.store().join("ingest")).unwrap().count() > 0);
    let pruning = home.pullet(&["prune", "-a", "-f"]).start();
    until_at_the_lock(&pruning);
    std::thread::yield_now();
    writer.write_all(end).unwrap();
    drop(writer);
    loading.wait().exits(0).prints(&format!("Loaded image: {name}\n"));
    pruning.wait().exits(0);
    assert!(blobs(home).is_empty() && home.index().is_empty());
}

#[test]
fn the_wait_for_a_pull_can_be_interrupted() {
    let (bench, latch) = (Bench::new(), Latch::default());
    let name = image("x").push(&bench.registry, "app", "1");
    bench.registry.fault(on(image("x").layers[1].digest()).held(&latch));
    let pulling = bench.home.pullet(&["pull", &name]).start();
    bench.registry.wait_for(&image("x").layers[1].digest());
    let pruning = bench.home.pullet(&["prune", "-a", "-f"]).start();
    until_at_the_lock(&pruning);
    pruning.signal(Signal::INT);
    pruning.wait().exits(130);
    latch.open();
    pulling.wait().exits(0);
    bench.home.run(&["verify", &name]).exits(0);
}

#[test]
fn keeps_the_documents_that_prove_a_pinned_digest() {
    let bench = Bench::new();
    let platform = format!("linux/{}", architecture());
    push_index(&bench.registry, "app", "latest", &[("linux/s390x", &other()), (&platform, &native("x"))]);
    bench.home.run(&["pull", "-q", &bench.registry.name("app")]).exits(0);
    let by_index = bench.home.index()[0]["annotations"]["pullet.resolved.digest"].as_str().unwrap().to_string();
    // An index within an index.
    let inner = index(&[native("nested").entry(&platform)]).to_string().into_bytes();
    let outer = index(&[descriptor(kit::image::OCI_INDEX, &inner)]).to_string().into_bytes();
    native("nested").push(&bench.registry, "app", "inner");
    bench.registry.put_manifest("app", None, kit::image::OCI_INDEX, &inner);
    let by_outer = bench.registry.put_manifest("app", Some("nested"), kit::image::OCI_INDEX, &outer);
    bench.home.run(&["pull", "-q", &bench.registry.name("app:nested")]).exits(0);
    let docker = native("docker").docker();
    pull(&bench, &docker, "app", "docker");
    let layer = Layer::of(&[file("one", "1")]);
    let payload = schema1::payload(&schema1::manifest(&[schema1::Step::Layer(&layer)]));
    let old = schema1::push(&bench.registry, "schema1", schema1::SCHEMA_1, &payload, &[&layer]);
    bench.home.run(&["pull", "-q", &old]).exits(0);
    let before = blobs(&bench.home);
    bench.home.run(&["prune", "-f"]).exits(0);
    assert_eq!(blobs(&bench.home), before);
    for (digest, file) in
        [(by_index, "x"), (by_outer, "nested"), (docker.digest(), "docker"), (kit::digest::sha256(&payload), "one")]
    {
        let pinned = bench.registry.name(&format!("app@{digest}"));
        assert_eq!(unpack_stored(&bench.home, &[], &pinned), Ok(vec![file.to_string()]), "{file}");
    }
}

#[test]
fn another_platform_of_a_name_that_was_pulled_again_goes() {
    let bench = Bench::new();
    let platform = format!("linux/{}", architecture());
    let name = push_index(&bench.registry, "app", "1", &[("linux/s390x", &other()), (&platform, &native("x"))]);
    bench.home.run(&["pull", "-q", "--platform", "linux/s390x", &name]).exits(0);
    bench.home.run(&["pull", "-q", &name]).exits(0);
    bench.home.run(&["prune", "-f"]).exits(0);
    // The index names both, but it was only kept to prove its digest.
    let left = blobs(&bench.home);
    assert!(left.is_superset(&parts(&native("x"))) && left.is_disjoint(&parts(&other())), "{left:?}");
}

/// A store with the images `a` and `b`, and blobs that nothing needs.
fn store_with(edit: impl FnOnce(&Home, &mut Vec<Value>)) -> Home {
    let home = Home::new();
    let (a, b) = (image("a"), image("b"));
    let platform = format!("linux/{}", architecture());
    let mut entries = vec![
        named(a.entry(&platform), json!({ REF_NAME: "r.example/app:a" })),
        named(b.entry(&platform), json!({ REF_NAME: "r.example/app:b" })),
    ];
    write_store(&home, &[&a, &b, &image("orphan")], &[], &[]);
    edit(&home, &mut entries);
    write_store(&home, &[], &[], &entries);
    home
}

/// Puts a document into the store, and an entry for it into the index.
fn entry(home: &Home, media_type: &str, document: &[u8], annotations: Value) -> Value {
    put(home, document);
    named(descriptor(media_type, document), annotations)
}

#[test]
fn removes_no_blob_if_it_is_unknown_what_an_entry_needs() {
    type Edit = fn(&Home, &mut Vec<Value>);
    let cases: [(&str, Edit); 9] = [
        ("a damaged manifest", |home, _| fs::write(home.blob(&image("a").digest()), "x").unwrap()),
        ("a missing manifest", |home, _| fs::remove_file(home.blob(&image("a").digest())).unwrap()),
        ("an unreadable manifest", |home, _| {
            let path = home.blob(&image("a").digest());
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
        }),
        ("a huge document", |home, entries| {
            let text = format!("{{\"manifests\":[],\"x\":\"{}\"}}", "x".repeat(5 << 20));
            entries.push(entry(home, OCI_MANIFEST, text.as_bytes(), json!({ REF_NAME: "app:huge" })));
        }),
        ("an unknown document", |home, entries| {
            entries.push(entry(home, "x/new", br#"{"parts":[]}"#, json!({ REF_NAME: "app:new" })));
        }),
        ("no document", |home, entries| {
            entries.push(entry(home, "x/new", b"text", json!({ REF_NAME: "app:text" })));
        }),
        ("a digest of an unknown algorithm", |home, entries| {
            let text = r#"{"manifests":[{"digest":"blake3:00"}]}"#;
            entries.push(entry(home, OCI_MANIFEST, text.as_bytes(), json!({ REF_NAME: "app:blake" })));
        }),
        ("a damaged manifest of an index", |home, entries| {
            let manifest = put(home, b"will be damaged");
            fs::write(home.blob(&manifest), "damaged").unwrap();
            let text = index(&[json!({ "digest": manifest, "size": 15 })]).to_string();
            entries.push(entry(home, kit::image::OCI_INDEX, text.as_bytes(), json!({ REF_NAME: "app:index" })));
        }),
        ("a malformed entry", |_, entries| entries.push(json!({ "mediaType": OCI_MANIFEST, "digest": "x" }))),
    ];
    for (case, edit) in cases {
        let home = store_with(edit);
        let before = blobs(&home);
        let outcome = home.run(&["prune", "-f"]).exits_in(case, 0);
        assert!(outcome.stderr.contains("no blob was removed"), "{case}\n{outcome}");
        assert_eq!(blobs(&home), before, "{case}");
        let outcome = home.run(&["rmi", "r.example/app:b"]).exits_in(case, 0);
        assert!(outcome.stdout.contains("Untagged: r.example/app:b\n"), "{case}\n{outcome}");
        assert_eq!(blobs(&home), before, "{case}");
    }
    let home = store_with(|_, _| {});
    home.run(&["prune", "-f"]).exits(0);
    let needed: BTreeSet<String> = parts(&image("a")).union(&parts(&image("b"))).cloned().collect();
    assert_eq!(blobs(&home), needed);
}

#[test]
fn a_damaged_index_is_not_taken_for_an_empty_one() {
    for (case, text) in [("torn", Some(r#"{"schemaVersion":2,"manif"#)), ("missing", None)] {
        let home = store_with(|_, _| {});
        let path = home.store().join("index.json");
        match text {
            Some(text) => fs::write(path, text).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let before = blobs(&home);
        home.run(&["prune", "-a", "-f"]).exits_in(case, if text.is_some() { 9 } else { 0 });
        assert_eq!(blobs(&home), before, "{case}");
    }
}

#[test]
fn keeps_documents_of_every_kind() {
    let home = store_with(|home, entries| {
        let blob = descriptor("x/layer", b"a layer of another kind");
        put(home, b"a layer of another kind");
        let config = descriptor("x/config", b"{\"a\":1}");
        put(home, b"{\"a\":1}");
        // Layers that cannot be unpacked, an artifact manifest, and an index that lacks one of its manifests.
        let wasm = json!({ "schemaVersion": 2, "config": config, "layers": [blob] }).to_string();
        let artifact =
            json!({ "mediaType": "application/vnd.oci.artifact.manifest.v1+json", "blobs": [blob] }).to_string();
        let partial =
            index(&[descriptor(OCI_MANIFEST, wasm.as_bytes()), descriptor(OCI_MANIFEST, b"gone")]).to_string();
        put(home, wasm.as_bytes());
        entries.push(entry(home, "x/artifact", artifact.as_bytes(), json!({ REF_NAME: "app:artifact" })));
        entries.push(entry(home, kit::image::OCI_INDEX, partial.as_bytes(), json!({ REF_NAME: "app:partial" })));
    });
    let mut before = blobs(&home);
    home.run(&["prune", "-f"]).exits(0);
    before.retain(|digest| parts(&image("a")).contains(digest) || !parts(&image("orphan")).contains(digest));
    assert_eq!(blobs(&home), before);
}

#[test]
fn signatures_stay_and_go_with_their_image() {
    let home = store_with(|home, entries| {
        let mut sign = |signed: &str, seed: &str, annotations: Value| {
            let payload = put(home, seed.as_bytes());
            let layer = json!({ "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": payload, "size": 1 });
            let config = descriptor("application/vnd.oci.image.config.v1+json", b"{}");
            put(home, b"{}");
            let text = json!({ "schemaVersion": 2, "config": config, "layers": [layer] }).to_string();
            entries.push(entry(home, OCI_MANIFEST, text.as_bytes(), annotations));
            let _ = signed;
        };
        for name in ["a", "b"] {
            let digest = image(name).digest();
            sign(&digest, &format!("by annotation {name}"), json!({ "pullet.subject": digest }));
            for end in [".sig", ".att", ""] {
                let tag = format!("r.example/app:{}{end}", digest.replace(':', "-"));
                sign(&digest, &format!("by tag {end} {name}"), json!({ REF_NAME: tag }));
            }
        }
        // A signature of a signature, before the one that it signs.
        let inner = descriptor(OCI_MANIFEST, &fs::read(home.blob(entries[2]["digest"].as_str().unwrap())).unwrap());
        let text = json!({ "schemaVersion": 2, "config": null, "layers": [] }).to_string();
        entries.insert(0, entry(home, OCI_MANIFEST, text.as_bytes(), json!({ "pullet.subject": inner["digest"] })));
    });
    assert_eq!(home.index().len(), 11);
    home.run(&["prune", "-f"]).exits(0);
    assert_eq!(home.index().len(), 11, "all signatures are of images that stay");
    for name in ["a", "b"] {
        assert!(home.blob(&kit::digest::sha256(format!("by annotation {name}").as_bytes())).exists());
    }
    home.run(&["rmi", "r.example/app:b"]).exits(0);
    assert_eq!(home.index().len(), 6);
    assert!(!home.blob(&kit::digest::sha256(b"by annotation b")).exists());
    assert!(!home.blob(&kit::digest::sha256(b"by tag .sig b")).exists());
    assert!(home.blob(&kit::digest::sha256(b"by tag .sig a")).exists());
    home.run(&["prune", "-a", "-f"]).exits(0);
    assert!(blobs(&home).is_empty() && home.index().is_empty());
}
