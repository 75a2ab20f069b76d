//! Builds pullet with the oldest compiler that Cargo.toml promises (`rust-version`), which rustup installs.

use std::process::Command;

use crate::{Result, cargo, disk, shell};

pub fn check() -> Result {
    let version = promised()?;
    if shell::find("rustup").is_none() {
        return Err(format!("rustup is not installed: nothing else installs Rust {version}"));
    }
    shell::run(shell::program("rustup").args(["toolchain", "install", "--profile", "minimal", &version]))?;
    let mut check = Command::new("rustup");
    check.args(["run", &version, "cargo", "check", "--quiet", "--locked", "--package=pullet", "--all-features"]);
    // Separate, because each compiler replaces the builds of the other.
    check.arg("--target-dir").arg(cargo::target()?.join("xtask/msrv"));
    // These name the compiler that runs xtask.
    for variable in ["CARGO", "CARGO_MANIFEST_DIR", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        check.env_remove(variable);
    }
    shell::watch(check.current_dir(cargo::root()))
}

fn promised() -> Result<String> {
    let manifest = disk::read(&cargo::root().join("Cargo.toml"))?;
    let manifest: toml::Table = manifest.parse().map_err(|error| format!("Cargo.toml: {error}"))?;
    let version = manifest.get("package").and_then(|package| package.get("rust-version")?.as_str());
    // rustup has releases with three numbers.
    let version = version.ok_or("Cargo.toml: no rust-version")?;
    Ok(if version.matches('.').count() == 1 { format!("{version}.0") } else { version.to_owned() })
}
