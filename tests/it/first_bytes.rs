//! A blob that cannot be unpacked is refused by its first bytes, if two transfers begin alike. Until then a damaged transfer may
//! be the reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kit::archive::{archive, file};
use kit::bench::Bench;
use kit::fault::on;
use kit::home::Home;
use kit::image::{Image, Layer, gzip, zstd};
use kit::noise::noise;
use kit::registry::Registry;

/// What the server sends of a layer before it stalls. The refusal needs no more.
const SENT: usize = 4 << 10;

/// Ways to unpack an image from a registry. Those with more jobs also fetch other layers at the same time.
const COMMANDS: [&[&str]; 5] = [
    &["unpack"],
    &["unpack", "-j", "4"],
    &["unpack", "--stream"],
    &["unpack", "--stream", "-j", "4"],
    &["unpack", "--bundle"],
];

/// A blob with this start that is too long to be received by accident.
fn long(start: &[u8]) -> Vec<u8> {
    let mut blob = start.to_vec();
    blob.resize(200_000, 0);
    blob
}

/// A layer of this blob, with the suffix of a media type.
fn layer(suffix: &str, blob: Vec<u8>) -> Layer {
    let plain = Layer::plain(&archive(&[file("f", "x")]));
    Layer { media_type: format!("{}{suffix}", plain.media_type), blob, ..plain }
}

/// The layer with this number is `bad`; there are three.
fn image_with(bad: &Layer, number: usize) -> Image {
    let mut layers: Vec<Layer> = (0..2).map(|n| Layer::of(&[file(format!("d{n}"), noise(30_000 + n))])).collect();
    layers.insert(number, bad.clone());
    Image::new(layers)
}

/// Starts of blobs that no decoder accepts, and what is said about them.
fn refused_starts() -> Vec<(&'static str, &'static str, Vec<u8>, &'static str)> {
    let tar = archive(&[file("f", noise(300_000))]);
    let mut squashfs = b"hsqs".to_vec();
    squashfs.extend_from_slice(&[7; 92]);
    let mut erofs = vec![0; 1024];
    erofs.extend_from_slice(&0xe0f5_e1e2_u32.to_le_bytes());
    // The frame names the dictionary 7.
    let dictionary = [&[0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x58, 7][..], &[0; 40]].concat();
    // The frame declares a window of 2 TiB.
    let window = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8][..], &[0; 40]].concat();
    vec![
        ("xz as gzip", "+gzip", long(b"\xfd7zXZ\0\0\x04"), "malformed gzip"),
        ("bzip2 as gzip", "+gzip", long(b"BZh91AY&SY"), "malformed gzip"),
        ("zstd as gzip", "+gzip", zstd(&tar), "malformed gzip"),
        ("no compression as gzip", "+gzip", tar.clone(), "malformed gzip"),
        ("squashfs as gzip", "+gzip", long(&squashfs), "malformed gzip"),
        ("EROFS as gzip", "+gzip", long(&erofs), "malformed gzip"),
        ("HTML as gzip", "+gzip", long(b"<!DOCTYPE html><html>"), "malformed gzip"),
        ("lz4 as gzip", "+gzip", long(&[0x04, 0x22, 0x4d, 0x18]), "malformed gzip"),
        ("ZIP as gzip", "+gzip", long(b"PK\x03\x04"), "malformed gzip"),
        ("gzip as zstd", "+zstd", gzip(&tar), "malformed zstd"),
        ("xz as zstd", "+zstd", long(b"\xfd7zXZ\0\0\x04"), "malformed zstd"),
        ("a dictionary", "+zstd", long(&dictionary), "malformed zstd"),
        ("a window of 2 TiB", "+zstd", long(&window), "window above 4 GiB"),
        ("gzip as no compression", "", gzip(&tar), "malformed archive"),
        ("squashfs as no compression", "", long(&squashfs), "malformed archive"),
        ("HTML as no compression", "", long(b"<!DOCTYPE html><html>"), "malformed archive"),
    ]
}

