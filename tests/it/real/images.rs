//! The images. Each is built once in a run of the tests and pushed to one registry.

use super::{layers, model, oddities, source};
use kit::debian::{self, Registry, Scratch, run};
use kit::digest::hex;
use kit::tree::Tree;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The platforms of the index, in an order that does not help the choice.
const PLATFORMS: [&str; 5] = ["linux/arm/v5", "linux/amd64", "linux/arm/v7", "linux/arm64/v8", "linux/386"];

/// An image in the registry, and in the OCI layout that it was pushed from.
pub(crate) struct Pushed {
    /// `127.0.0.1:PORT/real/debian:minbase`.
    pub(crate) name: String,
    pub(crate) layout: PathBuf,
    pub(crate) tag: &'static str,
    model: OnceLock<Tree>,
}

impl Pushed {
    /// The same image under another name.
    pub(crate) fn named(&self, name: &str) -> Pushed {
        Pushed { name: name.to_string(), layout: self.layout.clone(), tag: self.tag, model: OnceLock::new() }
    }

    /// The tree that the layers give by the specification.
    pub(crate) fn model(&self) -> &Tree {
        self.model.get_or_init(|| model::merged(&self.layout, self.tag))
    }

    /// The number of layers in the manifest.
    pub(crate) fn layers(&self) -> usize {
        model::manifest(&self.layout, self.tag)["layers"].as_array().unwrap().len()
    }

    /// The same image under a name at another server of the same blobs.
    pub(crate) fn renamed(self, name: String) -> Pushed {
        Pushed { name, ..self }
    }

    /// The manifest or index of the name, byte for byte.
    pub(crate) fn document(&self) -> String {
        let remote = format!("docker://{}", self.name);
        run(skopeo("inspect").args(["--raw", "--tls-verify=false", &remote])).expect(0).stdout
    }
}

/// Creates a folder of this run.
pub(crate) fn folder(name: &str) -> PathBuf {
    static SCRATCH: OnceLock<Scratch> = OnceLock::new();
    let path = SCRATCH.get_or_init(|| Scratch::new("real")).path.join(name);
    fs::create_dir(&path).unwrap();
    path
}

/// The registry that all images are pushed to.
pub(crate) fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| Registry::start(&folder("registry")))
}

/// The folder with the blobs of that registry.
pub(crate) fn blobs() -> PathBuf {
    registry().folder.join("blobs")
}

/// The minimal Debian with the oddities, one gzip layer, OCI.
pub(crate) fn debian() -> &'static Pushed {
    static IMAGE: OnceLock<Pushed> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let folder = folder("debian");
        let layout = new_layout(&folder, "debian");
        let root = folder.join("root");
        source::make_root(&root);
        oddities::add(&root);
        add_layer(&layout, "debian", "debian", &archive(&root, &folder.join("layer.tar")));
        push(&layout, "debian", "real/debian:minbase", &[])
    })
}

/// Debian and ten more layers: whiteouts, opaque folders, replaced types, links across layers.
pub(crate) fn layered() -> &'static Pushed {
    static IMAGE: OnceLock<Pushed> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let layout = &debian().layout;
        let folder = folder("layered");
        let bundle = folder.join("bundle");
        unpack_by_umoci(layout, "debian", &bundle);
        for change in layers::CHANGES {
            change(&bundle.join("rootfs"));
            run(umoci_command("repack", &["--refresh-bundle"], &tagged(layout, "layered")).arg(&bundle)).expect(0);
        }
        add_written(layout, "layered", &folder, &layers::WRITTEN);
        push(layout, "layered", "real/layered:oci", &["--format=oci"])
    })
}

/// The same layers under a Docker schema 2 manifest.
pub(crate) fn schema2() -> Pushed {
    push(&layered().layout, "layered", "real/layered:schema2", &["--format=v2s2"])
}

/// The same layers compressed with zstd.
///
/// They are compressed into a separate layout first: if the registry has the gzip layers, skopeo would reuse those.
pub(crate) fn zstd() -> &'static Pushed {
    static IMAGE: OnceLock<Pushed> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let layout = folder("zstd").join("layout");
        let [from, to] = [&layered().layout, &layout].map(|layout| format!("oci:{}:layered", layout.display()));
        run(skopeo("copy").arg("--dest-compress-format=zstd").args([from, to])).expect(0);
        push(&layout, "layered", "real/layered:zstd", &["--preserve-digests"])
    })
}

