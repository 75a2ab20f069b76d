//! Images on devices: sizes, sectors, compression, digests.

use super::{HEAD, MARK, Slot, artifact, assert_image, image, push};
use kit::bench::Bench;
use kit::debian::{command, run};
use kit::digest::sha256;
use kit::fault::on;
use kit::image::{gzip, zstd};
use serde_json::json;

const SIZE: usize = 4 << 20;

#[test]
fn writes_images_of_any_size_on_sectors_of_any_size() {
    for sector in [512, 4096] {
        let bench = Bench::new();
        let before = image(9, SIZE);
        let slot = Slot::new(&bench, SIZE, sector, &before);
        let sizes = [1, 511, 4096, HEAD - 1, HEAD, HEAD + 1, 1 << 20, (1 << 20) + 513, SIZE - 1, SIZE, 0];
        let mut before = before;
        for size in sizes {
            let case = format!("{size} bytes on sectors of {sector}");
            let image = image(size as u64, size);
            let digest = bench.registry.put_blob("fw", &image);
            slot.write(&bench, &digest, &[]).exits_in(&case, 0).prints("").says(&digest);
            assert_image(&case, &slot, &image, &before);
            before = slot.content();
        }
        // One byte too many is refused before anything is written, or even fetched if the size is known.
        let digest = bench.registry.put_blob("fw", &image(3, SIZE + 1));
        if matches!(slot, Slot::Device(_)) {
            slot.write(&bench, &digest, &[]).exits(9).says("it has 4194304 bytes, and the image has 4194305");
            assert!(slot.content() == before, "sectors of {sector}");
        }
    }
}

#[test]
fn unpacks_by_media_type_or_option_and_proves_the_content() {
    let bench = Bench::new();
    let slot = Slot::new(&bench, SIZE, 512, &image(9, SIZE));
    let content = image(1, (2 << 20) + 77);
    let digest = sha256(&content);
    for (option, suffix, blob) in [("gzip", "+gzip", gzip(&content)), ("zstd", "+zstd", zstd(&content))] {
        let media_type = format!("application/vnd.example.rootfs{suffix}");
        let name = push(&bench, &artifact(&[("rootfs", &media_type, &blob)]), &[&blob]);
        let target = slot.arg();
        let write = |words: &[&str]| bench.home.run(&[words, &["-o", &target], slot.options()].concat());
        write(&["artifact", &name]).exits_in(option, 0).says(&digest);
        assert_image(option, &slot, &content, &slot.content());
        let blob_name = format!("{}@{}", bench.registry.name("fw"), sha256(&blob));
        write(&["blob", &blob_name, "--decompress", option, "--unpacked-digest", &digest]).exits_in(option, 0);
        let size = content.len().to_string();
        write(&["blob", &blob_name, "--decompress", option, "--unpacked-size", &size]).exits_in(option, 0);
        assert_image(option, &slot, &content, &slot.content());
        // Without the option, the blob itself is the image.
        write(&["blob", &blob_name]).exits_in(option, 0).says(&sha256(&blob));
        assert!(slot.content().starts_with(&blob), "{option}");
        write(&["artifact", &name, "--decompress", "none"]).exits_in(option, 0).says(&sha256(&blob));
        write(&["blob", &format!("{}@{digest}", bench.registry.name("fw"))]).exits_in("a missing blob", 3);
    }
}

