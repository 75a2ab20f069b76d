//! `cargo xtask sign`: signs the checksums of the packages with a key from outside, by minisign
//! (<https://jedisct1.github.io/minisign/>). Its keys and signatures are one line each, and Debian, Alpine and OpenBSD's signify
//! users can verify them without a ring of keys. The checksums are signed, not the packages, so one signature is enough.

use std::path::{Path, PathBuf};

use super::SUMS;
use crate::{Result, cargo, debian, disk, shell};

pub const PROGRAM: (&str, &str) = ("minisign", "minisign");

pub fn run(words: &[&str]) -> Result {
    let (key, folder) = match words {
        [key] => (key, cargo::target()?.join("package")),
        [key, folder] => (key, PathBuf::from(folder)),
        _ => return Err("expected the file of a secret key, and possibly a folder".into()),
    };
    debian::need(&[PROGRAM])?;
    let file = sign(Path::new(key), &folder)?;
    println!("{}", cargo::shown(&file));
    Ok(())
}

/// Checks the checksums, and signs them. The key must have no password, because nobody can type one in CI.
pub fn sign(key: &Path, folder: &Path) -> Result<PathBuf> {
    let mut sums = shell::program("sha256sum");
    shell::run(sums.args(["--check", "--strict", "--quiet", SUMS]).current_dir(folder))?;
    let (sums, signature) = (folder.join(SUMS), folder.join(format!("{SUMS}.minisig")));
    let mut minisign = shell::program("minisign");
    // Without a comment, minisign writes the time into the signature.
    minisign.args(["-S", "-t", "checksums of pullet", "-s"]).arg(key).arg("-x").arg(&signature).arg("-m").arg(&sums);
    shell::run(&mut minisign)?;
    disk::metadata(&signature)?;
    Ok(signature)
}
