//! IP addresses and networks in configuration files.

use std::net::IpAddr;
use std::str::FromStr;

/// An IP network: all addresses that share a prefix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Network {
    address: IpAddr,
    /// Bits of the prefix; at most 32 for IPv4 and 128 for IPv6.
    prefix_length: u8,
}

impl Network {
    /// Returns true if the address is in this network. An IPv4 address is never in an IPv6 network.
    pub(super) fn contains(self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let differing = network.to_bits() ^ ip.to_bits();
                // A shift by the full width, for a prefix of no bits, overflows.
                differing.checked_shr(32 - u32::from(self.prefix_length)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let differing = network.to_bits() ^ ip.to_bits();
                differing.checked_shr(128 - u32::from(self.prefix_length)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ();

    /// Parses `ADDRESS/LENGTH`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, length) = text.split_once('/').ok_or(())?;
        let address: IpAddr = address.parse().map_err(drop)?;
        let prefix_length: u8 = length.parse().map_err(drop)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        if prefix_length > width {
            return Err(());
        }
        Ok(Self { address, prefix_length })
    }
}

/// Removes the brackets of an IPv6 address.
pub(super) fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}
