//! What the pages need: registries with images at the names in the pages, and files.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use kit::archive::{dir, file, symlink};
use kit::debian::{command, program, run};
use kit::digest::base64;
use kit::fault::on;
use kit::image::{Image, Layer, OCI_MANIFEST, descriptor, gzip, push_index};
use kit::noise::noise;
use kit::registry::Registry;
use kit::signature::{Signer, payload, push_simply, sign_simply, simple_layer, simple_manifest};

use super::world::World;

/// Docker Hub with the image `debian`.
pub fn hub(world: &mut World) {
    push_debian(world.registry(&["registry-1.docker.io"]));
}

/// Docker Hub, and the policy that skopeo needs.
pub fn hub_and_policy(world: &mut World) {
    hub(world);
    world.accept_everything();
}

/// The same with pullet in the folder of a Dockerfile.
pub fn pullet_in_the_folder(world: &mut World) {
    hub_and_policy(world);
    fs::copy(kit::process::program(), "/root/pullet").unwrap();
}

/// Docker Hub, its mirror, and accounts at two registries.
pub fn accounts(world: &mut World) {
    hub(world);
    push_debian(world.registry(&["mirror.example"]));
    let registry = world.registry(&["registry.example.com"]);
    let login = base64(b"robot:secret");
    registry.require(&format!("Basic {login}"), &["Basic realm=\"registry\""]);
    Image::small("app").push(registry, "app", "1");
    world.write("password", "secret\n");
    world.write("/etc/docker/daemon.json", r#"{"registry-mirrors":["https://mirror.example"]}"#);
    world.write(".docker/config.json", &format!(r#"{{"auths":{{"mirror.example":{{"auth":"{login}"}}}}}}"#));
}

/// Docker Hub, and a mirror of it.
pub fn mirror(world: &mut World) {
    hub(world);
    push_debian(world.registry(&["mirror.example.com"]));
}

/// A registry behind a proxy, one with a private authority, and a mirror of Docker Hub, which itself cannot be reached.
pub fn networks(world: &mut World) {
    Image::small("app").push(world.distant_registry("ghcr.io"), "owner/app", "1");
    world.proxy("proxy.example.com");
    Image::small("corp").push(world.private_registry(&["registry.corp.example"], "corp-ca.pem"), "app", "1");
    push_debian(world.registry(&["mirror.example.com"]));
}

/// Docker Hub, the digest of its image in a file, and the folder for the clock of systemd.
pub fn clock_of_systemd(world: &mut World) {
    let digest = push_debian(world.registry(&["registry-1.docker.io"]));
    world.write("digest", &digest);
    world.write("/var/lib/systemd/timesync/clock", "");
}

/// An image for each exit code.
pub fn failures(world: &mut World) {
    hub(world);
    let image = Image::small("app");
    let private = world.registry(&["private.example.com"]);
    image.push(private, "app", "1");
    private.require("Basic nobody", &["Basic realm=\"private\""]);
    image.push(world.private_registry(&["registry.corp.example"], "corp-ca.pem"), "app", "1");
    let busy = world.registry(&["busy.example.com"]);
    busy.fault(on("/v2/").status(429).header("Retry-After", "3600"));
    let multi = world.registry(&["multi.example.com"]);
    push_index(multi, "app", "1", &[("linux/amd64", &image), ("linux/arm64", &image)]);
    broken(world);
    hostile(world);
    let silent = world.registry(&["silent.example.com"]);
    image.push(silent, "app", "1");
    silent.fault(on(image.layers[0].digest()).stall(0));
}

/// A registry with a signed and an unsigned image, one that changes bytes, and one with a hostile image.
pub fn attacks(world: &mut World) {
    let signer = world.signer("owner.pub");
    let registry = world.registry(&["registry.example.com"]);
    let image = Image::small("app");
    image.push(registry, "app", "1");
    Image::small("other").push(registry, "app", "other");
    sign_simply(registry, "app", &image.digest(), &[&signer]);
    world.write("digest", &image.digest());
    broken(world);
    hostile(world);
}

/// A registry with the image of a disk, in an artifact of two files.
pub fn slots(world: &mut World) {
    let registry = world.registry(&["registry.example.com"]);
    let rootfs = gzip(&noise(3_000_000));
    let files = [("rootfs.img", "application/vnd.example.rootfs+gzip", &rootfs[..]), ("notes", "text/plain", b"new")];
    let mut layers = Vec::new();
    for (title, media_type, bytes) in files {
        registry.put_blob("os", bytes);
        let mut layer = descriptor(media_type, bytes);
        layer["annotations"] = json!({ "org.opencontainers.image.title": title });
        layers.push(layer);
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.system",
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": layers,
    });
    registry.put_manifest("os", Some("2.1"), OCI_MANIFEST, manifest.to_string().as_bytes());
}

/// Three versions of a system, of which two are signed.
pub fn signed_systems(world: &mut World) {
    let signer = world.signer("/etc/pullet/os.pub");
    let registry = world.registry(&["registry.example.com"]);
    for (version, tags) in [("1.0", &["1.0"][..]), ("1.1", &["1.1", "stable"]), ("1.2", &["unsigned"])] {
        let image = system(version);
        tags.iter().for_each(|tag| drop(image.push(registry, "os", tag)));
        if version != "1.2" {
            sign_simply(registry, "os", &image.digest(), &[&signer]);
        }
    }
}

/// A signed image, and a key that has signed nothing.
pub fn cosigned(world: &mut World) {
    let signer = world.signer("cosign.pub");
    world.signer("other.pub");
    let registry = world.registry(&["ghcr.io"]);
    let image = system("1.2");
    image.push(registry, "owner/app", "1.2");
    sign_simply(registry, "owner/app", &image.digest(), &[&signer]);
}

/// Docker Hub, and an image that the owner of a key has signed for its repository.
pub fn owner(world: &mut World) {
    hub(world);
    let signer = world.signer("/etc/pullet/owner.pub");
    let registry = world.registry(&["ghcr.io"]);
    let image = system("1");
    image.push(registry, "owner/app", "1");
    sign(registry, &image, json!(null), &signer);
}

/// Two versions of a signed image.
pub fn versions(world: &mut World) {
    let signer = world.signer("owner.pub");
    let registry = world.registry(&["ghcr.io"]);
    for (version, tag) in [("1.3.0", "old"), ("1.4.0", "stable")] {
        let image = system(version);
        image.push(registry, "owner/app", tag);
        sign(registry, &image, json!({ "org.opencontainers.image.version": version }), &signer);
    }
}

/// Docker Hub with an image of several layers, and two versions of a system.
pub fn layered(world: &mut World) {
    let hub = world.registry(&["registry-1.docker.io"]);
    push_debian(hub);
    let layers = [system("1").layers, system("2").layers, system("3").layers].concat();
    Image::new(layers).push(hub, "library/nginx", "latest");
    let registry = world.registry(&["registry.example.com"]);
    system("1").push(registry, "os", "1");
    system("2").push(registry, "os", "2");
}

/// A registry that changes a byte of a layer.
fn broken(world: &mut World) {
    let registry = world.registry(&["broken.example.com"]);
    let image = system("1");
    image.push(registry, "app", "1");
    registry.fault(on(image.layers[0].digest()).flip(100));
}

/// A registry with an image whose second layer writes through a link of the first, and whose third one has a parent folder in a path.
fn hostile(world: &mut World) {
    let registry = world.registry(&["hostile.example.com"]);
    let through_link = Layer::of(&[file("link/owned", "in the tree\n")]);
    Image::new(vec![Layer::of(&[dir("etc"), symlink("link", "/etc")]), through_link]).push(registry, "app", "link");
    Image::new(vec![Layer::of(&[file("../../etc/owned", "out of the tree\n")])]).push(registry, "app", "1");
}

/// Signs an image of `ghcr.io/owner/app`, with annotations.
fn sign(registry: &Registry, image: &Image, annotations: Value, signer: &Signer) {
    let mut text = payload(&image.digest(), "ghcr.io/owner/app");
    text["optional"] = annotations;
    let layer = simple_layer(registry, "owner/app", text.to_string().as_bytes(), signer);
    push_simply(registry, "owner/app", &image.digest(), &simple_manifest(&[layer]));
}

/// A system with its version in a file.
fn system(version: &str) -> Image {
    Image::new(vec![Layer::of(&[dir("etc"), file("etc/version", format!("{version}\n"))])])
}

/// Pushes an image of files of this machine: a shell and some programs with their libraries. Returns its digest.
fn push_debian(registry: &Registry) -> String {
    let mut paths: Vec<PathBuf> = ["sh", "cat", "ls"].iter().map(|name| program(name)).collect();
    let libraries = run(command("ldd").args(&paths)).expect(0).stdout;
    let is_library = |word: &&str| word.starts_with('/') && !word.ends_with(':');
    paths.extend(libraries.split_whitespace().filter(is_library).map(PathBuf::from));
    paths.sort();
    paths.dedup();
    let mut entries = vec![dir("etc"), dir("usr"), dir("usr/bin"), symlink("bin", "usr/bin")];
    for path in paths {
        let name = path.strip_prefix("/").unwrap();
        let name = if name.starts_with("bin") { Path::new("usr").join(name) } else { name.to_owned() };
        entries.push(file(name.to_str().unwrap(), fs::read(&path).unwrap()).mode(0o755));
    }
    entries.push(file("etc/debian_version", "12.15\n"));
    let image = Image::with_config(vec![Layer::of(&entries)], |config| {
        config["config"] = json!({ "Cmd": ["/bin/sh"] });
        config["history"] = json!([{ "created_by": "a shell and some programs" }]);
    });
    image.push(registry, "library/debian", "12");
    image.digest()
}
