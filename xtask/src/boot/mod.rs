//! `cargo xtask boot`: machines in QEMU whose initramfs, that of examples/initramfs, pulls its root from a registry on
//! this host's loopback and starts a shell in it. Nothing is installed but programs that the host itself runs, and nothing
//! is waited for without a bound.

mod apt;
mod cable;
mod cases;
mod cpio;
mod guest;
mod image;
mod initramfs;
mod machine;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::registry::Registry;
use crate::{Result, cargo, cross, debian, disk, shell, show};
use cable::Cable;
use cases::{CASES, Case, Disk, Network};
use guest::{GUESTS, Guest, Parts};
use image::Subject;
use initramfs::Contents;
use machine::Console;

/// The longest that a machine may take, emulated and on a busy host.
const BOUND: Duration = Duration::from_secs(300);
const DISK_SIZE: u64 = 1024 * 1024 * 1024;
/// Lines of a console that are shown of a case that failed.
const SHOWN: usize = 40;

pub fn run(words: &[&str]) -> Result {
    let (guests, cases) = asked(words)?;
    debian::need(&[
        ("debootstrap", "debootstrap"),
        debian::REGISTRY,
        ("mkfs.ext4", "e2fsprogs"),
        ("openssl", "openssl"),
    ])?;
    guests.into_iter().try_for_each(|guest| boot(guest, &cases))
}

/// Makes a folder that is kept for the next run, whole or not at all.
fn once(folder: PathBuf, make: impl FnOnce(&Path) -> Result) -> Result<PathBuf> {
    if !folder.exists() {
        let partial = disk::Temporary::new(folder.with_extension("partial"))?;
        make(partial.path())?;
        disk::named("rename to", &folder, std::fs::rename(partial.path(), &folder))?;
    }
    Ok(folder)
}

/// The guests and the cases that the words name; all where they name none.
fn asked(words: &[&str]) -> Result<(Vec<&'static Guest>, Vec<&'static Case>)> {
    let mut guests: Vec<&Guest> = GUESTS.iter().filter(|guest| words.contains(&guest.name)).collect();
    let mut cases: Vec<&Case> = CASES.iter().filter(|case| words.contains(&case.name)).collect();
    if guests.len() + cases.len() != words.len() {
        let names: Vec<&str> =
            GUESTS.iter().map(|guest| guest.name).chain(CASES.iter().map(|case| case.name)).collect();
        return Err(format!("boot {}: there are {}", words.join(" "), names.join(", ")));
    }
    if guests.is_empty() {
        guests = GUESTS.iter().collect();
    }
    if cases.is_empty() {
        cases = CASES.iter().collect();
    }
    Ok((guests, cases))
}

/// All that the cases of one guest share.
struct Place<'a> {
    guest: &'a Guest,
    folder: PathBuf,
    parts: Parts,
    pullet: PathBuf,
    subject: Subject,
    registry: Registry,
}

fn boot(guest: &Guest, cases: &[&Case]) -> Result {
    println!("{}", show::bold(format!("{} in QEMU, emulated", guest.name)));
    let folder = cargo::target()?.join("boot").join(guest.name);
    disk::create_folder(&folder)?;
    let parts = Parts::there(guest, &folder)?;
    let pullet = cross::one(guest.name)?;
    let subject = Subject::there(guest, &folder)?;
    let registry = Registry::start_tls(&folder.join("registry"), &subject.folder)?;
    let place = Place { guest, folder, parts, pullet, subject, registry };
    let failed: Vec<&str> = cases.iter().filter(|case| !place.succeeds(case)).map(|case| case.name).collect();
    match failed[..] {
        [] => Ok(()),
        _ => Err(format!("{}: failed: {}", guest.name, failed.join(", "))),
    }
}

