//! `unpack --layered`: what the trees have for overlayfs, in each of its forms, and the space that they take.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use kit::archive::{Entry, dir, file, hardlink, opaque, symlink, whiteout};
use kit::bench::Bench;
use kit::debian::{command, run};
use kit::home::Home;
use kit::image::{Image, Layer};
use kit::process::{is_root, ordinary_user};
use kit::tree::{Kind, Tree};

use super::layered::{Mounted, base, compare};

/// Layers with each kind of change, none of which needs what is below it.
fn changes() -> Vec<Layer> {
    let layers: &[&[Entry]] = &[
        &base(),
        &[dir("d"), whiteout("d/a"), whiteout("d/sub"), whiteout("e"), whiteout("l")],
        &[dir("d"), file("d/a", "again"), dir("d/sub"), file("d/sub/n", "new"), file("e", "again")],
        &[dir("d"), opaque("d"), file("d/o", "only")],
        &[dir("m"), file("m/y", "5"), hardlink("m/z", "m/y"), hardlink("top", "m/z")],
        &[whiteout("m"), dir("m"), file("m/n", "6")],
        &[dir("d"), dir("d/deep"), dir("d/deep/er"), file("d/deep/er/f", "1"), whiteout("d/o")],
        &[dir("d"), dir("d/deep"), opaque("d/deep"), file("e2", "file"), whiteout("top")],
        &[symlink("l", "m"), file("last", "1")],
    ];
    layers.iter().map(|entries| Layer::of(entries)).collect()
}

/// A filesystem that is overlayfs, on a tmpfs, until it is dropped.
struct OnOverlay(Home);

impl OnOverlay {
    fn new() -> OnOverlay {
        let on = OnOverlay(Home::new());
        let at = on.0.path("disk");
        fs::create_dir(&at).unwrap();
        run(command("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&at)).expect(0);
        for folder in ["lower", "upper", "work", "at"] {
            fs::create_dir(at.join(folder)).unwrap();
        }
        let folder = |name: &str| at.join(name).display().to_string();
        let options = format!("lowerdir={},upperdir={},workdir={}", folder("lower"), folder("upper"), folder("work"));
        run(command("mount").args(["-t", "overlay", "-o", &options, "overlay"]).arg(on.folder())).expect(0);
        on
    }

    fn folder(&self) -> PathBuf {
        self.0.path("disk/at")
    }
}

impl Drop for OnOverlay {
    fn drop(&mut self) {
        run(command("umount").args(["-l"]).arg(self.folder()));
        run(command("umount").args(["-l"]).arg(self.0.path("disk")));
    }
}

/// True if overlayfs knows whiteouts that are files, and can mount folders that are on overlayfs (Linux 6.7).
fn has_whiteout_files() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 7)
}

/// The attributes for overlayfs of everything in the trees of a store, and the number of whiteouts that are devices.
fn marks(store: &Path, form: &str) -> (BTreeMap<String, usize>, usize) {
    let (mut counts, mut devices) = (BTreeMap::new(), 0);
    for node in Tree::read(&store.join("layers").join(form)).0.values() {
        devices += usize::from(node.kind == Kind::Char(0, 0));
        for (name, value) in &node.xattrs {
            let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
            if name.contains("overlay") {
                *counts.entry(format!("{name}={value}")).or_default() += 1;
            }
        }
    }
    (counts, devices)
}

fn counts(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|(mark, count)| ((*mark).to_owned(), *count)).collect()
}

#[test]
fn four_jobs_make_the_tree_that_overlayfs_mounts() {
    let bench = Bench::new();
    let home = &bench.home;
    let layers = changes();
    let name = Image::new(layers.clone()).push(&bench.registry, "app", "latest");
    home.run(&["unpack", &name, &home.arg("merged")]).exits(0);
    let ran = home.run(&["unpack", "--layered", "-j", "4", &name, &home.arg("layered")]).exits(0);
    let ran = ran.says(&format!("{} new trees", layers.len()));
    if is_root() {
        compare("four jobs", &home.path("merged"), &Mounted::new(home, &home.arg("layered"), &ran.stdout).0);
        let (marks, devices) = marks(&home.store(), "trusted");
        assert_eq!((marks, devices), (counts(&[("trusted.overlay.opaque=y", 3)]), 6));
    }
}

