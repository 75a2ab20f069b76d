//! Images from code: layers from tar entries, a config with the right diff_ids, a manifest, an index.
//!
//! Everything is right by default. A lie is an edit of the JSON before it is pushed, or a field of a [`Layer`] set by hand.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::archive::{Entry, archive};
use crate::digest::sha256;
use crate::registry::Registry;

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// A layer: its blob, and what the documents say of it.
#[derive(Clone, Debug)]
pub struct Layer {
    pub blob: Vec<u8>,
    pub diff_id: String,
    pub media_type: String,
}

impl Layer {
    /// A gzip layer of these entries.
    pub fn of(entries: &[Entry]) -> Layer {
        Layer::gzip(&archive(entries))
    }

    pub fn plain(tar: &[u8]) -> Layer {
        Layer::new(tar, tar.to_vec(), "")
    }

    pub fn gzip(tar: &[u8]) -> Layer {
        Layer::new(tar, gzip(tar), "+gzip")
    }

    /// gzip in members of this many bytes each.
    pub fn gzip_members(tar: &[u8], size: usize) -> Layer {
        Layer::new(tar, tar.chunks(size).flat_map(gzip).collect(), "+gzip")
    }

    pub fn zstd(tar: &[u8]) -> Layer {
        Layer::new(tar, zstd(tar), "+zstd")
    }

    /// Any blob as a gzip layer that claims to be this tar.
    pub fn lying(tar: &[u8], blob: Vec<u8>) -> Layer {
        Layer::new(tar, blob, "+gzip")
    }

    pub fn digest(&self) -> String {
        sha256(&self.blob)
    }

    fn new(tar: &[u8], blob: Vec<u8>, suffix: &str) -> Layer {
        Layer { blob, diff_id: sha256(tar), media_type: format!("{OCI_LAYER}{suffix}") }
    }
}

/// A descriptor of some bytes.
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": sha256(bytes), "size": bytes.len() })
}

/// An image for one platform: a config, layers, a manifest that names them.
#[derive(Clone, Debug)]
pub struct Image {
    pub layers: Vec<Layer>,
    pub config: Value,
    pub manifest: Value,
    pub media_type: String,
    /// The config's bytes, where they are not to be those of `config`.
    pub config_bytes: Vec<u8>,
}

impl Image {
    /// An OCI image for the platform of the machine.
    pub fn new(layers: Vec<Layer>) -> Image {
        Image::with_config(layers, |_| {})
    }

    /// One small layer; what is in it does not matter to the test, but the seed makes it another one.
    pub fn small(seed: &str) -> Image {
        Image::new(vec![Layer::of(&[crate::archive::file("seed", seed)])])
    }

    /// An OCI image whose config was edited before the manifest was made from it.
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

    /// An image with any bytes as its config.
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

    /// An image of another platform, `os/architecture` or `os/architecture/variant`.
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

    /// The same image with Docker's media types.
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

    /// The same image with its manifest edited.
    pub fn edited(mut self, edit: impl FnOnce(&mut Value)) -> Image {
        edit(&mut self.manifest);
        self
    }

    pub fn manifest_bytes(&self) -> Vec<u8> {
        self.manifest.to_string().into_bytes()
    }

    pub fn digest(&self) -> String {
        sha256(&self.manifest_bytes())
    }

    pub fn config_digest(&self) -> String {
        sha256(&self.config_bytes)
    }

    /// Puts config and layers into the repository.
    pub fn push_blobs(&self, registry: &Registry, repository: &str) {
        registry.put_blob(repository, &self.config_bytes);
        self.layers.iter().for_each(|layer| drop(registry.put_blob(repository, &layer.blob)));
    }

    /// Puts everything there under a tag; returns the name to pull.
    pub fn push(&self, registry: &Registry, repository: &str, tag: &str) -> String {
        self.push_blobs(registry, repository);
        registry.put_manifest(repository, Some(tag), &self.media_type, &self.manifest_bytes());
        registry.name(&format!("{repository}:{tag}"))
    }

    /// This image's line in an index, for a platform written as `os/architecture/variant`.
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

/// An OCI index of these entries.
pub fn index(entries: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries })
}

/// Puts images by digest and an index of them under a tag; returns the name to pull.
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

/// The architecture that the binary is for, with its variant where there is one, in the words of Go, which are those of the
/// documents: this machine's, or what `cargo xtask cross --test` says.
pub fn architecture() -> &'static str {
    static TOLD: OnceLock<Option<String>> = OnceLock::new();
    if let Some(told) = TOLD.get_or_init(|| std::env::var("PULLET_ARCHITECTURE").ok()) {
        return told;
    }
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Compresses with the `zstd` program: the project itself only ever reads zstd.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("zstd")
        .args(["-q", "-c"])
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