/// A layer compressed as zstd:chunked. It is a simple one: skopeo 1.9.3 changes the bytes of others when it splits them, so that
/// they no longer have their diff_id.
pub(crate) fn zstd_chunked() -> &'static Pushed {
    static IMAGE: OnceLock<Pushed> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let folder = folder("zstd-chunked");
        let (plain, chunked) = (new_layout(&folder, "chunked"), folder.join("chunked"));
        add_layer(&plain, "chunked", "chunked", &layers::platform(&folder, "linux/amd64"));
        let [from, to] = [&plain, &chunked].map(|layout| format!("oci:{}:chunked", layout.display()));
        run(skopeo("copy").arg("--dest-compress-format=zstd:chunked").args([from, to])).expect(0);
        push(&chunked, "chunked", "real/chunked:latest", &["--preserve-digests"])
    })
}

/// Files with holes in GNU tar's old format.
pub(crate) fn old_sparse() -> Pushed {
    let folder = folder("sparse");
    let layout = new_layout(&folder, "sparse");
    add_layer(&layout, "sparse", "sparse", &layers::old_sparse(&folder));
    push(&layout, "sparse", "real/sparse:latest", &[])
}

/// The oddities and two small layers, under a name of the caller.
pub(crate) fn small(name: &str) -> Pushed {
    static LAYOUT: OnceLock<PathBuf> = OnceLock::new();
    let layout = LAYOUT.get_or_init(|| {
        let folder = folder("small");
        let layout = new_layout(&folder, "small");
        let root = folder.join("root");
        oddities::add(&root);
        add_layer(&layout, "small", "small", &archive(&root, &folder.join("layer.tar")));
        add_written(&layout, "small", &folder, &layers::WRITTEN[..2]);
        layout
    });
    push(layout, "small", name, &[])
}

/// One image for each platform, in one index. Each contains a file `platform` with the name of its platform.
pub(crate) fn multi_arch(name: &str, options: &[&str]) -> Pushed {
    static LAYOUT: OnceLock<PathBuf> = OnceLock::new();
    let layout = LAYOUT.get_or_init(|| {
        let folder = folder("multi");
        let layout = new_layout(&folder, "empty");
        for (number, platform) in PLATFORMS.iter().enumerate() {
            let tag = format!("p{number}");
            let layer = layers::platform(&folder, platform);
            add_layer(&layout, "empty", &tag, &layer);
            let architecture = platform.split('/').nth(1).unwrap();
            umoci("config", &["--os=linux", "--architecture", architecture], &tagged(&layout, &tag));
        }
        index_all(&layout);
        layout
    });
    push(layout, "multi", name, &[&["--all"], options].concat())
}

/// Copies a tag of a layout into the registry.
///
/// One push at a time: docker-registry does not write its link files atomically. While one push writes the link of a blob, another that
/// looks for the same blob gets status 500, and skopeo fails.
pub(crate) fn push(layout: &Path, tag: &'static str, name: &str, options: &[&str]) -> Pushed {
    static PUSHING: Mutex<()> = Mutex::new(());
    let name = format!("{}/{name}", registry().host);
    let from = format!("oci:{}:{tag}", layout.display());
    let _one_at_a_time = PUSHING.lock().unwrap_or_else(PoisonError::into_inner);
    run(skopeo("copy").arg("--dest-tls-verify=false").args(options).args([from, format!("docker://{name}")])).expect(0);
    Pushed { name, layout: layout.to_owned(), tag, model: OnceLock::new() }
}

/// The tree that `umoci unpack` makes of a tag.
pub(crate) fn unpacked_by_umoci(layout: &Path, tag: &str) -> Tree {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let folder = folder(&format!("umoci-{}", COUNT.fetch_add(1, Ordering::SeqCst)));
    let bundle = folder.join("bundle");
    unpack_by_umoci(layout, tag, &bundle);
    let tree = Tree::read(&bundle.join("rootfs"));
    remove(&folder);
    tree
}