#[test]
fn wrong_content_never_gets_a_head() {
    let bench = Bench::new();
    let content = image(1, SIZE / 2);
    let blob = gzip(&content);
    let other = sha256(b"other");
    let annotated = |key: &str, value: &str| {
        let mut manifest = artifact(&[("rootfs", "application/x+gzip", &blob)]);
        manifest["layers"][0]["annotations"][key] = json!(value);
        manifest
    };
    let cases = [
        (annotated("containerd.io/uncompressed", &other), &[][..], 8, true),
        (annotated("io.containers.estargz.uncompressed-size", "5"), &[], 8, false),
        (annotated("io.containers.estargz.uncompressed-size", "99999999"), &[], 9, false),
        (annotated("io.containers.estargz.uncompressed-size", "five"), &[], 11, false),
        (annotated("x", "y"), &["--unpacked-digest", &other], 8, true),
        (annotated("x", "y"), &["--unpacked-size", "2097153"], 8, true),
        (annotated("x", "y"), &["--unpacked-size", "2097151"], 8, true),
        (annotated("x", "y"), &["--max-unpacked", "2097151"], 11, false),
        (annotated("x", "y"), &["--decompress", "zstd"], 11, false),
    ];
    for (manifest, options, code, is_begun) in cases {
        let case = format!("{manifest} {options:?}");
        let before = image(9, SIZE);
        let slot = Slot::new(&bench, SIZE, 512, &before);
        let name = push(&bench, &manifest, &[&blob]);
        let target = slot.arg();
        let args = [&["artifact", &name, "-o", &target], slot.options(), options].concat();
        let code = if code == 9 && matches!(slot, Slot::File(_)) { 8 } else { code };
        bench.home.run(&args).exits_in(&case, code).fails_in_one_line();
        let content = slot.content();
        if is_begun {
            assert!(content.starts_with(MARK) && content[MARK.len() + 200..HEAD].iter().all(|b| *b == 0), "{case}");
        } else if matches!(slot, Slot::Device(_)) {
            assert!(content == before, "{case}: the old image has changed");
        }
    }
}

#[test]
fn a_failed_fetch_leaves_the_old_image_or_no_valid_head() {
    let bench = Bench::new();
    let content = image(1, SIZE - 5);
    let digest = bench.registry.put_blob("fw", &content);
    for (case, fault, code, is_begun) in [
        ("missing", on("/blobs/").status(404).body("{}"), 3, false),
        ("cut in the head", on("/blobs/").cut(9), 5, false),
        ("cut in the body", on("/blobs/").cut(3 << 20), 5, true),
        ("a flipped bit in the head", on("/blobs/").flip(3), 8, true),
        ("a flipped bit at the end", on("/blobs/").flip(SIZE - 6), 8, true),
    ] {
        let before = image(9, SIZE);
        let slot = Slot::new(&bench, SIZE, 4096, &before);
        bench.registry.clear_faults();
        bench.registry.fault(fault);
        slot.write(&bench, &digest, &["--retries", "0"]).exits_in(case, code).fails_in_one_line();
        assert_eq!(slot.content().starts_with(MARK), is_begun, "{case}");
        assert!(is_begun || slot.content() == before, "{case}");
        bench.registry.clear_faults();
        slot.write(&bench, &digest, &[]).exits_in(case, 0);
        assert_image(case, &slot, &content, &before);
    }
}

#[test]
fn sparse_images_write_no_zeros_over_zeros_and_zeros_over_content() {
    let bench = Bench::new();
    let mut content = image(1, SIZE);
    content[1 << 20..3 << 20].fill(0);
    let digest = bench.registry.put_blob("fw", &content);
    for before in [image(9, SIZE), vec![0; SIZE]] {
        let slot = Slot::new(&bench, SIZE, 512, &before);
        slot.write(&bench, &digest, &[]).exits(0);
        assert_image("sparse", &slot, &content, &before);
    }
}

#[test]
fn a_zstd_frame_that_does_not_fit_is_refused_before_anything_is_written() {
    let bench = Bench::new();
    let before = image(9, SIZE);
    let slot = Slot::new(&bench, SIZE, 512, &before);
    // The program knows the size of a file, and writes it into the frame.
    let file = bench.home.write("large", image(1, SIZE + 1));
    run(command("zstd").args(["-q", &file])).expect(0);
    let digest = bench.registry.put_blob("fw", &std::fs::read(format!("{file}.zst")).unwrap());
    if matches!(slot, Slot::Device(_)) {
        let outcome = slot.write(&bench, &digest, &["--decompress", "zstd"]);
        outcome.exits(9).says("it has 4194304 bytes, and the image has 4194305");
        assert!(slot.content() == before);
    }
}
