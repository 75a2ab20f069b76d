//! Networks in CIDR form, as lists of exceptions name them. Pure.

use std::net::IpAddr;
use std::str::FromStr;

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Network(IpAddr, u8);

impl Network {
    pub(super) fn has(self, ip: IpAddr) -> bool {
        let Self(network, length) = self;
        let differ = |a: u128, b: u128, width: u8| (a ^ b).checked_shr(u32::from(width - length)).unwrap_or(0) != 0;
        match (ip, network) {
            (IpAddr::V4(ip), IpAddr::V4(network)) => {
                !differ(u128::from(ip.to_bits()), u128::from(network.to_bits()), 32)
            }
            (IpAddr::V6(ip), IpAddr::V6(network)) => !differ(ip.to_bits(), network.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ();

    /// `ADDRESS/LENGTH`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, length) = text.split_once('/').ok_or(())?;
        let (address, length): (IpAddr, u8) = (address.parse().map_err(drop)?, length.parse().map_err(drop)?);
        let most = if address.is_ipv4() { 32 } else { 128 };
        if length <= most { Ok(Self(address, length)) } else { Err(()) }
    }
}