#[test]
fn a_layer_that_cannot_be_unpacked_is_refused_before_it_is_received() {
    for (case, suffix, blob, text) in refused_starts() {
        let bench = Bench::new();
        let bad = layer(suffix, blob);
        let image = image_with(&bad, 0);
        let name = image.push(&bench.registry, "app", "latest");
        bench.registry.fault(on(bad.digest()).stall(SENT));
        let outcome = bench.home.run(&["unpack", &name, "root"]).exits_in(case, 11).says(text).fails_in_one_line();
        outcome.says("layer 1 of 3").says(&bad.digest()["sha256:".len()..][..12]);
        assert_eq!(bench.registry.requests_to(&bad.digest()), 2, "{case}: {:?}", bench.registry.log());
        for layer in &image.layers[1..] {
            assert_eq!(bench.registry.requests_to(&layer.digest()), 0, "{case}: {:?}", bench.registry.log());
        }
        assert_eq!(partials(&bench.home), 0, "{case}");
    }
}

fn partials(home: &Home) -> usize {
    std::fs::read_dir(home.store().join("ingest")).map_or(0, |folder| {
        folder.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".partial")).count()
    })
}

#[test]
fn every_command_that_unpacks_refuses_it() {
    let bad = layer("+gzip", long(b"\xfd7zXZ\0"));
    for command in COMMANDS {
        let bench = Bench::new();
        let case = command.join(" ");
        let name = image_with(&bad, 2).push(&bench.registry, "app", "latest");
        bench.registry.fault(on(bad.digest()).stall(SENT));
        bench.home.run(&[command, &[&name, "root"]].concat()).exits_in(&case, 11).says("layer 3 of 3");
        assert_eq!(bench.registry.requests_to(&bad.digest()), 2, "{case}: {:?}", bench.registry.log());
        assert!(!bench.home.path("root").exists(), "{case}");
        assert!(!bench.home.blob(&bad.digest()).exists(), "{case}");
    }
}

/// The store of a plain pull may be for another tool, which unpacks what pullet does not.
#[test]
fn a_plain_pull_refuses_nothing() {
    let bench = Bench::new();
    let bad = layer("+gzip", long(b"\xfd7zXZ\0"));
    let name = image_with(&bad, 0).push(&bench.registry, "app", "latest");
    bench.home.run(&["pull", &name]).exits(0);
    bench.registry.clear_log();
    bench.home.run(&["unpack", &name, "root"]).exits(11).says("malformed gzip");
    assert!(bench.registry.calls().is_empty(), "a layer in the store was requested: {:?}", bench.registry.log());
}

#[test]
fn other_jobs_end_when_a_layer_is_refused() {
    let bench = Bench::new();
    let bad = layer("+gzip", long(b"\xfd7zXZ\0"));
    let image = image_with(&bad, 2);
    let name = image.push(&bench.registry, "app", "latest");
    // The other layers never arrive.
    for layer in &image.layers[..2] {
        bench.registry.fault(on(layer.digest()).stall(SENT));
    }
    bench.home.run(&["unpack", "-j", "4", &name, "root"]).exits(11).says("layer 3 of 3").says("malformed gzip");
}

#[test]
fn a_fraction_of_a_large_layer_is_sent() {
    const SIZE: usize = 24 << 20;
    for command in [&["unpack"][..], &["unpack", "--stream"]] {
        let bench = Bench::new();
        let mut blob = b"\xfd7zXZ\0".to_vec();
        blob.resize(SIZE, 0);
        let bad = layer("+gzip", blob);
        let name = image_with(&bad, 0).push(&bench.registry, "app", "latest");
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        bench.registry.fault(on(bad.digest()).sent_by(move |connection, _, body| {
            for chunk in body.chunks(16 << 10) {
                connection.write_all(chunk)?;
                counter.fetch_add(chunk.len(), Ordering::SeqCst);
            }
            Ok(())
        }));
        bench.home.run(&[command, &[&name, "root"]].concat()).exits(11);
        // What the buffers of two connections take.
        let sent = sent.load(Ordering::SeqCst);
        assert!(sent < SIZE, "{sent} bytes were sent");
    }
}

/// The blob with the start of something else.
fn damaged(blob: &[u8]) -> Vec<u8> {
    let mut damaged = blob.to_vec();
    damaged[..21].copy_from_slice(b"<!DOCTYPE html><html>");
    damaged
}

