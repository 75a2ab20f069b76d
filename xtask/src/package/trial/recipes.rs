//! The recipes of distributions, as far as their languages can be run here: the shell functions of Alpine install from the
//! source archive, make reads the files of Buildroot and OpenWrt with the least of their rules, and Nix evaluates its
//! expression. BitBake's recipe is only compared with the source archive.

use std::path::Path;
use std::process::Command;

use super::Subject;
use crate::package::source;
use crate::{Result, cargo, debian, disk, shell};

const PROGRAMS: &[(&str, &str)] = &[("make", "make"), ("nix-instantiate", "nix-bin"), ("shellcheck", "shellcheck")];

/// The parts of OpenWrt's and Buildroot's rules that the files use: each prints what it was given.
const OPENWRT: &[(&str, &str)] = &[
    ("rules.mk", "all:\n"),
    ("include/package.mk", ""),
    (
        "feeds/packages/lang/rust/rust-package.mk",
        "RustBinPackage = $(info rust $(1))\nBuildPackage = $(info $(PKG_VERSION) $(PKG_HASH) $(PKG_SOURCE_URL)/$(PKG_SOURCE) \
         $(if $(Package/$(1)),described))\n",
    ),
];
const BUILDROOT: &str = "BR2_EXTERNAL_PULLET_PATH := .\n\
    cargo-package = $(info $(PULLET_VERSION) $(PULLET_SITE)/$(PULLET_SOURCE) $(PULLET_LICENSE_FILES))\n\
    include external.mk\nall:\n";

/// Installs what Alpine's package has, from the folder of the source, into the folder `root`.
const ALPINE: &str = "set -eu; default_prepare() { :; }; . \"$1/APKBUILD\"; pkgdir=$2; cd \"$3\"; package; \
    echo \"$pkgver\"; echo \"$source\"; echo $sha512sums";

/// The least of nixpkgs that the expression uses.
const NIX: &str = "let p = import ./packaging/nix/package.nix {
    installShellFiles = 3;
    lib = { cleanSource = x: x; licenses = { mit = 1; asl20 = 2; }; platforms = { linux = []; }; };
    rustPlatform = { buildRustPackage = x: x; };
}; in assert builtins.pathExists p.cargoLock.lockFile; p.version + p.meta.homepage";

pub fn check(subject: &Subject) -> Result {
    debian::need(PROGRAMS)?;
    let work = subject.work.join("recipes");
    disk::fresh(&work)?;
    let version = subject.version;
    let archive = subject.out.join(format!("pullet-{version}.tar.gz"));
    let recipes = subject.out.join(format!("pullet-{version}-recipes.tar.gz"));
    for file in [&archive, &recipes] {
        shell::run(shell::program("tar").arg("-xzf").arg(file).arg("--directory").arg(&work))?;
    }
    let files = Files {
        version,
        url: format!("{}/releases/download/v{version}/pullet-{version}.tar.gz", subject.homepage),
        archive: &archive,
        source: &work.join(format!("pullet-{version}")),
        recipes: &work.join("recipes"),
    };
    // Where Alpine's function expects the binary.
    disk::create_folder(&files.source.join("target/release"))?;
    disk::named("copy", subject.binary, std::fs::copy(subject.binary, files.source.join("target/release/pullet")))?;
    files.alpine(&work)?;
    files.openwrt(&work)?;
    files.buildroot()?;
    files.yocto()?;
    files.nix(subject)
}

struct Files<'a> {
    version: &'a str,
    url: String,
    archive: &'a Path,
    /// The unpacked source archive.
    source: &'a Path,
    recipes: &'a Path,
}

