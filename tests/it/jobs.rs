//! Several jobs fetch layers in parallel, and the layers are unpacked in order. The failure with the lowest index is
//! reported, and layers that were fetched by then are kept.

use std::fs;

use rustix::process::Signal;

use crate::signals::until;
use kit::archive::{dir, file, whiteout};
use kit::authority::Authority;
use kit::bench::Bench;
use kit::fault::on;
use kit::home::Home;
use kit::http::Latch;
use kit::image::{Image, Layer};
use kit::listing::{assert_same, listing};
use kit::noise::noise;
use kit::registry::Registry;

/// An image of different layers that do not compress. Each layer removes the file of the previous one.
fn image(layers: usize) -> Image {
    let layer = |n: usize| {
        let bytes = noise(20_000 + n);
        let mut entries = vec![dir("d"), file(format!("d/{n}"), bytes)];
        if n > 0 {
            entries.push(whiteout(&format!("d/{}", n - 1)));
        }
        Layer::of(&entries)
    };
    Image::new((0..layers).map(layer).collect())
}

#[test]
fn the_order_of_arrival_does_not_change_the_tree() {
    let image = image(6);
    let mut trees = Vec::new();
    for jobs in ["1", "2", "3", "6", "12", "auto"] {
        let (bench, latch) = (Bench::new(), Latch::default());
        let name = image.push(&bench.registry, "app", "latest");
        if jobs == "6" {
            // The first layer arrives last.
            bench.registry.fault(on(image.layers[0].digest()).held(&latch));
        }
        let running = bench.home.pullet(&["unpack", "-j", jobs, &name, "root"]).start();
        if jobs == "6" {
            for layer in &image.layers[1..] {
                until("a layer in the store", || bench.home.blob(&layer.digest()).exists());
            }
            latch.open();
        }
        running.wait().exits_in(jobs, 0);
        for layer in &image.layers {
            assert_eq!(bench.registry.requests_to(&layer.digest()), 1, "-j {jobs}: {:?}", bench.registry.log());
        }
        bench.home.run(&["verify"]).exits_in(jobs, 0);
        assert_eq!(bench.home.names(), [name], "-j {jobs}");
        trees.push((jobs, listing(&bench.home.path("root"))));
    }
    for (jobs, tree) in &trees {
        assert_same(&format!("-j {jobs}"), tree, &trees[0].1);
    }
}

#[test]
fn fetches_in_parallel_with_one_connection_per_job() {
    // One connection more than jobs, for the documents. A single layer uses that connection.
    for (jobs, layers, connections) in [(2, 5, 3), (4, 4, 5), (8, 3, 4), (4, 1, 1)] {
        let (bench, image, latch) = (Bench::new(), image(layers), Latch::default());
        let name = image.push(&bench.registry, "app", "latest");
        bench.registry.fault(on("/blobs/").after(1).held(&latch));
        let running = bench.home.pullet(&["pull", "--jobs", &jobs.to_string(), &name]).start();
        let at_once = jobs.min(layers);
        until("the requests of all jobs", || bench.registry.requests_to("/blobs/") == 1 + at_once);
        latch.open();
        running.wait().exits(0);
        assert_eq!(bench.registry.connections(), connections, "{jobs} jobs, {layers} layers");
    }
}

#[test]
fn requests_one_token_for_all_jobs() {
    let (bench, image) = (Bench::new(), image(5));
    let name = image.push(&bench.registry, "app", "latest");
    bench.registry.bearer("t0k", None);
    bench.home.run(&["pull", "-j", "4", &name]).exits(0);
    assert_eq!(bench.registry.requests_to("/token"), 1, "{:?}", bench.registry.log());
}

#[test]
fn works_over_tls() {
    let (home, authority, image) = (Home::new(), Authority::new(), image(5));
    let registry = Registry::tls(&authority);
    let name = image.push(&registry, "app", "latest");
    let ca = home.write("ca.pem", authority.pem());
    home.run(&["unpack", "-j", "3", "--ca-file", &ca, &name, "root"]).exits(0);
    assert!(home.path("root/d/4").exists());
    assert!(registry.calls_resumed() > 0, "no connection resumed the TLS session");
}

