//! The source archive, which is the crate as cargo packs it for crates.io, and the recipes of distributions that build it.
//! packaging/ has their texts, in which the version and the checksums are filled in here.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::lock::{Lock, Locked};
use super::release::Release;
use super::tree;
use crate::{Result, cargo, disk, shell};

/// The recipes: the template in packaging/, and the path in the archive.
const RECIPES: &[(&str, &str)] = &[
    ("alpine/APKBUILD", "alpine/APKBUILD"),
    ("buildroot/Config.in", "buildroot/Config.in"),
    ("buildroot/external.desc", "buildroot/external.desc"),
    ("buildroot/external.mk", "buildroot/external.mk"),
    ("buildroot/package/pullet/Config.in", "buildroot/package/pullet/Config.in"),
    ("buildroot/package/pullet/pullet.mk", "buildroot/package/pullet/pullet.mk"),
    ("openwrt/pullet/Makefile", "openwrt/pullet/Makefile"),
    ("yocto/pullet.bb", "yocto/pullet_@VERSION@.bb"),
];

/// Makes the source archive and the archive of recipes.
pub fn make(release: &Release) -> Result<Vec<PathBuf>> {
    let source = pack(release)?;
    let folder = release.work.join("recipes").join("recipes");
    write(release, &source, &folder)?;
    tree::settle(&folder, release.time())?;
    let recipes = tree::archive(release, &folder, &format!("pullet-{}-recipes.tar.gz", release.version))?;
    Ok(vec![source, recipes])
}

/// Packs the crate. Its bytes are those that `cargo publish` uploads.
fn pack(release: &Release) -> Result<PathBuf> {
    let target = release.work.join("crate");
    let mut package =
        cargo::command(&["package", "--quiet", "--package=pullet", "--no-verify", "--allow-dirty", "--target-dir"]);
    shell::run(package.arg(&target))?;
    let file = release.out.join(format!("pullet-{}.tar.gz", release.version));
    let packed = target.join("package").join(format!("pullet-{}.crate", release.version));
    disk::named("copy", &packed, std::fs::copy(&packed, &file))?;
    Ok(file)
}

/// Writes all recipes into the folder.
fn write(release: &Release, source: &Path, folder: &Path) -> Result {
    disk::fresh(folder)?;
    let sha256 = sum("sha256sum", source)?;
    let sha512 = sum("sha512sum", source)?;
    let mit = sum("md5sum", &release.root.join("LICENSE-MIT"))?;
    let apache = sum("md5sum", &release.root.join("LICENSE-APACHE"))?;
    let values = [("SHA256", &sha256), ("SHA512", &sha512), ("MIT_MD5", &mit), ("APACHE_MD5", &apache)];
    let values = values.map(|(name, value)| (name, value.as_str()));
    for (template, path) in RECIPES {
        let text = disk::read(&release.root.join("packaging").join(template))?;
        let text = release.fill(&text, &values).map_err(|error| format!("packaging/{template}: {error}"))?;
        tree::put(folder, &release.fill(path, &[])?, text.as_bytes(), 0o644)?;
    }
    let crates = crates(&member(source, &format!("pullet-{}/Cargo.lock", release.version))?)?;
    tree::put(folder, "yocto/pullet-crates.inc", crates.as_bytes(), 0o644)
}

/// The crates for BitBake, as `bitbake -c update_crates` writes them.
fn crates(lock: &str) -> Result<String> {
    let mut uris = String::from("# from Cargo.lock\nSRC_URI += \" \\\n");
    let mut sums = String::new();
    for Locked { name, version, checksum } in Lock::parse(lock)?.package {
        if let Some(checksum) = checksum {
            uris += &format!("    crate://crates.io/{name}/{version} \\\n");
            sums += &format!("SRC_URI[{name}-{version}.sha256sum] = \"{checksum}\"\n");
        }
    }
    Ok(uris + "\"\n\n" + &sums)
}

/// The text of a file in the source archive.
fn member(source: &Path, name: &str) -> Result<String> {
    shell::read(shell::program("tar").args(["-xzOf"]).arg(source).arg(name))
}

/// The checksum that one of the sum programs prints for a file.
pub fn sum(program: &str, file: &Path) -> Result<String> {
    let line = shell::read(Command::new(program).arg("--").arg(file))?;
    line.split(' ').next().map(str::to_owned).ok_or_else(|| format!("{program}: no output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_crates_with_checksums() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"ab\"\n[[package]]\nname = \"pullet\"\nversion = \"1.0.0\"";
        let expected = "# from Cargo.lock\nSRC_URI += \" \\\n    crate://crates.io/a/1.0.0 \\\n\"\n\nSRC_URI[a-1.0.0.sha256sum] = \"ab\"\n";
        assert_eq!(crates(lock).unwrap(), expected);
    }
}
