//! Loads an archive of images into a store. Every blob in the store has its digest, nothing is left over, the images are
//! complete, and nothing outside the store is made or changed.
//!
//! The archive is described by lines, as in `unpack`. In the name and the text of a file, `&N` is the digest in hex of the
//! N-th file's text, counted from 0, and `$N` is its size, so that a change of a text keeps the digests right.

#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use kit::digest::sha256;
use libfuzzer_sys::fuzz_target;
use pullet::Limits;
use pullet::fuzzing::load_images;
use pullet_fuzz::Watched;

static WATCHED: LazyLock<Watched> = LazyLock::new(Watched::new);

fuzz_target!(|script: &[u8]| {
    let archive = pullet_fuzz::layers(&with_digests(script), WATCHED.folder()).swap_remove(0);
    let mut limits = Limits::default();
    limits.unpacked = 16 << 20;
    limits.zstd_window = 1 << 20;
    let store = WATCHED.target();
    pullet_fuzz::within((2 << 20) + 64 * archive.len(), || {
        for image in load_images(&archive, &store, &limits).unwrap_or_default() {
            assert!(image.is_complete().expect("the store can be read"), "{} lacks a layer", image.id());
        }
    });
    check(&store);
    WATCHED.check(true);
});

/// The text of a file in the archive.
struct Text {
    hex: String,
    size: usize,
}

/// Replaces `&N` and `$N`.
fn with_digests(script: &[u8]) -> Vec<u8> {
    let mut texts: Vec<Text> = Vec::new();
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in script.split(|&b| b == b'\n') {
        let mut words = line.splitn(3, |&b| b == b' ');
        let [kind, name, text] = [(); 3].map(|()| words.next().unwrap_or_default());
        let text = expanded(text, &texts);
        if kind == b"f" {
            let digest = sha256(&text);
            texts.push(Text { hex: digest.trim_start_matches("sha256:").to_owned(), size: text.len() });
        }
        lines.push([kind, &expanded(name, &texts), &text].join(&b' '));
    }
    lines.join(&b'\n')
}

fn expanded(word: &[u8], texts: &[Text]) -> Vec<u8> {
    let mut expanded = Vec::new();
    let mut bytes = word.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let index = bytes.peek().map_or(usize::MAX, |digit| usize::from(digit.wrapping_sub(b'0')));
        match (byte, texts.get(index)) {
            (b'&', Some(text)) => expanded.extend(text.hex.bytes()),
            (b'$', Some(text)) => expanded.extend(text.size.to_string().bytes()),
            _ => {
                expanded.push(byte);
                continue;
            }
        }
        bytes.next();
    }
    expanded
}

/// Panics if a blob does not have its digest, or if a temporary file is left.
fn check(store: &Path) {
    let leftover = fs::read_dir(store.join("ingest")).expect("the store is complete").count();
    assert_eq!(leftover, 0, "temporary files are left");
    // Without an image there may be no folder.
    let Ok(blobs) = fs::read_dir(store.join("blobs/sha256")) else { return };
    for blob in blobs {
        let path = blob.expect("the folder can be read").path();
        let digest = sha256(&fs::read(&path).expect("the blob can be read"));
        assert!(path.ends_with(digest.trim_start_matches("sha256:")), "{} is {digest}", path.display());
    }
}
