//! `unpack --stream`: from the socket to the tree in one pass. Nothing is kept in the store, and the tree appears only
//! when all of it is proven.

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

fn nothing_is_left(bench: &Bench, case: &str) {
    assert!(!bench.home.path("root").exists(), "{case}: there is a tree");
    assert!(!bench.home.path(".root.pullet").exists(), "{case}: the staging tree is left");
    assert!(!bench.home.store().exists(), "{case}: there is a store");
}

#[test]
fn the_tree_is_the_same_and_no_store_is_made() {
    for jobs in ["1", "2"] {
        let (bench, image, name) = pushed();
        bench.home.run(&["unpack", "--stream", "-j", jobs, &name, "streamed"]).exits(0).prints("");
        assert!(!bench.home.store().exists(), "there is a store");
        assert_eq!(bench.registry.calls().len(), 2 + image.layers.len(), "{:?}", bench.registry.log());
        assert_eq!(bench.registry.connections(), 1);
        bench.home.run(&["unpack", &name, "stored"]).exits(0);
        let [streamed, stored] = ["streamed", "stored"].map(|tree| listing(&bench.home.path(tree)));
        assert_same(jobs, &streamed, &stored);
    }
}

/// An initramfs has no place for one.
#[test]
fn no_store_is_needed() {
    let (bench, _, name) = pushed();
    let nowhere = bench.home.write("file", "");
    bench.home.run(&["unpack", "--stream", "--store", &format!("{nowhere}/store"), &name, "root"]).exits(0);
}

#[test]
fn what_the_store_has_is_unpacked_from_there() {
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
fn a_body_that_breaks_off_goes_on_where_it_was() {
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
            let asked: Vec<_> = calls.iter().filter(|call| call.request.target.contains(&layer)).collect();
            assert_eq!(asked.iter().map(|call| call.status).collect::<Vec<_>>(), statuses, "{case}");
            let rest = format!("bytes=150000-{}", image.layers[0].blob.len() - 1);
            assert_eq!(asked[1].request.header("range"), Some(rest.as_str()), "{case}");
            assert_eq!(fs::read(bench.home.path("root/d/kept")).unwrap(), noise(400_000), "{case}");
        }
    }
    let (bench, image, name) = pushed();
    bench.registry.fault(on(image.layers[0].digest()).cut(150_000));
    bench.home.run(&["unpack", "--stream", "--retries", "1", &name, "root"]).exits(0);
    let (bench, image, name) = pushed();
    bench.registry.fault(on(image.layers[0].digest()).cut(1));
    bench.home.run(&["unpack", "--stream", "--retries", "1", &name, "root"]).exits(5).fails_in_one_line();
    nothing_is_left(&bench, "a byte at a time");
}

#[test]
fn a_refused_range_is_followed_by_a_request_without_one() {
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
fn a_blob_with_a_wrong_digest_starts_the_tree_again_once() {
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
    nothing_is_left(&bench, "wrong twice");
}

#[test]
fn what_is_not_what_it_promises_leaves_nothing() {
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
            nothing_is_left(&bench, case);
        }
    }
}

/// The digest is right, so it is the image's author who is to blame.
#[test]
fn a_hostile_archive_is_told_as_such() {
    let bench = Bench::new();
    let image = Image::new(vec![Layer::of(&[file("../escaped", "x")])]);
    let name = image.push(&bench.registry, "app", "latest");
    bench.home.run(&["unpack", "--stream", &name, "root"]).exits(11).fails_in_one_line();
    nothing_is_left(&bench, "a path with ..");
}

#[test]
fn a_signal_ends_it_and_takes_the_tree_away() {
    for jobs in ["1", "2"] {
        let (bench, image, name) = pushed();
        bench.registry.fault(on(image.layers[1].digest()).stall(5000));
        let running =
            bench.home.pullet(&["unpack", "--stream", "-j", jobs, "--stall-timeout", "3600", &name, "root"]).start();
        bench.registry.wait_for(&image.layers[1].digest());
        until("the first layer in the tree", || bench.home.path(".root.pullet").exists());
        running.signal(Signal::INT);
        running.wait().exits(130).fails_in_one_line();
        nothing_is_left(&bench, jobs);
    }
}
