//! Content that does not match its digest or size is never stored under the digest and never unpacked.

use serde_json::json;

use kit::archive::{archive, file};
use kit::bench::{Bench, unpack_image};
use kit::digest::{sha256, sha512, short};
use kit::fault::{Fault, on};
use kit::image::{Image, Layer};

fn image() -> Image {
    Image::new((0..3).map(|n| Layer::of(&[file(format!("f{n}"), format!("body of {n}").repeat(50))])).collect())
}

type Break = fn(Fault) -> Fault;

/// The ways in which a registry can break a blob, each with the expected exit code.
fn faults() -> Vec<(&'static str, i32, Break)> {
    vec![
        ("the first byte", 8, |fault| fault.flip(0)),
        ("a byte inside", 8, |fault| fault.flip(40)),
        ("one byte short", 8, |fault| fault.shorter(60)),
        ("nothing", 8, |fault| fault.body("")),
        ("one byte too long", 8, |fault| fault.longer(b"x")),
        ("much too long", 8, |fault| fault.longer(&[0; 100_000])),
        ("something else", 8, |fault| fault.body("<html>please log in</html>")),
        ("too long, in chunks", 8, |fault| fault.longer(b"x").chunked(10)),
        ("short, in chunks", 8, |fault| fault.shorter(60).chunked(10)),
        ("short, ended by the connection", 8, |fault| fault.shorter(60).closed()),
        ("cut at the start", 5, |fault| fault.cut(0)),
        ("cut inside", 5, |fault| fault.cut(30)),
        ("cut in the chunks", 5, |fault| fault.chunked(10).cut(30)),
        ("malformed chunks", 5, |fault| fault.chunks(b"5\r\nhello\r\nxyz\r\n")),
        ("gone", 3, |fault| fault.status(404).body("{}")),
        ("forbidden", 4, |fault| fault.status(403).body("{}")),
        ("a server error", 5, |fault| fault.status(500).body("{}")),
        ("a partial response to a request without a range", 5, |fault| {
            fault.status(206).header("Content-Range", "bytes 0-9/100")
        }),
    ]
}

#[test]
fn a_broken_layer_is_never_kept() {
    for (case, code, fault) in faults() {
        for layer in 0..3 {
            let (bench, image) = (Bench::new(), image());
            let digest = image.layers[layer].digest();
            bench.registry.fault(fault(on(digest.as_str())));
            let case = format!("{case}, layer {layer}");
            // pullet may refuse the unexpected status, or read the body and find the mismatch.
            let codes: &[i32] = if case.starts_with("a partial") { &[0, 5, 8, 10, 11] } else { &[code] };
            let outcome = bench.pull(&image).exits_among(&case, codes);
            if outcome.code == 0 {
                continue;
            }
            let outcome = outcome.fails_in_one_line();
            assert!(!bench.home.blob(&digest).exists(), "{case}: kept\n{outcome}");
            assert!(bench.home.index().is_empty(), "{case}: in the index\n{outcome}");
        }
    }
}

#[test]
fn a_broken_layer_is_never_unpacked_and_the_next_pull_repairs_it() {
    for (case, code, fault) in [faults()[1], faults()[4], faults()[11]] {
        let (bench, image) = (Bench::new(), image());
        let name = image.push(&bench.registry, "app", "latest");
        let root = bench.home.arg("root");
        bench.registry.fault(fault(on(image.layers[1].digest())));
        bench.home.run(&["unpack", &name, &root]).exits_in(case, code).fails_in_one_line();
        assert!(!bench.home.path("root").exists(), "{case}");
        bench.registry.clear_faults();
        bench.registry.clear_log();
        bench.home.run(&["unpack", &name, &root]).exits_in(case, 0);
        assert!(bench.home.path("root/f2").exists(), "{case}");
        assert_eq!(bench.registry.requests_to(&image.layers[0].digest()), 0, "{case}: a stored blob was fetched again");
    }
}

#[test]
fn keeps_blobs_that_arrived_before_a_failure() {
    let (bench, image) = (Bench::new(), image());
    // The config and one layer arrive.
    bench.registry.fault(on("/blobs/").after(2).status(503).body("{}"));
    bench.pull(&image).exits(5);
    assert!(bench.home.blob(&image.layers[0].digest()).exists());
    assert!(bench.home.index().is_empty());
    bench.registry.clear_faults();
    bench.registry.clear_log();
    let outcome = bench.pull(&image).exits(0).says(&format!("{}: Already exists", short(&image.layers[0].digest())));
    let fetched: Vec<usize> = image.layers.iter().map(|layer| bench.registry.requests_to(&layer.digest())).collect();
    assert_eq!(fetched, [0, 1, 1], "{outcome}");
}

#[test]
fn mismatches_name_the_blob() {
    let (bench, image) = (Bench::new(), image());
    let digest = image.layers[1].digest();
    bench.registry.fault(on(digest.as_str()).flip(30));
    bench.pull(&image).exits(8).says(short(&digest));
}

#[test]
fn a_wrong_size_is_a_mismatch() {
    for (case, lie) in [("one byte short", -1i64), ("one byte too long", 1), ("a thousand bytes too long", 1000)] {
        for layer in 0..3 {
            let bench = Bench::new();
            let lying = image().edited(|m| {
                let size = m["layers"][layer]["size"].as_i64().unwrap();
                m["layers"][layer]["size"] = json!(size + lie);
            });
            bench.pull(&lying).exits_in(case, 8).fails_in_one_line();
            assert!(!bench.home.blob(&lying.layers[layer].digest()).exists(), "{case}");
            assert!(bench.home.index().is_empty(), "{case}");
        }
    }
}

