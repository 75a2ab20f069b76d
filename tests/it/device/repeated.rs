//! Second runs: only what differs is written, and a run that was cut off goes on.

use std::fs;

use super::{HEAD, MARK, Slot, assert_image, image};
use kit::bench::Bench;
use kit::device::LoopDevice;
use kit::fault::on;
use kit::image::gzip;
use kit::process::is_root;

const MIB: usize = 1 << 20;
const BLOCK: usize = 4096;

#[test]
fn skip_same_writes_at_most_two_percent_after_a_change_of_one_percent() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let mut content = image(1, 16 * MIB);
    let device = LoopDevice::new(&bench.home.path("disk"), content.len() as u64, 512);
    let write = |content: &[u8]| {
        let blob = gzip(content);
        let name = format!("{}@{}", bench.registry.name("fw"), bench.registry.put_blob("fw", &blob));
        let before = device.sectors_written();
        let args = ["blob", &name, "--decompress", "gzip", "--skip-same", "-o", device.arg()];
        let outcome = bench.home.run(&args).exits(0);
        assert!(device.content() == content);
        (device.sectors_written() - before, outcome)
    };
    write(&content);
    let (sectors, outcome) = write(&content);
    assert_eq!(sectors, 0);
    outcome.says("Blocks of 4 KiB: 0 written, of an image of 4096");
    (0..content.len() / BLOCK).step_by(100).for_each(|block| content[block * BLOCK + 5] ^= 1);
    let (sectors, outcome) = write(&content);
    let blocks = sectors as usize * 512 / BLOCK;
    assert!(blocks * 50 <= content.len() / BLOCK, "{blocks} blocks");
    outcome.says(&format!("Blocks of 4 KiB: {blocks} written"));
}

/// A slot with the first 4 MiB of an image of 6 MiB, which a cut connection has left there.
fn cut_off() -> (Bench, Slot, Vec<u8>, Vec<u8>) {
    let bench = Bench::new();
    let (before, content) = (image(9, 8 * MIB), image(1, 6 * MIB + 77));
    let slot = Slot::new(&bench, before.len(), 512, &before);
    let digest = bench.registry.put_blob("fw", &content);
    bench.registry.fault(on("/blobs/").cut(4 * MIB));
    slot.write(&bench, &digest, &["--retries", "0"]).exits(5).fails_in_one_line();
    assert!(slot.content().starts_with(MARK));
    bench.registry.clear_faults();
    bench.registry.clear_log();
    (bench, slot, content, before)
}

#[test]
fn a_run_that_was_cut_off_goes_on_in_the_middle() {
    let (bench, slot, content, before) = cut_off();
    let digest = kit::digest::sha256(&content);
    slot.write(&bench, &digest, &[]).exits(0).says("that an earlier run has written");
    assert_image("resumed", &slot, &content, &before);
    let calls = bench.registry.calls();
    let ranges: Vec<&str> = calls.iter().filter_map(|call| call.request.header("range")).collect();
    assert_eq!(ranges, [format!("bytes={}-{}", 4 * MIB, content.len() - 1)]);
    // A server that ignores ranges sends everything again.
    let (bench, slot, content, before) = cut_off();
    bench.registry.fault(on("/blobs/").ranged().status(200).body(content.clone()));
    slot.write(&bench, &digest, &[]).exits(0);
    assert_image("without ranges", &slot, &content, &before);
}

#[test]
fn what_an_earlier_run_has_left_is_not_believed() {
    let edit = |slot: &Slot, at: usize, bytes: &[u8]| {
        use std::os::unix::fs::FileExt as _;
        let file = fs::OpenOptions::new().write(true).open(slot.arg()).unwrap();
        file.write_all_at(bytes, at as u64).unwrap();
        file.sync_all().unwrap();
    };
    let (bench, slot, content, before) = cut_off();
    let digest = kit::digest::sha256(&content);
    edit(&slot, 2 * MIB, b"damaged");
    slot.write(&bench, &digest, &[]).exits(0).says("starting over");
    assert_image("a damaged body", &slot, &content, &before);
    // A record that claims too much, and one of another blob.
    for (text, case) in [
        (format!("blob {digest}\ndone {}\n", 6 * MIB), "too much"),
        (format!("blob {digest}\ndone {}\n", u64::MAX), "more than everything"),
        (format!("blob {}\ndone {}\n", kit::digest::sha256(b"x"), 4 * MIB), "another blob"),
    ] {
        let (bench, slot, content, before) = cut_off();
        edit(&slot, 0, &[&[0; BLOCK][..]].concat());
        edit(&slot, 0, &[MARK, text.as_bytes()].concat());
        slot.write(&bench, &digest, &[]).exits_in(case, 0);
        assert_image(case, &slot, &content, &before);
    }
}

#[test]
fn blocks_that_a_cut_run_has_written_are_not_written_again() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let content = image(1, 8 * MIB);
    let blob = gzip(&content);
    let device = LoopDevice::new(&bench.home.path("disk"), content.len() as u64, 512);
    let name = format!("{}@{}", bench.registry.name("fw"), bench.registry.put_blob("fw", &blob));
    let args = ["blob", &name, "--decompress", "gzip", "-o", device.arg(), "--retries", "0"];
    bench.registry.fault(on("/blobs/").cut(blob.len() - 100_000));
    bench.home.run(&args).exits(5);
    bench.registry.clear_faults();
    let before = device.sectors_written();
    bench.home.run(&args).exits(0);
    let written = (device.sectors_written() - before) as usize * 512;
    assert!(written < 3 * MIB, "{written} bytes");
    assert!(device.content() == content && HEAD < content.len());
}