/// Layer 3 fails at once. Layer 2 is held until then, and fails after it.
#[test]
fn reports_the_failure_with_the_lowest_index_and_keeps_the_rest() {
    let (bench, image, latch) = (Bench::new(), image(4), Latch::default());
    let name = image.push(&bench.registry, "app", "latest");
    let digests: Vec<String> = image.layers.iter().map(Layer::digest).collect();
    bench.registry.fault(on(&digests[1]).held(&latch).status(404).body("{}"));
    bench.registry.fault(on(&digests[2]).status(403).body("{}"));
    bench.registry.fault(on(&digests[3]).stall(5000));
    let running = bench.home.pullet(&["pull", "-j", "4", "--stall-timeout", "3600", "--retries", "0", &name]).start();
    bench.registry.wait_for(&digests[2]);
    until("the first layer in the store", || bench.home.blob(&digests[0]).exists());
    latch.open();
    running.wait().exits(3).fails_in_one_line().says("layer 2 of 4");
    assert!(bench.home.blob(&digests[0]).exists());
    assert!(bench.home.index().is_empty());
    // The next run does not fetch the stored layer again.
    bench.registry.clear_faults();
    bench.home.run(&["pull", "-j", "4", &name]).exits(0);
    assert_eq!(bench.registry.requests_to(&digests[0]), 1, "{:?}", bench.registry.log());
    bench.home.run(&["verify", &name]).exits(0);
}

#[test]
fn a_failure_to_unpack_cancels_the_other_jobs() {
    let (bench, mut layers) = (Bench::new(), image(3).layers);
    layers[0] = Layer::gzip(b"this is not a tar, and it is too short for one");
    let image = Image::new(layers);
    let name = image.push(&bench.registry, "app", "latest");
    bench.registry.fault(on(image.layers[2].digest()).stall(1000));
    let args = ["unpack", "-j", "3", "--stall-timeout", "3600", &name, "root"];
    bench.home.run(&args).exits(11).fails_in_one_line().says("layer 1 of 3");
    assert!(!bench.home.path("root").exists());
    assert!(bench.home.index().is_empty());
}

#[test]
fn a_signal_cancels_all_jobs() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (bench, image) = (Bench::new(), image(4));
        let name = image.push(&bench.registry, "app", "latest");
        for layer in &image.layers {
            bench.registry.fault(on(layer.digest()).nth(1).stall(1000));
        }
        let running = bench.home.pullet(&["unpack", "-j", "4", "--stall-timeout", "3600", &name, "root"]).start();
        let partial = |layer: &Layer| {
            bench.home.store().join("ingest").join(format!("{}.partial", layer.digest().replace(':', "-")))
        };
        for layer in &image.layers {
            until("a partial file of each layer", || fs::metadata(partial(layer)).is_ok_and(|meta| meta.len() == 1000));
        }
        running.signal(signal);
        running.wait().exits(code).fails_in_one_line().says("interrupted");
        assert!(!bench.home.path("root").exists());
        let left: Vec<_> =
            fs::read_dir(bench.home.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".pullet")), "{left:?}");
        bench.registry.clear_log();
        bench.home.run(&["unpack", "-j", "4", &name, "root"]).exits(0);
        let resumed = bench.registry.calls().iter().filter(|call| call.request.header("range").is_some()).count();
        assert_eq!(resumed, 4, "{:?}", bench.registry.log());
    }
}

#[test]
fn unpacks_stored_layers_while_others_arrive() {
    let (bench, image, latch) = (Bench::new(), image(3), Latch::default());
    let first = Image::new(vec![image.layers[0].clone()]).push(&bench.registry, "base", "1");
    bench.home.run(&["pull", &first]).exits(0);
    let name = image.push(&bench.registry, "app", "latest");
    bench.registry.fault(on(image.layers[1].digest()).held(&latch));
    let running = bench.home.pullet(&["unpack", "-j", "2", &name, "root"]).start();
    until("the first layer in the tree", || bench.home.path(".root.pullet/root/d/0").exists());
    latch.open();
    running.wait().exits(0);
    assert_eq!(bench.registry.requests_to(&image.layers[0].digest()), 1);
}

#[test]
fn rejects_invalid_numbers_of_jobs() {
    for jobs in ["0", "-1", "65", "many", "", "2.5"] {
        Home::new().run(&["pull", "--jobs", jobs, "a"]).exits_in(jobs, 2).fails_in_one_line();
    }
}
