//! The store and other tools: skopeo and umoci read it, a second pull fetches nothing, and verify finds damage.

use super::images::{self, Pushed, skopeo};
use super::{assert_same_as_umoci, expected, read_and_remove};
use kit::debian::{command, run};
use kit::home::Home;
use serde_json::{Value, json};
use std::fs;

#[test]
fn skopeo_and_umoci_read_a_store_with_several_images() {
    let home = Home::new();
    let (small, schema2) = (images::small("real/several:latest"), images::schema2());
    let readable = [images::debian(), images::layered(), &small];
    let all = [&readable[..], &[&schema2]].concat();
    for image in &all {
        home.run(&["pull", "-q", &image.name]).exits(0).prints(&format!("{}\n", image.name));
    }
    let listed = home.run(&["images"]).exits(0).stdout;
    assert_eq!(listed.lines().count(), 1 + all.len(), "{listed}");
    home.run(&["verify"]).exits(0);
    umoci_lists(&home, &all);
    for image in readable {
        inspect(&home, image);
        copy_out(&home, image);
        umoci_unpacks(&home, image);
    }
}

/// Readers of a layout accept only the media types of OCI, so the store has an OCI manifest of the same blobs, and keeps the manifest
/// of the registry as well, byte for byte.
#[test]
fn stores_an_oci_manifest_for_a_docker_manifest() {
    let home = Home::new();
    let image = images::schema2();
    home.run(&["pull", &image.name]).exits(0);
    let [entry] = &home.index()[..] else { panic!("one image in {:?}", home.names()) };
    assert_eq!(entry["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    let kept = fs::read(home.blob(entry["annotations"]["pullet.source.digest"].as_str().unwrap())).unwrap();
    assert_eq!(String::from_utf8(kept).unwrap(), image.document());
    copy_out(&home, &image);
    umoci_unpacks(&home, &image);
}

#[test]
fn a_second_pull_requests_only_the_manifest() {
    let home = Home::new();
    let image = images::small("real/again:latest");
    let registry = images::registry();
    let start = registry.position();
    home.run(&["pull", &image.name]).exits(0);
    let first = registry.requests(start, "real/again");
    assert_eq!(first.len(), 2 + image.layers(), "{first:#?}");
    let middle = registry.position();
    let second = home.run(&["pull", &image.name]).exits(0);
    assert!(second.stdout.contains("Status: Image is up to date for"), "{second}");
    assert_eq!(registry.requests(middle, "real/again"), ["GET /v2/real/again/manifests/latest"]);
    let end = registry.position();
    home.run(&["unpack", "--pull", "missing", &image.name, &home.arg("root")]).exits(0);
    assert_eq!(registry.requests(end, "real/again"), Vec::<String>::new());
    expected(&image).assert_same(&read_and_remove(&home, "root"), "unpack --pull missing of a stored image");
}

#[test]
fn other_tools_read_what_tag_rmi_and_prune_leave() {
    let home = Home::new();
    let (debian, layered, schema2) = (images::debian(), images::layered(), images::schema2());
    for image in [debian, layered, &schema2] {
        home.run(&["pull", "-q", &image.name]).exits(0);
    }
    // They share their lowest layer.
    home.run(&["tag", &debian.name, "localhost/copy:1"]).exits(0);
    home.run(&["rmi", &debian.name]).exits(0);
    home.run(&["rmi", &layered.name]).exits(0);
    home.run(&["prune", "-f"]).exits(0).prints("Total reclaimed space: 0B\n");
    home.run(&["verify"]).exits(0);
    let copy = debian.named("localhost/copy:1");
    umoci_lists(&home, &[&copy, &schema2]);
    copy_out(&home, &copy);
    umoci_unpacks(&home, &copy);
    // What umoci does not know to be needed is the registry's own manifest, which proves a pinned digest.
    let blobs = || fs::read_dir(home.store().join("blobs/sha256")).unwrap().count();
    let before = blobs();
    run(command("umoci").args(["gc", "--layout"]).arg(home.store())).expect(0);
    assert_eq!(blobs(), before - 1);
    home.run(&["prune", "-a", "-f"]).exits(0);
    assert_eq!(blobs(), 0);
}

#[test]
fn inspect_and_history_agree_with_skopeo_and_umoci() {
    let home = Home::new();
    for image in [images::debian(), images::layered()] {
        home.run(&["pull", "-q", &image.name]).exits(0);
        let stored = format!("oci:{}:{}", home.store().display(), image.name);
        let skopeo: Value = serde_json::from_str(&run(skopeo("inspect").arg(&stored)).expect(0).stdout).unwrap();
        let listed = home.run(&["inspect", &image.name]).exits(0).stdout;
        let ours: Value = serde_json::from_str::<Value>(&listed).unwrap()[0].take();
        for member in ["Architecture", "Os", "Created"] {
            assert_eq!(ours[member], skopeo[member], "{member}");
        }
        assert_eq!(ours["Config"]["Env"], skopeo["Env"]);
        assert_eq!(ours["Descriptor"]["digest"], skopeo["Digest"]);
        let tag = format!("{}:{}", home.store().display(), image.name);
        let umoci = run(command("umoci").args(["stat", "--json", "--image", &tag])).expect(0).stdout;
        let umoci: Value = serde_json::from_str(&umoci).unwrap();
        let history = umoci["history"].as_array().unwrap();
        let format = "{{json .CreatedBy}} {{.Size}}";
        let args = ["history", "--no-trunc", "--human", "false", "--format", format, &image.name];
        let outcome = home.run(&args).exits(0);
        let expected = history.iter().rev().map(|step| {
            let command = step["created_by"].as_str().unwrap_or_default().replace('\t', " ");
            format!("{} {}\n", json!(command), step["layer"]["size"].as_u64().unwrap_or(0))
        });
        assert_eq!(outcome.stdout, expected.collect::<String>());
    }
}

/// umoci writes into the store of pullet: a name, a changed config, and a layer with a whiteout.
#[test]
fn reads_what_umoci_writes_into_the_store() {
    let home = Home::new();
    let image = images::small("real/edited:1");
    home.run(&["pull", "-q", &image.name]).exits(0);
    let store = home.store().display().to_string();
    let new = image.name.replace("edited:1", "edited:2");
    let of = |name: &str| format!("{store}:{name}");
    let bundle = home.arg("bundle");
    let rootless: &[&str] = if kit::process::is_root() { &[] } else { &["--rootless"] };
    run(command("umoci").arg("unpack").args(rootless).args(["--image", &of(&image.name), &bundle])).expect(0);
    fs::write(home.path("bundle/rootfs/by-umoci"), "1").unwrap();
    run(command("umoci").args(["repack", "--image", &of(&new), &bundle])).expect(0);
    run(command("umoci").args(["config", "--config.cmd", "/run", "--image", &of(&new)])).expect(0);
    run(command("umoci").args(["tag", "--image", &of(&new), "localhost/third:3"])).expect(0);
    images::remove(&home.path("bundle"));
    let listed = home.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).exits(0).stdout;
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    let mut names = [image.name.as_str(), new.as_str(), "localhost/third:3"];
    names.sort_unstable();
    assert_eq!(listed, names);
    home.run(&["verify"]).exits(0);
    home.run(&["diff", &image.name, &new]).exits(0).prints("A /by-umoci\n");
    home.run(&["inspect", "--format", "{{.Config.Cmd}}", &new]).exits(0).prints("[/run]\n");
    // A pull of the old name leaves the new ones.
    home.run(&["pull", "-q", &image.name]).exits(0);
    home.run(&["prune", "-f"]).exits(0);
    home.run(&["cat", "localhost/third:3", "/by-umoci"]).exits(0).prints("1");
    home.run(&["rmi", &new]).exits(0);
    home.run(&["unpack", "--pull", "never", "localhost/third:3", &home.arg("root")]).exits(0);
    assert!(home.path("root/by-umoci").exists());
}

/// The layers of another image in the store are not fetched again.
#[test]
fn a_shared_layer_is_fetched_once() {
    let home = Home::new();
    let (debian, layered) = (images::debian(), images::layered());
    home.run(&["pull", &debian.name]).exits(0);
    let log = home.run(&["pull", "--progress", "plain", &layered.name]).exits(0).stderr;
    assert_eq!(log.lines().filter(|line| line.ends_with(": Already exists")).count(), 1, "{log}");
    assert_eq!(log.lines().filter(|line| line.ends_with(": Pull complete")).count(), layered.layers() - 1, "{log}");
}

/// One flipped byte in any blob is found, the blob is removed on request, and the next pull fetches it again.
#[test]
fn verify_finds_a_flipped_byte_in_every_blob() {
    let home = Home::new();
    let image = images::small("real/damaged:latest");
    home.run(&["pull", &image.name]).exits(0);
    home.run(&["verify"]).exits(0);
    let mut blobs: Vec<_> =
        fs::read_dir(home.store().join("blobs/sha256")).unwrap().map(|blob| blob.unwrap().path()).collect();
    blobs.sort();
    assert_eq!(blobs.len(), image.layers() + 2);
    for blob in blobs {
        let good = fs::read(&blob).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        fs::write(&blob, &bad).unwrap();
        let ran = home.run(&["verify"]).exits(8);
        let name = blob.file_name().unwrap().to_str().unwrap();
        assert!(ran.stdout.contains(name) || ran.stderr.contains(name), "{name} is not named\n{ran}");
        home.run(&["verify", &image.name]).exits(8);
        home.run(&["verify", "--remove-corrupt"]);
        assert!(!blob.exists(), "--remove-corrupt leaves {name}");
        home.run(&["pull", &image.name]).exits(0);
        assert_eq!(fs::read(&blob).unwrap(), good);
        home.run(&["verify"]).exits(0);
    }
}

fn inspect(home: &Home, image: &Pushed) {
    let stored = format!("oci:{}:{}", home.store().display(), image.name);
    let found = run(skopeo("inspect").arg("--raw").arg(stored)).expect(0).stdout;
    assert_eq!(found, image.document(), "the manifest of {} must be that of the registry", image.name);
    let stored = format!("oci:{}:{}", home.store().display(), image.name);
    run(skopeo("inspect").arg(&stored)).expect(0);
    run(skopeo("inspect").arg("--config").arg(&stored)).expect(0);
}

/// Copies the image to another layout, to a folder, and to an archive for `docker load`.
fn copy_out(home: &Home, image: &Pushed) {
    let from = format!("oci:{}:{}", home.store().display(), image.name);
    for (kind, rest) in [("oci", ":copied"), ("dir", ""), ("docker-archive", ":localhost/copied:latest")] {
        let to = home.path(&format!("copied-{kind}"));
        run(skopeo("copy").args([&from, &format!("{kind}:{}{rest}", to.display())])).expect(0);
        images::remove(&to);
    }
}

fn umoci_lists(home: &Home, all: &[&Pushed]) {
    let listed = run(command("umoci").args(["ls", "--layout"]).arg(home.store())).expect(0).stdout;
    let mut names: Vec<&str> = listed.lines().collect();
    names.sort_unstable();
    let mut expected: Vec<&str> = all.iter().map(|image| image.name.as_str()).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

fn umoci_unpacks(home: &Home, image: &Pushed) {
    let tag = format!("{}:{}", home.store().display(), image.name);
    run(command("umoci").args(["stat", "--image", &tag])).expect(0);
    let umoci = images::unpacked_by_umoci(&home.store(), &image.name);
    assert_same_as_umoci(&umoci, &expected(image), &format!("{}: umoci unpack from pullet's store", image.name));
}
