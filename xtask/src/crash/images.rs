//! The content of the registry: small images with every kind of entry that a layer can have, and an artifact.

use std::io::Write;
use std::path::Path;

use super::archive::{Archive, Kind};
use super::noise::Noise;
use super::server::{Content, Server};
use crate::image::{Blob, Image, Layer, MANIFEST_TYPE};
use crate::{Result, disk};

/// The repositories. Each has the tag `latest`.
pub const IMAGE: &str = "image";
pub const OTHER: &str = "other";
/// Its tag names the other image at first, and the image later.
pub const MOVED: &str = "moved";
const ARTIFACT: &str = "artifact";

/// More than one buffer of 64 KiB, and not a multiple of it.
const BODY: usize = 150_000;

/// Makes the content in the folder and serves it.
pub fn serve(folder: &Path) -> Result<Server> {
    disk::create_folder(folder)?;
    let mut content = Content::default();
    let (image, other) = (image(&folder.join(IMAGE))?, other(&folder.join(OTHER))?);
    for (repository, image) in [(OTHER, &other), (MOVED, &other), (MOVED, &image), (IMAGE, &image)] {
        add_image(&mut content, repository, image)?;
    }
    add_artifact(&mut content, &folder.join(ARTIFACT))?;
    Server::start(content)
}

pub fn add_image(content: &mut Content, repository: &str, image: &Image) -> Result {
    for blob in image.layers.iter().map(|layer| &layer.blob).chain([&image.config]) {
        content.put_blob(repository, blob)?;
    }
    content.put_manifest(repository, MANIFEST_TYPE, &image.manifest)
}

/// A layer with this tar archive.
pub fn layer(folder: &Path, name: &str, tar: &[u8]) -> Result<Layer> {
    Layer::new(folder.join(name), |out: &mut dyn Write| out.write_all(tar))
}

fn image(folder: &Path) -> Result<Image> {
    disk::create_folder(folder)?;
    Image::new(folder, vec![layer(folder, "1", &base())?, layer(folder, "2", &middle())?, layer(folder, "3", &top())?])
}

/// Shares its lowest layer with the other image.
fn other(folder: &Path) -> Result<Image> {
    disk::create_folder(folder)?;
    let own = Archive::default().put("own", 0o644, Kind::File(b"own"));
    Image::new(folder, vec![layer(folder, "1", &base())?, layer(folder, "2", &own.end())?])
}

fn base() -> Vec<u8> {
    let big = Noise::new(1).bytes(BODY);
    let mut archive = Archive::default()
        .put("./", 0o755, Kind::Dir)
        .put("etc/", 0o755, Kind::Dir)
        .put("etc/passwd", 0o644, Kind::File(b"root:x:0:0::/:/bin/sh\n"))
        .put("etc/gone", 0o600, Kind::File(b"not for long"))
        .put("etc/link", 0o777, Kind::Symlink("passwd"))
        .put("bin/", 0o755, Kind::Dir)
        .put("bin/big", 0o755, Kind::File(&big))
        .put("bin/same", 0o755, Kind::HardLink("bin/big"))
        .put("bin/su", 0o4755, Kind::File(b"setuid"))
        .xattrs(&[("user.note", b"a word"), ("security.capability", &CAPABILITY)])
        .put("bin/ping", 0o755, Kind::File(b"capable"))
        .put("dev/", 0o755, Kind::Dir)
        .put("dev/null", 0o666, Kind::CharDevice(1, 3))
        .put("run/", 0o2775, Kind::Dir)
        .put("run/fifo", 0o622, Kind::Fifo)
        .put("var/", 0o755, Kind::Dir)
        .put("var/cache/", 0o555, Kind::Dir);
    for number in 0..6 {
        archive = archive.put(&format!("var/cache/{number}"), 0o640, Kind::File(format!("{number}").as_bytes()));
    }
    archive.end()
}

/// `cap_net_raw+ep` in the kernel's format.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A whiteout, an opaque folder, and entries that replace others of a different kind.
fn middle() -> Vec<u8> {
    Archive::default()
        .put("etc/", 0o755, Kind::Dir)
        .put("etc/.wh.gone", 0o644, Kind::File(b""))
        .put("etc/link", 0o755, Kind::Dir)
        .put("etc/link/in", 0o644, Kind::File(b"a folder now"))
        .put("var/", 0o755, Kind::Dir)
        .put("var/cache/", 0o755, Kind::Dir)
        .put("var/cache/.wh..wh..opq", 0o644, Kind::File(b""))
        .put("var/cache/new", 0o644, Kind::File(b"all that is left"))
        .put("bin/", 0o755, Kind::Dir)
        .put("bin/same", 0o644, Kind::File(b"no longer the same"))
        .end()
}

fn top() -> Vec<u8> {
    Archive::default()
        .put("run/", 0o1777, Kind::Dir)
        .put("run/.wh.fifo", 0o644, Kind::File(b""))
        .put("srv/", 0o700, Kind::Dir)
        .xattrs(&[("user.top", b"1")])
        .put("srv/page", 0o644, Kind::File(&Noise::new(2).bytes(3000)))
        .put("srv/twin", 0o644, Kind::HardLink("srv/page"))
        .end()
}

fn add_artifact(content: &mut Content, folder: &Path) -> Result {
    disk::create_folder(folder)?;
    let config = Blob::new(folder.join("config"), b"{}")?;
    let files = [("small", b"a file".to_vec()), ("in/folder", Noise::new(3).bytes(BODY))];
    let mut layers = Vec::new();
    for (index, (title, bytes)) in files.iter().enumerate() {
        let blob = Blob::new(folder.join(index.to_string()), bytes)?;
        let (digest, size) = (&blob.digest, blob.size);
        layers.push(format!(
            r#"{{"mediaType":"application/octet-stream","digest":"{digest}","size":{size},"annotations":{{"org.opencontainers.image.title":"{title}"}}}}"#
        ));
        content.put_blob(ARTIFACT, &blob)?;
    }
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","artifactType":"application/x-test","config":{},"layers":[{}]}}"#,
        config.descriptor("application/vnd.oci.empty.v1+json"),
        layers.join(",")
    );
    content.put_blob(ARTIFACT, &config)?;
    content.put_manifest(ARTIFACT, MANIFEST_TYPE, &Blob::new(folder.join("manifest"), manifest.as_bytes())?)
}
