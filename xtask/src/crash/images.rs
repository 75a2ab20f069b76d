//! The content of the registry: small images with every kind of entry that a layer can have, and an artifact.

use std::collections::BTreeMap;

use kit::archive::{Entry, char_device, dir, fifo, file, hardlink, opaque, symlink, whiteout};
use kit::image::{Image, Layer, descriptor};
use kit::noise::Noise;
use serde_json::{Value, json};

use super::server::{SIGNED, Server};

/// The repositories. Each has the tag `latest`.
pub const IMAGE: &str = "image";
pub const OTHER: &str = "other";
/// Its tag names the other image at first, and the image later.
pub const MOVED: &str = "moved";
const ARTIFACT: &str = "artifact";
const FIRMWARE: &str = "firmware";

/// The modification time of every entry.
pub const TIME: i64 = 1_600_000_000;

/// More than one buffer of 64 KiB, and not a multiple of it.
const BODY: usize = 150_000;

/// Makes the content and serves it.
pub fn serve() -> Server {
    let image = Image::new(vec![layer(base()), layer(middle()), layer(top())]);
    // Shares its lowest layer with the first image.
    let other = Image::new(vec![layer(base()), layer(vec![file("own", "own")])]);
    let signed = Image::new(vec![layer(base())]);
    Server::start(BTreeMap::from([
        (IMAGE, image.clone()),
        (OTHER, other),
        (MOVED, image),
        (SIGNED, signed),
        (ARTIFACT, artifact()),
        (FIRMWARE, firmware()),
    ]))
}

/// A layer of these entries. Those with a setuid or similar bit do not belong to root, because a change of the owner
/// clears the bit.
pub fn layer(entries: Vec<Entry>) -> Layer {
    let entries: Vec<Entry> = entries.into_iter().map(|entry| entry.mtime(TIME)).collect();
    Layer::of(&entries)
}

fn roots(entry: Entry, mode: u32) -> Entry {
    entry.mode(mode).owner(0, 0)
}

fn base() -> Vec<Entry> {
    let mut entries = vec![
        roots(dir("./"), 0o755),
        roots(dir("etc/"), 0o755),
        roots(file("etc/passwd", "root:x:0:0::/:/bin/sh\n"), 0o644),
        roots(file("etc/gone", "not for long"), 0o600),
        roots(symlink("etc/link", "passwd"), 0o777),
        roots(dir("bin/"), 0o755),
        roots(file("bin/big", Noise::new(1).bytes(BODY)), 0o755),
        roots(hardlink("bin/same", "bin/big"), 0o755),
        file("bin/su", "setuid").mode(0o4755).owner(12, 12),
        roots(file("bin/ping", "capable"), 0o755)
            .pax("SCHILY.xattr.user.note", "a word")
            .pax("SCHILY.xattr.security.capability", CAPABILITY),
        roots(dir("dev/"), 0o755),
        roots(char_device("dev/null", 1, 3), 0o666),
        dir("run/").mode(0o2775).owner(12, 12),
        roots(fifo("run/fifo"), 0o622),
        roots(dir("var/"), 0o755),
        roots(dir("var/cache/"), 0o555),
    ];
    for number in 0..6 {
        entries.push(roots(file(format!("var/cache/{number}"), number.to_string()), 0o640));
    }
    entries
}

/// `cap_net_raw+ep` in the kernel's format.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A whiteout, an opaque folder, and entries that replace others of a different kind.
fn middle() -> Vec<Entry> {
    vec![
        roots(dir("etc/"), 0o755),
        roots(whiteout("etc/gone"), 0o644),
        roots(dir("etc/link"), 0o755),
        roots(file("etc/link/in", "a folder now"), 0o644),
        roots(dir("var/"), 0o755),
        roots(dir("var/cache/"), 0o755),
        roots(opaque("var/cache"), 0o644),
        roots(file("var/cache/new", "all that is left"), 0o644),
        roots(dir("bin/"), 0o755),
        roots(file("bin/same", "no longer the same"), 0o644),
    ]
}

fn top() -> Vec<Entry> {
    vec![
        dir("run/").mode(0o1777).owner(12, 12),
        roots(whiteout("run/fifo"), 0o644),
        roots(dir("srv/"), 0o700),
        roots(file("srv/page", Noise::new(2).bytes(3000)), 0o644).pax("SCHILY.xattr.user.top", "1"),
        roots(hardlink("srv/twin", "srv/page"), 0o644),
    ]
}

fn artifact() -> Image {
    let files = [("small", b"a file".to_vec()), ("in/folder", Noise::new(3).bytes(BODY))];
    artifact_of("application/octet-stream", files.map(|(title, bytes)| (title, Layer::plain(&bytes))).to_vec())
}

/// One compressed image with a hole.
fn firmware() -> Image {
    let content = [Noise::new(4).bytes(BODY), vec![0; 1_200_000], Noise::new(5).bytes(BODY)].concat();
    artifact_of("application/x-test+gzip", vec![("rootfs", Layer::gzip(&content))])
}

fn artifact_of(media_type: &str, files: Vec<(&str, Layer)>) -> Image {
    let (mut layers, mut descriptors) = (Vec::new(), Vec::new());
    for (title, layer) in files {
        let mut described = descriptor(media_type, &layer.blob);
        described["annotations"] = json!({ "org.opencontainers.image.title": title });
        descriptors.push(described);
        layers.push(layer);
    }
    let image = Image::with_config_bytes(layers, Value::Null, b"{}".to_vec());
    image.edited(|manifest| {
        manifest["artifactType"] = json!("application/x-test");
        manifest["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json");
        manifest["layers"] = json!(descriptors);
    })
}
