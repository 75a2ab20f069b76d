//! POSIX ACLs: those of a layer are set, and none is inherited, neither from the directory around the target nor from a
//! directory of the image.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::XattrFlags;

use kit::archive::{Entry, dir, fifo, file, symlink, whiteout};
use kit::bench::{Bench, unpack};
use kit::image::{Image, Layer};

const ACCESS: &str = "system.posix_acl_access";
pub const DEFAULT: &str = "system.posix_acl_default";

/// An ACL as the kernel has it in an xattr. It gives user 65534 all permissions.
pub fn acl() -> Vec<u8> {
    let mut list = 2_u32.to_le_bytes().to_vec();
    let entries =
        [(0x01_u16, 7_u16, u32::MAX), (0x02, 7, 65534), (0x04, 5, u32::MAX), (0x10, 7, u32::MAX), (0x20, 5, u32::MAX)];
    for (tag, permissions, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

fn xattrs(path: &Path) -> Vec<String> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap();
    let names = names[..length].split(|&b| b == 0).map(|name| String::from_utf8_lossy(name).into_owned());
    names.filter(|name| !name.is_empty() && name != "security.selinux").collect()
}

#[track_caller]
pub fn assert_none_below(path: &Path) {
    assert_eq!(xattrs(path), Vec::<String>::new(), "{}", path.display());
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            assert_none_below(&entry.unwrap().path());
        }
    }
}

#[test]
fn the_default_acl_around_a_target_is_not_inherited() {
    let bench = Bench::new();
    let around = bench.home.path("around");
    fs::create_dir_all(&around).unwrap();
    rustix::fs::setxattr(&around, DEFAULT, &acl(), XattrFlags::empty()).unwrap();
    let entries = [dir("etc"), file("etc/shadow", "secret").mode(0o640), file("implied/f", "1"), fifo("etc/pipe")];
    let name = Image::new(vec![Layer::of(&entries)]).push(&bench.registry, "app", "latest");
    let store = around.join("store").display().to_string();
    bench.home.run(&["unpack", "--store", &store, &name, &bench.home.arg("around/root")]).exits(0);
    assert_none_below(&around.join("root"));
    assert_eq!(fs::metadata(around.join("root/etc/shadow")).unwrap().mode() & 0o7777, 0o640);
    assert_none_below(&around.join("store"));
}

#[test]
fn the_acls_of_a_layer_are_set_and_not_inherited() {
    let with_acls =
        |entry: Entry| entry.pax(format!("SCHILY.xattr.{ACCESS}"), acl()).pax(format!("SCHILY.xattr.{DEFAULT}"), acl());
    let unpacked = unpack(&[
        &[
            with_acls(dir("journal").mode(0o2775)),
            file("journal/file", "1").mode(0o640),
            dir("journal/dir").mode(0o750),
            fifo("journal/pipe").mode(0o600),
            symlink("journal/link", "file"),
            file("journal/implied/file", "2").mode(0o640),
            file("list", "3").mode(0o675).pax(format!("SCHILY.xattr.{ACCESS}"), acl()),
        ],
        &[file("journal/late", "4").mode(0o640)],
    ])
    .done("ACLs");
    assert_eq!(xattrs(&unpacked.root.join("journal")), [ACCESS, DEFAULT]);
    assert_eq!(xattrs(&unpacked.root.join("list")), [ACCESS]);
    for entry in fs::read_dir(unpacked.root.join("journal")).unwrap() {
        assert_none_below(&entry.unwrap().path());
    }
    for (name, mode) in [("file", 0o640), ("late", 0o640), ("dir", 0o750), ("pipe", 0o600)] {
        let got = fs::symlink_metadata(unpacked.root.join("journal").join(name)).unwrap().mode() & 0o7777;
        assert_eq!(got, mode, "{name}");
    }
    let acls = dir("d").pax(format!("SCHILY.xattr.{DEFAULT}"), acl());
    let implied = unpack(&[&[acls, file("d/old", "1")], &[whiteout("d"), file("d/new", "2")]]).done("implied");
    assert_none_below(&implied.root);
}

#[test]
fn a_layer_sets_no_xattr_that_an_overlay_obeys() {
    let names = [
        "user.overlay.opaque",
        "user.overlay.redirect",
        "user.fuseoverlayfs.opaque",
        "user.containers.override_stat",
        "trusted.overlay.opaque",
    ];
    let mut entries = Vec::new();
    for (n, name) in names.iter().enumerate() {
        entries.push(dir(format!("d{n}")).pax(format!("SCHILY.xattr.{name}"), "y"));
        entries.push(file(format!("f{n}"), "1").pax(format!("SCHILY.xattr.{name}"), "y"));
    }
    let unpacked = unpack(&[&entries, &entries]).done("instructions");
    assert_none_below(&unpacked.root);
    assert_eq!(unpacked.outcome.stderr.matches("20 extended attributes left out").count(), 1, "{}", unpacked.outcome);
}
