//! The files of an OCI image layout: `oci-layout` and `index.json` (image-spec, image-layout.md). Keeps entries and
//! annotations of other tools unchanged.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::disk::{read_small, replace, sync_folders};
use super::lock::{self, LockWait};
use super::owner::check_owner;
use crate::advice::Advice;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::descriptor::Descriptor;
use crate::oci::media_type::OCI_INDEX;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;

/// The annotation with the name of an entry. Holds the full name, because one store holds many repositories.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation with the name that containerd reads.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// The annotation with the digest to which the name resolved, if that is an index and not the manifest itself.
const RESOLVED: &str = "pullet.resolved.digest";
/// The annotation with the digest of the registry's manifest, if the store has it converted to OCI media types.
const SOURCE: &str = "pullet.source.digest";
const VERSION: &str = "1.0.0";
const INDEX_LIMIT: usize = 16 << 20;

/// A named manifest, or index, of `index.json`.
#[derive(Clone, Debug)]
pub(crate) struct ImageEntry {
    /// The names in its annotations, the fullest first. There is at least one.
    pub(crate) names: Vec<String>,
    /// The digest to which the name resolved at the registry, as an annotation claims. Prove it before you rely on it.
    pub(crate) resolved: Digest,
    /// The registry's manifest for the platform, as an annotation claims. It differs from `manifest` if that was converted.
    pub(crate) source: Digest,
    pub(crate) manifest: Descriptor,
    pub(crate) platform: Platform,
}

impl ImageEntry {
    /// The name to show.
    pub(crate) fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

#[derive(Deserialize)]
struct LayoutFile {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

/// Writes the two files if they are missing. Fails for a layout of another version.
pub(super) fn create(root: &Path, wait: LockWait<'_>) -> Result<()> {
    let _held = lock::index(root, wait)?;
    let path = root.join("oci-layout");
    match read_small(&path, INDEX_LIMIT)? {
        Some(bytes) => check_version(&path, &bytes)?,
        None => replace(&path, json!({ "imageLayoutVersion": VERSION }).to_string().as_bytes())?,
    }
    let path = root.join("index.json");
    if read_small(&path, INDEX_LIMIT)?.is_none() {
        write(&path, json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] }))?;
    }
    Ok(())
}

/// The entries that have a name, in order. Skips others, and those whose descriptor is malformed.
pub(super) fn entries(root: &Path) -> Result<Vec<ImageEntry>> {
    check_owner(root)?;
    let layout = root.join("oci-layout");
    if let Some(bytes) = read_small(&layout, INDEX_LIMIT)? {
        check_version(&layout, &bytes)?;
    }
    let path = root.join("index.json");
    match read_small(&path, INDEX_LIMIT)? {
        None => Ok(Vec::new()),
        Some(bytes) => Ok(manifests(&parse(&path, &bytes)?).iter().filter_map(entry).collect()),
    }
}

/// Puts `entry` into the index and removes another entry of its name. Syncs the folders of the blobs first, because an
/// earlier run may have been killed after renaming a blob and before syncing its folder.
pub(super) fn name(root: &Path, entry: &ImageEntry, wait: LockWait<'_>) -> Result<()> {
    sync_folders(root)?;
    let _held = lock::index(root, wait)?;
    let path = root.join("index.json");
    let bytes = read_small(&path, INDEX_LIMIT)?.unwrap_or_else(|| b"{\"schemaVersion\":2}".to_vec());
    let mut index = parse(&path, &bytes)?;
    let mut list = manifests(&index).to_vec();
    let others_name = |value: &Value| !names(value).iter().any(|name| is_same_name(name, entry.name()));
    let position = list.iter().position(|value| !others_name(value));
    list.retain(others_name);
    list.insert(position.unwrap_or(list.len()).min(list.len()), descriptor(entry));
    index.insert("manifests".to_owned(), Value::Array(list));
    write(&path, Value::Object(index))
}

fn check_version(path: &Path, bytes: &[u8]) -> Result<()> {
    let LayoutFile { version } = serde_json::from_slice(bytes).map_err(|e| malformed(path, &e))?;
    if version != VERSION {
        let text = format!("{}: image layout version \"{version}\" is not supported", path.display());
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    Ok(())
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>> {
    serde_json::from_slice(bytes).map_err(|e| malformed(path, &e))
}

fn write(path: &Path, index: Value) -> Result<()> {
    replace(path, index.to_string().as_bytes())
}

fn manifests(index: &Map<String, Value>) -> &[Value] {
    index.get("manifests").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn annotation<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get("annotations")?.get(key)?.as_str()
}

/// The names of an entry. containerd's annotation comes first, because next to it the other one may have a tag alone.
fn names(value: &Value) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for key in [IMAGE_NAME, REF_NAME] {
        if let Some(name) = annotation(value, key)
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// Whether two names mean the same image, one of them perhaps in short form.
fn is_same_name(one: &str, other: &str) -> bool {
    match (one.parse::<Reference>(), other.parse::<Reference>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

fn entry(value: &Value) -> Option<ImageEntry> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let of_platform = |key: &str| value.get("platform").and_then(|p| p.get(key)).and_then(Value::as_str).unwrap_or("");
    let manifest = Descriptor {
        media_type: text("mediaType")?.to_owned(),
        digest: text("digest")?.parse().ok()?,
        size: value.get("size")?.as_u64()?,
    };
    Some(ImageEntry {
        names: Some(names(value)).filter(|names| !names.is_empty())?,
        resolved: annotation(value, RESOLVED).and_then(|text| text.parse().ok()).unwrap_or(manifest.digest),
        source: annotation(value, SOURCE).and_then(|text| text.parse().ok()).unwrap_or(manifest.digest),
        manifest,
        platform: Platform::new(of_platform("os"), of_platform("architecture"), of_platform("variant")),
    })
}

fn descriptor(entry: &ImageEntry) -> Value {
    let mut platform = Map::new();
    platform.insert("os".to_owned(), entry.platform.os().into());
    platform.insert("architecture".to_owned(), entry.platform.architecture().into());
    if !entry.platform.variant().is_empty() {
        platform.insert("variant".to_owned(), entry.platform.variant().into());
    }
    let mut annotations = Map::new();
    for key in [REF_NAME, IMAGE_NAME] {
        annotations.insert(key.to_owned(), entry.name().into());
    }
    for (key, digest) in [(RESOLVED, entry.resolved), (SOURCE, entry.source)] {
        if digest != entry.manifest.digest {
            annotations.insert(key.to_owned(), digest.to_string().into());
        }
    }
    json!({
        "mediaType": entry.manifest.media_type,
        "digest": entry.manifest.digest.to_string(),
        "size": entry.manifest.size,
        "platform": platform,
        "annotations": annotations,
    })
}

fn malformed(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Disk, format!("read {}: {why}", path.display())).with_advice(Advice::VerifyStore)
}
