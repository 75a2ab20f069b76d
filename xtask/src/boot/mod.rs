//! `cargo xtask boot`: boots machines in QEMU. Their initramfs is that of examples/initramfs: it pulls its root from a
//! registry on the host's loopback and starts a shell in it. Only programs that run on the host are installed, and
//! every wait has a bound.

mod apt;
mod cases;
mod cpio;
mod guest;
mod image;
mod initramfs;
mod machine;

use std::path::{Path, PathBuf};
use std::time::Duration;

use kit::link::{Conditions, Link};

use crate::registry::Registry;
use crate::{Result, cargo, cross, debian, disk, shell, show};
use cases::{CASES, Case, Disk, Network};
use guest::{GUESTS, Guest, Parts};
use image::Subject;
use initramfs::Contents;
use machine::Console;

/// The time limit of a machine, emulated and on a busy host.
const BOUND: Duration = Duration::from_secs(300);
const DISK_SIZE: u64 = 1024 * 1024 * 1024;
/// The number of console lines to show when a case fails.
const SHOWN: usize = 40;

pub fn run(words: &[&str]) -> Result {
    let (guests, cases) = parse(words)?;
    debian::need(&[
        ("debootstrap", "debootstrap"),
        debian::REGISTRY,
        ("mkfs.ext4", "e2fsprogs"),
        ("openssl", "openssl"),
    ])?;
    guests.into_iter().try_for_each(|guest| boot(guest, &cases))
}

/// Makes a folder that later runs reuse. It appears complete or not at all.
fn once(folder: PathBuf, make: impl FnOnce(&Path) -> Result) -> Result<PathBuf> {
    if !folder.exists() {
        let partial = disk::Temporary::new(folder.with_extension("partial"))?;
        make(partial.path())?;
        disk::named("rename to", &folder, std::fs::rename(partial.path(), &folder))?;
    }
    Ok(folder)
}

/// The named guests and cases. None of a kind means all.
fn parse(words: &[&str]) -> Result<(Vec<&'static Guest>, Vec<&'static Case>)> {
    let mut guests: Vec<&Guest> = GUESTS.iter().filter(|guest| words.contains(&guest.name)).collect();
    let mut cases: Vec<&Case> = CASES.iter().filter(|case| words.contains(&case.name)).collect();
    if guests.len() + cases.len() != words.len() {
        let names: Vec<&str> =
            GUESTS.iter().map(|guest| guest.name).chain(CASES.iter().map(|case| case.name)).collect();
        return Err(format!("boot {}: expected names of {}", words.join(" "), names.join(", ")));
    }
    if guests.is_empty() {
        guests = GUESTS.iter().collect();
    }
    if cases.is_empty() {
        cases = CASES.iter().collect();
    }
    Ok((guests, cases))
}

/// What the cases of one guest share.
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
    let parts = Parts::get_or_fetch(guest, &folder)?;
    let pullet = cross::one(guest.name)?;
    let subject = Subject::get_or_make(guest, &folder)?;
    let registry = Registry::start_tls(&folder.join("registry"), &subject.folder)?;
    let place = Place { guest, folder, parts, pullet, subject, registry };
    let failed: Vec<&str> = cases.iter().filter(|case| !place.succeeds(case)).map(|case| case.name).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("{}: failed: {}", guest.name, failed.join(", "))) }
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

    /// Boots the machine of a case and checks its console and the registry's log.
    fn play(&self, case: &Case) -> Result<Duration> {
        let file = |name: &str| self.folder.join(name);
        let authority = file("registry").join("ca.pem");
        let initramfs = file("initramfs.gz");
        let contents =
            Contents { parts: &self.parts, pullet: &self.pullet, authority: &authority, modules: case.modules };
        contents.write(&initramfs)?;
        let link = match case.network {
            Network::Cut(cut) => Some(self.registry.link(Conditions { cut: Some(cut), ..Conditions::default() })?),
            _ => None,
        };
        let port = link.as_ref().map_or(self.registry.address(), Link::address).port();
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
        let expected: Vec<String> = case.console.iter().map(|text| self.fill(text)).collect();
        let console = machine::watch(&mut qemu, &expected, BOUND)?;
        disk::write(&file(&format!("{}.console", case.name)), console.lines.join("\n") + "\n")?;
        show_console(&console)?;
        match link {
            Some(link) if !link.is_restored() => Err("the network was not cut for long enough".into()),
            Some(_) if self.registry.ranges(ranges + 1)? <= ranges => {
                Err("pullet did not request the rest of the layer".into())
            }
            _ => Ok(console.time),
        }
    }

    fn command_line(&self, case: &Case, port: u16) -> String {
        let (console, parameters) = (self.guest.console, self.fill(case.parameters));
        let (image, init, memory) = (image::name(port), image::INIT, case.memory);
        format!(
            "console={console} quiet panic=-1 mem={memory}M init={init} pullet.image={image} pullet.ca=/ca.pem {parameters}"
        )
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{digest}", &self.subject.digest)
    }

    /// The image file of the case's disk.
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

/// Shows the lines with a time stamp. Fails with the last lines of the console if an expected text is missing.
fn show_console(console: &Console) -> Result {
    if let Some(missing) = &console.missing {
        let from = console.lines.len().saturating_sub(SHOWN);
        return Err(format!("{missing}; its last lines:\n{}", console.lines[from..].join("\n")));
    }
    for line in console.lines.iter().filter(|line| line.starts_with('[')) {
        println!("  {}", show::dim(line));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_names_of_guests_and_cases() {
        let check = |words: &[&str], guests: &[&str], cases: usize| {
            let parsed = parse(words).unwrap();
            assert_eq!(parsed.0.iter().map(|guest| guest.name).collect::<Vec<_>>(), guests, "{words:?}");
            assert_eq!(parsed.1.len(), cases, "{words:?}");
        };
        check(&[], &["x86_64", "aarch64"], CASES.len());
        check(&["aarch64"], &["aarch64"], CASES.len());
        check(&["cut", "x86_64", "small"], &["x86_64"], 2);
        assert!(parse(&["sparc"]).is_err_and(|why| why.contains("aarch64") && why.contains("cut")));
    }
}
