//! The hook of initramfs-tools and the module of dracut, by the programs themselves, in a clean root with a kernel.

use super::Subject;
use super::root::Root;
use crate::{Result, disk};

/// What makes an initramfs, without the parts that do so when a kernel is installed, the programs that dracut puts into it,
/// and the smallest kernel.
const PACKAGES: &[&str] = &[
    "dracut-core",
    "dracut-network",
    "initramfs-tools-core",
    "iproute2",
    "isc-dhcp-client",
    "linux-image-cloud-amd64",
    "mount",
    "procps",
    "zstd",
];

pub fn make(subject: &Subject) -> Result {
    let root = Root::debian(subject.work.join("initramfs"), PACKAGES)?;
    let package = root.take(&subject.deb()?)?;
    root.run(&["dpkg", "--install", &package])?;
    let kernels = disk::list(&root.path.join("lib/modules"))?;
    let kernel = kernels.first().and_then(|path| path.file_name()?.to_str()).ok_or("no kernel in the root")?;

    let mkinitramfs = |file: &str| -> Result<String> {
        root.run(&["mkinitramfs", "-o", file, kernel])?;
        root.run(&["lsinitramfs", file])
    };
    if lists(&mkinitramfs("/tmp/without")?, "usr/bin/pullet") {
        return Err("the hook adds pullet to every initramfs".into());
    }
    disk::write(&root.path.join("etc/initramfs-tools/conf.d/pullet"), "BOOT=pullet\n")?;
    expect(&mkinitramfs("/tmp/with")?, &["usr/bin/pullet", "scripts/pullet", "overlay.ko", "virtio_net.ko"])?;

    let dracut = |words: &[&str], file: &str| -> Result<String> {
        let build = ["dracut", "--force", "--no-hostonly", "--quiet", "--kver", kernel];
        root.run(&[&build, words, &[file]].concat())?;
        root.run(&["lsinitrd", file])
    };
    if lists(&dracut(&[], "/tmp/without-dracut")?, "usr/bin/pullet") {
        return Err("the module adds pullet to every initramfs".into());
    }
    let listed = dracut(&["--add", "pullet"], "/tmp/with-dracut")?;
    expect(&listed, &["usr/bin/pullet", "cmdline/90-parse-pullet.sh", "mount/90-mount-pullet.sh", "overlay.ko"])
}

fn expect(listed: &str, names: &[&str]) -> Result {
    match names.iter().find(|name| !lists(listed, name)) {
        Some(name) => Err(format!("the initramfs has no {name}")),
        None => Ok(()),
    }
}

/// True if a line of the listing ends like this. Modules may be compressed.
fn lists(listed: &str, name: &str) -> bool {
    listed.lines().any(|line| line.trim_end_matches(".xz").trim_end_matches(".zst").ends_with(name))
}
