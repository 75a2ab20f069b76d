//! `--max-bytes`: one run receives no more than that, and the next one goes on where it ended.

use kit::archive::file;
use kit::bench::Bench;
use kit::fault::on;
use kit::image::{Image, Layer};
use kit::noise;

const LAYER: usize = 100_000;

fn image() -> Image {
    let layer = |seed| Layer::of(&[file("f", noise::Noise::new(seed).bytes(LAYER))]);
    Image::new((1..=3).map(layer).collect())
}

/// The bytes of layers that were requested: the sums of the ranges. Fails if a request had none.
#[track_caller]
fn requested(bench: &Bench, image: &Image) -> u64 {
    let calls = bench.registry.calls();
    let blobs =
        calls.iter().filter(|call| image.layers.iter().any(|layer| call.request.target.contains(&layer.digest())));
    let size = |call: &kit::registry::Call| {
        let layer = image.layers.iter().find(|layer| call.request.target.contains(&layer.digest())).unwrap();
        let Some(range) = call.request.header("range") else { return layer.blob.len() as u64 };
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        last.parse::<u64>().unwrap() + 1 - first.parse::<u64>().unwrap()
    };
    blobs.map(size).sum()
}

#[test]
fn several_runs_fetch_an_image_and_no_byte_twice() {
    for options in [&["pull"][..], &["pull", "-j", "3"]] {
        let (bench, image) = (Bench::new(), image());
        let name = image.push(&bench.registry, "app", "latest");
        let total: u64 = image.layers.iter().map(|layer| layer.blob.len() as u64).sum();
        let mut sum = 0;
        let mut runs = 0;
        loop {
            bench.registry.clear_log();
            let run = bench.home.run(&[options, &["--max-bytes", "70k", &name]].concat());
            runs += 1;
            sum += requested(&bench, &image);
            assert!(runs < 20, "{run}");
            if options.len() == 1 {
                assert!(requested(&bench, &image) <= 70 << 10, "{:?}", bench.registry.log());
            }
            if run.code == 0 {
                break;
            }
            run.exits(6).says("71680 bytes were received").says("run the command again").fails_in_one_line();
        }
        assert!(runs >= 5, "{runs} runs");
        // Jobs request what another one may use up.
        assert!(if options.len() == 1 { sum == total } else { sum >= total }, "{sum} of {total}");
        bench.home.run(&["verify"]).exits(0);
    }
}

#[test]
fn exactly_enough_is_enough() {
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    let layers: usize = image.layers.iter().map(|layer| layer.blob.len()).sum();
    let bytes = layers + image.manifest_bytes().len() + image.config_bytes.len();
    let pull = |bytes: usize| bench.home.run(&["pull", "--max-bytes", &bytes.to_string(), &name]);
    pull(bytes - 1).exits(6);
    std::fs::remove_dir_all(bench.home.store()).unwrap();
    pull(bytes).exits(0);
}

#[test]
fn an_image_is_unpacked_by_the_run_that_has_the_rest() {
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    let unpack = |bytes: &str| bench.home.run(&["unpack", "--max-bytes", bytes, &name, "root"]);
    for _ in 0..2 {
        unpack("120k").exits(6);
        assert!(!bench.home.path("root").exists());
    }
    unpack("120k").exits(0);
    assert!(bench.home.path("root/f").exists());
}

#[test]
fn an_image_on_a_device_goes_on_in_the_middle() {
    let bench = Bench::new();
    let image = noise::Noise::new(9).bytes(5_000_000);
    let name = bench.registry.name(&format!("os@{}", bench.registry.put_blob("os", &image)));
    bench.home.write("slot", vec![1; 6_000_000]);
    let mut runs = 0;
    loop {
        let args = ["blob", "--skip-same", "--retries", "0", "--max-bytes", "1800k", "-o", "slot", &name];
        let run = bench.home.run(&args);
        runs += 1;
        if run.code == 0 {
            break;
        }
        run.exits(6).says("1843200 bytes were received");
        assert!(runs < 6, "no progress");
    }
    assert!(runs > 2);
    assert!(std::fs::read(bench.home.path("slot")).unwrap().starts_with(&image));
}

#[test]
fn the_limit_ends_the_run_without_retries_and_mirrors() {
    let (mirror, bench, image) = (kit::registry::Registry::plain(), Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    image.push(&mirror, "app", "latest");
    let mirrored = format!("{}={}", bench.registry.host(), mirror.url(""));
    let args = ["pull", "--retries", "5", "--registry-mirror", &mirrored, "--max-bytes", "50k", &name];
    bench.home.run(&args).exits(6).hides("retrying").hides("skipping");
    assert_eq!((bench.registry.log(), mirror.requests_to("/blobs/")), (vec![], 2));
    bench.home.run(&["pull", "--max-bytes", "10", &name]).exits(6);
}

#[test]
fn a_server_without_ranges_is_read_up_to_the_limit() {
    let (bench, image) = (Bench::new(), image());
    let name = image.push(&bench.registry, "app", "latest");
    for layer in &image.layers {
        let whole = on(layer.digest()).status(200).body(layer.blob.clone()).without("Content-Range");
        bench.registry.fault(whole);
    }
    for _ in 0..2 {
        bench.home.run(&["pull", "--max-bytes", "50k", &name]).exits(6);
    }
    bench.home.run(&["pull", &name]).exits(0);
}

#[test]
fn commands_that_would_ignore_the_limit_refuse_it() {
    let home = kit::home::Home::new();
    for args in [
        &["unpack", "--stream", "--max-bytes", "1m", "localhost:1/a", "root"][..],
        &["unpack", "--pull", "never", "--max-bytes", "1m", "localhost:1/a", "root"],
        &["artifact", "--max-bytes", "1m", "localhost:1/a", "dir"],
        &["pull", "--max-bytes", "0", "localhost:1/a"],
    ] {
        home.run(args).exits(2).fails_in_one_line();
    }
}
