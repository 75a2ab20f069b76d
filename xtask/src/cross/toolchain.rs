//! With what a target is built: one of three ways to its standard library, and zig as linker and C compiler in each.
//!
//! A: rustup has the target's standard library. B: rustup has the library's source, and it is built with ours.
//! C: Debian's toolchain, whose source fits its compiler. The first that is open is gone, unless one is asked for.

use std::path::PathBuf;
use std::process::Command;

use super::targets::{Flavour, Target};
use crate::{Result, cargo, debian, disk, shell};

/// How the target's standard library is come by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Prebuilt,
    Source,
    Debian,
}

impl Way {
    const ALL: [Self; 3] = [Self::Prebuilt, Self::Source, Self::Debian];

    /// The way of this letter.
    pub fn of(letter: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|way| way.letter() == letter);
        found.ok_or_else(|| format!("no way \"{letter}\": there are A, B and C"))
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

/// Debian's Rust for the web browsers, which is newer than its own, with the library's source.
const DEBIAN: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "libstd-rust-web-dev"];
/// From PyPI. The first is compiler and linker, the second lets cargo use it.
const ZIG: &[&str] = &["ziglang==0.17.1", "cargo-zigbuild==0.24.0"];

/// The way that is asked for, else the first that is open here. What it needs is there afterwards.
pub fn way(target: &Target, flavour: &Flavour, asked: Option<Way>) -> Result<Way> {
    let ways = asked.map_or(Way::ALL.to_vec(), |way| vec![way]);
    let mut closed = Vec::new();
    for way in ways {
        match open(way, target, flavour) {
            Ok(()) => return Ok(way),
            Err(why) => closed.push(format!("{}: {why}", way.letter())),
        }
    }
    Err(format!("{}: no way is open: {}", target.triple, closed.join("; ")))
}

fn open(way: Way, target: &Target, flavour: &Flavour) -> Result {
    if way == Way::Debian {
        return debian::need_packages(DEBIAN);
    }
    let library = rustup_library().ok_or("the compiler is not rustup's")?;
    let has = || match way {
        Way::Prebuilt => library.join(&target.triple).join("lib").is_dir(),
        _ => library.join("src/rust/library/std").is_dir(),
    };
    let add: &[&str] = match way {
        // What has features of the standard library needs its source.
        Way::Prebuilt if target.has_own_std || !flavour.std_features.is_empty() => {
            return Err("cross.toml has the standard library built with ours".into());
        }
        Way::Prebuilt => &["target", "add", &target.triple],
        _ => &["component", "add", "rust-src"],
    };
    match has() || (shell::succeeds(shell::program("rustup").args(add)) && has()) {
        true => Ok(()),
        false => Err(format!("rustup {} brings nothing", add.join(" "))),
    }
}

/// Builds pullet and gives the path of the binary.
pub fn build(target: &Target, flavour: &Flavour, way: Way) -> Result<PathBuf> {
    let zig = zig()?;
    let folder = cargo::target()?.join(if way == Way::Debian { "cross-debian" } else { "cross" });
    let mut command = Command::new(zig.join("cargo-zigbuild"));
    command.current_dir(cargo::root()).args(["zigbuild", "--quiet", "--release", "--package", "pullet"]);
    command.args(["--bin", "pullet", "--target", &target.triple, "--no-default-features"]);
    command.args(["--features", &target.features(flavour).join(",")]);
    if way != Way::Prebuilt {
        // Without its default features the library has no code to name the places of a backtrace.
        command
            .args(["-Zbuild-std=std,panic_abort", &format!("-Zbuild-std-features={}", flavour.std_features.join(","))]);
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    if flavour.is_mute {
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

/// Where rustup's toolchain has its libraries; nothing if the compiler is not rustup's.
fn rustup_library() -> Option<PathBuf> {
    shell::find("rustup")?;
    let root = shell::read(shell::program("rustc").args(["--print", "sysroot"])).ok()?;
    let library = PathBuf::from(root.trim()).join("lib/rustlib");
    // Debian's compiler stands in /usr, and rustup knows nothing of it.
    Some(library).filter(|library| library.join("multirust-channel-manifest.toml").exists())
}

/// The folder of zig's programs, in a virtual environment of ours.
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
    let script = cargo::root().join("xtask/src/cross/no-unwind.ld");
    // The C library and its start files are zig's.
    let mut flags = vec!["-Clink-self-contained=no".to_owned(), format!("-Clink-arg=-Wl,-T,{}", script.display())];
    flags.push("-Cforce-unwind-tables=no".to_owned());
    flags.extend(target.rustflags.iter().chain(&flavour.rustflags).cloned());
    flags.join(" ")
}

fn cflags(target: &Target, flavour: &Flavour) -> String {
    [&target.cflags, &flavour.cflags].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ")
}

/// The name of a variable for one target, as cargo and the crate cc read it.
fn variable(prefix: &str, triple: &str) -> String {
    format!("{prefix}{}", triple.replace('-', "_"))
}
