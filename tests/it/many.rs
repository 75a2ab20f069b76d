//! Several processes on one store: a blob that two of them need is fetched once, one that dies does not harm the others,
//! and a blob that a pull relies on is not removed under it.

use std::fs::{self, File};
use std::path::PathBuf;

use rustix::process::Signal;

use crate::signals::until;
use kit::archive::file;
use kit::bench::Bench;
use kit::fault::on;
use kit::http::Latch;
use kit::image::{Image, Layer};
use kit::noise::noise;

fn image() -> Image {
    Image::new(vec![Layer::of(&[file("a", noise(5000))]), Layer::of(&[file("b", noise(6000))])])
}

fn partial(bench: &Bench, image: &Image) -> PathBuf {
    bench.home.store().join("ingest").join(format!("{}.partial", image.layers[0].digest().replace(':', "-")))
}

#[test]
fn parallel_pulls_fetch_a_shared_blob_once() {
    for count in [2, 10] {
        let (bench, image, latch) = (Bench::new(), image(), Latch::default());
        let names: Vec<String> = (0..count).map(|n| image.push(&bench.registry, "app", &format!("tag{n}"))).collect();
        bench.registry.fault(on(image.layers[0].digest()).held(&latch));
        let pulls: Vec<_> = names.iter().map(|name| bench.home.pullet(&["pull", "-q", name]).start()).collect();
        until("pulls have requested their manifests", || bench.registry.requests_to("/manifests/") == count);
        bench.registry.wait_for(&image.layers[0].digest());
        latch.open();
        for running in pulls {
            running.wait().exits(0);
        }
        for layer in &image.layers {
            assert_eq!(bench.registry.requests_to(&layer.digest()), 1, "{count}: {:?}", bench.registry.log());
        }
        let mut stored = bench.home.names();
        stored.sort();
        assert_eq!(stored, names, "{count}");
    }
}

#[test]
fn a_waiting_pull_resumes_the_download_of_a_killed_one() {
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    let layer = image.layers[0].digest();
    bench.registry.fault(on(&layer).nth(1).stall(1000));
    let first = bench.home.pullet(&["pull", &name]).start();
    until("bytes in the partial file", || fs::metadata(partial(&bench, &image)).is_ok_and(|meta| meta.len() == 1000));
    bench.registry.clear_log();
    let second = bench.home.pullet(&["pull", &name]).start();
    bench.registry.wait_for("/manifests/");
    first.signal(Signal::KILL);
    first.wait().exits(-9);
    second.wait().exits(0);
    let calls = bench.registry.calls();
    let requests: Vec<_> = calls.iter().filter(|call| call.request.target.contains(&layer)).collect();
    let rest = format!("bytes=1000-{}", image.layers[0].blob.len() - 1);
    assert_eq!(requests.iter().map(|call| call.request.header("range")).collect::<Vec<_>>(), [Some(rest.as_str())]);
    bench.home.run(&["verify"]).exits(0);
}

/// Between opening a partial file and locking it, the holder of the lock may have renamed it. Then it is not the one to
/// write to, and the file that has its name now is not the one that was verified.
#[test]
fn does_not_use_a_partial_file_that_was_renamed_while_it_was_locked() {
    let (bench, image) = (Bench::new(), image());
    bench.pull(&Image::small("first")).exits(0);
    let name = image.push(&bench.registry, "app", "2");
    let (path, moved) = (partial(&bench, &image), bench.home.path("moved"));
    let begun = &image.layers[0].blob[..1000];
    fs::write(&path, begun).unwrap();
    let held = File::options().write(true).open(&path).unwrap();
    held.lock().unwrap();
    let running = bench.home.pullet(&["pull", &name]).start();
    let descriptors = PathBuf::from(format!("/proc/{}/fd", running.id()));
    until("the partial file is open", || {
        let mut links = fs::read_dir(&descriptors).unwrap().flatten();
        links.any(|link| fs::read_link(link.path()).is_ok_and(|target| target == path))
    });
    fs::rename(&path, &moved).unwrap();
    fs::write(&path, "other bytes").unwrap();
    held.unlock().unwrap();
    running.wait().exits(0);
    assert_eq!(fs::read(&moved).unwrap(), begun, "written to a file that is no partial file any more");
    bench.home.run(&["verify", &name]).exits(0);
}

#[test]
fn fetches_a_blob_again_that_is_removed_during_the_pull() {
    let (bench, image, latch) = (Bench::new(), image(), Latch::default());
    let shared = image.layers[0].clone();
    bench.home.run(&["pull", &Image::new(vec![shared.clone()]).push(&bench.registry, "base", "1")]).exits(0);
    let name = image.push(&bench.registry, "app", "latest");
    bench.registry.fault(on(image.layers[1].digest()).held(&latch));
    bench.registry.clear_log();
    let running = bench.home.pullet(&["pull", &name]).start();
    bench.registry.wait_for(&image.layers[1].digest());
    fs::remove_file(bench.home.blob(&shared.digest())).unwrap();
    latch.open();
    running.wait().exits(0);
    assert_eq!(bench.registry.requests_to(&shared.digest()), 1, "{:?}", bench.registry.log());
    bench.home.run(&["verify", &name]).exits(0);
}

/// Pruning takes the exclusive lock, and pulls share it.
#[test]
fn pruning_waits_for_pulls_and_readers_do_not_wait_for_pruning() {
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    bench.registry.fault(on(image.layers[0].digest()).nth(1).stall(1000));
    let running = bench.home.pullet(&["pull", &name]).start();
    bench.registry.wait_for(&image.layers[0].digest());
    let lock = || File::options().read(true).write(true).open(bench.home.store().join("prune.lock")).unwrap();
    assert!(lock().try_lock().is_err(), "a running pull must hold the lock, because no image names its blobs yet");
    running.signal(Signal::INT);
    running.wait().exits(130);
    let held = lock();
    held.try_lock().expect("no pull holds the lock");
    bench.home.run(&["images"]).exits(0);
    bench.home.run(&["verify"]).exits(0);
    drop(held);
    bench.home.run(&["pull", &name]).exits(0);
    let held = lock();
    held.try_lock().unwrap();
    bench.home.run(&["unpack", "--pull", "never", &name, "root"]).exits(0);
}
