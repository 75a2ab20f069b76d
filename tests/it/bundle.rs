//! `unpack --bundle`: the bundle is whole or absent, and the image's own files decide who its process is. `real/bundle.rs`
//! starts a bundle with runc and compares it with umoci's.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use kit::archive::{dir, file, symlink};
use kit::bench::{Bench, unpack_image};
use kit::image::{Image, Layer};
use kit::listing::{assert_same, listing};
use kit::process::{is_root, ordinary_user};
use serde_json::{Value, json};

/// An image whose accounts are behind links, with this `config`.
fn image(config: Value) -> Image {
    let layers = [
        Layer::of(&[
            dir("etc"),
            symlink("etc/passwd", "/conf/accounts"),
            symlink("etc/group", "../conf/../../conf/groups"),
            dir("conf"),
            file("conf/accounts", "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"),
        ]),
        Layer::of(&[file("conf/groups", "app:x:1001:\nextra:x:2000:app\n")]),
    ];
    Image::with_config(layers.to_vec(), |document| document["config"] = config)
}

fn read_config(bench: &Bench, folder: &str) -> Value {
    let bytes = fs::read(bench.home.path(folder).join("config.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn a_bundle_has_the_tree_and_the_process_of_the_image() {
    let unpacked = unpack_image(&image(json!({ "User": "app", "Cmd": ["/a"], "WorkingDir": "w" })), &["--bundle"]);
    let unpacked = unpacked.done("a bundle");
    let mut names: Vec<_> = fs::read_dir(&unpacked.root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "rootfs"]);
    assert_eq!(fs::metadata(&unpacked.root).unwrap().permissions().mode() & 0o7777, 0o755);
    assert!(fs::read(unpacked.root.join("rootfs/conf/groups")).unwrap().starts_with(b"app"));
    let process = &read_config(&unpacked.bench, "root")["process"];
    let mut user = json!({ "uid": 1000, "gid": 1001 });
    if is_root() {
        user["additionalGids"] = json!([2000]);
    }
    assert_eq!(process["user"], user);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(process["env"], json!([path, "HOME=/home/app"]));
    assert_eq!((&process["args"], &process["cwd"]), (&json!(["/a"]), &json!("/w")));
    // The tree is the one that unpack makes, and an existing bundle is not replaced.
    let (home, name) = (&unpacked.bench.home, unpacked.bench.registry.name("app:latest"));
    home.run(&["unpack", &name, &home.arg("plain")]).exits(0);
    assert_same("the tree", &listing(&home.path("plain")), &listing(&unpacked.root.join("rootfs")));
    home.run(&["unpack", "--bundle", &name, &home.arg("root")]).exits(9).says("not empty");
}

#[test]
fn a_config_that_cannot_be_run_is_refused() {
    for (case, config, code) in [
        ("an unknown user", json!({ "User": "nobody-here" }), 10),
        ("an unknown group", json!({ "User": "app:nobody-here" }), 10),
        ("a volume of the kernel", json!({ "Volumes": { "/proc": {} } }), 11),
        ("a command that is a text", json!({ "Cmd": "/bin/sh -c x" }), 11),
    ] {
        unpack_image(&image(config), &["--bundle"]).refused(case, code);
    }
    for kind in [dir("etc/passwd"), kit::archive::fifo("etc/passwd"), symlink("etc/passwd", "passwd")] {
        let odd = Image::new(vec![Layer::of(&[dir("etc"), kind])]);
        unpack_image(&odd, &["--bundle"]).refused("accounts that are no file", 11);
    }
    let large = Image::new(vec![Layer::of(&[dir("etc"), file("etc/group", vec![b'\n'; (1 << 20) + 1])])]);
    unpack_image(&large, &["--bundle"]).refused("too many accounts", 11);
}

#[test]
fn a_bundle_cannot_be_streamed() {
    let bench = Bench::new();
    let target = bench.home.arg("root");
    bench.home.run(&["unpack", "--bundle", "--stream", "app", &target]).exits(2).says("exclude each other");
}

/// When the tests run as root, pullet runs as `nobody`; otherwise it runs as the user of the tests.
#[test]
fn an_ordinary_user_gets_a_rootless_bundle() {
    let bench = Bench::new();
    let name = image(json!({ "User": "app" })).push(&bench.registry, "app", "latest");
    let args = ["unpack", "--bundle", &name, &bench.home.arg("root")];
    let ran = bench.home.pullet(&args).user(ordinary_user()).run().exits(0);
    ran.says("the image runs as 1000:1001, for which config.json needs more uidMappings and gidMappings");
    let config = read_config(&bench, "root");
    let owner = fs::metadata(bench.home.path("root")).unwrap().uid();
    let mapping = json!([{ "containerID": 0, "hostID": owner, "size": 1 }]);
    assert_eq!(config["linux"]["uidMappings"], mapping);
    let namespaces = json!([{"type":"pid"}, {"type":"ipc"}, {"type":"uts"}, {"type":"mount"}, {"type":"user"}]);
    assert_eq!(config["linux"]["namespaces"], namespaces);
    let mounts = config["mounts"].as_array().unwrap();
    let types: Vec<&str> = mounts.iter().map(|mount| mount["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["proc", "tmpfs", "devpts", "tmpfs", "mqueue", "none"]);
    assert!(!config.to_string().contains("gid=5") && config["process"]["user"].get("additionalGids").is_none());
}
