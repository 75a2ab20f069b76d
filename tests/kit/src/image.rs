//! Images made in code: layers from tar entries, a config with the right diff_ids, a manifest, an index.
//!
//! Everything is correct by default. To make it wrong, edit the JSON before the push or set a field of a [`Layer`].

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::archive::{Entry, archive, file};
use crate::digest::{hex, sha256};
use crate::registry::Registry;

/// The media type of an OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of an OCI manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an OCI config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The media type of an uncompressed OCI layer.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// The media type of a Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The media type of a Docker manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The media type of a Docker config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// The media type of an uncompressed Docker layer.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// A layer: its blob, and what config and manifest say about it.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The compressed archive.
    pub blob: Vec<u8>,
    /// The digest of the archive.
    pub diff_id: String,
    /// The media type of the blob.
    pub media_type: String,
}

impl Layer {
    /// Returns a gzip layer of these entries.
    pub fn of(entries: &[Entry]) -> Layer {
        Layer::gzip(&archive(entries))
    }

    /// Returns an uncompressed layer.
    pub fn plain(tar: &[u8]) -> Layer {
        Layer::new(tar, tar.to_vec(), "")
    }

    /// Returns a gzip layer.
    pub fn gzip(tar: &[u8]) -> Layer {
        Layer::new(tar, gzip(tar), "+gzip")
    }

    /// Returns a gzip layer of several members, each with this many bytes of the archive.
    pub fn gzip_members(tar: &[u8], size: usize) -> Layer {
        Layer::new(tar, tar.chunks(size).flat_map(gzip).collect(), "+gzip")
    }

    /// Returns a zstd layer.
    pub fn zstd(tar: &[u8]) -> Layer {
        Layer::new(tar, zstd(tar), "+zstd")
    }

    /// Returns a zstd layer that the `zstd` program makes with these options.
    pub fn zstd_with(tar: &[u8], options: &[&str]) -> Layer {
        Layer::new(tar, zstd_with(tar, options), "+zstd")
    }

    /// Returns a gzip layer with the diff_id of this archive and any blob.
    pub fn with_blob(tar: &[u8], blob: Vec<u8>) -> Layer {
        Layer::new(tar, blob, "+gzip")
    }

    /// Returns the digest of the blob.
    pub fn digest(&self) -> String {
        sha256(&self.blob)
    }

    fn new(tar: &[u8], blob: Vec<u8>, suffix: &str) -> Layer {
        Layer { blob, diff_id: sha256(tar), media_type: format!("{OCI_LAYER}{suffix}") }
    }
}

/// Makes a gzip layer piece by piece, so that the archive is never in memory as a whole. Each piece is a gzip member.
#[derive(Default)]
pub struct LayerBuilder {
    blob: Vec<u8>,
    tar: Sha256,
}

impl LayerBuilder {
    /// Appends a part of the archive this many times.
    pub fn add(&mut self, tar: &[u8], times: usize) {
        let member = gzip(tar);
        for _ in 0..times {
            self.tar.update(tar);
            self.blob.extend_from_slice(&member);
        }
    }

    /// Returns the layer. The caller has added the end of the archive.
    pub fn finish(self) -> Layer {
        let diff_id = format!("sha256:{}", hex(&self.tar.finalize()));
        Layer { blob: self.blob, diff_id, media_type: format!("{OCI_LAYER}+gzip") }
    }
}

/// Returns a descriptor of some bytes.
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": sha256(bytes), "size": bytes.len() })
}

/// An image for one platform: layers, a config and a manifest.
#[derive(Clone, Debug)]
pub struct Image {
    /// The layers, from the base up.
    pub layers: Vec<Layer>,
    /// The config.
    pub config: Value,
    /// The manifest.
    pub manifest: Value,
    /// The media type of the manifest.
    pub media_type: String,
    /// The bytes of the config that are pushed.
    pub config_bytes: Vec<u8>,
}

impl Image {
    /// Returns an OCI image for the platform of the program under test.
    pub fn new(layers: Vec<Layer>) -> Image {
        Image::with_config(layers, |_| {})
    }

    /// Returns an image of one small layer, which differs for each seed.
    pub fn small(seed: &str) -> Image {
        Image::new(vec![Layer::of(&[file("seed", seed)])])
    }

