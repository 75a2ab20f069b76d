//! The image of pullet: nothing but the binary, made by pullet itself with `import` and `save`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::Target;
use super::contents::{Item, Names};
use super::release::Release;
use super::tree;
use crate::{Result, disk, shell};

/// The image as an OCI layout in a tar. `pullet` runs on this machine.
pub fn make(release: &Release, target: &Target, pullet: &Path) -> Result<PathBuf> {
    let platform = &target.names.oci;
    let root = release.work.join("image");
    let binary =
        Item { source: target.binary.to_owned(), path: "usr/bin/pullet".into(), mode: 0o755, is_compressed: false };
    tree::lay(release, &[binary], &root)?;
    let layer = release.work.join("layer.tar");
    let mut tar = release.command("tar");
    tar.args(["--create", "--format=ustar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    shell::run(tar.arg("--file").arg(&layer).arg("--directory").arg(&root).arg("usr"))?;
    let compressed = tree::compress(release, &["gzip", "-9nc"], &layer)?;
    disk::write(&layer, compressed)?;

    let name = name(release);
    let store = release.work.join("store");
    disk::fresh(&store)?;
    let mut import = release.command(&pullet.display().to_string());
    import.args(["import", "--quiet", "--platform", platform, "--store"]).arg(&store);
    let changes = changes(release);
    import.args(changes.iter().flat_map(|change| ["--change", change])).arg(&layer).arg(&name);
    shell::run(&mut import)?;
    let file = release.out.join(format!("pullet-{}{}", release.version, ending(target.names)));
    let mut save = release.command(&pullet.display().to_string());
    save.args(["save", "--quiet", "--format", "oci-archive", "--store"]).arg(&store).arg("--output").arg(&file);
    shell::run(save.arg(&name))?;
    // pullet saves images for their owner only. This one is public.
    disk::named("chmod", &file, std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)))?;
    Ok(file)
}

/// The end of the name of the archive.
pub fn ending(names: &Names) -> String {
    format!("-image-{}.tar", names.oci.trim_start_matches("linux/").replace('/', "-"))
}

/// The name of the image in its archive.
pub fn name(release: &Release) -> String {
    format!("ghcr.io/pullet-rs/pullet:{}", release.version)
}

fn changes(release: &Release) -> [String; 6] {
    let label = |key: &str, value: &str| format!("LABEL org.opencontainers.image.{key}=\"{value}\"");
    [
        r#"ENTRYPOINT ["/usr/bin/pullet"]"#.to_owned(),
        "ENV PATH=/usr/bin".to_owned(),
        label("title", "pullet"),
        label("version", &release.version),
        label("source", &release.homepage),
        label("licenses", "MIT OR Apache-2.0"),
    ]
}
