//! The images. They are made once and kept in the storage of a registry below the target folder.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::layers;
use crate::disk::Temporary;
use crate::image::{Blob, Codec, GZIP, Image, Layer};
use crate::registry::Registry;
use crate::{Result, disk, push, shell};

/// Change this with the content of the images, so that they are made again.
const VERSION: &str = "images-1";
const REPOSITORY: &str = "bench";
/// zstd with its default level.
const ZSTD: Codec = Codec::Zstd(3);
/// The suffix of images with the same tars, compressed with zstd.
pub const ZSTD_NAME: &str = "-zstd";

struct Recipe {
    name: &'static str,
    /// Another image whose layers come first.
    base: Option<&'static str>,
    layers: fn(&Path) -> Result<Vec<Layer>>,
}

/// The images with gzip layers. Each also exists with the suffix `-zstd`, made of the same tars.
const RECIPES: &[Recipe] = &[
    Recipe { name: "debian", base: None, layers: layers::debian },
    Recipe { name: "app", base: Some("debian"), layers: layers::app },
    Recipe { name: "many", base: None, layers: layers::many },
    Recipe { name: "wide", base: None, layers: layers::wide },
    Recipe { name: "big", base: None, layers: layers::big },
];

/// An image in the registry.
pub struct Subject {
    pub name: String,
    pub layers: Vec<Known>,
    pub is_zstd: bool,
}

/// A layer in the registry.
pub struct Known {
    pub digest: String,
    diff_id: String,
    pub size: u64,
    pub unpacked: u64,
}

/// The names of all images.
pub fn names() -> Vec<String> {
    RECIPES.iter().flat_map(|recipe| [recipe.name.to_owned(), format!("{}{ZSTD_NAME}", recipe.name)]).collect()
}

/// The names of the images that are measured by default.
pub fn usual() -> Vec<String> {
    RECIPES.iter().map(|recipe| recipe.name.to_owned()).collect()
}

/// The names of the images that exist already.
pub fn made(bench: &Path) -> Vec<String> {
    names().into_iter().filter(|name| list(bench, name).exists()).collect()
}

/// The name of an image at a registry.
pub fn at(address: &str, image: &str) -> String {
    format!("{address}/{REPOSITORY}:{image}")
}

/// The registry's storage.
pub fn folder(bench: &Path) -> PathBuf {
    bench.join(VERSION)
}

impl Subject {
    /// The image of this name. Makes and pushes it if it does not exist yet.
    pub fn get_or_make(bench: &Path, registry: &Registry, name: &str) -> Result<Self> {
        let list = list(bench, name);
        if !list.exists() {
            let work = Temporary::new(bench.join("work"))?;
            let layers = match name.strip_suffix(ZSTD_NAME) {
                Some(gzip) => Self::get_or_make(bench, registry, gzip)?.recompressed(bench, work.path())?,
                None => make(bench, registry, work.path(), name)?,
            };
            let text: String = layers.iter().map(line).collect();
            push::image(registry.address(), REPOSITORY, name, &Image::new(work.path(), layers)?)?;
            disk::write(&list, &text)?;
        }
        let layers = disk::read(&list)?.lines().map(known).collect::<Result<_>>()?;
        Ok(Self { name: name.to_owned(), layers, is_zstd: name.ends_with(ZSTD_NAME) })
    }

    /// The name of the image at a registry.
    pub fn at(&self, address: &str) -> String {
        at(address, &self.name)
    }

    /// The same tars with zstd instead of gzip.
    fn recompressed(&self, bench: &Path, work: &Path) -> Result<Vec<Layer>> {
        disk::create_folder(work)?;
        eprintln!("making the image {}{ZSTD_NAME} (only once)", self.name);
        let layers = self.layers.iter().enumerate();
        layers.map(|(number, layer)| recompressed(&stored(bench, &layer.digest), work, number)).collect()
    }

    /// The command that decompresses a layer from standard input to standard output.
    pub fn decompressor(&self) -> &'static str {
        if self.is_zstd { "zstd -dc" } else { "gzip -dc" }
    }

    /// The URLs of the layers.
    pub fn urls(&self, address: &str) -> Vec<String> {
        self.layers.iter().map(|layer| format!("http://{address}/v2/{REPOSITORY}/blobs/{}", layer.digest)).collect()
    }
}

/// The file that lists the layers of an image.
fn list(bench: &Path, name: &str) -> PathBuf {
    folder(bench).join(format!("{name}.layers"))
}

fn make(bench: &Path, registry: &Registry, work: &Path, name: &str) -> Result<Vec<Layer>> {
    let recipe = RECIPES.iter().find(|recipe| recipe.name == name);
    let recipe = recipe.ok_or_else(|| format!("no image {name:?}: expected one of {}", names().join(", ")))?;
    let base = recipe.base.map(|base| Subject::get_or_make(bench, registry, base)).transpose()?;
    // Making the base removed the folder.
    disk::create_folder(work)?;
    eprintln!("making the image {name} (only once)");
    let mut layers = Vec::new();
    for layer in base.iter().flat_map(|base| &base.layers) {
        let Known { diff_id, unpacked, .. } = layer;
        let blob = Blob::of(stored(bench, &layer.digest))?;
        layers.push(Layer { blob, diff_id: diff_id.clone(), unpacked: *unpacked, codec: GZIP });
    }
    layers.extend((recipe.layers)(work)?);
    Ok(layers)
}

fn recompressed(blob: &Path, work: &Path, number: usize) -> Result<Layer> {
    let mut gzip = shell::program("gzip");
    gzip.arg("-dc").stdin(disk::open(blob)?).stdout(Stdio::piped());
    let mut gzip = gzip.spawn().map_err(|e| format!("start gzip: {e}"))?;
    let mut tar = gzip.stdout.take().expect("spawned with a pipe");
    let file = work.join(format!("{number}.layer"));
    let layer = Layer::compressed(file, ZSTD, |into| io::copy(&mut tar, into).map(drop))?;
    match gzip.wait() {
        Ok(status) if status.success() => Ok(layer),
        other => Err(format!("gzip: {other:?}")),
    }
}

/// The file in which Debian's registry stores a blob.
fn stored(bench: &Path, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    let storage = folder(bench).join("storage/docker/registry/v2/blobs/sha256");
    storage.join(hex.get(..2).unwrap_or_default()).join(hex).join("data")
}

fn line(layer: &Layer) -> String {
    let Layer { blob: Blob { digest, size, .. }, diff_id, unpacked, .. } = layer;
    format!("{digest} {diff_id} {size} {unpacked}\n")
}

fn known(line: &str) -> Result<Known> {
    let [digest, diff_id, size, unpacked] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("malformed list of layers: {line:?}"));
    };
    let number = |text: &str| text.parse().map_err(|e| format!("malformed list of layers: {line:?}: {e}"));
    let (digest, diff_id) = (digest.to_owned(), diff_id.to_owned());
    Ok(Known { digest, diff_id, size: number(size)?, unpacked: number(unpacked)? })
}
