//! Commands that manage the images in the store: names, removal, listing. No registry is contacted.

mod golden;
mod group;
mod platform;
mod prune;
mod rmi;
mod tag;

use std::collections::BTreeSet;
use std::fs;

use kit::archive::file;
use kit::bench::Bench;
use kit::digest::sha256;
use kit::home::Home;
use kit::image::{Image, Layer};

/// Two layers, the lower of which all these images share.
pub fn image(seed: &str) -> Image {
    Image::new(vec![Layer::of(&[file("shared", "shared")]), Layer::of(&[file(seed, seed)])])
}

/// Pushes the image and pulls it.
pub fn pull(bench: &Bench, image: &Image, repository: &str, tag: &str) -> String {
    let name = image.push(&bench.registry, repository, tag);
    bench.home.run(&["pull", "-q", &name]).exits(0);
    name
}

/// The digests of the blobs in the store.
pub fn blobs(home: &Home) -> BTreeSet<String> {
    let folder = home.store().join("blobs/sha256");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| format!("sha256:{}", entry.file_name().into_string().unwrap())).collect()
}

/// The digests of the blobs of an image.
pub fn parts(image: &Image) -> BTreeSet<String> {
    let own = [image.digest(), image.config_digest()];
    own.into_iter().chain(image.layers.iter().map(Layer::digest)).collect()
}

/// Puts a blob into the store, as another tool would.
pub fn put(home: &Home, bytes: &[u8]) -> String {
    let digest = sha256(bytes);
    fs::write(home.blob(&digest), bytes).unwrap();
    digest
}
