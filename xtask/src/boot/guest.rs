//! The machines, and what they need from Debian: kernel, busybox and QEMU.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::apt::Apt;
use super::once;
use crate::{Result, disk, shell};

/// A kind of machine.
pub struct Guest {
    /// The architecture as Rust and QEMU name it.
    pub name: &'static str,
    /// The architecture as Debian and images name it.
    pub architecture: &'static str,
    qemu: &'static str,
    machine: &'static [&'static str],
    /// The least memory in MiB in which its kernel can decompress itself.
    decompression: u32,
    pub console: &'static str,
}

pub const GUESTS: &[Guest] = &[
    Guest {
        name: "x86_64",
        architecture: "amd64",
        qemu: "qemu-system-x86",
        machine: &["-cpu", "max"],
        decompression: 128,
        console: "ttyS0",
    },
    Guest {
        name: "aarch64",
        architecture: "arm64",
        qemu: "qemu-system-arm",
        machine: &["-machine", "virt", "-cpu", "cortex-a53"],
        decompression: 0,
        console: "ttyAMA0",
    },
];

/// The packages for a guest. They are fetched once.
pub struct Parts {
    /// The unpacked packages of the guest.
    packages: PathBuf,
    /// The unpacked packages of QEMU, if it is not installed here.
    qemu: Option<PathBuf>,
}

impl Parts {
    pub fn get_or_fetch(guest: &Guest, folder: &Path) -> Result<Self> {
        let packages = once(folder.join("packages"), |into| {
            println!("fetching Debian's kernel and busybox for {}", guest.architecture);
            let apt = Apt::new(&folder.join("apt"), guest.architecture)?;
            let kernel = apt.dependency(&format!("linux-image-cloud-{}", guest.architecture), "linux-image-")?;
            apt.unpack(&[kernel, "busybox-static".into()], into)
        })?;
        let qemu = if shell::find(&program(guest)).is_some() {
            None
        } else {
            // Not installed, because that could remove a qemu-utils of another release.
            Some(once(folder.join("qemu"), |into| {
                println!("fetching {} and its dependencies", guest.qemu);
                let own = shell::read(shell::program("dpkg").arg("--print-architecture"))?;
                let apt = Apt::new(&folder.join("apt-qemu"), own.trim())?;
                apt.unpack(&apt.missing(guest.qemu)?, into)
            })?)
        };
        Ok(Self { packages, qemu })
    }

    pub fn kernel(&self) -> Result<PathBuf> {
        let boot = self.packages.join("boot");
        let is_kernel =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinu"));
        let found = disk::list(&boot)?.into_iter().find(is_kernel);
        found.ok_or_else(|| format!("{}: no kernel", boot.display()))
    }

    /// The folder of the kernel's modules.
    pub fn modules(&self) -> PathBuf {
        self.packages.join("lib/modules")
    }

    pub fn busybox(&self) -> PathBuf {
        self.packages.join("bin/busybox")
    }

    /// QEMU with the processor and memory of this machine, and no devices yet.
    pub fn qemu(&self, guest: &Guest, memory: u32) -> Command {
        let mut command = match &self.qemu {
            None => shell::program(&program(guest)),
            Some(folder) => unpacked_qemu(folder, &program(guest)),
        };
        command.args(guest.machine).args(["-accel", "tcg", "-nodefaults", "-no-reboot", "-display", "none"]);
        command.arg("-m").arg(memory.max(guest.decompression).to_string());
        command
    }
}

fn program(guest: &Guest) -> String {
    format!("qemu-system-{}", guest.name)
}

/// QEMU from a folder. It needs the paths of its libraries, modules and firmware.
fn unpacked_qemu(folder: &Path, program: &str) -> Command {
    let libraries = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
    let usr = folder.join("usr");
    let mut command = Command::new(usr.join("bin").join(program));
    let paths = [usr.join(&libraries), folder.join(&libraries)].map(|path| path.display().to_string());
    command.env("LD_LIBRARY_PATH", paths.join(":")).env("QEMU_MODULE_DIR", usr.join(&libraries).join("qemu"));
    for data in ["qemu", "seabios"] {
        command.arg("-L").arg(usr.join("share").join(data));
    }
    command
}
