//! What is booted, and what the console must show. `{digest}` stands for the digest of the image's manifest.

use super::cable::Cut;

pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    /// What Linux has, in MiB.
    pub memory: u32,
    pub network: Network,
    pub disk: Disk,
    /// Where the machine's clock begins, where that is not now.
    pub clock: Option<&'static str>,
    pub modules: &'static [&'static str],
    /// For the kernel, beside the image's name and what every case has.
    pub parameters: &'static str,
    /// Texts in their order, each in a line of its own. With the last one the case is over.
    pub console: &'static [&'static str],
}

pub enum Network {
    Whole,
    /// With the host's side of it cut in the middle of a layer.
    Cut(Cut),
    None,
}

#[derive(PartialEq)]
pub enum Disk {
    None,
    /// With an empty file system.
    Fresh,
    /// As the case before has left it, when its machine was killed.
    Same,
}

const STATIC: &str = "ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off";
const ADDRESS: &str = "init: eth0 has the address 10.0.2.15";
const SWITCH: &str = "init: switch_root /newroot /sbin/booted";
/// Debian's kernel has 17 MiB left of 64, of which files for tracing would take the half; it has none where it is locked down.
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
        about: "the network is cut in the middle of the layer, refuses twice, and is back",
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
        about: "the clock stands at 1970: no certificate is valid yet",
        memory: 192,
        network: Network::Whole,
        disk: Disk::None,
        clock: Some("1970-01-01T00:00:00"),
        modules: NET,
        parameters: "ip=dhcp",
        console: &["init: eth0 has an address by DHCP", "pullet: ", "hint: ", "init: pullet boot: exit code 7"],
    },
    Case {
        name: "small",
        about: "64 MiB of memory, onto a disk",
        memory: 64,
        network: Network::Whole,
        disk: Disk::Fresh,
        clock: None,
        modules: &["virtio_pci", "virtio_net", "virtio_blk"],
        parameters: "ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off pullet.root=/dev/vda \
                     lsm=lockdown,landlock lockdown=confidentiality",
        console: &[ADDRESS, SWITCH, "root on ext4"],
    },
    Case {
        name: "again",
        about: "the same disk after a crash, its digest pinned, no network, and an overlay",
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
    fn a_disk_is_made_before_it_is_used_again() {
        for (before, case) in CASES.iter().zip(&CASES[1..]) {
            assert!(case.disk != Disk::Same || before.disk != Disk::None, "{}", case.name);
        }
    }

    #[test]
    fn names_tell_cases_apart() {
        for (number, case) in CASES.iter().enumerate() {
            assert!(CASES[..number].iter().all(|other| other.name != case.name), "{}", case.name);
            assert!(!case.console.is_empty(), "{}", case.name);
        }
    }
}
