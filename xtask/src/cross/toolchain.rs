//! The toolchain of a target: one of three ways to get its standard library, with zig as linker and C compiler.
//!
//! A: prebuilt by rustup. B: built from rustup's source. C: Debian's compiler, with the standard library built from
//! Debian's source. The first way that works is used, unless one is requested.

use std::path::PathBuf;
use std::process::Command;

use super::targets::{Flavour, Panic, Std, Target};
use crate::{Result, cargo, debian, disk, shell};

/// Where the standard library comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Prebuilt,
    Source,
    Debian,
}

impl Way {
    const ALL: [Self; 3] = [Self::Prebuilt, Self::Source, Self::Debian];

    /// Finds a way by its letter.
    pub fn of(letter: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|way| way.letter() == letter);
        found.ok_or_else(|| format!("no way \"{letter}\": expected A, B or C"))
    }

    pub fn letter(self) -> &'static str {
        match self {
            Self::Prebuilt => "A",
            Self::Source => "B",
            Self::Debian => "C",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Prebuilt => "rustup's standard library",
            Self::Source => "the standard library built from rustup's source",
            Self::Debian => "Debian's toolchain, the standard library built from its source",
        }
    }
}

impl Way {
    /// The version of the compiler.
    pub fn compiler(self) -> Result<String> {
        let mut rustc = if self == Self::Debian { Command::new("/usr/bin/rustc") } else { shell::program("rustc") };
        let text = shell::read(rustc.arg("--version"))?;
        let version = text.split(' ').nth(1);
        version.map(str::to_owned).ok_or_else(|| format!("rustc --version: unexpected output {text:?}"))
    }
}

/// Debian's Rust for building browsers, which is newer than its default one, with the source of the standard library.
const DEBIAN: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "libstd-rust-web-dev"];
/// Packages of PyPI: the compiler and linker, and the cargo subcommand that uses them.
const ZIG: &[&str] = &["ziglang==0.17.1", "cargo-zigbuild==0.24.0"];

/// Chooses the requested way, or the first one that works here, and installs what it needs.
pub fn choose(target: &Target, flavour: &Flavour, requested: Option<Way>) -> Result<Way> {
    let ways = requested.map_or(Way::ALL.to_vec(), |way| vec![way]);
    let mut reasons = Vec::new();
    for way in ways {
        match prepare(way, target, flavour) {
            Ok(()) => return Ok(way),
            Err(why) => reasons.push(format!("{}: {why}", way.letter())),
        }
    }
    Err(format!("{}: no way works: {}", target.triple, reasons.join("; ")))
}

fn prepare(way: Way, target: &Target, flavour: &Flavour) -> Result {
    if way == Way::Debian {
        return debian::need_packages(DEBIAN);
    }
    let library = rustup_library().ok_or("the compiler is not from rustup")?;
    // Features of the standard library take effect only if it is built from source.
    if way == Way::Prebuilt && (target.std == Some(Std::Source) || !flavour.std_features.is_empty()) {
        return Err("cross.toml requires the standard library from source".into());
    }
    let (add, folder) = if way == Way::Prebuilt {
        (["target", "add", &target.triple], library.join(&target.triple).join("lib"))
    } else {
        (["component", "add", "rust-src"], library.join("src/rust/library/std"))
    };
    if folder.is_dir() || (shell::succeeds(shell::program("rustup").args(add)) && folder.is_dir()) {
        return Ok(());
    }
    Err(format!("rustup {} failed", add.join(" ")))
}