impl Files<'_> {
    fn alpine(&self, work: &Path) -> Result {
        let folder = self.recipes.join("alpine");
        let mut shellcheck = shell::program("shellcheck");
        // abuild reads the variables, and sets others.
        shellcheck.args(["--shell=sh", "--exclude=SC2034,SC2154"]);
        shell::run(shellcheck.arg(folder.join("APKBUILD")))?;
        let root = work.join("alpine");
        disk::create_folder(&root)?;
        let words = ["-c", ALPINE, "sh"].map(Path::new).into_iter().chain([folder.as_path(), &root, self.source]);
        let output = shell::read(Command::new("dash").args(words))?;
        let sum = self.sum("sha512sum")?;
        expect(&output, &format!("{}\n{}\n{sum} pullet-{}.tar.gz\n", self.version, self.url, self.version))?;
        for name in [
            "usr/bin/pullet",
            "usr/share/man/man1/pullet.1",
            "usr/share/licenses/pullet/LICENSE-MIT",
            "usr/share/doc/pullet/README.md",
        ] {
            disk::metadata(&root.join(name))?;
        }
        Ok(())
    }

    fn openwrt(&self, work: &Path) -> Result {
        let top = work.join("openwrt");
        for (name, text) in OPENWRT {
            super::super::tree::put(&top, name, text.as_bytes(), 0o644)?;
        }
        let mut make = shell::program("make");
        make.args(["--dry-run", "--warn-undefined-variables", "--directory"]).arg(self.recipes.join("openwrt/pullet"));
        make.arg(format!("TOPDIR={}", top.display())).arg(format!("INCLUDE_DIR={}/include", top.display()));
        let output = shell::read(make.arg("RUST_ARCH_DEPENDS=@x"))?;
        let sum = self.sum("sha256sum")?;
        expect(&first_lines(&output, "rust"), &format!("rust pullet\n{} {sum} {} described\n", self.version, self.url))
    }

    fn buildroot(&self) -> Result {
        let folder = self.recipes.join("buildroot");
        disk::write(&folder.join("Makefile"), BUILDROOT)?;
        let output = shell::read(shell::program("make").args(["--dry-run", "--directory"]).arg(&folder))?;
        let licenses = "LICENSE-MIT LICENSE-APACHE";
        expect(
            first_lines(&output, self.version).lines().next().unwrap_or_default(),
            &format!("{} {} {licenses}", self.version, self.url),
        )?;
        licenses.split(' ').try_for_each(|name| disk::metadata(&self.source.join(name)).map(drop))?;
        let config = disk::read(&folder.join("package/pullet/Config.in"))?;
        if config.starts_with("config BR2_PACKAGE_PULLET\n") { Ok(()) } else { Err("Config.in: no option".into()) }
    }

    fn yocto(&self) -> Result {
        let folder = self.recipes.join("yocto");
        let recipe = disk::read(&folder.join(format!("pullet_{}.bb", self.version)))?;
        let sum = self.sum("sha256sum")?;
        for line in [format!("SRC_URI[sha256sum] = \"{sum}\""), "require ${BPN}-crates.inc".into()] {
            if !recipe.lines().any(|other| other == line) {
                return Err(format!("pullet.bb: no line {line}"));
            }
        }
        let lock = disk::read(&self.source.join("Cargo.lock"))?;
        let crates = disk::read(&folder.join("pullet-crates.inc"))?;
        let (locked, listed) = (lock.matches("\nchecksum = ").count(), crates.matches("crate://").count());
        if locked != listed {
            return Err(format!("pullet-crates.inc: {listed} crates of {locked}"));
        }
        // The recipe installs these.
        let installed = ["examples/initramfs/dracut/90pullet/module-setup.sh", "share/man/man1/pullet.1"];
        installed.iter().try_for_each(|name| disk::metadata(&self.source.join(name)).map(drop))
    }

    fn nix(&self, subject: &Subject) -> Result {
        let nix = || {
            let mut nix = shell::program("nix-instantiate");
            // Without a store and a daemon.
            nix.env("NIX_STORE_DIR", subject.work.join("nix")).env("NIX_STATE_DIR", subject.work.join("nix-state"));
            nix.current_dir(cargo::root());
            nix
        };
        shell::run(nix().args(["--parse", "packaging/nix/flake.nix"]))?;
        let value = shell::read(nix().args(["--eval", "--strict", "--expr", NIX]))?;
        expect(value.trim(), &format!("\"{}{}\"", self.version, subject.homepage))
    }

    fn sum(&self, program: &str) -> Result<String> {
        source::sum(program, self.archive)
    }
}

/// The output from the first line that begins like this.
fn first_lines(output: &str, start: &str) -> String {
    let lines = output.lines().skip_while(|line| !line.starts_with(start)).take(2);
    lines.map(|line| format!("{line}\n")).collect()
}

fn expect(found: &str, expected: &str) -> Result {
    if found == expected { Ok(()) } else { Err(format!("expected {expected:?}, got {found:?}")) }
}