/// Removes a file or a tree, also as an ordinary user who cannot enter some of its folders.
pub(crate) fn remove(path: &Path) {
    run(debian::command("chmod").args(["-R", "u+rwX"]).arg(path)).expect(0);
    run(debian::command("rm").arg("-r").arg(path)).expect(0);
}

/// skopeo without a signature policy, because the package with Debian's default policy is only recommended.
pub(crate) fn skopeo(verb: &str) -> Command {
    let mut command = debian::command("skopeo");
    command.args(["--insecure-policy", verb]);
    command
}

fn unpack_by_umoci(layout: &Path, tag: &str, bundle: &Path) {
    let rootless: &[&str] = if kit::process::is_root() { &[] } else { &["--rootless"] };
    run(umoci_command("unpack", rootless, &tagged(layout, tag)).arg(bundle)).expect(0);
}

/// The whole root as GNU tar writes it in PAX format: nanoseconds, attributes, sparse files, hard links.
fn archive(root: &Path, to: &Path) -> PathBuf {
    let mut tar = debian::command("tar");
    tar.args(["--format=posix", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--sparse"]);
    if !kit::process::is_root() {
        // All files belong to the user, so the test of owners needs other owners in the archive.
        tar.args(["--owner=app:1234", "--group=app:4321"]);
    }
    run(tar.arg("-cf").arg(to).arg("-C").arg(root).arg(".")).expect(0);
    to.to_owned()
}

/// A layout with an image that has no layers.
fn new_layout(folder: &Path, tag: &str) -> PathBuf {
    let layout = folder.join("layout");
    run(debian::command("umoci").args(["init", "--layout"]).arg(&layout)).expect(0);
    umoci("new", &[], &tagged(&layout, tag));
    layout
}

fn add_written(layout: &Path, tag: &str, folder: &Path, written: &[layers::Written]) {
    for (number, write) in written.iter().enumerate() {
        let folder = folder.join(number.to_string());
        fs::create_dir(&folder).unwrap();
        add_layer(layout, tag, tag, &write(&folder));
    }
}

/// Writes an index of the images of [`PLATFORMS`] and makes it the only entry of the layout. Debian's umoci and skopeo cannot do that.
fn index_all(layout: &Path) {
    let file = layout.join("index.json");
    let named: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let entry = |(number, platform): (usize, &&str)| {
        let tag = format!("p{number}");
        let found = named["manifests"].as_array().unwrap().iter().find(|entry| entry["annotations"][REF_NAME] == *tag);
        let mut entry = found.unwrap().clone();
        entry.as_object_mut().unwrap().remove("annotations");
        let words: Vec<&str> = platform.split('/').collect();
        entry["platform"] = json!({"os": words[0], "architecture": words[1]});
        if let Some(variant) = words.get(2) {
            entry["platform"]["variant"] = json!(variant);
        }
        entry
    };
    let entries: Vec<Value> = PLATFORMS.iter().enumerate().map(entry).collect();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string();
    let hash = hex(&Sha256::digest(&index));
    fs::write(layout.join("blobs/sha256").join(&hash), &index).unwrap();
    let descriptor = json!({
        "mediaType": OCI_INDEX, "digest": format!("sha256:{hash}"), "size": index.len(), "annotations": {REF_NAME: "multi"},
    });
    fs::write(&file, json!({"schemaVersion": 2, "manifests": [descriptor]}).to_string()).unwrap();
}

fn add_layer(layout: &Path, from: &str, to: &str, archive: &Path) {
    let mut command = debian::command("umoci");
    command.args(["raw", "add-layer", "--image", &tagged(layout, from), "--tag", to]);
    run(command.arg(archive)).expect(0);
}

fn umoci(verb: &str, options: &[&str], image: &str) {
    run(&mut umoci_command(verb, options, image)).expect(0);
}

fn umoci_command(verb: &str, options: &[&str], image: &str) -> Command {
    let mut command = debian::command("umoci");
    command.arg(verb).args(options).args(["--image", image]);
    command
}

fn tagged(layout: &Path, tag: &str) -> String {
    format!("{}:{tag}", layout.display())
}