/// Builds pullet and returns the path of the binary.
pub fn build(target: &Target, flavour: &Flavour, way: Way) -> Result<PathBuf> {
    let zig = zig()?;
    let folder = cargo::target()?.join(if way == Way::Debian { "cross-debian" } else { "cross" });
    let mut command = Command::new(zig.join("cargo-zigbuild"));
    command.current_dir(cargo::root()).args(["zigbuild", "--quiet", "--release", "--package", "pullet"]);
    command.args(["--bin", "pullet", "--target", &target.triple, "--no-default-features"]);
    command.args(["--features", &target.features(flavour).join(",")]);
    if way != Way::Prebuilt {
        // Without its default features the standard library has no code for backtraces, which saves space.
        command
            .args(["-Zbuild-std=std,panic_abort", &format!("-Zbuild-std-features={}", flavour.std_features.join(","))]);
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    if flavour.panic == Some(Panic::ImmediateAbort) {
        command.args(["-Zpanic-immediate-abort", "--config", "profile.release.panic=\"immediate-abort\""]);
    }
    if way == Way::Debian {
        command.env("CARGO", "/usr/bin/cargo").env("RUSTC", "/usr/bin/rustc");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let first = if way == Way::Debian { "/usr/bin:" } else { "" };
    command.env("PATH", format!("{}:{first}{path}", zig.display())).env("CARGO_TARGET_DIR", &folder);
    command.env(variable("CARGO_TARGET_", &target.triple.to_uppercase()) + "_RUSTFLAGS", rustflags(target, flavour));
    command.env(variable("CFLAGS_", &target.triple), cflags(target, flavour));
    let caches = cargo::target()?.join("xtask").join("zig-cache");
    command.env("ZIG_GLOBAL_CACHE_DIR", &caches).env("CARGO_ZIGBUILD_CACHE_DIR", &caches);
    shell::run(&mut command)?;
    Ok(folder.join(&target.triple).join("release/pullet"))
}

/// The library folder of rustup's toolchain, or `None` if the compiler is not from rustup.
fn rustup_library() -> Option<PathBuf> {
    shell::find("rustup")?;
    let root = shell::read(shell::program("rustc").args(["--print", "sysroot"])).ok()?;
    let library = PathBuf::from(root.trim()).join("lib/rustlib");
    // Debian's compiler in /usr has no such file.
    Some(library).filter(|library| library.join("multirust-channel-manifest.toml").exists())
}

/// Installs zig into a Python virtual environment, once, and returns the folder of its programs.
fn zig() -> Result<PathBuf> {
    let folder = cargo::target()?.join("xtask").join("zig");
    let (programs, complete) = (folder.join("bin"), folder.join("complete"));
    let wanted = ZIG.join(" ");
    if disk::read(&complete).is_ok_and(|installed| installed == wanted) {
        return Ok(programs);
    }
    println!("installing {wanted} into {}", cargo::shown(&folder));
    if !shell::succeeds(shell::program("python3").args(["-c", "import ensurepip, venv"])) {
        debian::need_packages(&["python3-venv"])?;
    }
    disk::fresh(&folder)?;
    shell::run(shell::program("python3").args(["-m", "venv"]).arg(&folder))?;
    shell::run(Command::new(programs.join("pip")).args(["install", "--quiet"]).args(ZIG))?;
    disk::write(&complete, &wanted)?;
    Ok(programs)
}

fn rustflags(target: &Target, flavour: &Flavour) -> String {
    let script = cargo::root().join("xtask/src/cross/static.ld");
    // zig provides the C library and its start files.
    let mut flags = vec!["-Clink-self-contained=no".to_owned(), format!("-Clink-arg=-Wl,-T,{}", script.display())];
    flags.push("-Cforce-unwind-tables=no".to_owned());
    // zig links most targets at a fixed address in any case. Code that knows this is smaller.
    flags.push("-Crelocation-model=static".to_owned());
    flags.extend(remapped().map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())));
    flags.extend(target.rustflags.iter().chain(&flavour.rustflags).cloned());
    flags.join(" ")
}

/// Folders of this machine, and the names that binaries have for them, so that the same source gives the same binary
/// wherever it is built.
fn remapped() -> impl Iterator<Item = (PathBuf, &'static str)> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home);
    let registry = cargo.map(|cargo| (cargo.join("registry/src"), "/registry"));
    let library = rustup_library().map(|library| (library.join("src/rust"), "/rust"));
    [Some((cargo::root(), "/pullet")), registry, library].into_iter().flatten()
}

fn cflags(target: &Target, flavour: &Flavour) -> String {
    [&target.cflags, &flavour.cflags].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ")
}

/// The name of an environment variable for one target, as cargo and the crate cc read it.
fn variable(prefix: &str, triple: &str) -> String {
    format!("{prefix}{}", triple.replace('-', "_"))
}
