//! A test bench: a registry and a home together, and the checks of unpacked trees.
//!
//! ```no_run
//! use kit::archive::{dir, file, whiteout};
//! use kit::bench::{check_refused, check_tree};
//!
//! let lower = [dir("etc"), file("etc/a", "1"), file("etc/b", "2")];
//! check_tree("a whiteout", &[&lower, &[whiteout("etc/a")]], "d 0755 etc\nf 0644 etc/b \"2\"");
//! check_refused("a path out of the target", &[&[file("../a", "1")]], 11);
//! ```

use std::fs;
use std::path::PathBuf;

use crate::archive::{Entry, archive};
use crate::debian::{command, run};
use crate::home::Home;
use crate::image::{Image, Layer};
use crate::listing::{assert_same, listing};
use crate::process::Finished;
use crate::registry::Registry;
use crate::tree::Tree;

/// A registry over plain HTTP and a home.
pub struct Bench {
    /// The registry.
    pub registry: Registry,
    /// The home that pullet runs in.
    pub home: Home,
}

impl Bench {
    /// Starts a registry and creates a home.
    pub fn new() -> Bench {
        Bench { registry: Registry::plain(), home: Home::new() }
    }

    /// Pushes an image as `app:latest` and pulls it.
    pub fn pull(&self, image: &Image) -> Finished {
        let name = image.push(&self.registry, "app", "latest");
        self.home.run(&["pull", &name])
    }

    /// Pushes an image and unpacks it into `root`, next to a canary.
    pub fn unpack_beside_canary(self, image: &Image, options: &[&str]) -> Unpacked {
        let name = image.push(&self.registry, "app", "latest");
        create_canary(&self.home);
        let target = self.home.arg("root");
        let args = [&["unpack"], options, &[&name, &target]].concat();
        let outcome = self.home.run(&args);
        let root = self.home.path("root");
        Unpacked { bench: self, outcome, root }
    }

    /// Asserts that a failed pull left no image in the index and requested no layer of this image.
    #[track_caller]
    pub fn assert_no_layer_requested(&self, case: &str, image: &Image) {
        assert!(self.home.index().is_empty(), "{case}: the index has {:?}", self.home.index());
        for layer in &image.layers {
            let digest = layer.digest();
            assert!(
                self.registry.requests_to(&digest) == 0,
                "{case}: a layer was requested\n{}",
                self.registry.log().join("\n")
            );
        }
    }
}

/// An image that was unpacked, or not, next to a canary.
pub struct Unpacked {
    /// The bench.
    pub bench: Bench,
    /// The run of pullet.
    pub outcome: Finished,
    /// The target.
    pub root: PathBuf,
}

/// Unpacks gzip layers of these entries into a new folder.
pub fn unpack(layers: &[&[Entry]]) -> Unpacked {
    unpack_image(&Image::new(layers.iter().map(|entries| Layer::of(entries)).collect()), &[])
}

/// Unpacks one layer with exactly this archive.
pub fn unpack_tar(tar: &[u8]) -> Unpacked {
    unpack_image(&Image::new(vec![Layer::gzip(tar)]), &[])
}

/// Unpacks an image with more options.
pub fn unpack_image(image: &Image, options: &[&str]) -> Unpacked {
    Bench::new().unpack_beside_canary(image, options)
}

/// Asserts that these layers unpack to this [listing], and that `export` gives the same tree.
#[track_caller]
pub fn check_tree(case: &str, layers: &[&[Entry]], expected: &str) {
    let unpacked = unpack(layers).done(case);
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_same(case, &expected.join("\n"), &listing(&unpacked.root));
    check_export(case, &unpacked);
}

/// Asserts that GNU tar makes the same tree of an export as unpacking did.
#[track_caller]
pub fn check_export(case: &str, unpacked: &Unpacked) {
    let (home, registry) = (&unpacked.bench.home, &unpacked.bench.registry);
    let exported = export(case, home, &registry.name("app:latest"));
    Tree::read(&unpacked.root).assert_same(&Tree::read(&exported), &format!("{case}: export"));
}

/// Exports an image of the store, unpacks that with GNU tar, and returns the folder.
#[track_caller]
pub fn export(case: &str, home: &Home, name: &str) -> PathBuf {
    let (tar, exported) = (home.path("export.tar"), home.path("exported"));
    home.run(&["export", "-o", &home.arg("export.tar"), name]).exits_in(case, 0).prints("");
    fs::create_dir(&exported).unwrap();
    // A layer may add to a directory that GNU tar has finished by then.
    let times = ["--delay-directory-restore", "--preserve-permissions", "--numeric-owner"];
    let xattrs = ["--xattrs", "--xattrs-include=*"];
    let mut extract = command("tar");
    extract.arg("--extract").args(times).args(xattrs).arg("--file").arg(&tar).arg("--directory").arg(&exported);
    run(&mut extract).expect(0);
    fs::remove_file(&tar).unwrap();
    exported
}

/// Asserts that these layers are refused with this exit code, and that nothing of them is left anywhere.
#[track_caller]
pub fn check_refused(case: &str, layers: &[&[Entry]], code: i32) {
    let tars: Vec<Vec<u8>> = layers.iter().map(|entries| archive(entries)).collect();
    check_tars_refused(case, &tars, code);
}

/// As [`check_refused`], for whole archives.
#[track_caller]
pub fn check_tars_refused(case: &str, tars: &[Vec<u8>], code: i32) {
    let image = Image::new(tars.iter().map(|tar| Layer::gzip(tar)).collect());
    unpack_image(&image, &[]).refused(case, code);
}

impl Unpacked {
    /// Asserts success, a target, and an untouched canary.
    #[track_caller]
    pub fn done(self, case: &str) -> Unpacked {
        self.assert_canary(case);
        let outcome = self.outcome.exits_in(case, 0).prints("");
        assert!(self.root.is_dir(), "{case}: no target\n{outcome}");
        Unpacked { outcome, ..self }
    }

    /// Asserts the exit code, no target, nothing left over next to it, and an untouched canary.
    #[track_caller]
    pub fn refused(self, case: &str, code: i32) -> Unpacked {
        self.assert_canary(case);
        let outcome = self.outcome.exits_in(case, code).fails_in_one_line();
        assert!(self.root.symlink_metadata().is_err(), "{case}: the target exists\n{outcome}");
        let mut names: Vec<String> = fs::read_dir(self.bench.home.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_same(&format!("{case}: the names next to the target"), "canary\nhome\nstore", &names.join("\n"));
        Unpacked { outcome, ..self }
    }

    #[track_caller]
    fn assert_canary(&self, case: &str) {
        let canary = self.bench.home.path("canary");
        assert_same(&format!("{case}: the canary\n{}", self.outcome), CANARY, &listing(&canary));
    }
}

const CANARY: &str = "d 0755 cage\nf 0644 cage/bird \"alive\"\nf 0600 secret \"kept\"";

fn create_canary(home: &Home) {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &str, mode| fs::set_permissions(home.path(path), fs::Permissions::from_mode(mode)).unwrap();
    fs::create_dir_all(home.path("canary/cage")).unwrap();
    home.write("canary/cage/bird", "alive");
    home.write("canary/secret", "kept");
    mode("canary/cage", 0o755);
    mode("canary/cage/bird", 0o644);
    mode("canary/secret", 0o600);
}