#[test]
fn a_damaged_first_transfer_is_replaced_by_the_second() {
    let tar = archive(&[file("d", noise(300_000))]);
    for sound in [Layer::gzip(&tar), Layer::zstd(&tar), Layer::plain(&tar)] {
        for command in COMMANDS {
            let bench = Bench::new();
            let case = format!("{} {}", command.join(" "), sound.media_type);
            let name = image_with(&sound, 1).push(&bench.registry, "app", "latest");
            bench.registry.fault(on(sound.digest()).nth(1).body(damaged(&sound.blob)));
            let outcome = bench.home.run(&[command, &[&name, "root"]].concat()).exits_in(&case, 0);
            outcome.says("starting over: malformed").hides("digest mismatch");
            assert_eq!(bench.registry.requests_to(&sound.digest()), 2, "{case}: {:?}", bench.registry.log());
        }
    }
}

/// A registry whose disk has lost a bit sends the same bytes each time, and the image is not to blame.
#[test]
fn a_layer_that_is_damaged_where_it_is_stored_is_a_wrong_digest() {
    let tar = archive(&[file("d", noise(300_000))]);
    for sound in [Layer::gzip(&tar), Layer::zstd(&tar), Layer::plain(&tar)] {
        for position in [0, 2, 30] {
            let bench = Bench::new();
            let case = format!("{} {position}", sound.media_type);
            let name = image_with(&sound, 1).push(&bench.registry, "app", "latest");
            bench.registry.fault(on(sound.digest()).flip(position));
            bench.home.run(&["unpack", &name, "root"]).exits_in(&case, 8).says("digest mismatch");
        }
        let bench = Bench::new();
        let name = image_with(&sound, 1).push(&bench.registry, "app", "latest");
        bench.registry.fault(on(sound.digest()).body(vec![0; sound.blob.len()]));
        bench.home.run(&["unpack", &name, "root"]).exits(8).says("digest mismatch");
    }
}

/// The second transfer is bad in another way, so the digest decides.
#[test]
fn a_transfer_that_changes_is_a_wrong_digest() {
    let sound = Layer::gzip(&archive(&[file("d", noise(300_000))]));
    let size = sound.blob.len();
    for command in COMMANDS {
        let bench = Bench::new();
        let case = command.join(" ");
        let name = image_with(&sound, 0).push(&bench.registry, "app", "latest");
        for n in 1..=8 {
            // Each is a page of another time.
            let mut body = format!("<html>error {n}</html>").into_bytes();
            body.resize(size, b' ');
            bench.registry.fault(on(sound.digest()).nth(n).body(body));
        }
        bench.home.run(&[command, &[&name, "root"]].concat()).exits_in(&case, 8).says("digest mismatch");
    }
}

/// A portal, or a registry that sends an error page with status 200.
#[test]
fn a_body_of_another_length_is_a_wrong_size() {
    let sound = Layer::gzip(&archive(&[file("d", noise(300_000))]));
    for command in COMMANDS {
        let bench = Bench::new();
        let name = image_with(&sound, 0).push(&bench.registry, "app", "latest");
        bench.registry.fault(on(sound.digest()).body("<html>please log in</html>".repeat(100)));
        bench.home.run(&[command, &[&name, "root"]].concat()).exits_in(&command.join(" "), 8).says("size mismatch");
    }
}

#[test]
fn a_transfer_that_breaks_off_within_the_first_bytes_is_resumed() {
    for tar in [archive(&[file("d", noise(300_000))]), archive(&[file("d", "x")])] {
        for sound in [Layer::gzip(&tar), Layer::zstd(&tar), Layer::plain(&tar)] {
            for command in COMMANDS {
                let bench = Bench::new();
                let case = format!("{} {}", command.join(" "), sound.media_type);
                let name = image_with(&sound, 1).push(&bench.registry, "app", "latest");
                bench.registry.fault(on(sound.digest()).nth(1).cut(20));
                bench.home.run(&[command, &["--retries", "1", &name, "root"]].concat()).exits_in(&case, 0);
                let calls = bench.registry.calls();
                let second = calls.iter().filter(|call| call.request.target.contains(&sound.digest())).nth(1).unwrap();
                let rest = format!("bytes=20-{}", sound.blob.len() - 1);
                assert_eq!(second.request.header("range"), Some(rest.as_str()), "{case}");
            }
        }
    }
}

