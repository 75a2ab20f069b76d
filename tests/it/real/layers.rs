//! The layers of the long image: four that umoci makes from changes in a root, and six written by hand as other builders write them.

use super::oddities;
use kit::archive::{Entry, dir, file, hardlink, opaque, whiteout};
use kit::debian::{self, run};
use kit::process::is_root;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

/// A change in an unpacked root, of which `umoci repack` makes a layer.
pub(crate) type Change = fn(&Path);

pub(crate) const CHANGES: [Change; 4] = [install, delete, replace, change_again];

/// A layer written by hand: gets an empty folder and returns the path of the archive.
pub(crate) type Written = fn(&Path) -> PathBuf;

pub(crate) const WRITTEN: [Written; 6] = [emptied, gnu_format, crossing, nothing, folders_only, undone];

/// An application, a user for it, and one more name for a file of the layer below.
fn install(root: &Path) {
    for folder in ["opt/app/bin", "opt/app/data/old", "opt/app/conf"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::copy("/bin/sh", root.join("opt/app/bin/sh")).unwrap();
    fs::hard_link(root.join("opt/app/bin/sh"), root.join("opt/app/bin/app")).unwrap();
    fs::write(root.join("opt/app/conf/app.conf"), "first = true\n").unwrap();
    fs::write(root.join("opt/app/data/old/file"), "data").unwrap();
    symlink("app", root.join("opt/current")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/app-users"), "app:x:1000:1000::/opt/app:/bin/sh\n").unwrap();
    let odd = root.join(oddities::FOLDER);
    fs::hard_link(odd.join("linked"), odd.join("linked-4")).unwrap();
}

/// Whiteouts: of a file, of one of several names of an inode, of a symbolic link, of a FIFO and of whole folders.
fn delete(root: &Path) {
    let odd = root.join(oddities::FOLDER);
    for name in ["linked", "absolute", "fifo", " blank ", "both"] {
        fs::remove_file(odd.join(name)).unwrap();
    }
    for folder in [odd.join("inner"), odd.join("n".repeat(120)), root.join("opt/app/conf")] {
        fs::remove_dir_all(folder).unwrap();
    }
    if is_root() {
        fs::remove_dir_all(root.join("usr/share/doc")).unwrap();
        fs::remove_file(odd.join("block")).unwrap();
    }
}

/// Every path changes its type.
fn replace(root: &Path) {
    let odd = root.join(oddities::FOLDER);
    for file in ["suid", "itself", "holes", "all", "nothing", "dangling"] {
        fs::remove_file(odd.join(file)).unwrap();
    }
    for folder in ["suid", "itself", "holes/deeper"] {
        fs::create_dir_all(odd.join(folder)).unwrap();
    }
    fs::write(odd.join("suid/inside"), "was a file").unwrap();
    fs::write(odd.join("holes/deeper/inside"), "was a sparse file").unwrap();
    fs::write(odd.join("dangling"), "was a link").unwrap();
    symlink("suid", odd.join("all")).unwrap();
    symlink("/nothing", odd.join("nothing")).unwrap();
    fs::remove_dir(odd.join("sticky")).unwrap();
    fs::write(odd.join("sticky"), "was a folder").unwrap();
    fs::remove_dir(odd.join("inherited")).unwrap();
    symlink("suid", odd.join("inherited")).unwrap();
    if is_root() {
        fs::remove_file(odd.join("char")).unwrap();
        fs::write(odd.join("char"), "was a device").unwrap();
    }
}

/// Deleted paths come back, and content, modes, owners and attributes change in place.
fn change_again(root: &Path) {
    let odd = root.join(oddities::FOLDER);
    fs::create_dir(odd.join("inner")).unwrap();
    fs::write(odd.join("inner/again"), "deleted two layers below").unwrap();
    fs::write(root.join("opt/app/bin/app"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(odd.join("sgid"), Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(odd.join("closed"), Permissions::from_mode(0o711)).unwrap();
    rustix::fs::lremovexattr(odd.join("commented"), "user.comment").unwrap();
    if is_root() {
        lchown(odd.join("commented"), Some(5), Some(6)).unwrap();
    }
}

/// An opaque folder by GNU tar in PAX format, whose marker comes after the files that it must not hide. Of the two folders in it, one
/// is left empty.
fn emptied(folder: &Path) -> PathBuf {
    let app = folder.join("tree/opt/app");
    fs::create_dir_all(app.join("data")).unwrap();
    fs::create_dir(app.join("bin")).unwrap();
    fs::write(app.join("data/new"), "next to an opaque marker").unwrap();
    fs::write(app.join("version"), "2\n").unwrap();
    fs::write(app.join(".wh..wh..opq"), "").unwrap();
    let members = [
        "opt",
        "opt/app",
        "opt/app/version",
        "opt/app/bin",
        "opt/app/data",
        "opt/app/data/new",
        "opt/app/.wh..wh..opq",
    ];
    gnu_tar(folder, "posix", &members)
}

/// GNU tar's own format: long names in `L` and `K` entries, base-256 owners.
fn gnu_format(folder: &Path) -> PathBuf {
    let long = "gnu-".repeat(30);
    let inside = folder.join("tree/srv").join(&long).join(&long);
    fs::create_dir_all(&inside).unwrap();
    fs::write(inside.join("file"), "a path in an L entry").unwrap();
    symlink(format!("{long}/{long}/file"), folder.join("tree/srv/gnu-link")).unwrap();
    fs::hard_link(inside.join("file"), inside.join("file-2")).unwrap();
    if is_root() {
        lchown(inside.join("file"), Some(3_000_000), Some(0)).unwrap();
    }
    gnu_tar(folder, "gnu", &["srv"])
}

/// Files with holes in GNU tar's old format, with more pieces than the four that fit in the header. umoci cannot read it.
pub(crate) fn old_sparse(folder: &Path) -> PathBuf {
    let files = folder.join("tree/sparse");
    fs::create_dir_all(&files).unwrap();
    let file = fs::File::create(files.join("pieces")).unwrap();
    for piece in 0..30 {
        file.write_all_at(b"piece", piece * 100_000).unwrap();
    }
    file.set_len(4_000_000).unwrap();
    fs::File::create(files.join("only-a-hole")).unwrap().set_len(1 << 24).unwrap();
    fs::write(files.join("after"), "the next member is found").unwrap();
    gnu_tar(folder, "gnu", &["sparse"])
}

/// Entries that reach into the layers below: hard links to their files, paths through their symbolic links, and parents in no layer.
fn crossing(folder: &Path) -> PathBuf {
    let entries = [
        hardlink("srv/odd/crossing", "srv/odd/linked-2"),
        hardlink("srv/odd/crossing-link", "srv/odd/absolute-2"),
        hardlink("srv/odd/crossing-through", "opt/current/data/new"),
        file("opt/current/through", "in opt/app").mode(0o640),
        whiteout("opt/current/version"),
        file("var/implied/by/this", "three folders that no entry names"),
        file("srv/odd/closed/later", "in a folder that its owner may not write to"),
        file("srv/odd/twice", "first").mode(0o600),
        file("srv/odd/twice", "the last one counts").mode(0o604),
    ];
    by_hand(folder, &entries)
}

/// A layer without entries, as `RUN true` leaves one.
fn nothing(folder: &Path) -> PathBuf {
    by_hand(folder, &[])
}

/// Only entries of folders, with the root. The extended attribute of one folder is removed.
fn folders_only(folder: &Path) -> PathBuf {
    let entries = [dir("./").mode(0o751), dir("srv/odd").mode(0o2750), dir("srv/odd/closed/").mode(0o1500)];
    by_hand(folder, &entries)
}

/// Whiteouts of missing paths, and of a folder that the same layer creates again.
fn undone(folder: &Path) -> PathBuf {
    let entries = [
        whiteout("srv/odd/never-was"),
        whiteout("srv/odd/suid"),
        dir("srv/odd/suid").mode(0o700),
        file("srv/odd/suid/other", "not the one inside before"),
        opaque("srv/fresh"),
        file("srv/fresh/file", "an opaque folder that no layer had"),
    ];
    by_hand(folder, &entries)
}

fn by_hand(folder: &Path, entries: &[Entry]) -> PathBuf {
    let archive = folder.join("layer.tar");
    fs::write(&archive, kit::archive::archive(entries)).unwrap();
    archive
}

/// One file with the platform of the image.
pub(crate) fn platform(folder: &Path, platform: &str) -> PathBuf {
    by_hand(folder, &[file("platform", platform)])
}

fn gnu_tar(folder: &Path, format: &str, members: &[&str]) -> PathBuf {
    let archive = folder.join("layer.tar");
    let mut tar = debian::command("tar");
    tar.arg(format!("--format={format}")).args(["--numeric-owner", "--sparse"]);
    // The order of the members matters, so folders must not bring their content along.
    if members.len() > 1 {
        tar.arg("--no-recursion");
    }
    run(tar.arg("-cf").arg(&archive).arg("-C").arg(folder.join("tree")).args(members)).expect(0);
    archive
}
