//! `cargo xtask demo`: an image out of this machine's own files goes through a real registry and the real binary, and
//! what comes out is proven against what went in. `cargo xtask demo NAME` takes somebody else's image instead.

mod inside;
mod machine;
mod pullet;
mod story;
mod tree;

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::disk::Temporary;
use crate::image::{Image, Layer};
use crate::registry::Registry;
use crate::{Result, cargo, debian, disk, push, shell, show};
use machine::Staged;
use pullet::Pullet;
use story::Story;
use tree::Tree;

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
    let mut story = Story::begin("an image out of this machine: pushed, pulled, unpacked, proven and run");
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
    prove(&mut story, &staged, &root)?;
    run_inside(&mut story, &root)?;
    pull_again(&mut story, &pullet, &registry, &name)?;
    story.end(&[
        ("cargo xtask demo debian:stable-slim", "the same with a real image"),
        (&pullet.typed(&["images"]), "what the store holds"),
        (&pullet.typed(&["verify"]), "read it back, every byte"),
        (&format!("skopeo inspect oci:{}:{name}", cargo::shown(pullet.store())), "another tool reads the same store"),
        ("cargo xtask test", "every check of this project"),
    ]);
    Ok(())
}

/// The demo with an image from its registry.
fn demo_of(name: &str) -> Result {
    let mut story = Story::begin(&format!("{name}: pulled, unpacked, looked at"));
    let folder = fresh_folder()?;
    let pullet = build(&mut story, &folder)?;
    story.section("Pull");
    let time = pullet.watch(&story, &["pull", name])?;
    story.tick(&format!("done in {}", show::seconds(time)));
    let root = folder.join("root");
    unpack(&mut story, &pullet, name, &root)?;
    look_around(&mut story, &root)?;
    story.section("Pull once more");
    let again = pullet.run(&story, &["pull", name])?;
    story.claim(again.output.contains("Image is up to date"), "up to date: no layer was fetched twice")?;
    story.end(&[
        (&pullet.typed(&["images"]), "what the store holds"),
        (&pullet.typed(&["verify"]), "read it back, every byte"),
        (&format!("sudo chroot {} /bin/sh", cargo::shown(&root)), "look around in it"),
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
    story.say("pullet, optimised for size; one or two minutes the first time");
    let start = Instant::now();
    let binary = cargo::build("release")?;
    let size = show::bytes(disk::size(&binary)?);
    story.tick(&format!("{}: {size}, after {}", cargo::shown(&binary), show::seconds(start.elapsed())));
    Ok(Pullet::new(binary, folder.join("store")))
}

fn start_registry(story: &mut Story, work: &Path) -> Result<Registry> {
    story.section("A registry of our own");
    let registry = Registry::start(&work.join("registry"))?;
    story.tick(&format!("Debian's docker-registry listens on {}, for as long as this takes", registry.address()));
    Ok(registry)
}

fn make_image(story: &mut Story, work: &Path, staged: &[Staged]) -> Result<Image> {
    story.section("An image out of this machine");
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
    format!("{}, as gzip {}", show::bytes(layer.unpacked), show::bytes(layer.blob.size))
}

fn pull(story: &mut Story, pullet: &Pullet, registry: &Registry, name: &str, image: &Image) -> Result {
    story.section("Pull");
    let pulled = pullet.run(story, &["pull", name])?;
    story.tick(&format!("done in {}", show::seconds(pulled.time)));
    let digest = &image.manifest.digest;
    let told = pulled.output.contains(&format!("Digest: {digest}"));
    story.claim(told, "the digest that it names is the one that we pushed")?;
    let expected = 2 + image.layers.len();
    let requests = registry.reads(expected)?;
    let claim = format!("{requests} requests: the manifest, the config, {} layers", image.layers.len());
    story.claim(requests == expected, &claim)
}

fn unpack(story: &mut Story, pullet: &Pullet, name: &str, root: &Path) -> Result {
    story.section("Unpack");
    let unpacked = pullet.run(story, &["unpack", name, &cargo::shown(root)])?;
    story.tick(&format!("done in {}", show::seconds(unpacked.time)));
    Ok(())
}

/// Compares the tree with one that the layers' folders give when merged by a second, simple mind.
fn prove(story: &mut Story, staged: &[Staged], root: &Path) -> Result {
    story.section("Proof");
    let layers: Result<Vec<Tree>> = staged.iter().map(|part| Tree::read(&part.folder)).collect();
    let expected = layers?.into_iter().fold(Tree::default(), Tree::under);
    let unpacked = Tree::read(root)?;
    let differences = expected.differences(&unpacked)?;
    differences.iter().take(20).for_each(|difference| story.say(difference));
    story.claim(differences.is_empty(), &format!("{}, as they went in, and nothing else", expected.summary()))?;
    story.detail("each with its kind, mode, owner, time to the nanosecond and content");
    for change in machine::CHANGES {
        story.claim(change.holds_in(root)?, change.claim)?;
    }
    Ok(())
}

fn run_inside(story: &mut Story, root: &Path) -> Result {
    story.section("Run it, inside the new root");
    let Some(way) = inside::way_in() else {
        story.say("not run: this machine allows neither chroot nor a user namespace");
        return Ok(());
    };
    for words in [&["/usr/bin/pullet", "--version"][..], &["/bin/cat", "/etc/debian_version"]] {
        let mut command = way.command(&cargo::shown(root), words);
        story.command(&command);
        story.quote(&shell::read(&mut command)?);
    }
    story.tick(&format!("the pulled pullet runs, through {}", way.name()));
    Ok(())
}

fn pull_again(story: &mut Story, pullet: &Pullet, registry: &Registry, name: &str) -> Result {
    story.section("Pull once more");
    let before = registry.reads(0)?;
    let again = pullet.run(story, &["pull", name])?;
    let requests = registry.reads(before + 1)? - before;
    let claim = format!("{}: the manifest; nothing is fetched twice", show::count(requests, "request"));
    story.claim(requests == 1, &claim)?;
    story.claim(again.output.contains("Image is up to date"), &format!("done in {}", show::seconds(again.time)))
}

fn look_around(story: &mut Story, root: &Path) -> Result {
    story.section("What came out");
    let tree = Tree::read(root)?;
    story.tick(&tree.summary());
    // The first is mostly a link to the second, and a link in a foreign tree may lead out of it: not followed.
    let places = ["etc/os-release", "usr/lib/os-release"].map(Path::new);
    match places.into_iter().find(|path| tree.has_file(path)) {
        Some(path) => story.quote(&disk::read(&root.join(path))?),
        None => story.say("it has no os-release"),
    }
    Ok(())
}
