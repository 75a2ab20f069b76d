//! A registry and a home together, and the one-liners that most tests begin with.

use std::fs;
use std::path::PathBuf;

use crate::archive::{Entry, archive};
use crate::home::Home;
use crate::image::{Image, Layer};
use crate::listing::{assert_same, listing};
use crate::process::Finished;
use crate::registry::Registry;

/// A plain registry and a place to pull to.
pub struct Bench {
    pub registry: Registry,
    pub home: Home,
}

impl Bench {
    pub fn new() -> Bench {
        Bench { registry: Registry::plain(), home: Home::new() }
    }

    /// Pushes an image as `app:latest` and pulls it.
    pub fn pull(&self, image: &Image) -> Finished {
        let name = image.push(&self.registry, "app", "latest");
        self.home.run(&["pull", &name])
    }

    /// Pushes an image and unpacks it into `root`, beside a canary.
    pub fn unpack_beside_canary(self, image: &Image, options: &[&str]) -> Unpacked {
        let name = image.push(&self.registry, "app", "latest");
        plant_canary(&self.home);
        let target = self.home.arg("root");
        let args = [&["unpack"], options, &[&name, &target]].concat();
        let outcome = self.home.run(&args);
        let root = self.home.path("root");
        Unpacked { bench: self, outcome, root }
    }

    /// Asserts that a failed pull left no image in the index and asked for no layer of this image.
    #[track_caller]
    pub fn assert_no_layer_moved(&self, case: &str, image: &Image) {
        assert!(self.home.index().is_empty(), "{case}: the index has {:?}", self.home.index());
        for layer in &image.layers {
            let digest = layer.digest();
            assert!(
                self.registry.asked(&digest) == 0,
                "{case}: a layer was asked for\n{}",
                self.registry.log().join("\n")
            );
        }
    }
}

/// What an unpack of some layers came to.
pub struct Unpacked {
    pub bench: Bench,
    pub outcome: Finished,
    pub root: PathBuf,
}

/// Unpacks gzip layers of these entries into a fresh folder.
pub fn unpack(layers: &[&[Entry]]) -> Unpacked {
    unpack_image(&Image::new(layers.iter().map(|entries| Layer::of(entries)).collect()), &[])
}

/// Unpacks one layer with exactly this tar.
pub fn unpack_tar(tar: &[u8]) -> Unpacked {
    unpack_image(&Image::new(vec![Layer::gzip(tar)]), &[])
}

/// Unpacks an image with more options; a canary stands beside the target.
pub fn unpack_image(image: &Image, options: &[&str]) -> Unpacked {
    Bench::new().unpack_beside_canary(image, options)
}

/// Asserts that these layers give this tree.
#[track_caller]
pub fn check_tree(case: &str, layers: &[&[Entry]], expected: &str) {
    let unpacked = unpack(layers).done(case);
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_same(case, &expected.join("\n"), &listing(&unpacked.root));
}

/// Asserts that these layers are refused with this exit code, and that nothing of them is to be seen anywhere.
#[track_caller]
pub fn check_refused(case: &str, layers: &[&[Entry]], code: i32) {
    let tars: Vec<Vec<u8>> = layers.iter().map(|entries| archive(entries)).collect();
    check_tars_refused(case, &tars, code);
}

/// As [`check_refused`] for whole archives.
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

    /// Asserts the exit code, no target, no leftover beside it, and an untouched canary.
    #[track_caller]
    pub fn refused(self, case: &str, code: i32) -> Unpacked {
        self.assert_canary(case);
        let outcome = self.outcome.exits_in(case, code).fails_in_one_line();
        assert!(self.root.symlink_metadata().is_err(), "{case}: the target is there\n{outcome}");
        let mut beside: Vec<String> = fs::read_dir(self.bench.home.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        beside.sort();
        assert_same(&format!("{case}: what stands beside the target"), "canary\nhome\nstore", &beside.join("\n"));
        Unpacked { outcome, ..self }
    }

    #[track_caller]
    fn assert_canary(&self, case: &str) {
        let canary = self.bench.home.path("canary");
        assert_same(&format!("{case}: the canary\n{}", self.outcome), CANARY, &listing(&canary));
    }
}

const CANARY: &str = "d 0755 cage\nf 0644 cage/bird \"alive\"\nf 0600 secret \"untold\"";

fn plant_canary(home: &Home) {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &str, mode| fs::set_permissions(home.path(path), fs::Permissions::from_mode(mode)).unwrap();
    fs::create_dir_all(home.path("canary/cage")).unwrap();
    home.write("canary/cage/bird", "alive");
    home.write("canary/secret", "untold");
    mode("canary/cage", 0o755);
    mode("canary/cage/bird", 0o644);
    mode("canary/secret", 0o600);
}