impl Place<'_> {
    fn succeeds(&self, case: &Case) -> bool {
        println!("\n{}: {}; {} MiB", show::bold(case.name), case.about, case.memory);
        let outcome = self.play(case);
        match &outcome {
            Ok(time) => println!("  {} after {}", show::green("ok"), show::seconds(*time)),
            Err(reason) => println!("  {}: {reason}", show::red("failed")),
        }
        outcome.is_ok()
    }

    /// Boots the machine of a case and holds its console and the registry's log against what they must show.
    fn play(&self, case: &Case) -> Result<Duration> {
        let file = |name: &str| self.folder.join(name);
        let authority = file("registry").join("ca.pem");
        let initramfs = file("initramfs.gz");
        let contents =
            Contents { parts: &self.parts, pullet: &self.pullet, authority: &authority, modules: case.modules };
        contents.write(&initramfs)?;
        let cable = match case.network {
            Network::Cut(cut) => Some(Cable::new(self.registry.address(), cut)?),
            _ => None,
        };
        let port = cable.as_ref().map_or(self.registry.address(), Cable::address).port();
        let ranges = self.registry.ranges(0)?;
        let mut qemu = self.parts.qemu(self.guest, case.memory);
        qemu.args(["-serial", "stdio"]);
        qemu.arg("-kernel").arg(self.parts.kernel()?).arg("-initrd").arg(&initramfs);
        qemu.arg("-append").arg(self.command_line(case, port));
        if !matches!(case.network, Network::None) {
            qemu.args(["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile="]);
        }
        if case.disk != Disk::None {
            let drive = format!("file={},format=raw,if=none,id=d", self.disk(case)?.display());
            qemu.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=d"]);
        }
        if let Some(clock) = case.clock {
            qemu.arg("-rtc").arg(format!("base={clock}"));
        }
        let expected: Vec<String> = case.console.iter().map(|text| self.filled(text)).collect();
        let console = machine::watch(&mut qemu, &expected, BOUND)?;
        disk::write(&file(&format!("{}.console", case.name)), console.lines.join("\n") + "\n")?;
        told(&console)?;
        match cable {
            Some(cable) if !cable.is_mended() => Err("the network was not cut as long as it should".into()),
            Some(_) if self.registry.ranges(ranges + 1)? <= ranges => {
                Err("the registry was not asked for the rest of the layer".into())
            }
            _ => Ok(console.time),
        }
    }

    fn command_line(&self, case: &Case, port: u16) -> String {
        let (console, parameters) = (self.guest.console, self.filled(case.parameters));
        let (image, init, memory) = (image::name(port), image::INIT, case.memory);
        format!(
            "console={console} quiet panic=-1 mem={memory}M init={init} pullet.image={image} pullet.ca=/ca.pem {parameters}"
        )
    }

    fn filled(&self, text: &str) -> String {
        text.replace("{digest}", &self.subject.digest)
    }

    /// The image of the case's disk.
    fn disk(&self, case: &Case) -> Result<PathBuf> {
        let image = self.folder.join("disk.img");
        if case.disk == Disk::Fresh {
            let file = disk::create(&image)?;
            disk::named("set the size of", &image, file.set_len(DISK_SIZE))?;
            shell::run(shell::program("mkfs.ext4").arg("-q").arg(&image))?;
        }
        Ok(image)
    }
}

/// Shows what the guest said with its clock, or all of it where something is missing.
fn told(console: &Console) -> Result {
    match &console.missing {
        None => {
            console
                .lines
                .iter()
                .filter(|line| line.starts_with('['))
                .for_each(|line| println!("  {}", show::dim(line)));
            Ok(())
        }
        Some(missing) => {
            let from = console.lines.len().saturating_sub(SHOWN);
            Err(format!("{missing}; its last lines:\n{}", console.lines[from..].join("\n")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_guests_and_cases() {
        let check = |words: &[&str], guests: &[&str], cases: usize| {
            let asked = asked(words).unwrap();
            assert_eq!(asked.0.iter().map(|guest| guest.name).collect::<Vec<_>>(), guests, "{words:?}");
            assert_eq!(asked.1.len(), cases, "{words:?}");
        };
        check(&[], &["x86_64", "aarch64"], CASES.len());
        check(&["aarch64"], &["aarch64"], CASES.len());
        check(&["cut", "x86_64", "small"], &["x86_64"], 2);
        assert!(asked(&["sparc"]).is_err_and(|why| why.contains("aarch64") && why.contains("cut")));
    }
}
