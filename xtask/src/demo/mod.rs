//! `cargo xtask demo`: pushes an image of this machine's files to a real registry, pulls and unpacks it with the real
//! binary, and compares the result with the original. `cargo xtask demo NAME` uses an image from its registry instead.

mod inside;
mod machine;
mod pullet;
mod story;
mod tree;

use std::path::{Path, PathBuf};
use std::time::Instant;

use kit::tree::Tree;

use crate::disk::Temporary;
use crate::image::{Image, Layer};
use crate::registry::Registry;
use crate::{Result, cargo, debian, disk, push, shell, show};
use machine::Staged;
use pullet::Pullet;
use story::Story;

const REPOSITORY: &str = "this/machine";

pub fn run(words: &[&str]) -> Result {
    match words {
        [] => demo_of_this_machine(),
        [name] => demo_of(name),
        _ => Err("expected one name at most".into()),
    }
}

/// The demo without a network: a registry on loopback, and an image made of this machine's files.
fn demo_of_this_machine() -> Result {
    debian::need(&[debian::REGISTRY])?;
    let mut story = Story::begin("an image of this machine: pushed, pulled, unpacked, verified and run");
    let folder = fresh_folder()?;
    let pullet = build(&mut story, &folder)?;
    let work = Temporary::new(folder.join("work"))?;
    let registry = start_registry(&mut story, work.path())?;
    let staged = machine::stage(work.path(), pullet.binary())?;
    let image = make_image(&mut story, work.path(), &staged)?;
    push::image(registry.address(), REPOSITORY, "latest", &image)?;
    let name = format!("{}/{REPOSITORY}:latest", registry.address());
    story.tick(&format!("pushed as {name}"));
    pull(&mut story, &pullet, &registry, &name, &image)?;
    let root = folder.join("root");
    unpack(&mut story, &pullet, &name, &root)?;
    verify(&mut story, &staged, &root)?;
    run_inside(&mut story, &root)?;
    pull_again(&mut story, &pullet, &registry, &name)?;
    story.end(&[
        ("cargo xtask demo debian:stable-slim", "do the same with a real image"),
        (&pullet.typed(&["images"]), "list the images in the store"),
        (&pullet.typed(&["verify"]), "read and verify every blob in the store"),
        (
            &format!("skopeo inspect oci:{}:{name}", cargo::shown(pullet.store())),
            "read the same store with another tool",
        ),
        ("cargo xtask test", "run every check of this project"),
    ]);
    Ok(())
}

/// The demo with an image from its registry.
fn demo_of(name: &str) -> Result {
    let mut story = Story::begin(&format!("{name}: pulled, unpacked and inspected"));
    let folder = fresh_folder()?;
    let pullet = build(&mut story, &folder)?;
    story.section("Pull");
    let time = pullet.watch(&story, &["pull", name])?;
    story.tick(&format!("done in {}", show::seconds(time)));
    let root = folder.join("root");
    unpack(&mut story, &pullet, name, &root)?;
    look_around(&mut story, &root)?;
    story.section("Pull again");
    let again = pullet.run(&story, &["pull", name])?;
    story.claim(
        again.output.contains("Image is up to date"),
        "the image is up to date and no layer was fetched again",
    )?;
    story.end(&[
        (&pullet.typed(&["images"]), "list the images in the store"),
        (&pullet.typed(&["verify"]), "read and verify every blob in the store"),
        (&format!("sudo chroot {} /bin/sh", cargo::shown(&root)), "start a shell in it"),
    ]);
    Ok(())
}

fn fresh_folder() -> Result<PathBuf> {
    let folder = cargo::target()?.join("demo");
    disk::fresh(&folder)?;
    Ok(folder)
}

fn build(story: &mut Story, folder: &Path) -> Result<Pullet> {
    story.section("Build");
    story.say("pullet, optimised for size; the first build takes one or two minutes");
    let start = Instant::now();
    let binary = cargo::build("release")?;
    let size = show::bytes(disk::size(&binary)?);
    story.tick(&format!("{}: {size}, built in {}", cargo::shown(&binary), show::seconds(start.elapsed())));
    Ok(Pullet::new(binary, folder.join("store")))
}

fn start_registry(story: &mut Story, work: &Path) -> Result<Registry> {
    story.section("Registry");
    let registry = Registry::start(&work.join("registry"))?;
    story.tick(&format!("Debian's docker-registry listens on {} during the demo", registry.address()));
    Ok(registry)
}

