//! A multi-arch image: pullet chooses the image of the platform.

use super::images::{self, Pushed};
use kit::home::Home;
use kit::image::architecture;

/// The requested platform and the chosen one: the same, or the nearest older variant, as in containerd.
const CHOSEN: [(&str, &str); 8] = [
    ("linux/amd64", "linux/amd64"),
    ("linux/arm64", "linux/arm64/v8"),
    ("linux/arm64/v8", "linux/arm64/v8"),
    ("linux/arm/v8", "linux/arm/v7"),
    ("linux/arm/v7", "linux/arm/v7"),
    ("linux/arm", "linux/arm/v7"),
    ("linux/arm/v6", "linux/arm/v5"),
    ("linux/arm/v5", "linux/arm/v5"),
];

#[test]
fn an_index_gives_each_platform_its_image() {
    choose(&images::multi_arch("real/multi:oci", &["--format=oci"]), "application/vnd.oci.image.index.v1+json");
}

#[test]
fn a_docker_manifest_list_gives_each_platform_its_image() {
    choose(
        &images::multi_arch("real/multi:docker", &["--format=v2s2"]),
        "application/vnd.docker.distribution.manifest.list.v2+json",
    );
}

fn choose(image: &Pushed, media_type: &str) {
    let list: serde_json::Value = serde_json::from_str(&image.document()).unwrap();
    assert_eq!(list["mediaType"], media_type);
    let home = Home::new();
    for (number, (requested, chosen)) in CHOSEN.iter().enumerate() {
        let target = home.arg(&number.to_string());
        home.run(&["unpack", "--pull", "always", "--platform", requested, &image.name, &target]).exits(0);
        assert_eq!(read(&target), *chosen, "requested {requested}");
    }
    home.run(&["pull", "--platform", "linux/s390x", &image.name]).exits(10);
    home.run(&["pull", "--platform", "windows/amd64", &image.name]).exits(10);
    check_default_platform(image);
}

/// Without `--platform` the platform is that of this machine, which is refused if the list lacks it.
fn check_default_platform(image: &Pushed) {
    let home = Home::new();
    let ran = home.run(&["unpack", &image.name, &home.arg("root")]);
    match architecture() {
        host @ ("amd64" | "arm64") => {
            ran.exits(0);
            assert!(read(&home.arg("root")).starts_with(&format!("linux/{host}")));
        }
        // The processor decides which of the two variants runs.
        "arm" => assert!(ran.exits(0).stdout.is_empty()),
        _ => _ = ran.exits(10),
    }
}

fn read(target: &str) -> String {
    std::fs::read_to_string(format!("{target}/platform")).unwrap()
}