/// A registry with an image, and its mirror.
struct Mirrored {
    origin: Registry,
    mirror: Registry,
    home: Home,
    name: String,
}

impl Mirrored {
    fn new(layer: &Layer) -> Mirrored {
        let (origin, mirror, image) = (Registry::plain(), Registry::plain(), image_with(layer, 0));
        let name = image.push(&origin, "app", "latest");
        image.push(&mirror, "app", "latest");
        Mirrored { origin, mirror, home: Home::new(), name }
    }

    fn run(&self, command: &[&str]) -> kit::process::Finished {
        let option = format!("--registry-mirror={}={}", self.origin.host(), self.mirror.url(""));
        self.home.run(&[command, &["--retries", "0", &option, &self.name, "root"]].concat())
    }
}

#[test]
fn the_next_endpoint_is_asked_for_the_second_transfer() {
    let tar = archive(&[file("d", noise(300_000))]);
    let (sound, bad) = (Layer::gzip(&tar), layer("+gzip", long(b"\xfd7zXZ\0")));
    for command in COMMANDS {
        let case = command.join(" ");
        let scene = Mirrored::new(&sound);
        scene.mirror.fault(on(sound.digest()).body(damaged(&sound.blob)));
        scene.run(command).exits_in(&case, 0).says("skipping mirror").says("malformed gzip");
        let requests = |scene: &Mirrored, digest: &str| {
            [&scene.mirror, &scene.origin].map(|registry| registry.requests_to(digest))
        };
        assert_eq!(requests(&scene, &sound.digest()), [1, 1], "{case}");
        let scene = Mirrored::new(&bad);
        scene.run(command).exits_in(&case, 11).says("malformed gzip");
        assert_eq!(requests(&scene, &bad.digest()), [1, 1], "{case}");
        // The mirror alone has the layer, so it has the last word, and the digest decides.
        for fault in [on(bad.digest()).status(404).body("{}"), on(bad.digest()).raw("")] {
            let scene = Mirrored::new(&bad);
            scene.origin.fault(fault);
            scene.run(command).exits_in(&case, 11).says("malformed gzip");
            assert_eq!(requests(&scene, &bad.digest()), [2, 1], "{case}");
        }
        let scene = Mirrored::new(&sound);
        scene.mirror.fault(on(sound.digest()).body(damaged(&sound.blob)));
        scene.origin.fault(on(sound.digest()).status(404).body("{}"));
        // After the mismatch the origin is asked again, as for every other one.
        scene.run(command).exits_in(&case, 3);
    }
}

#[test]
fn a_blob_for_a_device_is_refused_by_its_first_bytes() {
    for (case, suffix, blob, text) in refused_starts() {
        let format = match suffix {
            "+gzip" => "gzip",
            "+zstd" => "zstd",
            _ => continue,
        };
        let bench = Bench::new();
        let digest = bench.registry.put_blob("fw", &blob);
        bench.registry.fault(on(&digest).stall(SENT));
        let name = format!("{}@{digest}", bench.registry.name("fw"));
        let target = bench.home.write("slot", "old");
        bench.home.run(&["blob", "--decompress", format, &name, "-o", &target]).exits_in(case, 11).says(text);
        assert_eq!(bench.registry.requests_to(&digest), 2, "{case}: {:?}", bench.registry.log());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "old", "{case}");
    }
}

#[test]
fn a_damaged_blob_for_a_device_is_requested_again() {
    let content = noise(300_000);
    for (format, blob) in [("gzip", gzip(&content)), ("zstd", zstd(&content))] {
        let bench = Bench::new();
        let digest = bench.registry.put_blob("fw", &blob);
        bench.registry.fault(on(&digest).nth(1).body(damaged(&blob)));
        let name = format!("{}@{digest}", bench.registry.name("fw"));
        let target = bench.home.arg("slot");
        bench.home.run(&["blob", "--decompress", format, &name, "-o", &target]).exits(0).says("starting over");
        assert!(std::fs::read(&target).unwrap() == content, "{format}");
        assert_eq!(bench.registry.requests_to(&digest), 2, "{format}: {:?}", bench.registry.log());
    }
}
