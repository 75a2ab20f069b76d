//! The initramfs of a guest: examples/initramfs, busybox, pullet, the registry's CA certificate and kernel modules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::cpio::Archive;
use super::guest::Parts;
use crate::{Result, cargo, disk, shell};

pub struct Contents<'a> {
    pub parts: &'a Parts,
    pub pullet: &'a Path,
    pub authority: &'a Path,
    /// Kernel modules. Their dependencies are added.
    pub modules: &'a [&'a str],
}

impl Contents<'_> {
    /// Writes the archive, compressed.
    pub fn write(&self, file: &Path) -> Result {
        let plain = file.with_extension("cpio");
        disk::named("write", &plain, self.archive(&self.files()?).and_then(|bytes| std::fs::write(&plain, bytes)))?;
        let gzip = shell::try_output(shell::program("gzip").args(["-9nc"]).arg(&plain))?;
        if !gzip.status.success() {
            return Err(format!("gzip {}: {}", plain.display(), gzip.status));
        }
        disk::write(file, gzip.stdout)
    }

    fn files(&self) -> Result<Vec<File>> {
        let example = |name: &str| cargo::root().join("examples/initramfs").join(name);
        let sources = [
            ("init", example("init")),
            ("udhcpc.sh", example("udhcpc.sh")),
            ("bin/busybox", self.parts.busybox()),
            ("bin/pullet", self.pullet.to_owned()),
            ("ca.pem", self.authority.to_owned()),
        ];
        let mut files = Vec::new();
        for (name, path) in sources {
            files.push(File { name: name.to_owned(), bytes: disk::read_bytes(&path)? });
        }
        let mut order = String::new();
        for module in Modules::of(&self.parts.modules())?.in_order(self.modules)? {
            let name = format!("{}.ko", module.name);
            order += &format!("{name}\n");
            files.push(File { name: format!("modules/{name}"), bytes: module.bytes });
        }
        files.push(File { name: "modules/order".into(), bytes: order.into_bytes() });
        Ok(files)
    }

    fn archive(&self, files: &[File]) -> std::io::Result<Vec<u8>> {
        let mut archive = Archive::new(Vec::new());
        // The kernel creates /dev/console itself.
        for folder in ["bin", "modules"] {
            archive.folder(folder)?;
        }
        for File { name, bytes } in files {
            archive.file(name, bytes)?;
        }
        archive.finish()
    }
}

/// A file of the initramfs, or a kernel module without its ending.
struct File {
    name: String,
    bytes: Vec<u8>,
}

/// The modules of a kernel by name.
struct Modules {
    files: BTreeMap<String, PathBuf>,
    /// The modules that are built into the kernel: one path per line.
    builtin: String,
}

impl Modules {
    fn of(folder: &Path) -> Result<Self> {
        let release = disk::list(folder)?.pop().ok_or_else(|| format!("{}: no kernel modules", folder.display()))?;
        let mut files = BTreeMap::new();
        find(&release.join("kernel"), &mut files)?;
        Ok(Self { files, builtin: disk::read(&release.join("modules.builtin"))? })
    }

    /// The modules and their dependencies, each after those that it depends on.
    fn in_order(&self, names: &[&str]) -> Result<Vec<File>> {
        let mut ordered = Vec::new();
        names.iter().try_for_each(|name| self.add(name, &mut ordered))?;
        Ok(ordered)
    }

    fn add(&self, name: &str, ordered: &mut Vec<File>) -> Result {
        let is_builtin = || self.builtin.lines().any(|path| self::name(Path::new(path)).as_deref() == Some(name));
        if ordered.iter().any(|module| module.name == name) || is_builtin() {
            return Ok(());
        }
        let file = self.files.get(name).ok_or_else(|| format!("the kernel has no module {name}"))?;
        let bytes = if file.extension().is_some_and(|extension| extension == "xz") {
            shell::try_output(shell::program("xz").arg("-dc").arg(file))?.stdout
        } else {
            disk::read_bytes(file)?
        };
        depends(&bytes).iter().try_for_each(|other| self.add(other, ordered))?;
        ordered.push(File { name: name.to_owned(), bytes });
        Ok(())
    }
}

fn find(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result {
    for path in disk::list(folder)? {
        if path.is_dir() {
            find(&path, files)?;
        } else if let Some(name) = name(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// The name of the module in a file. The kernel writes `_` for `-`.
fn name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".xz").unwrap_or(name).strip_suffix(".ko")?;
    Some(name.replace('-', "_"))
}

/// The dependencies of a module, from its section of zero-terminated strings.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dependencies_of_a_module() {
        assert_eq!(depends(b"x\0license=GPL\0depends=virtio,net-failover\0name=v\0"), ["virtio", "net_failover"]);
        assert!(depends(b"x\0depends=\0name=v\0").is_empty());
        assert!(depends(b"no module").is_empty());
    }

    #[test]
    fn reads_names_of_modules() {
        let check = |file: &str, expected: Option<&str>| assert_eq!(name(Path::new(file)).as_deref(), expected);
        check("kernel/drivers/char/hw_random/virtio-rng.ko", Some("virtio_rng"));
        check("a.ko.xz", Some("a"));
        check("modules.dep", None);
    }
}
