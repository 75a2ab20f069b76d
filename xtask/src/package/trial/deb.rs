//! The .deb in a clean Debian root: installed, used with a real registry, and removed.

use super::Subject;
use super::root::Root;
use crate::registry::Registry;
use crate::{Result, disk, shell};

pub fn install(subject: &Subject) -> Result {
    let root = Root::debian(subject.work.join("deb"), &[])?;
    let before = root.files();
    let package = root.take(&subject.deb()?)?;
    root.run(&["dpkg", "--install", &package])?;
    let problems = root.run(&["dpkg", "--verify", "pullet"])?;
    if !problems.is_empty() {
        return Err(format!("dpkg --verify:\n{problems}"));
    }
    let status = root.run(&["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", "pullet"])?;
    if status != format!("installed {}-1", subject.version) {
        return Err(format!("dpkg: pullet is {status}"));
    }
    subject.expect_version(&root.run(&["pullet", "--version"])?)?;
    use_it(subject, &root)?;
    root.run(&["dpkg", "--remove", "pullet"])?;
    root.expect_unchanged(&before)?;
    root.run(&["dpkg", "--purge", "pullet"])?;
    root.expect_unchanged(&before)
}

/// Pulls and unpacks pullet's own image from a registry on loopback, which the root can reach.
fn use_it(subject: &Subject, root: &Root) -> Result {
    let registry = Registry::start(&subject.work.join("registry"))?;
    let name = format!("{}/pullet:{}", registry.address(), subject.version);
    let mut skopeo = shell::program("skopeo");
    let source = format!("oci-archive:{}", subject.image()?.display());
    shell::run(skopeo.args(["copy", "--quiet", "--dest-tls-verify=false", &source, &format!("docker://{name}")]))?;
    root.run(&["pullet", "pull", "--store", "/tmp/store", &name])?;
    root.run(&["pullet", "unpack", "--store", "/tmp/store", &name, "/tmp/root"])?;
    let unpacked = root.path.join("tmp/root/usr/bin/pullet");
    if disk::read_bytes(&unpacked)? == disk::read_bytes(subject.binary)? {
        return Ok(());
    }
    Err(format!("{}: not the binary in the image", unpacked.display()))
}
