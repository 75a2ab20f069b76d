//! Compares the unpacked tree with umoci's and with the model: every path, type, mode, owner, time, attribute, link and content.

use super::images::{self, Pushed};
use super::{assert_same_as_umoci, expected, read_and_remove, unpacked};
use kit::digest::sha256;
use kit::home::Home;
use kit::process::is_root;
use kit::tree::{Kind, Tree};
use serde_json::Value;

#[test]
fn a_debian_in_one_layer() {
    let image = images::debian();
    compare_with_umoci(image);
    compare_export(image);
}

#[test]
fn eleven_layers_with_whiteouts_opaque_folders_and_replaced_types() {
    let image = images::layered();
    assert!(image.layers() >= 8);
    compare_with_umoci(image);
    compare_export(image);
}

/// The layers are those of the OCI manifest, so the tree is the same. umoci cannot read Docker's manifests.
#[test]
fn a_docker_schema_2_manifest() {
    let image = images::schema2();
    let manifest = document(&image);
    assert_eq!(manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    compare(&image);
}

/// The same layers. umoci 0.4.7 cannot read zstd.
#[test]
fn layers_compressed_with_zstd() {
    let image = images::zstd();
    for layer in document(image)["layers"].as_array().unwrap() {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    }
    compare(image);
}

/// Many frames in each layer, and skippable ones with a table of contents.
#[test]
fn layers_compressed_as_zstd_chunked() {
    let image = images::zstd_chunked();
    for layer in document(image)["layers"].as_array().unwrap() {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
        assert!(layer["annotations"].to_string().contains("zstd-chunked"), "{layer}");
    }
    compare(image);
}

/// umoci 0.4.7 fails on entries of type `S`.
#[test]
fn files_with_holes_in_gnu_tars_old_format() {
    compare(&images::old_sparse());
}

#[test]
fn no_devices_leaves_out_device_nodes_and_nothing_else() {
    let home = Home::new();
    let image = images::debian();
    home.run(&["unpack", "--no-devices", &image.name, &home.arg("root")]).exits(0).prints("");
    let is_device = |kind: &Kind| matches!(kind, Kind::Char(..) | Kind::Block(..));
    let all = expected(image);
    assert_eq!(is_root(), all.0.values().any(|node| is_device(&node.kind)), "only an image made by root has devices");
    let kept = all.map(|_, node| !is_device(&node.kind));
    kept.assert_same(&read_and_remove(&home, "root"), "unpack --no-devices");
}

/// Pulls into a new store, unpacks, compares the tree with the model, and returns it.
fn compare(image: &Pushed) -> Tree {
    let home = Home::new();
    let (name, digest) = (&image.name, sha256(image.document().as_bytes()));
    let pulled = home.run(&["pull", name]).exits(0);
    pulled.prints(&format!("Digest: {digest}\nStatus: Downloaded newer image for {name}\n{name}\n"));
    let tree = unpacked(&home, image);
    expected(image).assert_same(&tree, &format!("{name}: the layers by the specification, and pullet"));
    tree
}

fn compare_with_umoci(image: &Pushed) {
    let tree = compare(image);
    let umoci = images::unpacked_by_umoci(&image.layout, image.tag);
    assert_same_as_umoci(&umoci, &tree, &format!("{}: umoci and pullet", image.name));
}

/// Compares what GNU tar unpacks of an export with umoci's tree and with the model. GNU tar needs root for what these images
/// have.
fn compare_export(image: &Pushed) {
    if !is_root() {
        return;
    }
    let home = Home::new();
    home.run(&["pull", "-q", &image.name]).exits(0);
    kit::bench::export(image.tag, &home, &image.name);
    let exported = read_and_remove(&home, "exported");
    let umoci = images::unpacked_by_umoci(&image.layout, image.tag);
    assert_same_as_umoci(&umoci, &exported, &format!("{}: umoci and pullet export", image.name));
    expected(image).assert_same(&exported, &format!("{}: the model and pullet export", image.name));
}

fn document(image: &Pushed) -> Value {
    serde_json::from_str(&image.document()).unwrap()
}
