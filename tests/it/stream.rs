//! `unpack --stream`: from the socket to the tree in one pass. Nothing is stored, and the tree appears only when all of it
//! is verified.

use std::fs;

use rustix::process::Signal;

use crate::signals::until;
use kit::archive::{dir, file, whiteout};
use kit::bench::Bench;
use kit::fault::{Fault, on};
use kit::image::{Image, Layer};
use kit::listing::{assert_same, listing};
use kit::noise::noise;

fn image() -> Image {
    let base = Layer::of(&[dir("d"), file("d/gone", noise(1000)), file("d/kept", noise(400_000))]);
    Image::new(vec![base, Layer::of(&[whiteout("d/gone"), file("d/new", noise(90_000))])])
}

/// A pushed image and its name.
fn pushed() -> (Bench, Image, String) {
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    (bench, image, name)
}

fn assert_nothing_left(bench: &Bench, case: &str) {
    assert!(!bench.home.path("root").exists(), "{case}: a tree was left");
    assert!(!bench.home.path(".root.pullet").exists(), "{case}: the staging tree was left");
    assert!(!bench.home.store().exists(), "{case}: a store was created");
}

#[test]
fn makes_the_same_tree_without_a_store() {
    for jobs in ["1", "2"] {
        let (bench, image, name) = pushed();
        bench.home.run(&["unpack", "--stream", "-j", jobs, &name, "streamed"]).exits(0).prints("");
        assert!(!bench.home.store().exists(), "a store was created");
        assert_eq!(bench.registry.calls().len(), 2 + image.layers.len(), "{:?}", bench.registry.log());
        assert_eq!(bench.registry.connections(), 1);
        bench.home.run(&["unpack", &name, "stored"]).exits(0);
        let [streamed, stored] = ["streamed", "stored"].map(|tree| listing(&bench.home.path(tree)));
        assert_same(jobs, &streamed, &stored);
    }
}

/// An initramfs has no place for a store.
#[test]
fn needs_no_store() {
    let (bench, _, name) = pushed();
    let nowhere = bench.home.write("file", "");
    bench.home.run(&["unpack", "--stream", "--store", &format!("{nowhere}/store"), &name, "root"]).exits(0);
}

#[test]
fn unpacks_a_stored_image_without_requests() {
    let (bench, _, name) = pushed();
    bench.home.run(&["pull", &name]).exits(0);
    bench.registry.clear_log();
    bench.home.run(&["unpack", "--stream", &name, "root"]).exits(0);
    assert!(bench.registry.calls().is_empty(), "{:?}", bench.registry.log());
    bench.home.run(&["unpack", "--stream", "--pull", "always", &name, "again"]).exits(0);
    assert_eq!(bench.registry.requests_to("/blobs/"), 3, "{:?}", bench.registry.log());
    bench.home.run(&["unpack", "--stream", "--pull", "never", &name, "never"]).exits(2).fails_in_one_line();
}

#[test]
fn resumes_a_cut_body_of_a_streamed_layer() {
    type Second = fn(Fault, &Image) -> Fault;
    let cases: [(&str, Second, &[u16]); 3] = [
        ("a range", |fault, _| fault, &[200, 206]),
        ("no range", |fault, image| fault.status(200).body(image.layers[0].blob.clone()), &[200, 200]),
        ("416", |fault, _| fault.status(416).body(""), &[200, 416, 200]),
    ];
    for (case, second, statuses) in cases {
        for jobs in ["1", "2"] {
            let (bench, image, name) = pushed();
            let layer = image.layers[0].digest();
            bench.registry.fault(on(&layer).nth(1).cut(150_000));
            if case != "a range" {
                bench.registry.fault(second(on(&layer).nth(2), &image));
            }
            bench.home.run(&["unpack", "--stream", "-j", jobs, "--retries", "1", &name, "root"]).exits_in(case, 0);
            let calls = bench.registry.calls();
            let requests: Vec<_> = calls.iter().filter(|call| call.request.target.contains(&layer)).collect();
            assert_eq!(requests.iter().map(|call| call.status).collect::<Vec<_>>(), statuses, "{case}");
            let rest = format!("bytes=150000-{}", image.layers[0].blob.len() - 1);
            assert_eq!(requests[1].request.header("range"), Some(rest.as_str()), "{case}");
            assert_eq!(fs::read(bench.home.path("root/d/kept")).unwrap(), noise(400_000), "{case}");
        }
    }
    let (bench, image, name) = pushed();
    bench.registry.fault(on(image.layers[0].digest()).cut(150_000));
    bench.home.run(&["unpack", "--stream", "--retries", "1", &name, "root"]).exits(0);
    let (bench, image, name) = pushed();
    bench.registry.fault(on(image.layers[0].digest()).cut(1));
    bench.home.run(&["unpack", "--stream", "--retries", "1", &name, "root"]).exits(5).fails_in_one_line();
    assert_nothing_left(&bench, "a byte at a time");
}