#[test]
fn a_size_of_zero_for_a_blob_with_content_is_a_mismatch() {
    let zero = image().edited(|m| m["layers"][0]["size"] = json!(0));
    let bench = Bench::new();
    bench.pull(&zero).exits(8);
    assert!(bench.home.index().is_empty());
}

#[test]
fn verifies_diff_ids_before_the_tree_appears() {
    let tar = |n: u8| archive(&[file(format!("f{n}"), [n])]);
    let layers: Vec<Layer> = (0..3).map(|n| Layer::gzip(&tar(n))).collect();
    for wrong in 0..3 {
        let mut lying = layers.clone();
        lying[wrong].diff_id = sha256(b"something else");
        unpack_image(&Image::new(lying), &[]).refused(&format!("diff_id {wrong}"), 8);
    }
    let mut swapped = layers.clone();
    (swapped[0].diff_id, swapped[1].diff_id) = (layers[1].diff_id.clone(), layers[0].diff_id.clone());
    unpack_image(&Image::new(swapped), &[]).refused("swapped", 8);
    let mut compressed = layers.clone();
    compressed[2].diff_id = compressed[2].digest();
    unpack_image(&Image::new(compressed), &[]).refused("of the compressed bytes", 8);
    let mut others = vec![Layer::plain(&tar(7))];
    if cfg!(feature = "zstd") {
        others.push(Layer::zstd(&tar(7)));
    }
    for mut layer in others {
        layer.diff_id = sha256(b"something else");
        let case = layer.media_type.clone();
        unpack_image(&Image::new(vec![layer]), &[]).refused(&case, 8);
    }
}

#[test]
fn the_diff_id_covers_bytes_after_the_end_of_the_archive() {
    let padded = [archive(&[file("f", "x")]), vec![0; 10_240], b"junk".to_vec()].concat();
    let mut layer = Layer::gzip(&padded);
    unpack_image(&Image::new(vec![layer.clone()]), &[]).done("the padding counts");
    layer.diff_id = sha256(&padded[..padded.len() - 4]);
    unpack_image(&Image::new(vec![layer]), &[]).refused("a diff_id without the padding", 8);
}

#[test]
fn verifies_sha512_digests_of_layers() {
    let tar = archive(&[file("f", "x")]);
    let named = |diff_id: String, blob_id: String| {
        let mut layer = Layer::gzip(&tar);
        layer.diff_id = diff_id;
        Image::new(vec![layer]).edited(|m| m["layers"][0]["digest"] = json!(blob_id))
    };
    let right = sha512(&Layer::gzip(&tar).blob);
    for (case, diff_id, blob_id, code) in [
        ("right", sha512(&tar), right.clone(), 0),
        ("a wrong diff_id", sha512(b"x"), right, 8),
        ("a wrong digest", sha512(&tar), sha512(b"y"), 8),
    ] {
        let (bench, image) = (Bench::new(), named(diff_id, blob_id.clone()));
        let name = image.push(&bench.registry, "app", "latest");
        bench.registry.put_blob_as("app", &blob_id, &image.layers[0].blob);
        bench.home.run(&["unpack", &name, &bench.home.arg("root")]).exits_in(case, code);
        assert_eq!(bench.home.path("root/f").exists(), code == 0, "{case}");
    }
}

#[test]
fn does_not_unpack_an_image_damaged_in_the_store() {
    let tar = archive(&[file("f", "body".repeat(1000))]);
    let mut layers = vec![("gzip", Layer::gzip(&tar)), ("plain", Layer::plain(&tar))];
    if cfg!(feature = "zstd") {
        layers.push(("zstd", Layer::zstd(&tar)));
    }
    type Damage = fn(&mut [u8]);
    let damages: [(&str, Damage); 5] = [
        ("the first byte", |bytes| bytes[0] ^= 1),
        ("a byte inside", |bytes| bytes[20] ^= 1),
        ("a byte in the middle", |bytes| bytes[bytes.len() / 2] ^= 0x80),
        ("the last byte", |bytes| *bytes.last_mut().unwrap() ^= 1),
        ("all of it", |bytes| bytes.fill(0)),
    ];
    for (kind, layer) in layers {
        for (damaged, damage) in damages {
            let case = format!("{kind}, {damaged}");
            let (bench, image) = (Bench::new(), Image::new(vec![image().layers[0].clone(), layer.clone()]));
            bench.pull(&image).exits_in(&case, 0);
            let path = bench.home.blob(&layer.digest());
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, &bytes).unwrap();
            let (name, root) = (bench.registry.name("app"), bench.home.arg("root"));
            for when in ["never", "missing"] {
                let outcome = bench.home.run(&["unpack", "--pull", when, &name, &root]).exits_in(&case, 8);
                let outcome = outcome.fails_in_one_line().says("damaged in the store").says(short(&layer.digest()));
                let hint = outcome.stderr.lines().last().unwrap_or_default();
                assert!(hint.starts_with("hint: ") && hint.contains("verify --remove-corrupt"), "{case}\n{outcome}");
                assert!(!bench.home.path("root").exists(), "{case}");
            }
            // Following the hint must repair the image.
            bench.home.run(&["verify", "--remove-corrupt"]).exits_among(&case, &[0, 8]);
            bench.home.run(&["unpack", &name, &root]).exits_in(&format!("{case}, repaired"), 0);
            assert_eq!(std::fs::read(bench.home.path("root/f")).unwrap(), b"body".repeat(1000), "{case}");
        }
    }
}