fn make_image(story: &mut Story, work: &Path, staged: &[Staged]) -> Result<Image> {
    story.section("Image");
    let mut layers = Vec::new();
    for (number, part) in staged.iter().enumerate() {
        let layer = part.layer(work.join(format!("layer-{number}.tar.gz")))?;
        story.say(&format!("layer {}: {}", number + 1, part.about));
        story.detail(&format!("{} {}", show::short(&layer.blob.digest), sizes(&layer)));
        layers.push(layer);
    }
    let image = Image::new(work, layers)?;
    story.say(&format!("manifest {}", image.manifest.digest));
    Ok(image)
}

fn sizes(layer: &Layer) -> String {
    format!("{}, compressed {}", show::bytes(layer.unpacked), show::bytes(layer.blob.size))
}

fn pull(story: &mut Story, pullet: &Pullet, registry: &Registry, name: &str, image: &Image) -> Result {
    story.section("Pull");
    let pulled = pullet.run(story, &["pull", name])?;
    story.tick(&format!("done in {}", show::seconds(pulled.time)));
    let digest = &image.manifest.digest;
    let is_same = pulled.output.contains(&format!("Digest: {digest}"));
    story.claim(is_same, "the digest is the one that was pushed")?;
    let expected = 2 + image.layers.len();
    let requests = registry.reads(expected)?;
    let claim = format!("{requests} requests: the manifest, the config and {} layers", image.layers.len());
    story.claim(requests == expected, &claim)
}

fn unpack(story: &mut Story, pullet: &Pullet, name: &str, root: &Path) -> Result {
    story.section("Unpack");
    let unpacked = pullet.run(story, &["unpack", name, &cargo::shown(root)])?;
    story.tick(&format!("done in {}", show::seconds(unpacked.time)));
    Ok(())
}

/// Compares the tree with the layers' folders, merged by a simple second implementation.
fn verify(story: &mut Story, staged: &[Staged], root: &Path) -> Result {
    story.section("Verify");
    let layers = staged.iter().map(|part| tree::read(&part.folder));
    let expected = layers.fold(Tree::default(), tree::merge);
    let differences = expected.differences(&tree::read(root));
    differences.iter().take(20).for_each(|difference| story.say(difference));
    story.claim(
        differences.is_empty(),
        &format!("{}: all as in the original, and nothing else", tree::summary(&expected)),
    )?;
    story.detail("compared: kind, mode, owner, time to the nanosecond, content");
    for change in machine::CHANGES {
        story.claim(change.holds_in(root)?, change.claim)?;
    }
    Ok(())
}

fn run_inside(story: &mut Story, root: &Path) -> Result {
    story.section("Run");
    let Some(way) = inside::way_in() else {
        story.say("skipped: this machine allows neither chroot nor a user namespace");
        return Ok(());
    };
    for words in [&["/usr/bin/pullet", "--version"][..], &["/bin/cat", "/etc/debian_version"]] {
        let mut command = way.command(&cargo::shown(root), words);
        story.command(&command);
        story.quote(&shell::read(&mut command)?);
    }
    story.tick(&format!("the pulled pullet runs in the new root, through {}", way.name()));
    Ok(())
}

fn pull_again(story: &mut Story, pullet: &Pullet, registry: &Registry, name: &str) -> Result {
    story.section("Pull again");
    let before = registry.reads(0)?;
    let again = pullet.run(story, &["pull", name])?;
    let requests = registry.reads(before + 1)? - before;
    let claim = format!("{}: the manifest; nothing is fetched again", show::count(requests, "request"));
    story.claim(requests == 1, &claim)?;
    story.claim(again.output.contains("Image is up to date"), &format!("done in {}", show::seconds(again.time)))
}

fn look_around(story: &mut Story, root: &Path) -> Result {
    story.section("Result");
    let tree = tree::read(root);
    story.tick(&tree::summary(&tree));
    // The first is usually a link to the second. Links are not followed, because in an untrusted tree they may lead
    // out.
    let places = ["etc/os-release", "usr/lib/os-release"].map(Path::new);
    match places.into_iter().find(|path| tree::has_file(&tree, path)) {
        Some(path) => story.quote(&disk::read(&root.join(path))?),
        None => story.say("the image has no os-release"),
    }
    Ok(())
}