#[test]
fn requests_the_whole_blob_when_a_range_is_refused() {
    for status in [403, 404, 501, 503] {
        let (bench, image, name) = pushed();
        let layer = image.layers[0].digest();
        bench.registry.fault(on(&layer).nth(1).cut(150_000));
        bench.registry.fault(on(&layer).ranged().status(status).body(""));
        let case = status.to_string();
        bench.home.run(&["unpack", "--stream", "--retries", "1", &name, "root"]).exits_in(&case, 0);
        assert_eq!(fs::read(bench.home.path("root/d/kept")).unwrap(), noise(400_000), "{case}");
    }
}

#[test]
fn a_wrong_digest_restarts_the_tree_once() {
    let (bench, image, name) = pushed();
    let layer = image.layers[1].digest();
    bench.registry.fault(on(&layer).nth(1).flip(image.layers[1].blob.len() - 1));
    bench.home.run(&["unpack", "--stream", &name, "root"]).exits(0).says("starting over");
    assert_eq!(bench.registry.requests_to(&layer), 2);
    assert_eq!(bench.registry.requests_to(&image.layers[0].digest()), 2);

    let (bench, image, name) = pushed();
    bench.registry.fault(on(image.layers[1].digest()).flip(0));
    bench.home.run(&["unpack", "--stream", &name, "root"]).exits(8);
    assert_eq!(bench.registry.requests_to(&image.layers[1].digest()), 2);
    assert_nothing_left(&bench, "wrong twice");
}

#[test]
fn a_corrupt_layer_leaves_nothing() {
    type Break = fn(Fault, &Image) -> Fault;
    let cases: [(&str, Break, i32); 6] = [
        ("a bit in the middle", |fault, image| fault.flip(image.layers[1].blob.len() / 2), 8),
        ("a bit in the trailer", |fault, image| fault.flip(image.layers[1].blob.len() - 1), 8),
        ("a bit in the header", |fault, _| fault.flip(0), 8),
        ("more", |fault, _| fault.longer(b"more"), 8),
        ("less", |fault, image| fault.shorter(image.layers[1].blob.len() - 1), 8),
        ("nothing there", |fault, _| fault.status(404).body("{}"), 3),
    ];
    for (case, edit, code) in cases {
        for jobs in ["1", "2"] {
            let (bench, image, name) = pushed();
            bench.registry.fault(edit(on(image.layers[1].digest()), &image));
            let args = ["unpack", "--stream", "-j", jobs, "--retries", "0", &name, "root"];
            bench.home.run(&args).exits_in(case, code).fails_in_one_line().says("layer 2 of 2");
            assert_nothing_left(&bench, case);
        }
    }
}

/// The digest is right, so the error is not a digest mismatch.
#[test]
fn reports_an_unsafe_archive() {
    let bench = Bench::new();
    let image = Image::new(vec![Layer::of(&[file("../escaped", "x")])]);
    let name = image.push(&bench.registry, "app", "latest");
    bench.home.run(&["unpack", "--stream", &name, "root"]).exits(11).fails_in_one_line();
    assert_nothing_left(&bench, "a path with ..");
}

#[test]
fn a_signal_removes_the_tree() {
    for jobs in ["1", "2"] {
        let (bench, image, name) = pushed();
        bench.registry.fault(on(image.layers[1].digest()).stall(5000));
        let running =
            bench.home.pullet(&["unpack", "--stream", "-j", jobs, "--stall-timeout", "3600", &name, "root"]).start();
        bench.registry.wait_for(&image.layers[1].digest());
        until("the first layer in the tree", || bench.home.path(".root.pullet").exists());
        running.signal(Signal::INT);
        running.wait().exits(130).fails_in_one_line();
        assert_nothing_left(&bench, jobs);
    }
}
