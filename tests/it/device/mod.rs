//! `blob -o` and `artifact -o`: images that are written to files and block devices.

mod files;
mod killed;
mod refused;
mod repeated;
mod written;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use kit::bench::Bench;
use kit::device::LoopDevice;
use kit::image::{OCI_MANIFEST, descriptor};
use kit::noise::Noise;
use kit::process::{Finished, is_root};

/// Bytes that are written last.
const HEAD: usize = 68 << 10;
/// What an incomplete image begins with.
const MARK: &[u8] = b"pullet: an image is being written here, and is not complete\n";

/// A place for an image: a loop device, or without root a file that is written in place.
enum Slot {
    Device(LoopDevice),
    File(PathBuf),
}

impl Slot {
    /// A slot with this content, and on a device with zeros behind it.
    fn new(bench: &Bench, size: usize, sector: u32, content: &[u8]) -> Slot {
        let path = bench.home.path(&format!("slot-{sector}"));
        if is_root() {
            let device = LoopDevice::new(&path, size as u64, sector);
            device.fill(content);
            return Slot::Device(device);
        }
        fs::write(&path, content).unwrap();
        Slot::File(path)
    }

    fn arg(&self) -> String {
        match self {
            Slot::Device(device) => device.arg().to_owned(),
            Slot::File(path) => path.to_str().unwrap().to_owned(),
        }
    }

    /// The options without which a file would be replaced.
    fn options(&self) -> &'static [&'static str] {
        match self {
            Slot::Device(_) => &[],
            Slot::File(_) => &["--skip-same", "--readback"],
        }
    }

    fn content(&self) -> Vec<u8> {
        match self {
            Slot::Device(device) => device.content(),
            Slot::File(path) => fs::read(path).unwrap(),
        }
    }

    /// Writes a blob of this digest to the slot.
    fn write(&self, bench: &Bench, digest: &str, options: &[&str]) -> Finished {
        let name = format!("{}@{digest}", bench.registry.name("fw"));
        let target = self.arg();
        bench.home.run(&[&["blob", &name, "-o", &target], self.options(), options].concat())
    }
}

/// An image of this size that does not compress, and differs for each seed.
fn image(seed: u64, size: usize) -> Vec<u8> {
    Noise::new(seed).bytes(size)
}

/// Asserts that a slot begins with this image, and that the rest is as it was.
#[track_caller]
fn assert_image(case: &str, slot: &Slot, image: &[u8], before: &[u8]) {
    let content = slot.content();
    assert!(content.starts_with(image), "{case}: not the image");
    if matches!(slot, Slot::Device(_)) {
        assert!(content[image.len()..] == before[image.len()..], "{case}: the rest of the device has changed");
    } else {
        assert_eq!(content.len(), image.len(), "{case}");
    }
}

/// The manifest of an artifact with these files: title, media type, content.
fn artifact(files: &[(&str, &str, &[u8])]) -> Value {
    let blob = |(title, media_type, body): &(&str, &str, &[u8])| {
        let mut blob = descriptor(media_type, body);
        blob["annotations"] = json!({ "org.opencontainers.image.title": title });
        blob
    };
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.firmware",
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": files.iter().map(blob).collect::<Vec<_>>(),
    })
}

/// Pushes an artifact as `fw:1`, and returns its name.
fn push(bench: &Bench, manifest: &Value, bodies: &[&[u8]]) -> String {
    bodies.iter().for_each(|body| drop(bench.registry.put_blob("fw", body)));
    bench.registry.put_manifest("fw", Some("1"), OCI_MANIFEST, manifest.to_string().as_bytes());
    bench.registry.name("fw:1")
}
