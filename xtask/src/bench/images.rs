//! The images, made once and kept in a registry's storage below the target folder.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::layers;
use crate::disk::Temporary;
use crate::image::{Blob, Codec, GZIP, Image, Layer};
use crate::registry::Registry;
use crate::{Result, disk, push, shell};

/// Changes with what the images are made of; the images of another version are made anew.
const VERSION: &str = "images-1";
const REPOSITORY: &str = "bench";
/// What zstd does if nobody tells it otherwise.
const ZSTD: Codec = Codec::Zstd(3);
/// Behind the name of an image, it means the same tars with zstd.
pub const ZSTD_NAME: &str = "-zstd";

struct Recipe {
    name: &'static str,
    /// Another image whose layers come first.
    base: Option<&'static str>,
    layers: fn(&Path) -> Result<Vec<Layer>>,
}

/// The images with gzip layers. Each has a sister with `-zstd` behind its name, made of the same tars.
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

/// What is known of a layer in the registry.
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

/// The names of those that are measured unless others are asked for.
pub fn usual() -> Vec<String> {
    RECIPES.iter().map(|recipe| recipe.name.to_owned()).collect()
}

/// The names of those that were made before.
pub fn made(bench: &Path) -> Vec<String> {
    names().into_iter().filter(|name| list(bench, name).exists()).collect()
}

/// An image's name at a registry.
pub fn at(address: &str, image: &str) -> String {
    format!("{address}/{REPOSITORY}:{image}")
}

/// Where the registry keeps them.
pub fn folder(bench: &Path) -> PathBuf {
    bench.join(VERSION)
}

impl Subject {
    /// The image of this name; made and pushed if it is not there.
    pub fn there(bench: &Path, registry: &Registry, name: &str) -> Result<Self> {
        let list = list(bench, name);
        if !list.exists() {
            let work = Temporary::new(bench.join("work"))?;
            let layers = match name.strip_suffix(ZSTD_NAME) {
                Some(sister) => Self::there(bench, registry, sister)?.recompressed(bench, work.path())?,
                None => make(bench, registry, work.path(), name)?,
            };
            let text: String = layers.iter().map(line).collect();
            push::image(registry.address(), REPOSITORY, name, &Image::new(work.path(), layers)?)?;
            disk::write(&list, &text)?;
        }
        let layers = disk::read(&list)?.lines().map(known).collect::<Result<_>>()?;
        Ok(Self { name: name.to_owned(), layers, is_zstd: name.ends_with(ZSTD_NAME) })
    }

    /// Its name at a registry.
    pub fn at(&self, address: &str) -> String {
        at(address, &self.name)
    }

    /// The same tars with zstd instead of gzip.
    fn recompressed(&self, bench: &Path, work: &Path) -> Result<Vec<Layer>> {
        disk::create_folder(work)?;
        eprintln!("making the image {}{ZSTD_NAME}, once", self.name);
        let layers = self.layers.iter().enumerate();
        layers.map(|(number, layer)| recompressed(&stored(bench, &layer.digest), work, number)).collect()
    }

    /// The command that decompresses its layers from its input to its output.
    pub fn decompressor(&self) -> &'static str {
        if self.is_zstd { "zstd -dc" } else { "gzip -dc" }
    }

    /// The URLs of its layers' blobs.
    pub fn urls(&self, address: &str) -> Vec<String> {
        self.layers.iter().map(|layer| format!("http://{address}/v2/{REPOSITORY}/blobs/{}", layer.digest)).collect()
    }
}

/// Where an image's layers are listed.
fn list(bench: &Path, name: &str) -> PathBuf {
    folder(bench).join(format!("{name}.layers"))
}

fn make(bench: &Path, registry: &Registry, work: &Path, name: &str) -> Result<Vec<Layer>> {
    let recipe = RECIPES.iter().find(|recipe| recipe.name == name);
    let recipe = recipe.ok_or_else(|| format!("no image {name:?}; there are {}", names().join(", ")))?;
    let base = recipe.base.map(|base| Subject::there(bench, registry, base)).transpose()?;
    // That one may have needed the same folder.
    disk::create_folder(work)?;
    eprintln!("making the image {name}, once");
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

/// Where Debian's registry keeps a blob.
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
        return Err(format!("list of layers: {line:?}"));
    };
    let number = |text: &str| text.parse().map_err(|e| format!("list of layers: {line:?}: {e}"));
    let (digest, diff_id) = (digest.to_owned(), diff_id.to_owned());
    Ok(Known { digest, diff_id, size: number(size)?, unpacked: number(unpacked)? })
}
