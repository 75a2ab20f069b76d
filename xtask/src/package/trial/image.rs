//! Other tools understand the image.

use std::path::PathBuf;

use serde_json::Value;

use super::Subject;
use crate::disk::Temporary;
use crate::{Result, shell};

/// skopeo reads the image, and podman loads it.
pub fn load(subject: &Subject) -> Result {
    let source = format!("oci-archive:{}", subject.image()?.display());
    let text = shell::read(shell::program("skopeo").args(["inspect", "--config", &source]))?;
    let config: Value = serde_json::from_str(&text).map_err(|error| format!("skopeo inspect: {error}"))?;
    let architecture = subject.names.oci.split('/').nth(1).unwrap_or_default();
    let label = &config["config"]["Labels"]["org.opencontainers.image.version"];
    for (found, expected) in [(&config["architecture"], architecture), (label, subject.version)] {
        if found != expected {
            return Err(format!("expected {expected}, got {found}"));
        }
    }
    // podman refuses a folder for its state whose path is longer than 50 characters.
    let folder = Temporary::new(PathBuf::from(format!("/tmp/pullet-podman-{}", std::process::id())))?;
    let podman = |words: &[&str]| {
        let mut podman = shell::program("podman");
        let [store, state] = ["store", "state"].map(|name| folder.path().join(name));
        podman.arg("--root").arg(store).arg("--runroot").arg(state).args(["--storage-driver=vfs"]);
        shell::read(podman.args(words))
    };
    podman(&["load", "--input", &subject.image()?.display().to_string()])?;
    let entry = podman(&["image", "inspect", "--format", "{{.Config.Entrypoint}}", subject.image])?;
    if entry.trim() == "[/usr/bin/pullet]" { Ok(()) } else { Err(format!("podman: entry point {entry:?}")) }
}