    /// Returns an OCI image with an edited config. The manifest has the digest of the edited one.
    pub fn with_config(layers: Vec<Layer>, edit: impl FnOnce(&mut Value)) -> Image {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let (architecture, variant) = architecture().split_once('/').unwrap_or((architecture(), ""));
        let mut config = json!({
            "architecture": architecture,
            "variant": variant,
            "os": "linux",
            "config": { "Cmd": ["/bin/sh"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        if variant.is_empty() {
            config.as_object_mut().unwrap().remove("variant");
        }
        edit(&mut config);
        let bytes = config.to_string().into_bytes();
        Image::with_config_bytes(layers, config, bytes)
    }

    /// Returns an OCI image with any bytes as its config.
    pub fn with_config_bytes(layers: Vec<Layer>, config: Value, bytes: Vec<u8>) -> Image {
        let named: Vec<Value> = layers.iter().map(|layer| descriptor(&layer.media_type, &layer.blob)).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, &bytes),
            "layers": named,
        });
        Image { layers, config, manifest, media_type: OCI_MANIFEST.to_string(), config_bytes: bytes }
    }

    /// Returns an OCI image for a platform written `os/architecture` or `os/architecture/variant`.
    pub fn for_platform(layers: Vec<Layer>, platform: &str) -> Image {
        let words: Vec<&str> = platform.split('/').collect();
        Image::with_config(layers, |config| {
            config["os"] = json!(words[0]);
            config["architecture"] = json!(words[1]);
            match words.get(2) {
                Some(variant) => config["variant"] = json!(variant),
                None => drop(config.as_object_mut().unwrap().remove("variant")),
            }
        })
    }

    /// Changes all media types to Docker's.
    pub fn docker(mut self) -> Image {
        self.media_type = DOCKER_MANIFEST.to_string();
        self.manifest["mediaType"] = json!(DOCKER_MANIFEST);
        self.manifest["config"]["mediaType"] = json!(DOCKER_CONFIG);
        for layer in self.manifest["layers"].as_array_mut().unwrap() {
            let docker = match layer["mediaType"].as_str().unwrap() {
                plain if plain == OCI_LAYER => DOCKER_LAYER.to_string(),
                packed => format!("{DOCKER_LAYER}{}", packed.trim_start_matches(OCI_LAYER).replace('+', ".")),
            };
            layer["mediaType"] = json!(docker);
        }
        self
    }

    /// Edits the manifest.
    pub fn edited(mut self, edit: impl FnOnce(&mut Value)) -> Image {
        edit(&mut self.manifest);
        self
    }

    /// Returns the bytes of the manifest.
    pub fn manifest_bytes(&self) -> Vec<u8> {
        self.manifest.to_string().into_bytes()
    }

    /// Returns the digest of the manifest.
    pub fn digest(&self) -> String {
        sha256(&self.manifest_bytes())
    }

    /// Returns the digest of the config.
    pub fn config_digest(&self) -> String {
        sha256(&self.config_bytes)
    }

    /// Pushes config and layers.
    pub fn push_blobs(&self, registry: &Registry, repository: &str) {
        registry.put_blob(repository, &self.config_bytes);
        self.layers.iter().for_each(|layer| drop(registry.put_blob(repository, &layer.blob)));
    }

    /// Pushes the image under a tag. Returns its full name.
    pub fn push(&self, registry: &Registry, repository: &str, tag: &str) -> String {
        self.push_blobs(registry, repository);
        registry.put_manifest(repository, Some(tag), &self.media_type, &self.manifest_bytes());
        registry.name(&format!("{repository}:{tag}"))
    }

    /// Returns the entry of this image in an index, for a platform written as in [`Image::for_platform`].
    pub fn entry(&self, platform: &str) -> Value {
        let mut entry = descriptor(&self.media_type, &self.manifest_bytes());
        let words: Vec<&str> = platform.split('/').collect();
        entry["platform"] = json!({ "os": words[0], "architecture": words[1] });
        if let Some(variant) = words.get(2) {
            entry["platform"]["variant"] = json!(variant);
        }
        entry
    }
}

/// Returns an OCI index of these entries.
pub fn index(entries: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries })
}

/// Pushes images, and an index of them under a tag. Returns the full name of the index.
pub fn push_index(registry: &Registry, repository: &str, tag: &str, images: &[(&str, &Image)]) -> String {
    let mut entries = Vec::new();
    for (platform, image) in images {
        image.push_blobs(registry, repository);
        registry.put_manifest(repository, None, &image.media_type, &image.manifest_bytes());
        entries.push(image.entry(platform));
    }
    registry.put_manifest(repository, Some(tag), OCI_INDEX, index(&entries).to_string().as_bytes());
    registry.name(&format!("{repository}:{tag}"))
}

/// Returns the architecture of the program under test in the words of images, with its variant if it has one.
///
/// It is the machine's own, or `PULLET_ARCHITECTURE`, which `cargo xtask cross --test` sets.
pub fn architecture() -> &'static str {
    static NAMED: OnceLock<Option<String>> = OnceLock::new();
    if let Some(named) = NAMED.get_or_init(|| std::env::var("PULLET_ARCHITECTURE").ok()) {
        return named;
    }
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Compresses with gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Compresses with the program `zstd`, because the project has no compressor for it.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd_with(bytes, &[])
}

fn zstd_with(bytes: &[u8], options: &[&str]) -> Vec<u8> {
    let mut child = Command::new("zstd")
        .args(["-q", "-c"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("zstd is missing: apt-get install --no-install-recommends zstd");
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let feeder = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success(), "zstd failed: {}", output.status);
    output.stdout
}
