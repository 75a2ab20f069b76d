//! The cases: what is booted, and what the console must show. `{digest}` is replaced by the digest of the image's
//! manifest.

use kit::link::Cut;

pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    /// The memory for Linux in MiB.
    pub memory: u32,
    pub network: Network,
    pub disk: Disk,
    /// The start time of the machine's clock, if not now.
    pub clock: Option<&'static str>,
    pub modules: &'static [&'static str],
    /// Kernel parameters, in addition to the image's name and those of every case.
    pub parameters: &'static str,
    /// Texts that must appear in this order, on separate lines. The case ends with the last one.
    pub console: &'static [&'static str],
}

pub enum Network {
    Whole,
    /// The host cuts the connection in the middle of a layer.
    Cut(Cut),
    None,
}

#[derive(PartialEq)]
pub enum Disk {
    None,
    /// A disk with an empty file system.
    Fresh,
    /// The disk of the case before, whose machine was killed.
    Same,
}

const STATIC: &str = "ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off";
const PINNED: &str = "ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off pullet.digest={digest}";
const ADDRESS: &str = "init: eth0 has the address 10.0.2.15";
const SWITCH: &str = "init: switch_root /newroot /sbin/booted";
const NET: &[&str] = &["virtio_pci", "virtio_net"];

pub const CASES: &[Case] = &[
    Case {
        name: "straight",
        about: "into a tmpfs",
        memory: 384,
        network: Network::Whole,
        disk: Disk::None,
        clock: None,
        modules: NET,
        parameters: STATIC,
        console: &[ADDRESS, SWITCH, "root on tmpfs"],
    },
    Case {
        name: "cut",
        about: "the network is cut in the middle of the layer, refuses two connections, and recovers",
        memory: 384,
        network: Network::Cut(Cut { after: 16 << 20, refusals: 2 }),
        disk: Disk::None,
        clock: None,
        modules: NET,
        parameters: STATIC,
        console: &[ADDRESS, SWITCH, "root on tmpfs"],
    },
    Case {
        name: "clock",
        about: "the clock is at 1970, and a tag proves nothing",
        memory: 192,
        network: Network::Whole,
        disk: Disk::None,
        clock: Some("1970-01-01T00:00:00"),
        modules: NET,
        parameters: "ip=dhcp",
        console: &["eth0 has an address by DHCP", "clock is behind", "hint: ", "init: pullet boot: exit code 7"],
    },
    Case {
        name: "1970",
        about: "the clock is at 1970, and the digest is pinned",
        memory: 384,
        network: Network::Whole,
        disk: Disk::None,
        clock: Some("1970-01-01T00:00:00"),
        modules: NET,
        parameters: PINNED,
        console: &[ADDRESS, SWITCH, "root on tmpfs"],
    },
    Case {
        name: "2000",
        about: "the clock is at 2000, and the digest is pinned",
        memory: 384,
        network: Network::Whole,
        disk: Disk::None,
        clock: Some("2000-01-01T00:00:00"),
        modules: NET,
        parameters: PINNED,
        console: &[ADDRESS, SWITCH, "root on tmpfs"],
    },
    Case {
        name: "2100",
        about: "the clock is at 2100: every certificate has expired, also for a pinned digest",
        memory: 192,
        network: Network::Whole,
        disk: Disk::None,
        clock: Some("2100-01-01T00:00:00"),
        modules: NET,
        parameters: PINNED,
        console: &[ADDRESS, "the certificate expired at", "init: pullet boot: exit code 7"],
    },
    Case {
        name: "small",
        about: "64 MiB of memory, onto a disk",
        memory: 64,
        network: Network::Whole,
        disk: Disk::Fresh,
        clock: None,
        modules: &["virtio_pci", "virtio_net", "virtio_blk"],
        // Debian's kernel leaves 17 MiB of 64. Without lockdown, its tracing files would use half of that.
        parameters: "ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off pullet.root=/dev/vda \
                     lsm=lockdown,landlock lockdown=confidentiality",
        console: &[ADDRESS, SWITCH, "root on ext4"],
    },
    Case {
        name: "again",
        about: "the same disk after a crash, with a pinned digest, no network, and an overlay",
        memory: 64,
        network: Network::None,
        disk: Disk::Same,
        clock: None,
        modules: &["virtio_pci", "virtio_blk", "overlay"],
        parameters: "pullet.root=/dev/vda pullet.digest={digest} pullet.overlay=tmpfs \
                     lsm=lockdown,landlock lockdown=confidentiality",
        console: &[SWITCH, "root on overlay"],
    },
    Case {
        name: "alone",
        about: "no network at all",
        memory: 192,
        network: Network::None,
        disk: Disk::None,
        clock: None,
        modules: NET,
        parameters: "ip=dhcp pullet.wait=5",
        console: &["no network interface", "the network did not come up within 5 s", "pullet boot: exit code 5"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_made_before_it_is_reused() {
        for (before, case) in CASES.iter().zip(&CASES[1..]) {
            assert!(case.disk != Disk::Same || before.disk != Disk::None, "{}", case.name);
        }
    }

    #[test]
    fn names_are_unique() {
        for (number, case) in CASES.iter().enumerate() {
            assert!(CASES[..number].iter().all(|other| other.name != case.name), "{}", case.name);
            assert!(!case.console.is_empty(), "{}", case.name);
        }
    }
}