/// Where no device 0:0 can be created, a whiteout is a file with an attribute, and its folder has one too.
#[test]
fn a_store_on_overlayfs_has_whiteouts_that_are_files() {
    if !is_root() {
        return;
    }
    for user in [None, ordinary_user()] {
        let bench = Bench::new();
        let on = OnOverlay::new();
        chown(on.folder(), user, user).unwrap();
        let at = |name: &str| on.folder().join(name).display().to_string();
        let name = Image::new(changes()).push(&bench.registry, "app", "latest");
        let pullet = |words: &[&str]| bench.home.pullet(&[words, &["--store", &at("store")]].concat()).user(user).run();
        let ran = pullet(&["unpack", "--layered", "-j", "4", &name, &at("layered")]);
        if !has_whiteout_files() {
            ran.exits(10).says("whiteouts of overlayfs cannot be created here");
            continue;
        }
        let ran = ran.exits(0);
        pullet(&["unpack", &name, &at("merged")]).exits(0);
        let (form, prefix) = if user.is_none() { ("trusted", "trusted") } else { ("unowned", "user") };
        let (marks, devices) = marks(&on.folder().join("store"), form);
        let expected = [("opaque=x", 5), ("opaque=y", 3), ("whiteout=y", 6)];
        let names: Vec<String> = expected.iter().map(|(mark, _)| format!("{prefix}.overlay.{mark}")).collect();
        let expected: Vec<(&str, usize)> =
            names.iter().zip(expected).map(|(name, (_, count))| (name.as_str(), count)).collect();
        assert_eq!((marks, devices), (counts(&expected), 0), "{form}");
        let Some(user) = user else {
            let mounted = Mounted::new(&bench.home, &at("layered"), &ran.stdout);
            compare(form, Path::new(&at("merged")), &mounted.0);
            drop(mounted);
            // A folder cannot both have whiteouts that are files and hide everything.
            for upper in [
                &[dir("d"), whiteout("d/a"), opaque("d"), file("d/n", "6")][..],
                &[dir("d"), opaque("d"), whiteout("d/a"), file("d/n", "6")],
            ] {
                let odd = Image::new(vec![Layer::of(&base()), Layer::of(upper)]).push(&bench.registry, "app", "odd");
                let ran = pullet(&["unpack", "--layered", "--pull", "always", &odd, &at("odd")]).exits(0);
                pullet(&["unpack", &odd, &at("whole")]).exits(0);
                compare("odd", Path::new(&at("whole")), &Mounted::new(&bench.home, &at("odd"), &ran.stdout).0);
                fs::remove_dir_all(at("odd")).unwrap();
                fs::remove_dir_all(at("whole")).unwrap();
            }
            continue;
        };
        let script = "cd \"$4\" && mkdir \"$2\" && mount -t overlay -o \"$1\" overlay \"$2\" && cp -a \"$2\" \"$3\"";
        let user = user.to_string();
        let mut unshare = command("setpriv");
        unshare.args(["--reuid", &user, "--regid", &user, "--clear-groups", "unshare", "--user", "--map-root-user"]);
        unshare.args(["--mount", "sh", "-c", script, "sh", ran.stdout.trim_end()]);
        run(unshare.args([at("mounted"), at("copy"), at("layered")])).expect(0);
        compare(form, Path::new(&at("merged")), Path::new(&at("copy")));
    }
}

/// An archive could make overlayfs hide a folder, follow a redirect out of the tree, or take the data of another file.
#[test]
fn attributes_of_overlayfs_are_never_from_an_archive() {
    let bench = Bench::new();
    let hostile = |mut entry: Entry| {
        for space in ["trusted", "user"] {
            for (name, value) in [
                ("opaque", "y"),
                ("opaque", "x"),
                ("whiteout", "y"),
                ("redirect", "/m"),
                ("metacopy", ""),
                ("origin", "x"),
                ("overlay.opaque", "y"),
                ("impure", "y"),
            ] {
                entry = entry.pax(format!("SCHILY.xattr.{space}.overlay.{name}"), value);
                entry = entry.pax(format!("LIBARCHIVE.xattr.{space}.overlay.{name}"), "eQ");
            }
        }
        entry
    };
    let upper =
        [hostile(dir(".")), hostile(dir("d")), hostile(file("d/a", "")), hostile(file("e", "")), hostile(dir("m"))];
    let name = Image::new(vec![Layer::of(&base()), Layer::of(&upper)]).push(&bench.registry, "app", "latest");
    for user in [None, ordinary_user()] {
        let home = &Home::new();
        let pullet = |words: &[&str]| home.pullet(words).user(user).run().exits(0);
        pullet(&["unpack", &name, &home.arg("merged")]);
        let ran = pullet(&["unpack", "--layered", &name, &home.arg("layered")]);
        let form = if ran.stdout.contains("userxattr") { "unowned" } else { "trusted" };
        assert_eq!(marks(&home.store(), form), (BTreeMap::new(), 0));
        let merged = Tree::read(&home.path("merged"));
        assert!(merged.0.values().all(|node| !node.xattrs.keys().any(|name| name.windows(7).any(|w| w == b"overlay"))));
        if form == "trusted" {
            compare("xattrs", &home.path("merged"), &Mounted::new(home, &home.arg("layered"), &ran.stdout).0);
        }
        if !is_root() {
            break;
        }
    }
}

/// Files count once for all their names, and without their holes.
#[test]
fn prune_counts_the_space_of_trees() {
    let bench = Bench::new();
    let home = &bench.home;
    let sparse = file("sparse", "x".repeat(4096))
        .pax("GNU.sparse.major", "1")
        .pax("GNU.sparse.minor", "0")
        .pax("GNU.sparse.name", "sparse")
        .pax("GNU.sparse.realsize", "1000000000")
        .body([format!("1\n0\n4096\n{:>1$}", "", 512 - 9).into_bytes(), vec![b'x'; 4096]].concat());
    let entries = [dir("d"), file("d/a", "x".repeat(50_000)), hardlink("d/b", "d/a"), symlink("l", "d"), sparse];
    let image = Image::new(vec![Layer::of(&entries)]);
    let name = image.push(&bench.registry, "app", "1");
    home.run(&["unpack", "--layered", &name, &home.arg("one")]).exits(0);
    fs::remove_dir_all(home.path("one")).unwrap();
    let blobs = [image.digest(), image.config_digest(), image.layers[0].digest()];
    let size = |digest| u32::try_from(fs::metadata(home.blob(digest)).unwrap().len()).unwrap();
    let bytes: u32 = blobs.iter().map(|digest| size(digest)).sum();
    let expected = bytes + 50_000 + 4096;
    let expected = format!("Total reclaimed space: {:.1}kB\n", f64::from(expected) / 1000.0);
    let ran = home.run(&["prune", "-af"]).exits(0);
    assert!(ran.stdout.ends_with(&expected), "{expected}: {ran}");
}
